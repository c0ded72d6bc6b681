package import Core

/// A MongoDB deployment, how to get in, and which of its databases is meant.
///
/// The connection string is taken apart only as far as needed: the name of the database goes out of its path, so that
/// the tools and our own sessions are told it in one way, and options that the tools misread go too.
package struct MongoEndpoint: Sendable {
    /// The connection string as it was given, password included.
    package let uri: Secret
    /// The database; `nil` means the whole deployment.
    package let database: String?
    /// `mongo1.example:27017,mongo2.example:27017`: for people.
    package let hosts: String

    private let parts: ConnectionString

    /// `database` overrules the one in the path of `uri`. Throws ``MongoError`` (configuration) for what is no
    /// connection string ("Connection Strings" in MongoDB's manual), or names a database that cannot be.
    package init(uri: Secret, database: String? = nil) throws {
        let parts = try uri.withRevealed { try ConnectionString($0) }
        let named = database.flatMap { $0.isEmpty ? nil : $0 } ?? parts.database
        if let named, let problem = Self.problem(withName: named) {
            throw MongoError.configuration("database", problem, hint: "check MONGODB_URL and MONGODB_DB")
        }
        self.uri = uri
        self.database = named
        self.parts = parts
        hosts = parts.hosts
    }

    /// Whether every server is on this machine.
    package var isLocal: Bool { parts.isLocal }

    /// Whether the connection string asks for TLS and does not switch its checks off.
    package var hasVerifiedTLS: Bool { parts.hasVerifiedTLS }

    /// For people: `database clinic on db.example:27017`.
    package var label: String { database.map { label(of: $0) } ?? "all databases on \(hosts)" }

    package func label(of database: String) -> String { "database \(database) on \(hosts)" }

    /// For our own sessions and for the tools: without a database, so that login still looks where it would have.
    /// `options` are added and overrule those of the same name.
    func connectionString(adding options: [(String, String)]) -> Secret { parts.text(adding: options) }

    private static func problem(withName name: String) -> String? {
        if name.utf8.count > 63 { return "a database's name has at most 63 bytes" }
        let forbidden = Set("/\\. \"$*<>:|?\0".unicodeScalars)
        if name.unicodeScalars.contains(where: forbidden.contains) {
            return "a database's name has no '/', '\\', '.', ' ', '\"', '$', '*', '<', '>', ':', '|' or '?'"
        }
        if ["admin", "local", "config"].contains(name) { return "'\(name)' belongs to the server itself" }
        return name == Bookkeeping.database ? "'\(name)' is where this program notes its restores" : nil
    }
}

/// A connection string, taken apart.
struct ConnectionString: Sendable {
    private let scheme: String
    /// With its `@`, as it was given.
    private let credentials: Secret
    let hosts: String
    let database: String?
    private let options: [Option]

    private struct Option: Sendable {
        var name: String
        var value: Secret
    }

    init(_ text: String) throws {
        let schemes = ["mongodb://", "mongodb+srv://"]
        guard let scheme = schemes.first(where: text.hasPrefix) else {
            throw Self.malformed("it begins with neither mongodb:// nor mongodb+srv://")
        }
        self.scheme = scheme
        let rest = text.dropFirst(scheme.count)
        // A socket's path is percent-encoded, so the first slash ends the hosts.
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        let end = authority.lastIndex(of: "@").map { authority.index(after: $0) } ?? authority.startIndex
        credentials = Secret(String(authority[..<end]))
        hosts = String(authority[end...])
        guard !hosts.isEmpty else { throw Self.malformed("it names no host") }
        var tail = rest[authority.endIndex...]
        if tail.first == "/" { tail = tail.dropFirst() }
        let path = tail.prefix { $0 != "?" }
        guard let name = Self.decoded(path) else { throw Self.malformed("its database is not percent-encoded") }
        database = name.isEmpty ? nil : name
        options = try tail[path.endIndex...].dropFirst().split(whereSeparator: { $0 == "&" || $0 == ";" }).map {
            guard let equals = $0.firstIndex(of: "=") else { throw Self.malformed("an option has no value") }
            return Option(name: String($0[..<equals]), value: Secret(String($0[$0.index(after: equals)...])))
        }
    }

    private static func malformed(_ problem: String) -> MongoError {
        MongoError.configuration(
            "connection string", problem, hint: "check MONGODB_URL: mongodb://user:password@host:27017/database")
    }

    private static func decoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let pair = Core.bytes(hexText: String(decoding: rest.prefix(2), as: UTF8.self)), pair.count == 1
            else { return nil }
            bytes += pair
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private func value(of name: String) -> String? {
        options.last { $0.name.lowercased() == name.lowercased() }?.value.withRevealed { $0 }
    }

    var isLocal: Bool {
        guard scheme == "mongodb://" else { return false }
        return hosts.split(separator: ",").allSatisfy { host in
            let lower = host.lowercased()
            return lower.hasPrefix("%2f") || lower.hasPrefix("127.") || lower.hasPrefix("[::1]")
                || lower == "localhost" || lower.hasPrefix("localhost:")
        }
    }

    var hasVerifiedTLS: Bool {
        let isOn = ["tls", "ssl"].compactMap(value).last ?? (scheme == "mongodb+srv://" ? "true" : "false")
        let insecure = ["tlsInsecure", "tlsAllowInvalidCertificates", "tlsAllowInvalidHostnames", "sslInsecure"]
        return isOn == "true" && !insecure.contains { value(of: $0) == "true" }
    }

    /// What the tools misread (milliseconds taken for seconds), and what is ours to say.
    private static let dropped: Set<String> = ["serverselectiontimeoutms"]

    func text(adding added: [(String, String)]) -> Secret {
        let replaced = Self.dropped.union(added.map { $0.0.lowercased() })
        var all = options.filter { !replaced.contains($0.name.lowercased()) }
            .map { option in option.value.withRevealed { "\(option.name)=\($0)" } }
        // Without the path, login would look in `admin`.
        if let database, !credentials.isEmpty, value(of: "authSource") == nil {
            all.append("authSource=\(Self.encoded(database))")
        }
        all += added.map { "\($0.0)=\(Self.encoded($0.1))" }
        let query = all.isEmpty ? "" : "?" + all.joined(separator: "&")
        return credentials.withRevealed { Secret("\(scheme)\($0)\(hosts)/\(query)") }
    }

    private static func encoded(_ text: String) -> String {
        text.utf8.map { byte in
            let character = Character(UnicodeScalar(byte))
            let isPlain = byte < 128 && (character.isLetter || character.isNumber || "-._~".contains(character))
            return isPlain ? String(character) : "%" + hexText([byte]).uppercased()
        }.joined()
    }
}
