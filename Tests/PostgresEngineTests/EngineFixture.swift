import Core
import Glibc
import Streams
import TestSupport

@testable import PostgresEngine

/// A set as the engine sees it, in memory.
struct TakenSet: Sendable {
    var parts: [String: [UInt8]]
    var order: [String]
    var contents: Contents
    var facts: SnapshotFacts

    var database: String {
        get { String(decoding: parts["database.sql"] ?? [], as: UTF8.self) }
        set { parts["database.sql"] = Array(newValue.utf8) }
    }

    var globals: String { String(decoding: parts["globals.sql"] ?? [], as: UTF8.self) }
}

struct MemoryParts: PartOpener {
    var parts: [String: [UInt8]]
    var partNames: [String] { parts.keys.sorted() }

    func open(_ part: String) async throws -> any ByteSource {
        guard let bytes = parts[part] else { throw TestFailure("no part \(part)") }
        return MemorySource(bytes)
    }
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

extension PostgresDatabase {
    /// Takes a whole snapshot into memory.
    func take() async throws -> TakenSet {
        let snapshot = try await snapshot(SnapshotRequest(previous: nil, meter: ProgressMeter()))
        do {
            var parts: [String: [UInt8]] = [:]
            var order: [String] = []
            for try await part in snapshot.parts {
                let source = part.source
                parts[part.name] = try await onThread("collect") { try source.collect(limit: 1 << 28) }
                order.append(part.name)
            }
            let contents = try await snapshot.finish()
            return TakenSet(parts: parts, order: order, contents: contents, facts: snapshot.facts)
        } catch {
            await snapshot.cancel()
            throw error
        }
    }

    /// Plans, stages, compares and promotes, as the operation does.
    @discardableResult
    func restore(_ request: RestoreRequest, safetyKey: BackupKey? = nil) async throws -> Promotion {
        let staged = try await plan(request).stage()
        do {
            let comparison = ContentsComparison(recorded: request.contents, found: try await staged.inspect())
            guard comparison.isEqual else { throw TestFailure("not equal: \(comparison.failures)") }
            return try await staged.promote(
                RestoreMarker(
                    requestID: request.requestID, setKey: request.setKey, safetyKey: safetyKey, time: testTime))
        } catch {
            try await staged.discard()
            throw error
        }
    }
}

let testTime = Timestamp(milliseconds: 1_736_924_400_000)
let testKey = BackupKey(tier: .daily, timestamp: testTime)

extension TakenSet {
    /// A request to restore this set. `id` is a replayable one.
    func request(
        _ id: String, create: Bool = false, roles: RoleRestore = .missing, disk: Bool = true, bound: Bool = false,
        verified: @escaping @Sendable (BackupKey) async throws -> Contents? = { _ in nil }
    ) -> RestoreRequest {
        RestoreRequest(
            requestID: .run(id), setKey: testKey, manifest: manifest, contents: contents,
            parts: MemoryParts(parts: parts), createDatabase: create, restoreRoles: roles, acknowledgeDisk: disk,
            acknowledgeBoundObjects: bound, verifiedContents: verified, meter: ProgressMeter())
    }

    var manifest: Manifest {
        Manifest(
            key: testKey, target: "clinic", engine: "postgres", requestID: "r", attempt: "a",
            snapshotTime: facts.time, finishedTime: facts.time, sequence: 1, previous: nil, details: facts.details,
            exceptions: facts.exceptions, sourceSize: facts.sourceSize, compression: .standard, parts: [],
            contents: ContentsSummary(tables: Int64(contents.tables), rows: contents.rows),
            encryption: EncryptionInfo(algorithm: "", context: [:], dataKeys: []),
            retention: Retention(retainUntil: nil))
    }
}

/// A directory of programs that stand in for PostgreSQL's own, removed when it is let go.
final class FakeTools: Sendable {
    let directory: String

    /// Every program is the real one of `server`, except for what `scripts` says in shell; in them `$REAL` is the real
    /// one, and `--version` has been answered already.
    init(_ server: PostgresServer, _ scripts: [String: String] = [:], versions: [String: String] = [:]) throws {
        var template = Array("/tmp/lifeboat-tools-XXXXXX".utf8CString)
        directory = template.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress, mkdtemp(base) != nil else { return "" }
            return String(cString: base)
        }
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
