import Core

/// Puts a connection to MySQL or MariaDB together: out of an address, out of single settings, or both where they agree.
///
/// Environment: `MYSQL_URL`, `MYSQL_HOST` and so on. File: `url`, `host`, `port`, `database`, `user`, `password`,
/// `sslMode`, `sslCA`, `sslCert`, `sslKey`, `lockTables`, `restoreWriters`.
enum MySQLSourceReader {
    private static let url = SourceSetting(variable: "MYSQL_URL", key: "url", isSecret: true)
    private static let host = SourceSetting(variable: "MYSQL_HOST", key: "host")
    // Kubernetes sets it for every Service called mysql.
    private static let port = SourceSetting(variable: "MYSQL_PORT", key: "port", isMark: false)
    private static let database = SourceSetting(variable: "MYSQL_DB", key: "database")
    private static let user = SourceSetting(variable: "MYSQL_USER", key: "user")
    private static let password = SourceSetting(variable: "MYSQL_PASSWORD", key: "password", isSecret: true)
    private static let sslMode = SourceSetting(variable: "MYSQL_SSL_MODE", key: "sslMode")
    private static let sslCA = SourceSetting(variable: "MYSQL_SSL_CA", key: "sslCA")
    private static let sslCert = SourceSetting(variable: "MYSQL_SSL_CERT", key: "sslCert")
    private static let sslKey = SourceSetting(variable: "MYSQL_SSL_KEY", key: "sslKey")
    private static let lockTables = SourceSetting(variable: "MYSQL_LOCK_TABLES", key: "lockTables")
    private static let restoreWriters = SourceSetting(variable: "MYSQL_RESTORE_WRITERS", key: "restoreWriters")

    static let settings = [
        url, host, port, database, user, password, sslMode, sslCA, sslCert, sslKey, lockTables, restoreWriters,
    ]

    /// What an address may say behind its `?`, by the words of MySQL's own connection strings.
    private static let parameters = ["ssl-mode": sslMode, "ssl-ca": sslCA, "ssl-cert": sslCert, "ssl-key": sslKey]
    private static let syntax = ConnectionString.Syntax(
        schemes: ["mysql://", "mariadb://"],
        form:
            "mysql://USER:PASSWORD@HOST:PORT/DATABASE?ssl-mode=VERIFY_IDENTITY, with every @ : / ? # % in its parts "
            + "written as %40 %3A %2F %3F %23 %25",
        parameters: Set(parameters.keys))
    /// MySQL's own limit for a name, in characters (Reference Manual, "Identifier Length Limits"); MariaDB's is the
    /// same.
    static let longestName = 64
    /// MariaDB's limit for a user's name, in characters; MySQL's is shorter.
    private static let longestUser = 128

    // MARK: Where it is said

    static func read(
        _ place: SourcePlace, _ values: inout ConfigurationValues, allowsUnverifiedTLS: Bool
    ) throws(ConfigurationError) -> MySQLSettings {
        var claims = Claims(place: place)
        if let found = try place.find(url, &values) { try claims.add(found) }
        for setting in settings where setting.key != url.key {
            if let found = try place.find(setting, &values) {
                claims.add(setting.key, found.text, found.name)
            }
        }
        return try connection(claims, allowsUnverifiedTLS: allowsUnverifiedTLS)
    }

    /// A destination that is one address in the environment.
    static func destination(
        _ found: ConfigurationValues.Found, allowsUnverifiedTLS: Bool
    ) throws(ConfigurationError) -> MySQLSettings {
        var claims = Claims(place: .environment, only: found.name)
        try claims.add(found)
        return try connection(claims, allowsUnverifiedTLS: allowsUnverifiedTLS)
    }

    /// Everything that was said, by the key of what it is about.
    private struct Claims {
        var place: SourcePlace
        /// The one setting that says everything.
        var only: String?
        private var said: [String: [(value: String, name: String)]] = [:]

        init(place: SourcePlace, only: String? = nil) {
            self.place = place
            self.only = only
        }

        mutating func add(_ key: String, _ value: String, _ name: String) {
            said[key, default: []].append((value, name))
        }

        mutating func add(_ found: ConfigurationValues.Found) throws(ConfigurationError) {
            let parsed: ConnectionString
            do {
                parsed = try ConnectionString(parsing: found.text, as: syntax)
            } catch {
                throw ConfigurationError(found.name, error.cause, hint: "write \(syntax.form)")
            }
            let parts = [
                (host, parsed.host), (port, parsed.port), (database, parsed.database), (user, parsed.user),
                (password, parsed.password.map { $0.withRevealed { $0 } }),
            ]
            for (setting, value) in parts {
                if let value { add(setting.key, value, found.name) }
            }
            for (name, value) in parsed.parameters {
                if let setting = parameters[name] { add(setting.key, value, found.name) }
            }
        }

        /// What all of them say; `nil` where nobody says anything.
        func agreed(_ setting: SourceSetting) throws(ConfigurationError) -> (value: String, name: String)? {
            guard let claims = said[setting.key], let first = claims.first else { return nil }
            if let other = claims.first(where: { $0.value != first.value }) {
                throw ConfigurationError(
                    other.name, "it contradicts \(first.name)", hint: "say it once, or the same in both")
            }
            return first
        }

        func required(
            _ setting: SourceSetting, _ what: String
        ) throws(ConfigurationError) -> (value: String, name: String) {
            guard let claim = try agreed(setting) else {
                throw ConfigurationError(name(setting), "it is missing", hint: "set it to \(what)")
            }
            return claim
        }

        func name(_ setting: SourceSetting) -> String { only ?? place.name(setting) }

        func addressOfKubernetes() -> String? {
            said[port.key]?.first { $0.value.hasPrefix("tcp://") }?.name
        }
    }

    // MARK: What it comes to

    private static func connection(
        _ claims: Claims, allowsUnverifiedTLS: Bool
    ) throws(ConfigurationError) -> MySQLSettings {
        let host = try claims.required(host, "a server's name or address, or the path of a socket")
        try PostgresSourceReader.checkHost(host)
        let database = try claims.required(database, "the database's name")
        let user = try claims.required(user, "the user that the backup logs in as")
        for (claim, longest) in [(database, longestName), (user, longestUser)] {
            guard claim.value.unicodeScalars.count <= longest, !hasControlCharacter(claim.value) else {
                throw ConfigurationError(
                    claim.name, "it is longer than \(longest) characters or has a control character",
                    hint: "no server has such a name")
            }
        }
        var settings = MySQLSettings(
            host: host.value, port: try port(claims), database: database.value, user: user.value,
            password: try claims.agreed(password).map { Secret($0.value) })
        settings.caPath = try file(sslCA, claims)
        settings.certificatePath = try file(sslCert, claims)
        settings.keyPath = try file(sslKey, claims)
        settings.locksTables = try flag(lockTables, claims)
        if let claim = try claims.agreed(restoreWriters) {
            guard let word = MySQLSettings.RestoreWriters(rawValue: claim.value) else {
                throw ConfigurationError(
                    claim.name, "no such way with writers is known",
                    hint: "write \(choices(MySQLSettings.RestoreWriters.allCases.map(\.rawValue)))")
            }
            settings.restoreWriters = word
        }
        try demandTLS(&settings, claims, allowsUnverifiedTLS: allowsUnverifiedTLS)
        return settings
    }

    private static func port(_ claims: Claims) throws(ConfigurationError) -> Int {
        if let name = claims.addressOfKubernetes() {
            throw ConfigurationError(
                name, "it holds an address that Kubernetes puts there for a Service called 'mysql'",
                hint: "set enableServiceLinks: false in the pod's spec, rename the Service, or set the variable to "
                    + "the port's number in the container")
        }
        guard let claim = try claims.agreed(port) else { return 3306 }
        guard let number = Int(claim.value), String(number) == claim.value, (1...65_535).contains(number) else {
            throw ConfigurationError(claim.name, "it is not a port", hint: "a whole number from 1 to 65535")
        }
        return number
    }

    private static func file(_ setting: SourceSetting, _ claims: Claims) throws(ConfigurationError) -> String? {
        guard let claim = try claims.agreed(setting) else { return nil }
        return try AbsolutePath.checked(claim.value, claim.name)
    }

    private static func flag(_ setting: SourceSetting, _ claims: Claims) throws(ConfigurationError) -> Bool {
        guard let claim = try claims.agreed(setting) else { return false }
        return try ConfigurationReader.flag(ConfigurationValues.Found(values: [claim.value], name: claim.name))
    }

    /// A server across a network is only reached with its certificate checked, unless that was switched off by name.
    private static func demandTLS(
        _ settings: inout MySQLSettings, _ claims: Claims, allowsUnverifiedTLS: Bool
    ) throws(ConfigurationError) {
        let claim = try claims.agreed(sslMode)
        let mode = claim.flatMap { MySQLSettings.TLSMode(rawValue: $0.value.uppercased()) }
        if let claim, mode == nil {
            throw ConfigurationError(
                claim.name, "no such mode of TLS is known",
                hint: "write \(choices(MySQLSettings.TLSMode.allCases.map(\.rawValue)))")
        }
        if settings.certificatePath != nil, settings.keyPath == nil {
            throw ConfigurationError(
                claims.name(sslKey), "it is missing, and the certificate that it belongs to is set",
                hint: "give both, or neither")
        }
        if settings.keyPath != nil, settings.certificatePath == nil {
            throw ConfigurationError(
                claims.name(sslCert), "it is missing, and the key that it belongs to is set",
                hint: "give both, or neither")
        }
        let isLocal = PostgresSourceReader.isLocal(settings.host)
        settings.tls = mode ?? (isLocal && settings.caPath == nil ? .disabled : .verifyIdentity)
        let certificates = [try claims.agreed(sslCA), try claims.agreed(sslCert)].compactMap { $0 }
        if settings.tls == .disabled, let idle = certificates.first {
            throw ConfigurationError(
                idle.name, "it means nothing without TLS", hint: "leave it out, or write VERIFY_IDENTITY")
        }
        guard !isLocal, settings.tls != .verifyIdentity else { return }
        let exception = Setting.allowUnverifiedTLS.variable
        guard allowsUnverifiedTLS else {
            throw ConfigurationError(
                claim?.name ?? claims.name(sslMode),
                "\(settings.tls.rawValue) does not check that the server is the right one",
                hint: "use VERIFY_IDENTITY with the server's CA in \(sslCA.variable); to do without, set "
                    + "\(exception)=1, which every manifest will say")
        }
        settings.exceptions = [exception]
    }
}
