import Core
import Glibc
import Streams
import TestSupport
import Testing

@testable import PostgresEngine

@Suite("A restore of a database", .needs(.postgres))
struct RestoreTests {
    /// What pg_database and its neighbours say about a database, apart from its name and identity.
    private func properties(_ server: PostgresServer, _ database: String) async throws -> DatabaseProperties {
        let connection = try await Connection.open(server.endpoint(database), purpose: "test")
        defer { connection.close() }
        var properties = try await DatabaseProperties.capture(connection)
        properties.name = ""
        return properties
    }

    @Test("into a new database brings back its content and everything that belongs to the database itself")
    func intoNewDatabase() async throws {
        let server = try await PostgresServer.shared()
        let database = try await server.createDatabase("rich", options: "LOCALE_PROVIDER icu ICU_LOCALE 'de-DE'")
        let owner = try await server.createRole("rich_owner")
        let user = try await server.createRole("rich_user")
        try await server.sql(Clinic.sql(patients: 20), database: database)
        try await server.sql(
            """
            ALTER TABLE clinic.patients OWNER TO \(owner); GRANT SELECT ON clinic.visits TO \(user);
            ALTER DATABASE \(database) OWNER TO \(owner);
            REVOKE CONNECT ON DATABASE \(database) FROM PUBLIC;
            GRANT CONNECT ON DATABASE \(database) TO \(user) WITH GRANT OPTION;
            ALTER DATABASE \(database) SET search_path = "$user", 'odd, name', public;
            ALTER DATABASE \(database) SET myapp.mode = 'it''s \\ "odd"';
            ALTER DATABASE \(database) SET default_transaction_read_only = on;
            ALTER ROLE \(user) IN DATABASE \(database) SET work_mem = '5MB';
            ALTER DATABASE \(database) CONNECTION LIMIT 7;
            COMMENT ON DATABASE \(database) IS 'of \\ people''s
            own';
            """, database: database)
        let set = try await server.engine(database).take()
        let copy = "\(database)_copy"
        let promotion = try await server.engine(copy).restore(set.request("new", create: true))
        #expect(promotion.replacedName == nil)
        #expect(try await properties(server, copy) == properties(server, database))
        #expect(try await properties(server, copy).comment == "of \\ people's\nown")
        #expect(try await server.engine(copy).take().contents == set.contents)
        let analyzed = try await server.sql(
            "SELECT reltuples FROM pg_class WHERE oid = 'clinic.patients'::regclass", database: copy)
        #expect(analyzed == "20")
    }

    @Test(
        "works for names of every kind",
        arguments: [
            String(repeating: "x", count: 63), "größe 🏥 klinik", "a=b host=nowhere", "postgres://x@y/z", "Quo\"te'\\",
        ])
    func names(name: String) async throws {
        let server = try await PostgresServer.shared()
        let source = try await Clinic.create(on: server, patients: 5)
        let set = try await server.engine(source).take()
        try await server.engine(name).restore(set.request("one", create: true))
        // And again over what stands there now, from a set of it.
        let again = try await server.engine(name).take()
        #expect(again.contents == set.contents)
        let promotion = try await server.engine(name).restore(again.request("two"))
        let replaced = try #require(promotion.replacedName)
        #expect(replaced.utf8.count <= 63)
        #expect(try await server.databases(replaced) == [replaced])
        try await server.sql("DROP DATABASE \(quoted(name: name)); DROP DATABASE \(quoted(name: replaced))")
    }

    @Test("brings back a database with everything a dump finds hard, over itself")
    func awkward() async throws {
        let server = try await PostgresServer.shared()
        let database = try await AwkwardDatabase.create(on: server, valueBytes: 3_000_000)
        let engine = server.engine(database)
        let set = try await engine.take()
        try await engine.restore(set.request("awkward"))
        let again = try await engine.take()
        #expect(ContentsComparison(recorded: set.contents, found: again.contents).failures.isEmpty)
        #expect(again.parts["properties.json"] == set.parts["properties.json"])
    }

    @Test("over an existing database keeps that one aside, closed, with its comment and a mark")
    func overExisting() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 20)
        try await server.sql("COMMENT ON DATABASE \(database) IS 'ours'")
        let engine = server.engine(database)
        let set = try await engine.take()
        try await server.sql("DELETE FROM clinic.results; DROP VIEW clinic.fees", database: database)
        let plan = try await engine.plan(set.request("over"))
        #expect(plan.summary.replaces?.contains(database) == true && !plan.summary.alreadyDone)
        let promotion = try await engine.restore(set.request("over"), safetyKey: testKey)
        #expect(try await engine.take().contents == set.contents)
        let replaced = try #require(promotion.replacedName)
        let facts = try await server.sql(
            "SELECT datallowconn, split_part(shobj_description(oid, 'pg_database'), E'\\n', 1) FROM pg_database "
                + "WHERE datname = '\(replaced)'")
        #expect(facts == "f|ours")
        #expect(promotion.time.seconds(since: set.facts.time) >= 0)
        // The mark of a restore is no part of the next set.
        let next = try await engine.take()
        let properties = try DatabaseProperties(json: JSON(parsing: next.parts["properties.json"] ?? []))
        #expect(properties.comment == "ours")
    }

    @Test("that has been done is found done by its request, and only by that")
    func replay() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 5)
        let engine = server.engine(database)
        let set = try await engine.take()
        try await engine.restore(set.request("once"))
        let replay = try await engine.plan(set.request("once"))
        #expect(replay.summary.alreadyDone)
        await #expect(throws: PostgresError.self) { try await replay.stage() }
        #expect(try await !engine.plan(set.request("twice")).summary.alreadyDone)
        // The same request for another set is neither done nor possible: the names it would use are taken.
        var other = set.request("once")
        other.setKey = BackupKey(tier: .weekly, timestamp: testTime)
        let error = await #expect(throws: PostgresError.self) { try await engine.plan(other) }
        #expect(error?.kind == .refused)
    }

    @Test("makes missing roles without login, or as the set has them, and leaves existing ones alone")
    func roles() async throws {
        let server = try await PostgresServer.shared()
        for mode in [RoleRestore.missing, .full] {
            let database = try await server.createDatabase("roles")
            let gone = try await server.createRole("gone_\(mode)", "LOGIN CREATEDB PASSWORD 'pw'")
            let group = try await server.createRole("group_\(mode)", "NOLOGIN")
            try await server.sql(
                """
                GRANT \(group) TO \(gone); ALTER ROLE \(gone) SET work_mem = '5MB'; COMMENT ON ROLE \(gone) IS 'a;b';
                CREATE TABLE t (a int); ALTER TABLE t OWNER TO \(gone); GRANT SELECT ON t TO \(group)
                """, database: database)
            let set = try await server.engine(database).take()
            try await server.sql("DROP DATABASE \(database)")
            try await server.sql("DROP ROLE \(gone)")
            let engine = server.engine(database)
            let plan = try await engine.plan(set.request("roles", roles: mode))
            #expect(plan.summary.notes.contains { $0.contains(gone) && !$0.contains(group) })
            try await engine.restore(set.request("roles", roles: mode))
            let role = try await server.sql(
                """
                SELECT rolcanlogin, rolcreatedb, rolpassword IS NOT NULL, pg_has_role(oid, '\(group)', 'MEMBER'),
                    coalesce(shobj_description(oid, 'pg_authid'), '')
                FROM pg_authid WHERE rolname = '\(gone)'
                """)
            #expect(role == (mode == .full ? "t|t|t|t|a;b" : "f|f|f|f|"))
        }
    }

    @Test("that fails while it loads names the code, shows nothing of the data, and leaves nothing behind")
    func failedLoad() async throws {
        let server = try await PostgresServer.shared()
        let database = try await server.createDatabase("marked")
        let marker = "MARKER-4711-Müller"
        try await server.sql(
            "CREATE TABLE t (a text PRIMARY KEY, b int); INSERT INTO t VALUES ('\(marker)', 1)", database: database)
        let engine = server.engine(database)
        let good = try await engine.take()
        let row = "\(marker)\t1\n"
        for (bad, code) in [(row + row, "23505"), ("\(marker)\tx\(marker)\n", "22P02")] {
            var set = good
            set.database = set.database.replacing(row, with: bad)
            // The set says of itself what it holds, so that the server is the first to mind.
            set.contents = try #require(
                try await engine.examine(set.examineRequest(recompute: true)).contents)
            let before = try await server.databases(database)
            let error = await #expect(throws: PostgresError.self) {
                try await engine.restore(set.request("bad\(code)"))
            }
            #expect(error?.kind == .load && error?.exitCode == .restoreFailedOriginalIntact)
            #expect(error?.sqlState == code)
            #expect(!String(reflecting: error).contains("4711"))
            #expect(try await server.databases(database) == before)
        }
        #expect(try await engine.take().contents == good.contents)
    }

    @Test("never gives psql a command, nor a dump that is not what the set says")
    func refusedDump() async throws {
        let server = try await PostgresServer.shared()
        let database = try await server.createDatabase("vetted")
        try await server.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)", database: database)
        let engine = server.engine(database)
        let good = try await engine.take()
        let witness = "/tmp/lifeboat-witness-\(database)"
        for (old, new) in [
            ("CREATE TABLE", "\\! touch \(witness)\nCREATE TABLE"), ("FROM stdin;\n1\n", "FROM stdin;\n2\n"),
        ] {
            var set = good
            set.database = set.database.replacing(old, with: new)
            #expect(set.database != good.database)
            let before = try await server.databases(database)
            let error = await #expect(throws: (any Error).self) { try await engine.restore(set.request("x")) }
            #expect((error as? any Failure)?.exitCode == .verificationFailed)
            #expect(try await server.databases(database) == before)
        }
        #expect(!RealPart("", isPresent: access(witness, 0) == 0).isPresent)
    }

    @Test("clears what killed runs left over for this database, and nothing else")
    func leftovers() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 5)
        let engine = server.engine(database)
        let set = try await engine.take()
        let marked = Naming.name(.staging, for: database, requestID: "killed")
        let unmarked = Naming.name(.staging, for: database, requestID: "killed at once")
        let foreign = Naming.name(.staging, for: database, requestID: "somebody's own")
        let limit = Leftovers.stagingConnectionLimit
        for (name, limit) in [(marked, limit), (unmarked, limit), (foreign, -1)] {
            try await server.sql("CREATE DATABASE \(name) TEMPLATE template0 CONNECTION LIMIT \(limit)")
        }
        let marker = Marker(kind: .staging, database: database, requestID: "killed", setKey: "x")
        try await server.sql(MarkedComment(text: nil, marker: marker).statement(for: marked))
        // Planning changes nothing.
        _ = try await engine.plan(set.request("next"))
        #expect(try await server.databases(database).contains(marked))
        try await engine.restore(set.request("next"))
        let left = try await server.databases(database)
        #expect(!left.contains(marked) && !left.contains(unmarked) && left.contains(foreign))
    }

    @Test("drops what an earlier restore put aside only if a proven set holds exactly that")
    func earlierGeneration() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 5)
        let engine = server.engine(database)
        let set = try await engine.take()
        let first = try #require(try await engine.restore(set.request("g1")).replacedName)
        // Without a safety set it stays.
        let second = try await engine.restore(set.request("g2"), safetyKey: testKey)
        let aside = try #require(second.replacedName)
        #expect(second.notes.contains { $0.contains(first) })
        // With one that is not proven, or that holds something else, too.
        let third = try await engine.restore(set.request("g3"), safetyKey: testKey)
        #expect(third.notes.contains { $0.contains(aside) })
        let fourth = try await engine.restore(
            set.request("g4") { _ in Contents(data: [], schema: []) }, safetyKey: testKey)
        #expect(fourth.notes.contains { $0.contains(aside) })
        #expect(try await server.sql("SELECT datallowconn FROM pg_database WHERE datname = '\(aside)'") == "f")
        try await engine.restore(set.request("g5") { key in key == testKey ? set.contents : nil }, safetyKey: testKey)
        let left = try await server.databases(database)
        #expect(left.contains(first) && !left.contains(aside))
    }

    @Test("can be discarded before the swap, twice, and takes the roles it made along")
    func discard() async throws {
        let server = try await PostgresServer.shared()
        let database = try await server.createDatabase("discarded")
        let role = try await server.createRole("discarded_owner")
        try await server.sql("CREATE TABLE t (a int); ALTER TABLE t OWNER TO \(role)", database: database)
        let engine = server.engine(database)
        let set = try await engine.take()
        try await server.sql("DROP TABLE t; DROP ROLE \(role)", database: database)
        let before = try await server.databases(database)
        let staged = try await engine.plan(set.request("d")).stage()
        #expect(try await server.databases(database).count == before.count + 1)
        try await staged.discard()
        try await staged.discard()
        #expect(try await server.databases(database) == before)
        #expect(try await server.sql("SELECT count(*) FROM pg_roles WHERE rolname = '\(role)'") == "0")
    }

    @Test("that is cancelled while it loads leaves nothing behind")
    func cancelled() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 20)
        let engine = server.engine(database)
        let set = try await engine.take()
        let before = try await server.databases(database)
        var request = set.request("cancelled")
        let stalled = StalledParts(parts: set.parts, part: "database.sql")
        request.parts = stalled
        let plan = try await engine.plan(request)
        let task = Task { try await plan.stage() }
        try await stalled.reached()
        task.cancel()
        await #expect(throws: (any Error).self) { _ = try await task.value }
        #expect(try await server.databases(database) == before)
    }
}
