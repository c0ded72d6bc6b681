import Core

/// What belongs to a database itself and is in no plain dump of it. It may hold secrets (a setting can be a key), so
/// it is a part of the set like any other: sealed.
struct DatabaseProperties: Equatable, Sendable {
    static let partName = "properties.json"
    static let formatVersion: Int64 = 1

    var name: String
    var owner: String
    /// `UTF8`.
    var encoding: String
    var collate: String
    var ctype: String
    /// As in `pg_database.datlocprovider`.
    var localeProvider: LocaleProvider
    /// The locale of the providers `icu` and `builtin`.
    var locale: String?
    var icuRules: String?
    var isTemplate: Bool
    /// -1 without one.
    var connectionLimit: Int64
    var grants: [DatabaseGrant]
    var comment: String?
    var settings: [DatabaseSetting]
    /// The tablespace in which its tables are made by default.
    var tablespace: String
    /// Every tablespace that something in it names.
    var tablespaces: [String]
    var extensions: [String]
    /// Every role that owns something in it or is named in a privilege or policy.
    var roles: [String]

    enum LocaleProvider: String, Sendable {
        case libc, icu, builtin
    }

    /// Everyone whom a restore needs to find at the destination.
    var neededRoles: Set<String> {
        Set(roles).union([owner]).union(grants.compactMap(\.grantee)).union(settings.compactMap(\.role))
    }
}

/// One privilege on the database.
struct DatabaseGrant: Equatable, Sendable {
    /// `nil` for everybody, `PUBLIC`.
    var grantee: String?
    /// `CONNECT`, `CREATE`, `TEMPORARY`.
    var privilege: String
    var isGrantable: Bool
}

/// `ALTER DATABASE … SET`, or `ALTER ROLE … IN DATABASE … SET` where there is a role.
struct DatabaseSetting: Equatable, Sendable {
    var role: String?
    var name: String
    var value: String
}

extension DatabaseProperties {
    var json: JSON {
        .object(present: [
            "format": .integer(Self.formatVersion),
            "name": .string(name), "owner": .string(owner), "encoding": .string(encoding),
            "collate": .string(collate), "ctype": .string(ctype),
            "localeProvider": .string(localeProvider.rawValue), "locale": locale.map { .string($0) },
            "icuRules": icuRules.map { .string($0) }, "isTemplate": .bool(isTemplate),
            "connectionLimit": .integer(connectionLimit),
            "grants": .array(
                grants.map {
                    .object(present: [
                        "grantee": $0.grantee.map { .string($0) }, "privilege": .string($0.privilege),
                        "isGrantable": .bool($0.isGrantable),
                    ])
                }),
            "comment": comment.map { .string($0) },
            "settings": .array(
                settings.map {
                    .object(present: [
                        "role": $0.role.map { .string($0) }, "name": .string($0.name), "value": .string($0.value),
                    ])
                }),
            "tablespace": .string(tablespace), "tablespaces": .array(tablespaces.map { .string($0) }),
            "extensions": .array(extensions.map { .string($0) }), "roles": .array(roles.map { .string($0) }),
        ])
    }

    init(json: JSON) throws(JSONFieldError) {
        var fields = try JSONFields(json, path: "")
        let version = try fields.integer("format")
        guard version == Self.formatVersion else {
            throw fields.error("format", "is \(version); this program reads \(Self.formatVersion)")
        }
        name = try fields.string("name")
        owner = try fields.string("owner")
        encoding = try fields.string("encoding")
        collate = try fields.string("collate")
        ctype = try fields.string("ctype")
        guard let provider = LocaleProvider(rawValue: try fields.string("localeProvider")) else {
            throw fields.error("localeProvider", "is none that is known")
        }
        localeProvider = provider
        locale = try fields.optionalString("locale")
        icuRules = try fields.optionalString("icuRules")
        isTemplate = try fields.bool("isTemplate")
        connectionLimit = try fields.integer("connectionLimit")
        grants = try Self.grants(try fields.array("grants"))
        comment = try fields.optionalString("comment")
        settings = try Self.settings(try fields.array("settings"))
        tablespace = try fields.string("tablespace")
        tablespaces = try fields.strings("tablespaces")
        extensions = try fields.strings("extensions")
        roles = try fields.strings("roles")
        try fields.finish()
    }

    private static func grants(_ elements: [JSON]) throws(JSONFieldError) -> [DatabaseGrant] {
        var grants: [DatabaseGrant] = []
        for (index, element) in elements.enumerated() {
            var fields = try JSONFields(element, path: "grants[\(index)]")
            let grant = DatabaseGrant(
                grantee: try fields.optionalString("grantee"), privilege: try fields.string("privilege"),
                isGrantable: try fields.bool("isGrantable"))
            // It becomes part of a statement as it stands.
            guard ["CONNECT", "CREATE", "TEMPORARY"].contains(grant.privilege) else {
                throw fields.error("privilege", "is none that a database has")
            }
            try fields.finish()
            grants.append(grant)
        }
        return grants
    }

    private static func settings(_ elements: [JSON]) throws(JSONFieldError) -> [DatabaseSetting] {
        var settings: [DatabaseSetting] = []
        for (index, element) in elements.enumerated() {
            var fields = try JSONFields(element, path: "settings[\(index)]")
            settings.append(
                DatabaseSetting(
                    role: try fields.optionalString("role"), name: try fields.string("name"),
                    value: try fields.string("value")))
            try fields.finish()
        }
        return settings
    }
}
