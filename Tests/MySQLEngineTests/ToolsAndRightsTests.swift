import Core
import Streams
import TestSupport
import Testing

@testable import MySQLEngine

@Suite("Programs, privileges and errors of MySQL")
struct ToolsAndRightsTests {
    @Test("reads the version a program came with, in every form it has had")
    func versions() {
        let lines = [
            ("mariadb-dump  Ver 10.19 Distrib 10.11.6-MariaDB, for debian-linux-gnu (x86_64)", true, "10.11.6"),
            ("mariadb-dump from 11.4.2-MariaDB, client 10.19 for debian-linux-gnu (x86_64)", true, "11.4.2"),
            ("mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)", false, "8.0.36"),
            ("mysqldump  Ver 10.13 Distrib 5.7.44, for Linux (x86_64)", false, "5.7.44"),
            ("mysql  Ver 15.1 Distrib 10.11.6-MariaDB, for x using  EditLine wrapper", true, "10.11.6"),
        ]
        for (line, isMariaDB, text) in lines {
            let program = ClientProgram(path: "/x", name: "x", versionLine: Array(line.utf8))
            #expect(program?.version.isMariaDB == isMariaDB && program?.version.text == text, "\(line)")
        }
        #expect(ClientProgram(path: "/x", name: "x", versionLine: Array("BusyBox v1".utf8)) == nil)
        #expect(ServerVersion("5.5.5-10.11.6-MariaDB-log")?.text == "10.11.6")
    }

    @Test("takes the program of the server's own series, else a newer one, never an older or the other product's")
    func choice() async throws {
        let server = ServerVersion(isMariaDB: true, 10, 11, 6)
        func found(_ lines: [String]) async throws -> String {
            let tools = try lines.map { try FakeClients(versions: ["mariadb-dump": $0]) }
            let search = MySQLToolSearch(directories: tools.map(\.directory))
            return try await search.find(.dump, for: server, at: "here").version.text
        }
        func line(_ version: String) -> String { "mariadb-dump from \(version)-MariaDB, client 10.19 for x" }
        #expect(try await found([line("11.4.1"), line("10.11.2"), line("10.6.1")]) == "10.11.2")
        #expect(try await found([line("11.4.1"), line("11.2.1"), line("10.6.1")]) == "11.2.1")
        for lines in [[line("10.6.1")], ["mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL)"], []] {
            let error = await #expect(throws: MySQLError.self) { try await found(lines) }
            #expect(error?.exitCode == .source)
            #expect(error?.hint.contains("MYSQL_BIN") == true)
        }
    }

    @Test("asks each product's program for a dump in its own words", .needs(.mariadb))
    func arguments() async throws {
        let server = try await MariaDBServer.shared()
        let fake = try FakeClients(versions: [
            "mariadb-dump": "mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)",
            "mariadb": "mysql  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)",
        ])
        var scope = ClientPrograms.DumpScope()
        scope.hasPosition = true
        scope.hasGTID = true
        let maria = try await ClientPrograms(
            server.engine("-x"), server: ServerVersion(isMariaDB: true, 10, 11)
        ).dumpCommand(database: "-x", scope).arguments
        let mysql = try await ClientPrograms(
            server.engine("-x", tools: fake.search), server: ServerVersion(isMariaDB: false, 8, 0)
        ).dumpCommand(database: "-x", scope).arguments
        for all in [maria, mysql] {
            // Where coreutils are, they stand before the tool and its path.
            let own = all.first == "--output=256K" ? all.dropFirst(2) : all[...]
            #expect(own.first?.hasPrefix("--defaults-file=/proc/") == true)
            #expect(all.suffix(2) == ["--", "-x"])
            for wanted in ["--single-transaction", "--routines", "--triggers", "--events", "--hex-blob"] {
                #expect(all.contains(wanted))
            }
        }
        #expect(maria.contains("--master-data=2") && maria.contains("--gtid"))
        #expect(mysql.contains("--source-data=2") && mysql.contains("--set-gtid-purged=OFF"))
    }

    @Test("knows from the grants what a dump would silently leave out")
    func privileges() {
        func missing(_ lines: [String]) -> [String] {
            Privileges(lines: lines).missingForDump(of: "cl_inic", locks: false, isMariaDB: true)
        }
        let whole = "SELECT, SHOW VIEW, EVENT, TRIGGER"
        let proc = "GRANT SELECT ON `mysql`.`proc` TO `b`@`%`"
        #expect(missing(["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"]).isEmpty)
        #expect(missing(["GRANT \(whole) ON `cl\\_inic`.* TO `b`@`%`", proc]).isEmpty)
        #expect(missing(["GRANT \(whole) ON `cl%`.* TO `b`@`%`", proc]).isEmpty)
        #expect(missing(["GRANT \(whole) ON `clXinic`.* TO `b`@`%`", proc]).count == 4)
        #expect(missing(["GRANT \(whole) ON `cl\\_inic`.* TO `b`@`%`"]) == ["SELECT ON `mysql`.`proc`"])
        #expect(missing(["GRANT SELECT (`a`), SHOW VIEW ON `cl_inic`.`t` TO `b`@`%`", proc]).count == 4)
        #expect(
            missing(["GRANT SELECT, SHOW VIEW, TRIGGER ON `cl_inic`.* TO `b`@`%`", proc])
                == ["EVENT ON `cl_inic`.*"])
    }

    @Test("takes numbers out of a program's words, and nothing else")
    func numbers() {
        let texts = [
            ("ERROR 1062 (23000) at line 45: Duplicate entry 'Meier' for key 'PRIMARY'", 1062),
            ("mysqldump: Got error: 1045: \"Access denied\" when trying to connect", 1045),
            ("mysqldump: Error 2013: Lost connection to server during query when dumping table `x` at row: 5", 2013),
            ("mariadb-dump: Couldn't execute 'show create table `v`': SHOW VIEW command denied (1142)", 1142),
        ]
        for (text, number) in texts {
            #expect(MySQLError.errorNumber(in: "x\n\(text)\n") == number)
            let failure = ChildFailure(label: "mariadb", ending: .exited(1), errorTail: Array(text.utf8))
            for error in [MySQLError.load(failure, on: "x"), MySQLError.dumpTool(failure, on: "x")] {
                #expect(!"\(error) \(error.hint)".contains("Meier") && !error.cause.contains("`"))
                #expect(error.number == number)
            }
        }
    }
}
