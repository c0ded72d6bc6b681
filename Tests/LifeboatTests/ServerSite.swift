import Core
import Glibc
import TestSupport
import Testing

/// A whole PostgreSQL server as a source, with a directory to restore it to and one to rehearse in.
struct ServerSite: TestTarget {
    let server: PostgresServer
    let directory: String

    var store: String { directory + "/store" }
    var restored: String { directory + "/restored" }
    var scratch: String { directory + "/scratch" }
    /// Where the servers of recoveries have their sockets.
    var temporary: String { directory + "/tmp" }

    var environment: [String: String] {
        [
            "BACKUP_METHOD": "physical", "BACKUP_TARGET": "ward", "POSTGRES_HOST": server.host,
            "POSTGRES_PORT": String(server.port), "POSTGRES_DB": "clinic", "POSTGRES_USER": "postgres",
            "BACKUP_STORE": "file://\(store)",
            // A key that is lost is only survived by sets that another one opens too.
            "BACKUP_RECIPIENTS": "aes:\(directory)/clinic.key,aes:\(directory)/escrow.key",
            "BACKUP_LOCK_LEASE": "2", "RESTORE_DIRECTORY": restored, "SCRATCH_DIRECTORY": scratch,
            "TMPDIR": temporary,
        ]
    }

    /// Starts a server of its own with a clinic in it, and removes everything afterwards. `walSegmentSize` in MiB.
    static func with(
        walSegmentSize: Int? = nil, settings: [String: String] = [:], _ body: (ServerSite) async throws -> Void
    ) async throws {
        try await withScratchDirectory(mode: 0o711) { directory in
            mkdir(directory + "/store", 0o700)
            try writeFile(directory + "/clinic.key", String(repeating: "5a", count: 32))
            try writeFile(directory + "/escrow.key", String(repeating: "a5", count: 32))
            let server = try await PostgresServer.start(
                PostgresServer.Options(settings: settings, walSegmentSize: walSegmentSize))
            let site = ServerSite(server: server, directory: directory)
            mkdir(site.temporary, 0o711)
            // PostgreSQL's programs refuse to be root, and run as the owner of what they are given.
            for path in [site.restored, site.scratch] {
                mkdir(path, 0o700)
                if getuid() == 0, let user = getpwnam("postgres") {
                    #expect(chown(path, user.pointee.pw_uid, user.pointee.pw_gid) == 0)
                }
            }
            try await server.sql("CREATE DATABASE clinic TEMPLATE template0")
            try await server.sql(Clinic.sql(patients: 50), database: "clinic")
            let result: Result<Void, any Error>
            do {
                result = .success(try await body(site))
            } catch {
                result = .failure(error)
            }
            try await server.stop()
            try result.get()
        }
    }

    /// Writes one row that later tells how far the server has been brought back.
    func mark(_ mark: String) async throws {
        try await server.sql(
            "CREATE TABLE IF NOT EXISTS marks (mark text); INSERT INTO marks VALUES ('\(mark)')", database: "clinic")
    }

    /// The server's clock, as it prints it.
    func now() async throws -> String { try await server.sql("SELECT clock_timestamp()") }

    func marks(in database: String) async throws -> [String] {
        try await server.sql("SELECT mark FROM marks ORDER BY mark", database: database)
            .split(separator: "\n").map(String.init)
    }

    /// The marks in a data directory that is ready to be started, read without a socket or a port: by a server in
    /// single-user mode.
    func marks(inDirectory path: String) async throws -> [String] {
        let script = """
            postgres="$1/postgres"
            if [ "$(id -u)" = 0 ]; then set -- "$1" "$2" setpriv --reuid=postgres --regid=postgres --clear-groups; fi
            data=$2
            shift 2
            echo "SELECT mark FROM marks ORDER BY mark" | "$@" "$postgres" --single -D "$data" clinic
            """
        let output = try await runProgram("/bin/sh", ["-c", script, "sh", server.binaries, path])
        return output.split(separator: "\n").compactMap { line in
            // `	 1: mark = "before"	(typeid = 25, len = -1, typmod = -1, byval = f)`
            guard line.contains("mark = \""), let start = line.firstIndex(of: "\"") else { return nil }
            return String(line[line.index(after: start)...].prefix { $0 != "\"" })
        }
    }

    /// The same target, whose server is another one now: a standby that was promoted.
    func served(by server: PostgresServer) -> ServerSite { ServerSite(server: server, directory: directory) }

    /// Follows the log to now.
    @discardableResult
    func archive(expecting code: Core.ExitCode = .done) async throws -> Binary.Ended {
        try await event(["action": .string("wal")], expecting: code)
    }
}

/// Every path below `directory`, directories included.
func everything(in directory: String) async throws -> [String] {
    try await runProgram("/usr/bin/find", [directory, "-mindepth", "1", "-printf", "%P\\n"])
        .split(separator: "\n").map(String.init)
}
