import Core
import Glibc
import Streams
import TestSupport

@testable import PostgresEngine

extension TakenSet {
    var database: String {
        get { self[text: "database.sql"] }
        set { self[text: "database.sql"] = newValue }
    }

    var globals: String { self[text: "globals.sql"] }
}

extension PostgresServer {
    func endpoint(_ database: String, user: String = "postgres", password: String? = nil) -> PostgresEndpoint {
        PostgresEndpoint(
            host: host, port: port, database: database, user: user, password: password.map { Secret($0) })
    }

    func engine(
        _ database: String, user: String = "postgres", timing: PostgresDatabase.Timing = .init()
    ) -> PostgresDatabase {
        PostgresDatabase(
            endpoint(database, user: user), tools: ToolSearch(directories: [binaries]), timing: timing)
    }

    /// A role that no other test has.
    func createRole(_ prefix: String, _ options: String = "LOGIN") async throws -> String {
        let name = "\(prefix)_\(getpid())"
        try await sql("CREATE ROLE \"\(name)\" \(options)")
        return name
    }

    /// The databases whose names begin with `prefix`: tests share the server, so each looks at its own only.
    func databases(_ prefix: String) async throws -> [String] {
        try await sql("SELECT datname FROM pg_database ORDER BY 1").split(separator: "\n").map(String.init)
            .filter { $0.hasPrefix(prefix) }
    }
}

/// A directory of programs that stand in for PostgreSQL's own, removed when it is let go.
final class FakeTools: Sendable {
    let directory: String

    /// Every program is the real one of `server`, except for what `scripts` says in shell; in them `$REAL` is the real
    /// one, and `--version` has been answered already.
    init(_ server: PostgresServer, _ scripts: [String: String] = [:], versions: [String: String] = [:]) throws {
        directory = try ServerGuardian.makeDirectory("lifeboat-tools")
        for name in ["pg_dump", "pg_dumpall", "psql"] {
            let version = versions[name].map { "echo '\(name) (PostgreSQL) \($0)'; exit 0" } ?? "exec $REAL --version"
            let script = """
                #!/bin/sh
                REAL=\(server.binaries)/\(name)
                if [ "$1" = --version ]; then \(version); fi
                \(scripts[name] ?? "exec $REAL \"$@\"")

                """
            try Self.write(script, to: "\(directory)/\(name)")
        }
    }

    deinit {
        for name in ["pg_dump", "pg_dumpall", "psql", "seen"] { unlink("\(directory)/\(name)") }
        rmdir(directory)
    }

    private static func write(_ text: String, to path: String) throws {
        guard let file = fopen(path, "w") else { throw TestFailure("no file \(path)") }
        fputs(text, file)
        fclose(file)
        chmod(path, 0o755)
    }

    /// What the script wrote to `seen` in the directory.
    func seen() throws -> String {
        guard let file = fopen("\(directory)/seen", "r") else { return "" }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }

    var search: ToolSearch { ToolSearch(directories: [directory]) }
}
