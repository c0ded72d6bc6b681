import Core

/// Reads the address of a MongoDB deployment, as far as it has to be understood here: where it leads, and whether
/// anybody could listen on the way. The rest of it is for MongoDB's own libraries and tools.
///
/// Environment: `MONGODB_URL`, `MONGODB_DB`. File: `url`, `database`.
enum MongoDBSourceReader {
    private static let url = SourceSetting(variable: "MONGODB_URL", key: "url", isSecret: true)
    static let database = SourceSetting(variable: "MONGODB_DB", key: "database")

    static let settings = [url, database]

    private static let form =
        "mongodb://USER:PASSWORD@HOST:PORT/DATABASE?tls=true, with every @ : / ? # % in its parts written as %40 %3A "
        + "%2F %3F %23 %25"
    /// MongoDB's limit for a database's name, in bytes (MongoDB Limits and Thresholds, "Naming Restrictions").
    static let longestName = 63
    /// Databases of the server itself.
    private static let serverOwn: Set<String> = ["admin", "local", "config"]
    private static let forbiddenInNames = Set("/\\. \"$*<>:|?")

    static func read(
        _ place: SourcePlace, _ values: inout ConfigurationValues, allowsUnverifiedTLS: Bool
    ) throws(ConfigurationError) -> MongoDBSettings {
        guard let found = try place.find(url, &values) else {
            throw ConfigurationError(place.name(url), "it is missing", hint: "set it to \(form)")
        }
        var settings = try destination(found, allowsUnverifiedTLS: allowsUnverifiedTLS)
        if let own = try place.find(database, &values) {
            guard isDatabaseName(own.text) else {
                throw ConfigurationError(
                    own.name, "it is no database's name, or that of one of the server's own",
                    hint: "up to \(longestName) bytes without blanks and without any of / \\ . \" $ * < > : | ?")
            }
            if let other = settings.database, other != own.text {
                throw ConfigurationError(
                    own.name, "it contradicts \(found.name)", hint: "say it once, or the same in both")
            }
            settings.database = own.text
        }
        return settings
    }

    /// A deployment that one address leads to.
    static func destination(
        _ found: ConfigurationValues.Found, allowsUnverifiedTLS: Bool
    ) throws(ConfigurationError) -> MongoDBSettings {
        let address: Address
        do {
            address = try Address(parsing: found.text)
        } catch {
            throw ConfigurationError(found.name, error.cause, hint: "write \(form)")
        }
        var settings = MongoDBSettings(
            url: Secret(found.text), hosts: address.hosts.joined(separator: ","), database: address.database)
        guard !address.isLocal, let weakness = address.weakness else { return settings }
        let exception = Setting.allowUnverifiedTLS.variable
        guard allowsUnverifiedTLS else {
            throw ConfigurationError(
                found.name, weakness,
                hint: "put tls=true behind its '?', with the server's CA in tlsCAFile; to do without, set "
                    + "\(exception)=1, which every manifest will say")
        }
        settings.exceptions = [exception]
        return settings
    }

    static func isDatabaseName(_ name: String) -> Bool {
        !serverOwn.contains(name) && !name.isEmpty && name.utf8.count <= longestName && !hasControlCharacter(name)
            && !name.contains(where: forbiddenInNames.contains)
    }

    /// The pieces of a connection string (MongoDB manual, "Connection Strings").
    private struct Address {
        var isSeedList: Bool
        var hosts: [String]
        var database: String?
        private var options: [String: String] = [:]

        init(parsing text: String) throws(ConnectionString.Problem) {
            typealias Problem = ConnectionString.Problem
            guard let scheme = ["mongodb://", "mongodb+srv://"].first(where: text.hasPrefix) else {
                throw Problem("it does not begin with mongodb://")
            }
            guard !hasControlCharacter(text), !text.contains(" "), !text.contains("#") else {
                throw Problem("it contains a blank, a '#' or a control character")
            }
            isSeedList = scheme == "mongodb+srv://"
            var rest = text.dropFirst(scheme.count)
            if let question = rest.firstIndex(of: "?") {
                options = try Self.options(rest[rest.index(after: question)...])
                rest = rest[..<question]
            }
            if let slash = rest.firstIndex(of: "/") {
                let name = try ConnectionString.decoded(rest[rest.index(after: slash)...])
                guard name.isEmpty || MongoDBSourceReader.isDatabaseName(name) else {
                    throw Problem(
                        "what stands behind its hosts is no database's name, or that of one of the server's own")
                }
                database = name.isEmpty ? nil : name
                rest = rest[..<slash]
            }
            if let at = rest.lastIndex(of: "@") {
                let user = rest[..<at]
                guard !user.contains("@"), user.filter({ $0 == ":" }).count <= 1, !user.hasPrefix(":") else {
                    throw Problem("a '@' or ':' in its user or password is not written as %40 or %3A")
                }
                _ = try ConnectionString.decoded(user)
                rest = rest[rest.index(after: at)...]
            }
            hosts = []
            for host in rest.split(separator: ",", omittingEmptySubsequences: false) {
                hosts.append(try ConnectionString.decoded(host))
            }
            guard !hosts.contains("") else { throw Problem("it names no host, or has a comma too many") }
        }

        private static func options(_ text: Substring) throws(ConnectionString.Problem) -> [String: String] {
            var options: [String: String] = [:]
            for pair in text.split(separator: "&") {
                let pieces = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                guard pieces.count == 2 else { throw ConnectionString.Problem("an option after '?' has no '='") }
                // Their names are the same in small letters and capitals; the first of several counts nowhere.
                let name = String(pieces[0]).lowercased()
                let value = try ConnectionString.decoded(pieces[1])
                guard options.updateValue(value, forKey: name) == nil || name == "readpreferencetags" else {
                    throw ConnectionString.Problem("the option '\(shown(name))' stands twice in it")
                }
            }
            return options
        }

        var isLocal: Bool {
            !isSeedList
                && hosts.allSatisfy { host in
                    if host.hasPrefix("/") { return true }
                    if host.hasPrefix("[") {
                        return PostgresSourceReader.isLocal(String(host.dropFirst().prefix { $0 != "]" }))
                    }
                    return PostgresSourceReader.isLocal(String(host.prefix { $0 != ":" }))
                }
        }

        /// Why somebody could listen on the way; `nil` where nobody can.
        var weakness: String? {
            let switches = [options["tls"], options["ssl"]].compactMap { $0 }
            let isOn = switches.isEmpty ? isSeedList : switches.allSatisfy { $0 == "true" }
            guard isOn else { return "it leads across a network without TLS" }
            let doubts = [
                "tlsinsecure", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames",
                "sslallowinvalidcertificates", "sslallowinvalidhostnames",
            ]
            let isChecked = doubts.allSatisfy { options[$0] ?? "false" == "false" }
            return isChecked ? nil : "it does not check that the server is the right one"
        }
    }
}
