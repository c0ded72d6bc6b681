import Core
import Streams
import TestSupport
import Testing

@testable import PostgresEngine

@Suite("A snapshot of a database", .needs(.postgres))
struct SnapshotTests {
    @Test("has roles, properties and the dump, in this order, and says what is in it")
    func parts() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 20)
        let set = try await server.engine(database).take()
        #expect(set.order == ["globals.sql", "properties.json", "database.sql"])
        #expect(set.contents.rows == 9 * 20)
        #expect(set.facts.details["database"] == database)
        #expect(set.facts.details["server_version_num"]?.isEmpty == false)
        #expect(set.facts.exceptions.isEmpty)
        #expect(set.facts.sourceSize > 1_000_000)
        // The dump is pg_dump's own, to the byte, apart from the token that is another on every run.
        let lines = { (text: String) in
            text.split(separator: "\n", omittingEmptySubsequences: false).filter { !$0.contains("restrict ") }
        }
        #expect(lines(set.database) == lines(String(decoding: try await server.dump(database), as: UTF8.self)))
        #expect(set.globals.contains("CREATE ROLE"))
    }

    @Test("is complete or an error when its parts are examined without a server")
    func examination() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 20)
        let engine = server.engine(database)
        let set = try await engine.take()
        #expect(try await engine.examine(set.examineRequest(recompute: false)).contents == nil)
        #expect(
            try await engine.examine(set.examineRequest(recompute: true)).contents == set.contents)
        for name in set.order {
            var missing = set.parts
            missing[name] = nil
            var cut = set.parts
            cut[name]?.removeLast(100)
            for parts in [missing, cut] {
                for recompute in [false, true] {
                    var damaged = set
                    damaged.parts = parts
                    let request = damaged.examineRequest(recompute: recompute)
                    let error = await #expect(throws: (any Error).self) {
                        try await engine.examine(request)
                    }
                    #expect(
                        (error as? any Failure)?.exitCode == .verificationFailed,
                        "\(name): \(String(describing: error))")
                }
            }
        }
    }

    @Test("is taken without passwords where the role may not read them, and says so")
    func withoutPasswords() async throws {
        let server = try await PostgresServer.shared()
        let role = try await server.createRole("owner", "LOGIN PASSWORD 'pw'")
        let database = try await server.createDatabase("plain", options: "OWNER \(role)")
        let set = try await server.engine(database, user: role).take()
        #expect(set.facts.exceptions.count == 1)
        #expect(!set.globals.contains("PASSWORD '"))
    }

    @Test("is not disturbed by settings of the database and the role")
    func settings() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 20)
        let role = try await server.createRole("limited", "SUPERUSER LOGIN")
        try await server.sql(
            """
            ALTER DATABASE \(database) SET statement_timeout = 1;
            ALTER DATABASE \(database) SET search_path = nowhere;
            ALTER ROLE \(role) SET default_transaction_read_only = on;
            ALTER ROLE \(role) SET idle_in_transaction_session_timeout = 1
            """)
        #expect(try await server.engine(database, user: role).take().contents.rows == 180)
    }

    @Test(
        "fails with the source's code, a hint and no contents when a tool misbehaves",
        arguments: [
            ("exits 1 after everything", "$REAL \"$@\"; exit 1", PostgresError.Kind.tool),
            ("is killed midway", "$REAL \"$@\" | head -c 3000; kill -9 $$", .tool),
            ("stops early with status 0", "$REAL \"$@\" | head -c 3000; exit 0", .incompleteDump),
            ("writes nothing", "exit 0", .incompleteDump),
        ])
    func misbehavingTool(what: String, script: String, kind: PostgresError.Kind) async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 20)
        for name in ["pg_dump", "pg_dumpall"] {
            // The globals are shorter than what the script cuts off.
            let tools = try FakeTools(
                server, [name: script.replacing("3000", with: name == "pg_dump" ? "3000" : "300")])
            let engine = PostgresDatabase(server.endpoint(database), tools: tools.search)
            let error = await #expect(throws: PostgresError.self, "\(name) \(what)") { try await engine.take() }
            #expect(error?.kind == kind && error?.exitCode == .source && error?.hint.isEmpty == false)
        }
    }

    @Test("asks for the tools of the server's version: none, older, newer")
    func toolVersions() async throws {
        let server = try await PostgresServer.shared()
        let database = try await server.createDatabase("versions")
        let endpoint = server.endpoint(database)
        let none = await #expect(throws: PostgresError.self) {
            try await PostgresDatabase(endpoint, tools: ToolSearch(directories: ["/nonexistent"])).take()
        }
        #expect(none?.kind == .tool && none?.hint.contains("postgresql-client") == true)
        let old = try FakeTools(server, versions: ["pg_dump": "12.3"])
        let older = await #expect(throws: PostgresError.self) {
            try await PostgresDatabase(endpoint, tools: old.search).take()
        }
        #expect(older?.kind == .toolVersion && older?.cause.contains("12.3") == true)
        let new = try FakeTools(server, versions: ["pg_dump": "99.1", "pg_dumpall": "99.1"])
        let newer = try await PostgresDatabase(endpoint, tools: new.search).take()
        #expect(newer.facts.details["pg_dump_version"] == "99.1")
        #expect(newer.facts.exceptions.contains { $0.contains("newer than the server") })
        // Where both are, the same version wins, wherever it stands.
        let both = PostgresDatabase(
            endpoint, tools: ToolSearch(directories: [new.directory, old.directory, server.binaries]))
        #expect(try await both.take().facts.exceptions.isEmpty)
    }

    @Test("tells a wrong password, a missing database and a server that is down apart")
    func refusals() async throws {
        let server = try await PostgresServer.start(.init(password: "right : \\ wörd", listensOnLoopback: true))
        let tools = try FakeTools(
            server, ["pg_dump": "{ env; echo \"$@\"; } >> $(dirname $0)/seen; exec $REAL \"$@\""])
        func take(_ database: String, host: String, password: String?) async throws -> TakenSet {
            try await PostgresDatabase(
                PostgresEndpoint(
                    host: host, port: server.port, database: database, user: "postgres",
                    password: password.map { Secret($0) }), tools: tools.search
            ).take()
        }
        for host in [server.host, "127.0.0.1"] {
            #expect(try await take("postgres", host: host, password: "right : \\ wörd").contents.rows == 0)
            let wrong = await #expect(throws: PostgresError.self) {
                try await take("postgres", host: host, password: "wrong")
            }
            #expect(wrong?.kind == .authentication && wrong?.exitCode == .source)
            let none = await #expect(throws: PostgresError.self) {
                try await take("postgres", host: host, password: nil)
            }
            #expect(none?.kind == .authentication)
            let missing = await #expect(throws: PostgresError.self) {
                try await take("nothing here", host: host, password: "right : \\ wörd")
            }
            #expect(missing?.kind == .missingDatabase && missing?.cause.contains("nothing here") == true)
        }
        // The tool was given what it needs without the password in its arguments or environment.
        #expect(try tools.seen().contains("PGPASSFILE=/proc/"))
        #expect(try !tools.seen().contains("wörd"))
        try await server.stop()
        for host in [server.host, "127.0.0.1"] {
            let down = await #expect(throws: PostgresError.self) {
                try await take("postgres", host: host, password: "x")
            }
            #expect(down?.kind == .unreachable && down?.exitCode == .source)
        }
    }

    @Test("is refused where row-level security would hide rows")
    func rowSecurity() async throws {
        let server = try await PostgresServer.shared()
        let database = try await server.createDatabase("hidden")
        let role = try await server.createRole("blind", "LOGIN IN ROLE pg_read_all_data")
        try await server.sql(
            "CREATE TABLE t (a int); ALTER TABLE t ENABLE ROW LEVEL SECURITY; INSERT INTO t VALUES (1)",
            database: database)
        let error = await #expect(throws: PostgresError.self) { try await server.engine(database, user: role).take() }
        #expect(error?.kind == .permission && error?.hint.contains("BYPASSRLS") == true)
    }

    @Test("holds one picture: rows that come while it is taken are not in it")
    func onePicture() async throws {
        let server = try await PostgresServer.shared()
        let database = try await server.createDatabase("picture")
        try await server.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)", database: database)
        let snapshot = try await server.engine(database).picture()
        try await server.sql("INSERT INTO t VALUES (2)", database: database)
        for try await part in snapshot.parts { try await drain(part.source) }
        #expect(try await snapshot.finish().rows == 1)
    }

    @Test("leaves no session behind when it is given up, and cannot be finished then")
    func givenUp() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 20)
        let snapshot = try await server.engine(database).picture()
        for try await _ in snapshot.parts { break }
        await snapshot.cancel()
        await snapshot.cancel()
        await #expect(throws: PostgresError.self) { try await snapshot.finish() }
        // A database that somebody is in cannot be dropped without force.
        try await server.sql("DROP DATABASE \(database)")
    }
}
