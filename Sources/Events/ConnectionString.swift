import Core

/// What the address of a database says, percent-decoded (PostgreSQL documentation, "Connection URIs", section
/// 34.1.1.2; MySQL's are of the same form).
struct ConnectionString: Equatable {
    var host: String?
    var port: String?
    var database: String?
    var user: String?
    var password: Secret?
    var parameters: [String: String] = [:]

    /// What is wrong with a connection string. Never says what stood in it: most hold a password.
    struct Problem: Error {
        var cause: String

        init(_ cause: String) { self.cause = cause }
    }

    /// How the addresses of one kind of server are written.
    struct Syntax {
        var schemes: [String]
        /// For hints.
        var form: String
        /// What may stand behind the `?` beside host, port, dbname, user and password.
        var parameters: Set<String>

        static let postgres = Syntax(
            schemes: ["postgres://", "postgresql://"],
            form: "postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full, with every @ : / ? # % in its "
                + "parts written as %40 %3A %2F %3F %23 %25",
            parameters: LibpqParameters.names)
    }

    static let form = Syntax.postgres.form

    init(parsing text: String, as syntax: Syntax = .postgres) throws(Problem) {
        guard let scheme = syntax.schemes.first(where: text.hasPrefix) else {
            throw Problem("it does not begin with \(syntax.schemes.first ?? "")")
        }
        guard !hasControlCharacter(text), !text.contains(" ") else {
            throw Problem("it contains a blank or a control character")
        }
        var rest = text.dropFirst(scheme.count)
        guard !rest.contains("#") else { throw Problem("it contains a '#'") }
        if let question = rest.firstIndex(of: "?") {
            try readQuery(rest[rest.index(after: question)...], syntax.parameters)
            rest = rest[..<question]
        }
        if let slash = rest.firstIndex(of: "/") {
            let name = try Self.decoded(rest[rest.index(after: slash)...])
            try set(\.database, name, "the database")
            rest = rest[..<slash]
        }
        if let at = rest.lastIndex(of: "@") {
            try readUser(rest[..<at])
            rest = rest[rest.index(after: at)...]
        }
        try readHost(rest)
    }

    private mutating func readUser(_ text: Substring) throws(Problem) {
        guard !text.contains("@") else { throw Problem("it contains a second '@'") }
        let pieces = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        try set(\.user, try Self.decoded(pieces[0]), "the user")
        if pieces.count > 1 {
            let password = try Self.decoded(pieces[1])
            if !password.isEmpty { try set(password: password) }
        }
    }

    private mutating func readHost(_ text: Substring) throws(Problem) {
        guard !text.contains(",") else { throw Problem("it names several hosts") }
        var rest = text
        if rest.first == "[" {
            guard let end = rest.firstIndex(of: "]") else { throw Problem("its '[' is not closed") }
            try set(\.host, String(rest[rest.index(after: rest.startIndex)..<end]), "the host")
            rest = rest[rest.index(after: end)...]
            guard rest.isEmpty || rest.first == ":" else { throw Problem("something follows its ']'") }
        } else {
            let end = rest.firstIndex(of: ":") ?? rest.endIndex
            try set(\.host, try Self.decoded(rest[..<end]), "the host")
            rest = rest[end...]
        }
        if rest.first == ":" { try set(\.port, String(rest.dropFirst()), "the port") }
    }

    private mutating func readQuery(_ text: Substring, _ known: Set<String>) throws(Problem) {
        for pair in text.split(separator: "&", omittingEmptySubsequences: false) {
            let pieces = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard pieces.count == 2 else { throw Problem("a parameter after '?' has no '='") }
            let name = try Self.decoded(pieces[0])
            let value = try Self.decoded(pieces[1])
            switch name {
            case "host": try set(\.host, value, "the host")
            case "port": try set(\.port, value, "the port")
            case "dbname": try set(\.database, value, "the database")
            case "user": try set(\.user, value, "the user")
            case "password": try set(password: value)
            case _ where known.contains(name):
                guard parameters.updateValue(value, forKey: name) == nil else {
                    throw Problem("the parameter \(name) stands twice in it")
                }
            default:
                throw Problem("the parameter '\(shown(name))' after '?' is not known")
            }
        }
    }

    private mutating func set(
        _ property: WritableKeyPath<ConnectionString, String?>, _ value: String, _ what: String
    ) throws(Problem) {
        guard !value.isEmpty else { return }
        guard self[keyPath: property] == nil else { throw Problem("it says \(what) twice") }
        self[keyPath: property] = value
    }

    private mutating func set(password value: String) throws(Problem) {
        guard password == nil else { throw Problem("it says the password twice") }
        password = Secret(value)
    }

    /// Replaces `%XX`; anything that is not UTF-8 afterwards, and a NUL, is refused.
    static func decoded(_ text: Substring) throws(Problem) -> String {
        var result: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                result.append(byte)
                continue
            }
            guard rest.count >= 2, let decoded = bytes(hexText: String(decoding: rest.prefix(2), as: UTF8.self)),
                decoded != [0]
            else { throw Problem("a '%' in it is not followed by two hexadecimal digits") }
            result += decoded
            rest = rest.dropFirst(2)
        }
        guard let text = String(validating: result, as: UTF8.self) else {
            throw Problem("it is not UTF-8 once its %XX are replaced")
        }
        return text
    }
}

/// The parameters of libpq that may be set beside host, port, database, user and password (PostgreSQL documentation,
/// "Parameter Key Words", section 34.1.2), with the environment variable of each that has one.
enum LibpqParameters {
    static let variables: [String: String] = [
        "PGSSLMODE": "sslmode", "PGSSLROOTCERT": "sslrootcert", "PGSSLCERT": "sslcert", "PGSSLKEY": "sslkey",
        "PGSSLCRL": "sslcrl", "PGSSLCRLDIR": "sslcrldir", "PGSSLSNI": "sslsni", "PGSSLCERTMODE": "sslcertmode",
        "PGSSLNEGOTIATION": "sslnegotiation", "PGSSLCOMPRESSION": "sslcompression",
        "PGSSLMINPROTOCOLVERSION": "ssl_min_protocol_version", "PGSSLMAXPROTOCOLVERSION": "ssl_max_protocol_version",
        "PGGSSENCMODE": "gssencmode", "PGKRBSRVNAME": "krbsrvname", "PGGSSLIB": "gsslib",
        "PGGSSDELEGATION": "gssdelegation", "PGCHANNELBINDING": "channel_binding", "PGREQUIREAUTH": "require_auth",
        "PGREQUIREPEER": "requirepeer", "PGCONNECT_TIMEOUT": "connect_timeout", "PGAPPNAME": "application_name",
        "PGOPTIONS": "options", "PGTARGETSESSIONATTRS": "target_session_attrs", "PGPASSFILE": "passfile",
    ]

    static let names: Set<String> = Set(variables.values).union([
        "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
    ])

    /// Variables that would lead libpq elsewhere than where the checks here looked.
    static let refused = ["PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE"]
}
