import CLibpq

extension PostgresEndpoint {
    /// What this program decides, whatever ``parameters`` say.
    private static let reserved: Set<String> = [
        "host", "port", "dbname", "user", "password", "passfile", "application_name", "client_encoding", "options",
    ]

    /// The variables that stand for ``parameters``.
    func toolEnvironment() throws -> [String: String] {
        var environment: [String: String] = [:]
        let variables = Self.variables()
        for (name, value) in parameters where !Self.reserved.contains(name) {
            guard let known = variables[name] else {
                throw PostgresError.configuration(
                    name, "libpq knows no such parameter", hint: "see 'Parameter Key Words' in the manual of libpq")
            }
            if let variable = known { environment[variable] = value }
        }
        return environment
    }

    /// The database's name in a form in which no part of it is taken for something else (`a=b` and `postgres://x` are
    /// names too), and those parameters that no variable stands for.
    func connectionString(database: String) throws -> String {
        let variables = Self.variables()
        var pieces = ["dbname=\(Self.quoted(value: database))"]
        for (name, value) in parameters.sorted(by: { $0.key < $1.key }) where !Self.reserved.contains(name) {
            guard let known = variables[name], known == nil else { continue }
            // Arguments can be read by everybody on the machine.
            guard name != "sslpassword" else {
                throw PostgresError.configuration(
                    name, "the tools can take it only where others can read it",
                    hint: "use a client key without a passphrase, in a file that only this user can read")
            }
            pieces.append("\(name)=\(Self.quoted(value: value))")
        }
        return pieces.joined(separator: " ")
    }

    private static func quoted(value: String) -> String {
        var text = "'"
        for character in value.unicodeScalars {
            if character == "'" || character == "\\" { text.unicodeScalars.append("\\") }
            text.unicodeScalars.append(character)
        }
        return text + "'"
    }

    /// Every parameter this libpq knows, with the variable that stands for it where there is one.
    private static func variables() -> [String: String?] {
        guard let options = PQconninfoParse("", nil) else { return [:] }
        defer { PQconninfoFree(options) }
        var variables: [String: String?] = [:]
        var option = options
        while let keyword = option.pointee.keyword {
            variables[String(cString: keyword)] = .some(option.pointee.envvar.map { String(cString: $0) })
            option += 1
        }
        return variables
    }
}
