import Core
import Glibc
import TestSupport

@testable import MySQLEngine

extension TakenSet {
    var database: String {
        get { self[text: "database.sql"] }
        set { self[text: "database.sql"] = newValue }
    }

    var globals: String { self[text: "globals.sql"] }
}

extension MariaDBServer {
    func endpoint(_ database: String, user: String = "root", password: String? = nil) -> MySQLEndpoint {
        MySQLEndpoint(
            host: host, database: database, user: user, password: (password ?? self.password).map { Secret($0) })
    }

    func engine(
        _ database: String, user: String = "root", password: String? = nil, options: MySQLOptions = MySQLOptions(),
        tools: MySQLToolSearch? = nil
    ) -> MySQLDatabase {
        MySQLDatabase(
            endpoint(database, user: user, password: password),
            tools: tools ?? MySQLToolSearch(directories: [Self.binaries]), options: options)
    }

    /// The database `name` and those that restores have made beside it: tests share the server, so each looks at its
    /// own only.
    func databases(_ name: String) async throws -> [String] {
        try await sql("SHOW DATABASES").split(separator: "\n").map(String.init)
            .filter { $0 == name || $0.hasPrefix(name + "__lb") }
    }

    /// A user that no other test has, with the password `secret`.
    func createUser(_ prefix: String, grants: [String]) async throws -> String {
        let name = "\(prefix)_\(getpid())"
        try await sql("CREATE USER '\(name)'@localhost IDENTIFIED BY 'secret'")
        for grant in grants { try await sql("GRANT \(grant) TO '\(name)'@localhost") }
        return name
    }
}

/// A directory of programs that stand in for MariaDB's own, removed when it is let go.
final class FakeClients: Sendable {
    let directory: String
    private static let names = ["mariadb-dump", "mariadb"]

    /// Every program is the real one, except for what `scripts` says in shell; in them `$REAL` is the real one, `$HERE`
    /// the directory, and `--version` has been answered already.
    init(_ scripts: [String: String] = [:], versions: [String: String] = [:]) throws {
        directory = try ServerGuardian.makeDirectory("lifeboat-clients")
        for name in Self.names {
            let version = versions[name].map { "echo '\($0)'; exit 0" } ?? "exec $REAL --version"
            let script = """
                #!/bin/sh
                REAL=\(MariaDBServer.binaries)/\(name) HERE=\(directory)
                case "$*" in *--version*) \(version);; esac
                \(scripts[name] ?? "exec $REAL \"$@\"")

                """
            try writeFile("\(directory)/\(name)", script)
            chmod("\(directory)/\(name)", 0o755)
        }
    }

    deinit { removeTree(directory) }

    var search: MySQLToolSearch { MySQLToolSearch(directories: [directory]) }

    /// What a script wrote to the file `name` in the directory.
    func text(of name: String) throws -> String {
        guard let file = fopen("\(directory)/\(name)", "r") else { return "" }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }
}

/// What a dump's text holds, read in pieces of `size` bytes.
func contents(
    of dump: String, database: String = "clinic", pieces size: Int = 1 << 20, held: Set<String> = []
) throws -> (contents: Contents, facts: SQLDumpFacts) {
    var reader = SQLDumpReader(database: database, heldEvents: held)
    let bytes = Array(dump.utf8)
    for start in stride(from: 0, to: bytes.count, by: size) {
        try bytes[start..<min(start + size, bytes.count)].withUnsafeBytes { try reader.update($0) { _ in } }
    }
    return try reader.finish()
}
