import Core
import Streams
import TestSupport
import Testing

@testable import PostgresEngine

@Suite("A session", .needs(.postgres))
struct ConnectionTests {
    private func open(_ server: PostgresServer, _ purpose: String = "test") async throws -> Connection {
        try await Connection.open(server.endpoint("postgres"), purpose: purpose)
    }

    @Test("ends a statement that takes too long, or whose task is cancelled, and stays usable")
    func deadlines() async throws {
        let server = try await PostgresServer.shared()
        let connection = try await open(server)
        defer { connection.close() }
        let late = await #expect(throws: PostgresError.self) {
            try await connection.rows("SELECT pg_sleep(60)", to: "wait", seconds: 1)
        }
        #expect(late?.kind == .timeout)
        let task = Task { try await connection.rows("SELECT pg_sleep(60)", to: "wait", seconds: nil) }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(try await connection.row("SELECT $1::int + 1", ["41"], to: "add").integer(0) == 42)
    }

    @Test("gives of an error its code and our own words, never the server's")
    func errors() async throws {
        let server = try await PostgresServer.shared()
        let connection = try await open(server)
        defer { connection.close() }
        let error = await #expect(throws: PostgresError.self) {
            try await connection.rows("SELECT 'MARKER-4711'::int", to: "read a number")
        }
        #expect(error?.sqlState == "22P02" && error?.operation == "read a number")
        #expect(!String(reflecting: error).contains("4711"))
    }

    @Test("says when it was ended from outside, and after it was closed")
    func lost() async throws {
        let server = try await PostgresServer.shared()
        let connection = try await open(server)
        try await server.sql("SELECT pg_terminate_backend(\(connection.processID))")
        let ended = await #expect(throws: PostgresError.self) { try await connection.rows("SELECT 1", to: "ask") }
        #expect(["57P01", "08006"].contains(ended?.sqlState))
        connection.close()
        connection.close()
        let closed = await #expect(throws: PostgresError.self) { try await connection.rows("SELECT 1", to: "ask") }
        #expect(closed?.kind == .unreachable)
    }

    @Test("counts as working while its statement runs, but not while it waits for a lock or for us")
    func heartbeat() async throws {
        let server = try await PostgresServer.shared()
        let database = try await server.createDatabase("beats")
        let endpoint = server.endpoint(database)
        let probe = try await open(server)
        let holder = try await Connection.open(endpoint, purpose: "holder")
        try await holder.rows("CREATE TABLE public.t (a int)", to: "prepare")
        try await holder.rows("BEGIN", to: "prepare")
        try await holder.rows("LOCK TABLE public.t", to: "prepare")
        #expect(try await !Heartbeat.isWorking("lifeboat holder", seenFrom: probe))
        let waiting = try await Connection.open(endpoint, purpose: "waiting")
        let working = try await Connection.open(endpoint, purpose: "working")
        let statements = [
            Task { _ = try await waiting.rows("SELECT * FROM public.t", to: "wait", seconds: nil) },
            Task { _ = try await working.rows("SELECT pg_sleep(60)", to: "work", seconds: nil) },
        ]
        var seen = false
        while !seen { seen = try await Heartbeat.isWorking("lifeboat working", seenFrom: probe) }
        var states = ""
        while states != "Lock" {
            states = try await server.sql(
                "SELECT wait_event_type FROM pg_stat_activity WHERE application_name = 'lifeboat waiting'")
        }
        #expect(try await !Heartbeat.isWorking("lifeboat waiting", seenFrom: probe))
        for statement in statements {
            statement.cancel()
            await #expect(throws: CancellationError.self) { try await statement.value }
        }
        for connection in [probe, holder, waiting, working] { connection.close() }
    }

    @Test("beats reach the meter while a tool's session works, and end when told to")
    func beats() async throws {
        let server = try await PostgresServer.shared()
        let working = try await open(server, "beating")
        let task = Task { _ = try await working.rows("SELECT pg_sleep(60)", to: "work", seconds: nil) }
        let meter = ProgressMeter()
        let heartbeat = Heartbeat(
            server.endpoint("postgres"), database: "postgres", application: "lifeboat beating", meter: meter,
            every: .milliseconds(1))
        while meter.reading.beats < 3 { await Task.yield() }
        await heartbeat.stop()
        await heartbeat.stop()
        task.cancel()
        _ = await task.result
        working.close()
    }

    @Test("takes libpq's further parameters along to the tools, as variables where there are any")
    func parameters() throws {
        var endpoint = PostgresEndpoint(host: "/run/x", database: "it's", user: "u")
        endpoint.parameters = ["sslmode": "require", "keepalives": "0", "password": "hidden", "dbname": "other"]
        #expect(try endpoint.toolEnvironment() == ["PGSSLMODE": "require"])
        #expect(try endpoint.connectionString(database: "it's\\") == "dbname='it\\'s\\\\' keepalives='0'")
        endpoint.parameters = ["no_such": "1"]
        #expect(throws: PostgresError.self) { try endpoint.toolEnvironment() }
        endpoint.parameters = ["sslpassword": "secret"]
        #expect(throws: PostgresError.self) { try endpoint.connectionString(database: "x") }
    }

    @Test("refuses a password that no password file can hold, without showing it")
    func passwordWithLineBreak() {
        let endpoint = PostgresEndpoint(host: "h", database: "d", user: "u", password: Secret("top\nsecret"))
        let error = #expect(throws: PostgresError.self) { try PassFile(for: endpoint) }
        #expect(error?.exitCode == .configuration && !String(reflecting: error).contains("secret"))
    }
}
