import Core
import Glibc
import Streams
import TestSupport
import Testing

@testable import MySQLEngine

@Suite("A picture of a MariaDB database", .needs(.mariadb))
struct SnapshotTests {
    @Test("has users, properties and the dump, in this order, and says what is in it and where the log stood")
    func parts() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.create(on: server, patients: 20)
        let user = try await server.createUser("app", grants: ["SELECT ON `\(database)`.*"])
        let set = try await server.engine(database).take()
        #expect(set.order == ["globals.sql", "database.json", "database.sql"])
        #expect(set.contents.rows == 4 * 20 && set.contents.tables == 3)
        let details = set.facts.details
        #expect(details["database"] == database && details["server_product"] == "MariaDB")
        #expect(details["binlog_file"]?.hasPrefix("binlog.") == true)
        #expect(details["gtid"]?.hasPrefix("0-1-") == true)
        #expect(set.facts.exceptions.isEmpty && set.facts.notes.isEmpty)
        #expect(set.globals.contains("CREATE USER IF NOT EXISTS `\(user)`@`localhost` IDENTIFIED BY PASSWORD '*"))
        #expect(set.globals.contains("GRANT SELECT ON `\(database)`.* TO `\(user)`@`localhost`;"))
        #expect(!set.globals.contains("secret"))
    }

    @Test("holds everything that is hard to dump, and the same of the same")
    func awkward() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.createAwkward(on: server)
        let set = try await server.engine(database).take()
        let types = Set(set.contents.schema.map(\.type))
        #expect(
            types == [
                "TABLE", "SEQUENCE", "VIEW", "TRIGGER", "PROCEDURE", "FUNCTION", "PACKAGE", "PACKAGE BODY", "EVENT",
            ])
        #expect(set.contents.data.contains { $0.name == "we`ird \"ünï.x" && $0.rows == 4 })
        #expect(set.contents.data.contains { $0.name == " VALUES" && $0.rows == 1 })
        #expect(set.contents.data.first { $0.name == "kinds" }?.columns.contains("gen") == true)
        let again = try await server.engine(database).take()
        #expect(ContentsComparison(recorded: set.contents, found: again.contents).failures == [])
    }

    @Test("names tables outside transactions in the result only, or locks them where that is asked for")
    func plainTables() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await server.createDatabase()
        try await server.sql("CREATE TABLE old_billing (a INT) ENGINE=MyISAM", database: database)
        let set = try await server.engine(database).take()
        #expect(set.facts.notes.joined().contains("old_billing"))
        #expect(set.facts.exceptions.count == 1 && !set.facts.exceptions.joined().contains("old_billing"))
        let locked = try await server.engine(database, options: MySQLOptions(locksTables: true)).take()
        #expect(locked.facts.notes.isEmpty && locked.facts.details["locked"] == "true")
        #expect(locked.contents == set.contents)
    }

    @Test("is complete or an error when its parts are examined without a server")
    func examination() async throws {
        let server = try await MariaDBServer.shared()
        let engine = server.engine(try await MariaDBClinic.create(on: server, patients: 5))
        let set = try await engine.take()
        #expect(try await engine.examine(set.examineRequest(recompute: false)).contents == nil)
        #expect(try await engine.examine(set.examineRequest(recompute: true)).contents == set.contents)
        for name in set.order {
            var missing = set
            missing.parts[name] = nil
            var cut = set
            cut.parts[name]?.removeLast(60)
            for damaged in [missing, cut] {
                for recompute in [false, true] {
                    let request = damaged.examineRequest(recompute: recompute)
                    let error = await #expect(throws: (any Error).self) { try await engine.examine(request) }
                    #expect((error as? any Failure)?.exitCode == .verificationFailed, "\(name)")
                }
            }
        }
    }

    @Test("is refused where the user would see only a part of the database")
    func privileges() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.create(on: server, patients: 2)
        let user = try await server.createUser("partly", grants: ["SELECT ON `\(database)`.patients"])
        let error = await #expect(throws: MySQLError.self) {
            try await server.engine(database, user: user, password: "secret").take()
        }
        #expect(error?.kind == .permission && error?.exitCode == .source)
        #expect(error?.cause.contains("SHOW VIEW ON `\(database)`.*") == true)
        let enough = try await server.createUser(
            "whole",
            grants: [
                "SELECT, SHOW VIEW, TRIGGER, EVENT ON `\(database)`.*", "SELECT ON mysql.proc",
            ])
        let set = try await server.engine(database, user: enough, password: "secret").take()
        #expect(set.contents.tables == 3)
        #expect(set.facts.exceptions.count == 1, "users and grants could not be read: \(set.facts.exceptions)")
    }

    @Test("fails with what is wrong and what to do, for each way a server can refuse")
    func refusals() async throws {
        let server = try await MariaDBServer.start(MariaDBServer.Options(password: "right", listensOnLoopback: true))
        let database = try await server.createDatabase()
        func failure(_ endpoint: MySQLEndpoint) async -> MySQLError? {
            let engine = MySQLDatabase(endpoint, tools: MySQLToolSearch(directories: [MariaDBServer.binaries]))
            return await #expect(throws: MySQLError.self) { try await engine.take() }
        }
        var endpoint = server.endpoint(database)
        endpoint.password = Secret("wrong-4711")
        let wrong = await failure(endpoint)
        #expect(wrong?.kind == .authentication && wrong?.number == 1045)
        #expect(wrong.map { !"\($0)\($0.hint)".contains("4711") } == true)
        endpoint = server.endpoint("nowhere")
        #expect(await failure(endpoint)?.kind == .missingDatabase)
        endpoint = server.endpoint(database)
        endpoint.host = "127.0.0.1"
        endpoint.port = server.port
        // The server has no certificate: TLS, which is asked for unless switched off, is not to be had.
        #expect(await failure(endpoint)?.kind == .encryption)
        endpoint.tls = MySQLEndpoint.TLS(mode: .disabled)
        _ = try await MySQLDatabase(endpoint, tools: MySQLToolSearch(directories: [MariaDBServer.binaries])).take()
        try await server.stop()
        #expect(await failure(endpoint)?.kind == .unreachable)
        #expect(await failure(server.endpoint(database))?.kind == .unreachable)
    }

    @Test("is no set where the program is missing, killed, fails late, or leaves the end off")
    func programs() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.create(on: server, patients: 5)
        func failure(_ script: String) async throws -> (any Failure)? {
            let tools = try FakeClients(["mariadb-dump": script])
            let error = await #expect(throws: (any Error).self) {
                try await server.engine(database, tools: tools.search).take()
            }
            return error as? any Failure
        }
        let missing = await #expect(throws: MySQLError.self) {
            try await server.engine(database, tools: MySQLToolSearch(directories: ["/nowhere"])).take()
        }
        #expect(missing?.kind == .tool && missing?.exitCode == .source)
        let killed = try await failure("kill -9 $$")
        #expect(killed?.exitCode == .source && killed?.cause.contains("signal 9") == true)
        let late = try await failure("$REAL \"$@\"; echo 'Error 2013: Lost MARKER-4711 when dumping' >&2; exit 3")
        #expect(late?.exitCode == .source && late?.cause.contains("2013") == true)
        #expect(late.map { !"\($0)\($0.hint)".contains("MARKER") } == true)
        let cut = try await failure("$REAL \"$@\" | head -n -1")
        #expect(cut?.cause.contains("completion line") == true)
        let empty = try await failure("exit 0")
        #expect(empty?.exitCode == .source)
    }

    @Test("hands the password to the program in no argument and no variable")
    func secrets() async throws {
        let server = try await MariaDBServer.start(MariaDBServer.Options(password: "pass\"w#o\\rd '4711"))
        let database = try await MariaDBClinic.create(on: server, patients: 2)
        let tools = try FakeClients([
            "mariadb-dump": "echo \"$@\" >> $HERE/seen; env >> $HERE/seen; exec $REAL \"$@\""
        ])
        _ = try await server.engine(database, tools: tools.search).take()
        let seen = try tools.text(of: "seen")
        #expect(seen.contains("--defaults-file=/proc/") && !seen.contains("4711"))
        try await server.stop()
    }

    @Test("ends its program when it is given up, and says so to whoever reads on")
    func cancellation() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await MariaDBClinic.create(on: server, patients: 2)
        let tools = try FakeClients(["mariadb-dump": "echo $$ > $HERE/pid; exec sleep 1000"])
        let snapshot = try await server.engine(database, tools: tools.search).picture()
        var source: (any ByteSource)?
        for try await part in snapshot.parts where part.name == "database.sql" { source = part.source }
        let reading = Task { [source] in try await onThread("read") { try source?.next() } }
        while try tools.text(of: "pid").isEmpty { try await Task.sleep(for: .milliseconds(5)) }
        await snapshot.cancel()
        await #expect(throws: (any Error).self) { _ = try await reading.value }
        let pid = Int32(try tools.text(of: "pid").filter(\.isNumber)) ?? 0
        #expect(pid > 0 && kill(pid, 0) != 0)
    }

    @Test("shows the watchdog whether the program's session works, and not while it waits for a lock")
    func heartbeat() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await server.createDatabase()
        try await server.sql("CREATE TABLE t (a INT); INSERT INTO t VALUES (1)", database: database)
        let probe = try await ServerSession.open(server.endpoint(database), database: nil)
        let known = try await SessionWatch.sessions(in: database, seenFrom: probe)
        func isWorking() async throws -> Bool {
            try await SessionWatch.isWorking(in: database, besides: known, seenFrom: probe)
        }
        #expect(try await !isWorking())
        let busy = try await ServerSession.open(server.endpoint(database), database: database)
        let work = Task { try await busy.rows("SELECT SLEEP(20) FROM t", to: "work") }
        while try await !isWorking() { try await Task.sleep(for: .milliseconds(10)) }
        work.cancel()
        _ = await work.result
        while try await isWorking() { try await Task.sleep(for: .milliseconds(10)) }
        let holder = try await ServerSession.open(server.endpoint(database), database: database)
        try await holder.rows("LOCK TABLES t WRITE", to: "hold")
        let waiting = try await ServerSession.open(server.endpoint(database), database: database)
        let wait = Task { try await waiting.rows("SELECT * FROM t", to: "wait") }
        let waits =
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = '\(database)' AND STATE LIKE 'Waiting for%'"
        while try await server.sql(waits) == "0" { try await Task.sleep(for: .milliseconds(10)) }
        let others = known.union([Int64(holder.identifier)])
        #expect(try await !SessionWatch.isWorking(in: database, besides: others, seenFrom: probe))
        wait.cancel()
        _ = await wait.result
    }
}
