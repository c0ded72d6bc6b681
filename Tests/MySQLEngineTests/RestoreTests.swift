import Core
import Glibc
import Streams
import TestSupport
import Testing

@testable import MySQLEngine

@Suite("A restore of a MariaDB database", .needs(.mariadb))
struct RestoreTests {
    @Test("brings back everything that is hard to dump, under the same name and under another")
    func awkward() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.createAwkward(on: server)
        let engine = server.engine(database)
        let set = try await engine.take()
        try await server.sql(
            """
            DROP VIEW qualified; DELETE FROM child; ALTER TABLE latin ADD COLUMN x INT; DROP FUNCTION f1;
            DROP EVENT running; CREATE TABLE newer (a INT); INSERT INTO newer VALUES (7);
            ALTER DATABASE CHARACTER SET latin1
            """, database: database)
        let safety = try await engine.take()
        let promotion = try await engine.restore(set.request("r-\(database)"), safety: safety)
        let after = try await engine.take()
        #expect(ContentsComparison(recorded: set.contents, found: after.contents).failures == [])
        #expect(after[text: "database.json"] == set[text: "database.json"])
        let aside = try #require(promotion.replacedName)
        #expect(try await server.sql("SELECT a FROM newer", database: aside) == "7")
        // The restored database works: defaults, triggers, routines and foreign keys are its own.
        let works = try await server.sql(
            """
            INSERT INTO numbered (b) VALUES (9); INSERT INTO kinds (t) VALUES ('x'); INSERT INTO child VALUES (3, 1);
            SELECT f1(41), (SELECT de FROM kinds WHERE t = 'x'), (SELECT COUNT(*) FROM qualified) >= 0;
            SELECT STATUS FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE() ORDER BY EVENT_NAME
            """, database: database)
        #expect(works == "42\t1.00\t1\nENABLED\nENABLED\nDISABLED")
        #expect(try await server.databases(database).sorted() == [aside, database].sorted())

        let other = server.engine("\(database)_other")
        let created = try await other.restore(set.request("r-other-\(database)", create: true))
        #expect(created.replacedName == nil)
        #expect(ContentsComparison(recorded: set.contents, found: try await other.take().contents).failures == [])
        #expect(try await server.databases("\(database)_other") == ["\(database)_other"])
    }

    @Test("changes nothing when it is planned, staged, compared and given up")
    func discarded() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.create(on: server, patients: 10)
        let engine = server.engine(database)
        let set = try await engine.take()
        let plan = try await engine.plan(set.request("d-\(database)"))
        #expect(plan.summary.replaces?.contains(database) == true)
        #expect((plan.summary.freeBytes ?? 0) > 0)
        #expect(try await server.databases(database) == [database])
        let staged = try await plan.stage()
        let inspected = try await staged.inspect()
        #expect(ContentsComparison(recorded: set.contents, found: inspected).failures == [])
        #expect(try await server.databases(database).count == 2)
        try await staged.discard()
        try await staged.discard()
        #expect(try await server.databases(database) == [database])
        #expect(try await engine.take().contents == set.contents)
    }

    @Test("is found done when the same request is run again, and not when another was in between")
    func replay() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.create(on: server, patients: 5)
        let engine = server.engine(database)
        let set = try await engine.take()
        let first = set.request("one-\(database)")
        try await engine.restore(first, safety: set)
        #expect(try await engine.plan(first).summary.alreadyDone)
        let second = set.request("two-\(database)") { _ in set.contents }
        try await engine.restore(second, safety: set)
        #expect(try await engine.plan(second).summary.alreadyDone)
        #expect(try await !engine.plan(first).summary.alreadyDone)
        // What the first had put aside was in its safety set, which is proven: it has gone.
        #expect(try await server.databases(database).count == 2)
    }

    @Test("keeps what an earlier restore put aside while no proven set holds it, and says so")
    func kept() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.create(on: server, patients: 5)
        let engine = server.engine(database)
        let set = try await engine.take()
        try await engine.restore(set.request("one-\(database)"), safety: set)
        let promotion = try await engine.restore(set.request("two-\(database)"), safety: set)
        #expect(promotion.notes.joined().contains("is not there or not proven"))
        #expect(try await server.databases(database).count == 3)
    }

    @Test("ends with the original in place where it was written to after its safety backup; keeps that where asked")
    func writers() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.createAwkward(on: server)
        let engine = server.engine(database)
        let set = try await engine.take()
        try await server.sql("INSERT INTO parted VALUES (4711, 1)", database: database)
        let before = try await engine.take()
        let error = await #expect(throws: MySQLError.self) {
            try await engine.restore(set.request("w-\(database)"), safety: set)
        }
        #expect(error?.exitCode == .restoreFailedOriginalIntact && error?.kind == .moved)
        #expect(error?.cause.contains("parted") == true && error?.cause.contains("4711") == false)
        let after = try await engine.take()
        #expect(ContentsComparison(recorded: before.contents, found: after.contents).failures == [])
        #expect(try await server.databases(database) == [database])
        let keeping = server.engine(database, options: MySQLOptions(writers: .keep))
        let promotion = try await keeping.restore(set.request("k-\(database)"), safety: set)
        let aside = try #require(promotion.replacedName)
        #expect(try await server.sql("SELECT COUNT(*) FROM parted WHERE a = 4711", database: aside) == "1")
    }

    @Test("lists everything that stands against it before anything is touched")
    func preflight() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.create(on: server, patients: 3)
        let engine = server.engine(database)
        let gone = try await server.createUser("gone", grants: ["ALL ON `\(database)`.*"])
        try await server.sql(
            "CREATE DEFINER='\(gone)'@localhost VIEW theirs AS SELECT id FROM patients", database: database)
        var set = try await engine.take()
        try await server.sql("DROP USER '\(gone)'@localhost")
        let other = try await server.createDatabase("refers")
        try await server.sql(
            "CREATE TABLE r (p BIGINT, FOREIGN KEY (p) REFERENCES `\(database)`.patients (id))", database: other)
        set.facts.details["server_version"] = "99.1.0"
        set.facts.details["longest_statement"] = "99999999999"
        set.facts.details["lower_case_table_names"] = "1"
        set[text: "database.json"] = set[text: "database.json"].replacing("utf8mb4_general_ci", with: "klingon_ci")
            .replacing("InnoDB", with: "Warp")
        let error = await #expect(throws: MySQLError.self) { try await engine.plan(set.request("p-\(database)")) }
        #expect(error?.exitCode == .restoreFailedOriginalIntact)
        for words in [
            "99.1.0", "max_allowed_packet", "lower_case_table_names", "klingon_ci", "Warp", "\(gone)@localhost",
            "\(other).r",
        ] { #expect(error?.cause.contains(words) == true, "\(words)") }
        #expect(try await server.databases(database) == [database])
        let weak = try await server.createUser("weak", grants: ["ALL ON `\(database)`.*", "SELECT ON mysql.*"])
        let refused = await #expect(throws: MySQLError.self) {
            try await server.engine(database, user: weak, password: "secret").plan(set.request("q-\(database)"))
        }
        #expect(refused?.cause.contains("CREATE ON *.*") == true)
        try await server.sql("DROP DATABASE \(other)")
    }

    @Test("makes the users of the set that are missing, with their rights, where that is asked for")
    func accounts() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.create(on: server, patients: 3)
        let engine = server.engine(database)
        let user = try await server.createUser("definer", grants: ["SELECT, EXECUTE ON `\(database)`.*"])
        try await server.sql("CREATE ROLE role_\(database); GRANT INSERT ON `\(database)`.* TO role_\(database)")
        try await server.sql("GRANT role_\(database) TO '\(user)'@localhost")
        try await server.sql(
            "CREATE DEFINER='\(user)'@localhost PROCEDURE theirs() SELECT COUNT(*) FROM patients", database: database)
        try await server.sql(
            "GRANT EXECUTE ON PROCEDURE `\(database)`.theirs TO role_\(database) ", database: database)
        let set = try await engine.take()
        let grants = "SHOW GRANTS FOR '\(user)'@localhost"
        let role = "SHOW GRANTS FOR role_\(database)"
        let before = (try await server.sql(grants), try await server.sql(role))
        try await server.sql("DROP USER '\(user)'@localhost; DROP ROLE role_\(database)")
        let refused = await #expect(throws: MySQLError.self) {
            try await engine.plan(set.request("a-\(database)"))
        }
        #expect(refused?.cause.contains("restoreRoles") == true)
        try await engine.restore(set.request("b-\(database)", roles: .full), safety: set)
        #expect(before == (try await server.sql(grants), try await server.sql(role)))
        #expect(try await server.sql("CALL theirs()", database: database) == "3")
    }

    @Test("keeps the grants on routines, which a server forgets when it drops them")
    func routineGrants() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.create(on: server, patients: 3)
        try await server.sql("CREATE PROCEDURE p() SELECT 1; CREATE PROCEDURE q() SELECT 1", database: database)
        let user = try await server.createUser(
            "caller", grants: ["EXECUTE ON PROCEDURE `\(database)`.p", "ALTER ROUTINE ON PROCEDURE `\(database)`.q"])
        // In whatever order the server shows them.
        func grants() async throws -> Set<Substring> {
            Set(try await server.sql("SHOW GRANTS FOR '\(user)'@localhost").split(separator: "\n"))
        }
        let before = try await grants()
        #expect(before.count == 3)
        let engine = server.engine(database)
        let set = try await engine.take()
        try await engine.restore(set.request("g-\(database)"), safety: set)
        #expect(try await grants() == before)
    }

    @Test("loads a dump with the head of newer programs and one without, and refuses a client's commands")
    func heads() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.create(on: server, patients: 3)
        let engine = server.engine(database)
        let set = try await engine.take()
        let head = "/*M!999999\\- enable the sandbox mode */ \n"
        let bare = set.database.replacing(head, with: "")
        for (number, text) in [head + bare, bare].enumerated() {
            var variant = set
            variant.database = text
            try await engine.restore(variant.request("h\(number)-\(database)"), safety: set)
        }
        var hostile = set
        hostile.database = bare.replacing("UNLOCK TABLES;", with: "UNLOCK TABLES;\n\\! touch /tmp/never\n")
        let error = await #expect(throws: SQLDumpError.self) {
            try await engine.restore(hostile.request("x-\(database)"), safety: set)
        }
        #expect(error?.cause.contains("command of the client") == true)
        #expect(access("/tmp/never", F_OK) != 0)
    }

    @Test("leaves the original as it is where the load fails, and shows no row")
    func failedLoad() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.create(on: server, patients: 3)
        let engine = server.engine(database)
        try await server.sql(
            "CREATE TABLE m (a VARCHAR(40) PRIMARY KEY) ENGINE=InnoDB; INSERT INTO m VALUES ('MARKER-4711')",
            database: database)
        let set = try await engine.take()
        var doubled = set
        doubled.database = set.database.replacing("('MARKER-4711')", with: "('MARKER-4711'),\n('MARKER-4711')")
        doubled.contents = try contents(of: doubled.database, database: database).contents
        let error = await #expect(throws: MySQLError.self) {
            try await engine.restore(doubled.request("f-\(database)"), safety: set)
        }
        // Rows that come in bulk into an empty table are only refused when they are committed.
        #expect([1062, 1180].contains(error?.number) && error?.exitCode == .restoreFailedOriginalIntact)
        #expect(error.map { !"\($0)\($0.hint)".contains("MARKER") } == true)
        #expect(try await server.databases(database) == [database])
        #expect(try await engine.take().contents == set.contents)
    }

    @Test("does not run the set's events beside the original")
    func events() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await server.createDatabase()
        try await server.sql(
            "CREATE TABLE t (a INT); CREATE EVENT e ON SCHEDULE EVERY 1 SECOND DO INSERT INTO t VALUES (1)",
            database: database)
        let engine = server.engine(database)
        let set = try await engine.take()
        let staged = try await engine.plan(set.request("e-\(database)")).stage()
        let status = try await server.sql(
            """
            SELECT STATUS FROM information_schema.EVENTS WHERE EVENT_SCHEMA LIKE '\(database)\\_\\_lbs%'
            """)
        #expect(status == "DISABLED")
        #expect(try await staged.inspect() == set.contents)
        try await staged.discard()
    }
}
