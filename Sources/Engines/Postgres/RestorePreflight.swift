import Core

/// Finds everything that would stop a restore, in one go, without changing anything.
struct RestorePreflight {
    let connection: Connection
    let destination: Destination
    let request: RestoreRequest
    let properties: DatabaseProperties

    private(set) var problems: [String] = []
    private(set) var notes: [String] = []
    private(set) var missingRoles: [String] = []
    private(set) var freeBytes: Int64?

    let neededBytes: Int64

    init(
        connection: Connection, destination: Destination, request: RestoreRequest, properties: DatabaseProperties
    ) {
        self.connection = connection
        self.destination = destination
        self.request = request
        self.properties = properties
        neededBytes = DiskCheck.needed(for: request.manifest.sourceSize)
    }

    mutating func run() async throws {
        var first = DestinationPreflight(
            connection: connection, destination: destination, restore: DestinationPreflight.Restore(request))
        try await first.run()
        problems += first.problems
        notes += first.notes
        checkKinds()
        try await checkRoles()
        try await checkExtensions()
        try await checkTablespaces()
        try await checkLocale()
        try await checkSettings()
        try await checkDisk()
    }

    mutating func add(problem: String) { problems.append(problem) }

    /// Only for a superuser: what is in the dump would fail half-way.
    private static let superuserKinds: Set<String> = [
        "EVENT TRIGGER", "FOREIGN DATA WRAPPER", "ACCESS METHOD", "SUBSCRIPTION", "PROCEDURAL LANGUAGE",
        "OPERATOR CLASS", "OPERATOR FAMILY", "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE",
    ]

    private mutating func checkKinds() {
        guard !destination.role.isSuperuser else { return }
        let kinds = Set(request.contents.schema.map(\.type)).intersection(Self.superuserKinds).sorted()
        if !kinds.isEmpty {
            problems.append(
                "the set has things that only a superuser may make (\(kinds.joined(separator: ", ").lowercased()))")
        }
    }

    private mutating func checkRoles() async throws {
        let owners = Set(request.contents.schema.map(\.owner)).subtracting(["", "-"]).union([properties.owner])
        let all = owners.union(properties.neededRoles)
        // The server's own roles (`pg_…`) come with it and go with nobody.
        missingRoles = try await names(all, where: "NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = n)")
        let unmakeable = missingRoles.filter { $0.hasPrefix("pg_") }
        if !unmakeable.isEmpty {
            problems.append("roles of a newer server are named in the set: \(unmakeable.joined(separator: ", "))")
        }
        if !missingRoles.isEmpty {
            let list = missingRoles.joined(separator: ", ")
            if destination.role.mayCreateRoles {
                let how = request.restoreRoles == .full ? "as the set has them" : "without login"
                notes.append("roles to be made, \(how): \(list)")
            } else {
                problems.append(
                    "roles are missing (\(list)), and role \(destination.role.name) may not make them "
                        + "(ALTER ROLE … CREATEROLE, or make them first)")
            }
        }
        guard !destination.role.isSuperuser else { return }
        let mode = destination.major >= 16 ? "SET" : "MEMBER"
        let foreign = try await names(
            owners.filter { !$0.hasPrefix("pg_") },
            where: """
                EXISTS (SELECT 1 FROM pg_roles r WHERE r.rolname = n
                    AND NOT (pg_has_role(r.oid, '\(mode)') AND pg_has_role(r.oid, 'USAGE')))
                """)
        if !foreign.isEmpty {
            problems.append(
                "role \(destination.role.name) cannot give objects to \(foreign.joined(separator: ", ")): it is no "
                    + "member (GRANT … TO \(destination.role.name), or restore as a superuser)")
        }
    }

    /// Those of `candidates` for which `condition` on `n` holds.
    private func names(_ candidates: Set<String>, where condition: String) async throws -> [String] {
        try await connection.rows(
            "SELECT n FROM json_array_elements_text($1::json) n WHERE \(condition) ORDER BY 1",
            [JSON.array(candidates.sorted().map { .string($0) }).canonicalText], to: "look at the server's roles"
        ).map { $0.text(0) }
    }

    private mutating func checkExtensions() async throws {
        let rows = try await connection.rows(
            """
            SELECT n, e.name IS NOT NULL, coalesce(v.superuser AND NOT v.trusted, false)
            FROM json_array_elements_text($1::json) n LEFT JOIN pg_available_extensions e ON e.name = n
                LEFT JOIN pg_available_extension_versions v ON v.name = n AND v.version = e.default_version
            ORDER BY 1
            """, [JSON.array(properties.extensions.map { .string($0) }).canonicalText],
            to: "look at the server's extensions")
        let missing = rows.filter { !$0.bool(1) }.map { $0.text(0) }
        if !missing.isEmpty {
            problems.append(
                "extensions are not installed on the server: \(missing.joined(separator: ", ")) (install their packages)"
            )
        }
        let forbidden = rows.filter { $0.bool(2) }.map { $0.text(0) }
        if !destination.role.isSuperuser, !forbidden.isEmpty {
            problems.append("only a superuser may add the extensions \(forbidden.joined(separator: ", "))")
        }
    }

    private mutating func checkTablespaces() async throws {
        let wanted = Set(properties.tablespaces + [properties.tablespace])
        let missing = try await names(
            wanted, where: "NOT EXISTS (SELECT 1 FROM pg_tablespace WHERE spcname = n)")
        if !missing.isEmpty {
            problems.append("tablespaces are missing: \(missing.joined(separator: ", ")) (CREATE TABLESPACE them)")
        }
    }

    private mutating func checkDisk() async throws {
        freeBytes = try await DiskCheck.free(connection, tablespace: properties.tablespace)
        guard !request.acknowledgeDisk else { return }
        let needed = DiskCheck.text(neededBytes)
        if let freeBytes {
            if freeBytes < neededBytes {
                problems.append(
                    "the server's disk has \(DiskCheck.text(freeBytes)) free, and the restore needs \(needed) "
                        + "(make room, or set acknowledgeDisk)")
            }
        } else {
            problems.append(
                "how much disk the server has free cannot be seen from here; the restore needs \(needed) "
                    + "(make sure, then set acknowledgeDisk)")
        }
    }
}

extension RestorePreflight {
    /// `CREATE DATABASE` would refuse a locale that the machine does not have; better now than later.
    private mutating func checkLocale() async throws {
        let row = try await connection.row(
            // Names of locales differ in case and dashes between systems (`en_US.UTF-8`, `en_US.utf8`).
            """
            WITH known AS (
                SELECT lower(replace(collcollate, '-', '')) AS name FROM pg_collation
                UNION SELECT lower(replace(collctype, '-', '')) FROM pg_collation
                UNION SELECT lower(replace(datcollate, '-', '')) FROM pg_database
                UNION SELECT lower(replace(datctype, '-', '')) FROM pg_database)
            SELECT pg_char_to_encoding($1::name) >= 0,
                $4 <> 'icu' OR EXISTS (SELECT 1 FROM pg_collation WHERE collprovider = 'i'),
                (SELECT bool_and(w IN ('C', 'POSIX') OR EXISTS (
                    SELECT 1 FROM known WHERE name = lower(replace(w, '-', '')))) FROM unnest(ARRAY[$2, $3]) w)
            """,
            [properties.encoding, properties.collate, properties.ctype, properties.localeProvider.rawValue],
            to: "look at the server's locales")
        if !row.bool(0) { problems.append("the server does not know the encoding \(properties.encoding)") }
        if !row.bool(1) { problems.append("the server is built without ICU, which the set's collation needs") }
        if !row.bool(2) {
            problems.append(
                "the server's machine lacks the locale \(properties.collate)"
                    + (properties.ctype == properties.collate ? "" : " or \(properties.ctype)")
                    + " (install it, then SELECT pg_import_system_collations('pg_catalog'))")
        }
    }

    private mutating func checkSettings() async throws {
        guard !destination.role.isSuperuser else { return }
        if properties.settings.contains(where: { $0.role != nil }), !destination.role.mayCreateRoles {
            problems.append("the set has settings of roles in this database, which need CREATEROLE")
        }
        let may = destination.major >= 15 ? "has_parameter_privilege(s.name, 'SET')" : "false"
        let forbidden = try await connection.rows(
            """
            SELECT s.name FROM json_array_elements_text($1::json) n JOIN pg_settings s ON s.name = lower(n)
            WHERE s.context IN ('superuser', 'superuser-backend') AND NOT \(may) ORDER BY 1
            """, [JSON.array(properties.settings.map { .string($0.name) }).canonicalText],
            to: "look at the server's settings"
        ).map { $0.text(0) }
        if !forbidden.isEmpty {
            problems.append("only a superuser may give a database the settings \(forbidden.joined(separator: ", "))")
        }
    }
}
