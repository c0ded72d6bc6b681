import Core
import TestSupport
import Testing

@testable import PostgresEngine

@Suite("What would stop a restore is found before anything is touched", .needs(.postgres))
struct PreflightTests {
    private func refusal(_ engine: PostgresDatabase, _ request: RestoreRequest) async throws -> PostgresError {
        let error = await #expect(throws: PostgresError.self) { try await engine.plan(request) }
        #expect(error?.exitCode == .restoreFailedOriginalIntact && error?.kind == .refused)
        return try #require(error)
    }

    @Test("a role that may not create databases, nor own what is there, nor make roles: all at once")
    func weakRole() async throws {
        let server = try await PostgresServer.shared()
        let database = try await server.createDatabase("weak")
        let owner = try await server.createRole("weak_owner")
        let missing = try await server.createRole("weak_missing")
        try await server.sql(
            """
            CREATE TABLE t (a int); ALTER TABLE t OWNER TO \(owner);
            CREATE TABLE u (a int); ALTER TABLE u OWNER TO \(missing)
            """, database: database)
        let set = try await server.engine(database).take()
        try await server.sql("DROP TABLE u; DROP ROLE \(missing)", database: database)
        let weak = try await server.createRole("weak")
        let error = try await refusal(server.engine(database, user: weak), set.request("w"))
        for words in ["may not create databases", "does not own", "may not make them", "cannot give objects to"] {
            #expect(error.cause.contains(words), "\(error.cause)")
        }
    }

    @Test("a role without superuser's rights that has all it needs can restore")
    func ordinaryRole() async throws {
        let server = try await PostgresServer.shared()
        let role = try await server.createRole("ordinary", "LOGIN CREATEDB CREATEROLE")
        let database = try await server.createDatabase("ordinary", options: "OWNER \(role)")
        try await server.sql(
            "SET ROLE \(role); CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1), (2)", database: database)
        try await server.sql("ALTER DATABASE \(database) SET work_mem = '5MB'")
        let engine = server.engine(database, user: role)
        let set = try await engine.take()
        try await engine.restore(set.request("o"))
        #expect(try await engine.take().contents == set.contents)
    }

    @Test("a name that is not there, unless it is to be made or was the source's own")
    func missingDestination() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 2)
        let set = try await server.engine(database).take()
        let error = try await refusal(server.engine("no_such"), set.request("m"))
        #expect(error.cause.contains("createDatabase"))
        #expect(try await server.engine("no_such").plan(set.request("m", create: true)).summary.replaces == nil)
        try await server.sql("DROP DATABASE \(database)")
        #expect(try await server.engine(database).plan(set.request("m")).summary.replaces == nil)
        for template in ["template0", "template1"] {
            #expect(try await refusal(server.engine(template), set.request("m")).cause.contains("template"))
        }
    }

    @Test("disk that is too small, or cannot be seen, unless acknowledged")
    func disk() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 2)
        let engine = server.engine(database)
        let set = try await engine.take()
        let summary = try await engine.plan(set.request("d", disk: false)).summary
        // The server's directory is on this machine, so that its disk can be seen.
        #expect((summary.freeBytes ?? 0) > summary.neededBytes)
        #expect(summary.neededBytes >= set.facts.sourceSize)
        var large = set
        large.facts.sourceSize = 1 << 60
        #expect(try await refusal(engine, large.request("d", disk: false)).cause.contains("free"))
        #expect(try await engine.plan(large.request("d")).summary.neededBytes > 1 << 60)
    }

    @Test("extensions, tablespaces, locales and versions that the server does not have")
    func missingParts() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 2)
        let engine = server.engine(database)
        var set = try await engine.take()
        var properties = try DatabaseProperties(json: JSON(parsing: set.parts["properties.json"] ?? []))
        properties.extensions = ["no_such_extension"]
        properties.tablespaces = ["no_such_space"]
        properties.collate = "xx_XX.UTF-8"
        set.parts["properties.json"] = properties.json.canonicalBytes
        set.facts.details["server_version_num"] = "990001"
        let error = try await refusal(engine, set.request("p"))
        for words in ["no_such_extension", "no_such_space", "xx_XX", "version 99"] {
            #expect(error.cause.contains(words), "\(error.cause)")
        }
    }

    @Test("a missing psql stands in the list")
    func missingTool() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 2)
        let set = try await server.engine(database).take()
        let engine = PostgresDatabase(server.endpoint(database), tools: ToolSearch(directories: ["/nonexistent"]))
        #expect(try await refusal(engine, set.request("t")).cause.contains("psql"))
    }

    @Test("slots and subscriptions bound to the old database, unless acknowledged; the restore then goes through")
    func boundObjects() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 2)
        let slot = "slot_\(database)"
        try await server.sql(
            "SELECT pg_create_logical_replication_slot('\(slot)', 'pgoutput')", database: database)
        try await server.sql(
            """
            SET client_min_messages = error; CREATE SUBSCRIPTION sub_\(database) CONNECTION 'dbname=none'
            PUBLICATION p WITH (connect = false, slot_name = NONE)
            """, database: database)
        let engine = server.engine(database)
        let set = try await engine.take()
        let error = try await refusal(engine, set.request("b"))
        #expect(error.cause.contains(slot) && error.cause.contains("sub_\(database)"))
        let plan = try await engine.plan(set.request("b", bound: true))
        #expect(plan.summary.notes.contains { $0.contains(slot) })
        // A staged copy has the subscription too, and still can be taken away.
        let staged = try await plan.stage()
        try await staged.discard()
        let promotion = try await engine.restore(set.request("b", bound: true))
        #expect(promotion.notes.contains { $0.contains(slot) })
        try await server.sql("SELECT pg_drop_replication_slot('\(slot)')")
    }
}
