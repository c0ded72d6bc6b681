import Core
import Glibc
import Streams
import TestSupport
import Testing

@testable import MySQLEngine

@Suite("The exchange of a restore's tables", .needs(.mariadb))
struct ExchangeTests {
    /// A client that works beside the original and, `while` a file of this name is there, not in it.
    private static func refusing(_ database: String) -> String {
        """
        for last; do :; done
        if [ "$last" = "\(database)" ] && [ -e $HERE/refuse ]; then
            rm -f $HERE/once && [ -e $HERE/always ] || rm -f $HERE/refuse
            cat >/dev/null; echo 'ERROR 1030 (HY000) at line 1: MARKER-4711' >&2; exit 1
        fi
        exec $REAL "$@"
        """
    }

    @Test("is rolled back to the last trigger where it fails after the first change")
    func rolledBack() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.createAwkward(on: server)
        let set = try await server.engine(database).take()
        try await server.sql(
            "INSERT INTO parted VALUES (5, 5); CREATE TABLE later (a INT); DROP TABLE numbered; DROP PROCEDURE p1",
            database: database)
        let before = try await server.engine(database).take()
        let tools = try FakeClients(["mariadb": Self.refusing(database)])
        try writeFile("\(tools.directory)/refuse", "")
        let engine = server.engine(database, tools: tools.search)
        let error = await #expect(throws: MySQLError.self) {
            try await engine.restore(set.request("x-\(database)"), safety: before)
        }
        #expect(error?.exitCode == .restoreFailedRolledBack)
        #expect(error.map { !"\($0)\($0.hint)".contains("MARKER") } == true)
        let after = try await server.engine(database).take()
        #expect(ContentsComparison(recorded: before.contents, found: after.contents).failures == [])
        #expect(after[text: "database.json"] == before[text: "database.json"])
        #expect(try await server.databases(database) == [database])
        // Nothing is in the way of the next.
        try await engine.restore(set.request("y-\(database)"), safety: before)
    }

    /// An exchange whose way back failed too, as if it had been killed in its middle.
    private func interrupted(
        _ server: MariaDBServer
    ) async throws -> (database: String, set: TakenSet, before: TakenSet) {
        let database = try await MariaDBClinic.createAwkward(on: server)
        let set = try await server.engine(database).take()
        try await server.sql(
            "INSERT INTO parted VALUES (5, 5); CREATE TABLE later (a INT); DROP TABLE numbered", database: database)
        let before = try await server.engine(database).take()
        let tools = try FakeClients(["mariadb": Self.refusing(database)])
        try writeFile("\(tools.directory)/refuse", "")
        try writeFile("\(tools.directory)/always", "")
        let error = await #expect(throws: MySQLError.self) {
            try await server.engine(database, tools: tools.search)
                .restore(set.request("i-\(database)"), safety: before)
        }
        #expect(error?.exitCode == .rollbackFailed)
        return (database, set, before)
    }

    @Test("that was interrupted is no database to back up, and is put right by the next restore")
    func recovery() async throws {
        let server = try await MariaDBServer.shared()
        let (database, set, before) = try await interrupted(server)
        let engine = server.engine(database, options: MySQLOptions(recoveryWait: .seconds(60)))
        let refused = await #expect(throws: MySQLError.self) { try await engine.take() }
        #expect(refused?.kind == .interrupted && refused?.exitCode == .source)
        let plan = try await engine.plan(before.request("n-\(database)"))
        #expect(plan.summary.notes.joined().contains("put right first"))
        // A safety backup waits until the stage of the same run has brought the original back.
        async let safety = engine.take(
            SnapshotRequest(previous: nil, isForced: true, meter: ProgressMeter()))
        let staged = try await plan.stage()
        let found = try await safety
        #expect(ContentsComparison(recorded: before.contents, found: found.contents).failures == [])
        try await staged.discard()
        try await engine.restore(set.request("i-\(database)"), safety: found)
        let after = try await engine.take()
        #expect(ContentsComparison(recorded: set.contents, found: after.contents).failures == [])
    }

    @Test("comes back from every state between the first change and the last")
    func states() async throws {
        let server = try await MariaDBServer.shared()
        for state in 0..<4 {
            let (database, _, before) = try await interrupted(server)
            let names = try await server.databases(database)
            let aside = try #require(names.first { $0.contains("__lb_") })
            let staging = try #require(names.first { $0.contains("__lbs_") })
            switch state {
            // Servers without atomic renames leave some tables here and some there.
            case 0: try await server.sql("RENAME TABLE `\(database)`.parted TO `\(aside)`.parted")
            case 1:
                try await server.sql(
                    """
                    RENAME TABLE `\(database)`.latin TO `\(aside)`.latin, `\(staging)`.latin TO `\(database)`.latin,
                    `\(staging)`.numbered TO `\(database)`.numbered
                    """)
            case 2: try await server.sql("DROP TABLE `\(database)`.`\(ExchangeSign.table)`")
            default: try await server.sql("DROP DATABASE `\(staging)`")
            }
            let engine = server.engine(database)
            try await engine.plan(before.request("s-\(database)")).stage().discard()
            let after = try await engine.take()
            #expect(ContentsComparison(recorded: before.contents, found: after.contents).failures == [], "\(state)")
            #expect(try await server.databases(database) == [database])
        }
    }

    @Test("waits for open transactions, and gives up with nothing touched while one stays")
    func held() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.create(on: server, patients: 3)
        let options = MySQLOptions(lockWait: 1, exchangeAttempts: 2)
        let engine = server.engine(database, options: options)
        let set = try await engine.take()
        let holder = try await ServerSession.open(server.endpoint(database), database: database)
        try await holder.rows("BEGIN", to: "hold")
        try await holder.rows("SELECT * FROM patients", to: "hold")
        let error = await #expect(throws: MySQLError.self) {
            try await engine.restore(set.request("l-\(database)"), safety: set)
        }
        #expect(error?.exitCode == .restoreFailedOriginalIntact && error?.number == 1205)
        try await holder.rows("COMMIT", to: "let go")
        #expect(try await engine.take().contents == set.contents)
        try await engine.restore(set.request("m-\(database)"), safety: set)
    }

    @Test("is one at a time for a database")
    func lock() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.create(on: server, patients: 3)
        let engine = server.engine(database, options: MySQLOptions(lockWait: 1))
        let set = try await engine.take()
        let other = try await ServerSession.open(server.endpoint(database), database: nil)
        try await ExchangeLock.take(for: database, with: other, waiting: 1, object: "x")
        let error = await #expect(throws: MySQLError.self) {
            try await engine.plan(set.request("o-\(database)")).stage()
        }
        #expect(error?.exitCode == .locked)
        #expect(try await server.databases(database) == [database])
    }

    @Test("leaves staging databases of killed runs to the next, and nothing that is not ours")
    func leftovers() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.create(on: server, patients: 3)
        let engine = server.engine(database)
        let set = try await engine.take()
        // Staged and never promoted: as if it had been killed there.
        _ = try await engine.plan(set.request("a-\(database)")).stage()
        try await server.sql("CREATE DATABASE `\(database)__lbs_00000000`")
        try await engine.plan(set.request("b-\(database)")).stage().discard()
        #expect(try await server.databases(database) == [database, "\(database)__lbs_00000000"])
    }
}
