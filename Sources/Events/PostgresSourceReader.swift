import Core

/// Puts a PostgreSQL connection together: out of a connection string, out of single settings, or both where they
/// agree.
///
/// Environment: `POSTGRES_URL`, `POSTGRES_HOST`, `_PORT`, `_DB`, `_USER`, `_PASSWORD`, and libpq's own `PG…`. File:
/// `url`, `host`, `port`, `database`, `user`, `password`, `parameters`.
struct PostgresSourceReader {
    /// The parts of a connection, each with everything that was said about it.
    private struct Claims {
        var host: [Claim] = []
        var port: [Claim] = []
        var database: [Claim] = []
        var user: [Claim] = []
        var password: [Claim] = []
        var parameters: [String: [Claim]] = [:]
    }

    private typealias Claim = (value: String, name: String)

    /// Names of the parts as messages give them where a part is missing or wrong.
    private struct Names {
        var host: String
        var port: String
        var database: String
        var user: String
        var sslmode: String
    }

    static let settings = [
        SourceSetting(variable: "POSTGRES_URL", key: "url", isSecret: true),
        SourceSetting(variable: "POSTGRES_HOST", key: "host"),
        // Kubernetes sets it for every Service called postgres.
        SourceSetting(variable: "POSTGRES_PORT", key: "port", isMark: false),
        SourceSetting(variable: "POSTGRES_DB", key: "database"),
        SourceSetting(variable: "POSTGRES_USER", key: "user"),
        SourceSetting(variable: "POSTGRES_PASSWORD", key: "password", isSecret: true),
    ]
    /// Of the file only: libpq's parameters have variables of their own.
    static let parametersKey = "parameters"

    private static let exception = Setting.allowUnverifiedTLS.variable

    // MARK: Where it is said

    static func read(
        _ place: SourcePlace, _ values: inout ConfigurationValues, allowsUnverifiedTLS: Bool
    ) throws(ConfigurationError) -> PostgresSettings {
        switch place {
        case .environment: try environment(&values, allowsUnverifiedTLS: allowsUnverifiedTLS)
        case .file(let path): try file(&values, path: path, allowsUnverifiedTLS: allowsUnverifiedTLS)
        }
    }

    /// The environment's own source. `allowsUnverifiedTLS`: the switch of that name is on.
    private static func environment(
        _ values: inout ConfigurationValues, allowsUnverifiedTLS: Bool
    ) throws(ConfigurationError) -> PostgresSettings {
        var claims = Claims()
        if let url = try values.secretVariable("POSTGRES_URL") { try add(url, to: &claims) }
        let single: [(WritableKeyPath<Claims, [Claim]>, [String])] = [
            (\.host, ["POSTGRES_HOST", "PGHOST"]), (\.port, ["POSTGRES_PORT", "PGPORT"]),
            (\.database, ["POSTGRES_DB", "PGDATABASE"]), (\.user, ["POSTGRES_USER", "PGUSER"]),
        ]
        for (part, names) in single {
            for name in names {
                if let found = values.variable(name) { claims[keyPath: part].append((found.text, name)) }
            }
        }
        for found in [try values.secretVariable("POSTGRES_PASSWORD"), try values.foreignSecret("PGPASSWORD")] {
            if let found { claims.password.append((found.text, found.name)) }
        }
        for (parameter, found) in parameters(&values) {
            claims.parameters[parameter, default: []].append((found.text, found.name))
        }
        return try settings(
            claims,
            Names(
                host: "POSTGRES_HOST", port: "POSTGRES_PORT", database: "POSTGRES_DB", user: "POSTGRES_USER",
                sslmode: "PGSSLMODE"), allowsUnverifiedTLS: allowsUnverifiedTLS)
    }

    /// A source or destination of the file.
    private static func file(
        _ values: inout ConfigurationValues, path: [String], allowsUnverifiedTLS: Bool
    ) throws(ConfigurationError) -> PostgresSettings {
        var claims = Claims()
        if let url = try values.secretEntry(path + ["url"]) { try add(url, to: &claims) }
        let single: [(WritableKeyPath<Claims, [Claim]>, String)] = [
            (\.host, "host"), (\.port, "port"), (\.database, "database"), (\.user, "user"),
        ]
        for (part, key) in single {
            if let found = values.entry(path + [key]) { claims[keyPath: part].append((found.text, found.name)) }
        }
        if let found = try values.secretEntry(path + ["password"]) {
            claims.password.append((found.text, found.name))
        }
        for parameter in LibpqParameters.names.sorted() {
            if let found = values.entry(path + ["parameters", parameter]) {
                claims.parameters[parameter, default: []].append((found.text, found.name))
            }
        }
        addMissing(parameters(&values), to: &claims)
        let place = path.joined(separator: ".")
        return try settings(
            claims,
            Names(
                host: "\(place).host", port: "\(place).port", database: "\(place).database", user: "\(place).user",
                sslmode: "\(place).parameters.sslmode"), allowsUnverifiedTLS: allowsUnverifiedTLS)
    }

    /// A destination that is one connection string in the environment.
    static func connectionString(
        _ found: ConfigurationValues.Found, _ values: inout ConfigurationValues, allowsUnverifiedTLS: Bool
    ) throws(ConfigurationError) -> PostgresSettings {
        var claims = Claims()
        try add(found, to: &claims)
        addMissing(parameters(&values), to: &claims)
        return try settings(
            claims,
            Names(host: found.name, port: found.name, database: found.name, user: found.name, sslmode: found.name),
            allowsUnverifiedTLS: allowsUnverifiedTLS)
    }

    private static func add(_ url: ConfigurationValues.Found, to claims: inout Claims) throws(ConfigurationError) {
        let parsed: ConnectionString
        do {
            parsed = try ConnectionString(parsing: url.text)
        } catch {
            throw ConfigurationError(url.name, error.cause, hint: "write \(ConnectionString.form)")
        }
        if let host = parsed.host { claims.host.append((host, url.name)) }
        if let port = parsed.port { claims.port.append((port, url.name)) }
        if let database = parsed.database { claims.database.append((database, url.name)) }
        if let user = parsed.user { claims.user.append((user, url.name)) }
        if let password = parsed.password {
            claims.password.append((password.withRevealed { $0 }, url.name))
        }
        for (name, value) in parsed.parameters { claims.parameters[name, default: []].append((value, url.name)) }
    }

    private static func parameters(
        _ values: inout ConfigurationValues
    ) -> [(parameter: String, found: ConfigurationValues.Found)] {
        var result: [(parameter: String, found: ConfigurationValues.Found)] = []
        for (variable, parameter) in LibpqParameters.variables.sorted(by: { $0.key < $1.key }) {
            if let found = values.variable(variable) { result.append((parameter, found)) }
        }
        return result
    }

    /// For connections of the file and for destinations, libpq's variables fill what they leave open, as they do for
    /// every program that uses libpq.
    private static func addMissing(
        _ parameters: [(parameter: String, found: ConfigurationValues.Found)], to claims: inout Claims
    ) {
        for (parameter, found) in parameters where claims.parameters[parameter] == nil {
            claims.parameters[parameter] = [(found.text, found.name)]
        }
    }

    // MARK: What it comes to

    private static func settings(
        _ claims: Claims, _ names: Names, allowsUnverifiedTLS: Bool
    ) throws(ConfigurationError) -> PostgresSettings {
        let host = try required(claims.host, names.host, "a server's name or address, or the directory of a socket")
        try checkHost(host)
        let database = try required(claims.database, names.database, "the database's name").value
        let user = try required(claims.user, names.user, "the role that the backup logs in as").value
        for (name, claim) in [(database, claims.database), (user, claims.user)] {
            guard name.utf8.count <= 63, !hasControlCharacter(name) else {
                throw ConfigurationError(
                    claim.first?.name ?? "", "it is longer than 63 bytes or has a control character",
                    hint: "PostgreSQL has no such name")
            }
        }
        var settings = PostgresSettings(
            host: host.value, port: try port(claims.port), database: database, user: user,
            password: try agreed(claims.password).map { Secret($0.value) })
        for (parameter, claim) in claims.parameters {
            guard let value = try agreed(claim) else { continue }
            guard !hasControlCharacter(value.value) else {
                throw ConfigurationError(
                    value.name, "it contains a control character", hint: "correct the value of \(parameter)")
            }
            settings.parameters[parameter] = value.value
        }
        try demandTLS(&settings, claims, names, allowsUnverifiedTLS: allowsUnverifiedTLS)
        return settings
    }

    /// What all claims say; `nil` where there is none.
    private static func agreed(_ claims: [Claim]) throws(ConfigurationError) -> Claim? {
        guard let first = claims.first else { return nil }
        if let other = claims.first(where: { $0.value != first.value }) {
            throw ConfigurationError(
                other.name, "it contradicts \(first.name)", hint: "say it once, or the same in both")
        }
        return first
    }

    private static func required(
        _ claims: [Claim], _ name: String, _ what: String
    ) throws(ConfigurationError) -> Claim {
        guard let claim = try agreed(claims) else {
            throw ConfigurationError(name, "it is missing", hint: "set it to \(what)")
        }
        return claim
    }

    static func checkHost(_ host: (value: String, name: String)) throws(ConfigurationError) {
        guard host.value.utf8.count <= 255, !host.value.contains(","), !host.value.contains(" "),
            !hasControlCharacter(host.value)
        else {
            throw ConfigurationError(
                host.name, "it is not one host", hint: "one name, one address, or the directory of a socket")
        }
    }

    private static func port(_ claims: [Claim]) throws(ConfigurationError) -> Int {
        for claim in claims where claim.value.hasPrefix("tcp://") {
            throw ConfigurationError(
                claim.name, "it holds an address that Kubernetes puts there for a Service called 'postgres'",
                hint: "set enableServiceLinks: false in the pod's spec, rename the Service, or set the variable to "
                    + "the port's number in the container")
        }
        guard let claim = try agreed(claims) else { return 5432 }
        guard let port = Int(claim.value), String(port) == claim.value, (1...65_535).contains(port) else {
            throw ConfigurationError(claim.name, "it is not a port", hint: "a whole number from 1 to 65535")
        }
        return port
    }

    // MARK: TLS

    /// A database across a network is only reached with its certificate checked, unless that was switched off by name.
    private static func demandTLS(
        _ settings: inout PostgresSettings, _ claims: Claims, _ names: Names, allowsUnverifiedTLS: Bool
    ) throws(ConfigurationError) {
        let mode = settings.parameters["sslmode"]
        let known = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
        if let mode, !known.contains(mode) {
            throw ConfigurationError(
                claims.parameters["sslmode"]?.first?.name ?? names.sslmode, "no such sslmode is known",
                hint: "write \(choices(known))")
        }
        guard !isLocal(settings.host) else { return }
        guard let mode else {
            settings.parameters["sslmode"] = "verify-full"
            return
        }
        guard mode != "verify-full" else { return }
        guard allowsUnverifiedTLS else {
            throw ConfigurationError(
                claims.parameters["sslmode"]?.first?.name ?? names.sslmode,
                "sslmode \(mode) does not check that the server is the right one",
                hint: "use verify-full with the server's CA in sslrootcert; to do without, set \(exception)=1, which "
                    + "every manifest will say")
        }
        settings.exceptions = [exception]
    }

    /// A socket or the machine itself: nobody stands between.
    static func isLocal(_ host: String) -> Bool {
        if host.hasPrefix("/") || host == "localhost" || host == "::1" { return true }
        let numbers = host.split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
        return numbers.count == 4 && numbers[0] == 127 && !numbers.contains(nil)
    }
}
