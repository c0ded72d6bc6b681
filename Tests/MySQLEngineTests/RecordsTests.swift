import Core
import Streams
import TestSupport
import Testing

@testable import MySQLEngine

@Suite("Audit records in a MariaDB table", .needs(.mariadb))
struct RecordsTests {
    private func table(_ server: MariaDBServer, rows: Int) async throws -> String {
        let database = try await server.createDatabase("audit")
        try await server.sql(
            """
            CREATE TABLE `au``dit` (id BIGINT AUTO_INCREMENT PRIMARY KEY, who VARCHAR(40), at TIMESTAMP(3), data BLOB,
                flag BIT(3), amount DECIMAL(10,2), big BIGINT UNSIGNED, note JSON);
            INSERT INTO `au``dit` SELECT seq, CONCAT('per"son ', seq), '2025-01-01 00:00:00', x'00ff', b'101', seq / 4,
                18446744073709551615, NULL FROM seq_1_to_\(rows)
            """, database: database)
        return database
    }

    private func lines(_ records: MySQLRecords, after: RecordID?, through: RecordID) async throws -> [String] {
        let source = try await records.records(after: after, through: through)
        let bytes = try await onThread("collect") { try source.collect(limit: 1 << 28) }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    @Test("are counted and read by their ids, each one line of canonical JSON with every column")
    func reading() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await table(server, rows: 5000)
        let records = MySQLRecords(server.endpoint(database), table: "au`dit", id: "id")
        #expect(try await records.waiting(after: nil) == WaitingRecords(count: 5000, last: .number(5000)))
        #expect(try await records.waiting(after: .number(4990)) == WaitingRecords(count: 10, last: .number(5000)))
        #expect(try await records.waiting(after: .number(5000)) == WaitingRecords(count: 0, last: nil))
        let all = try await lines(records, after: .number(1), through: .number(5000))
        #expect(all.count == 4999)
        #expect(
            all.first
                == #"{"amount":"0.50","at":"2025-01-01 00:00:00.000","big":"18446744073709551615","data":"00ff","flag":"05","id":2,"note":null,"who":"per\"son 2"}"#
        )
        for line in all { #expect(try JSON(parsing: line.utf8).canonicalText == line) }
    }

    @Test("of ids that are text sort by their bytes")
    func texts() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await server.createDatabase("audit")
        try await server.sql(
            "CREATE TABLE t (id CHAR(4) PRIMARY KEY); INSERT INTO t VALUES ('a001'), ('a00B'), ('a010')",
            database: database)
        let records = MySQLRecords(server.endpoint(database), table: "t", id: "id")
        #expect(try await records.waiting(after: .text("a001")) == WaitingRecords(count: 2, last: .text("a010")))
        let all = try await lines(records, after: .text("a001"), through: .text("a00B"))
        #expect(all == [#"{"id":"a00B"}"#])
    }

    @Test("are not read while a transaction is open that may still write a smaller id")
    func openWriters() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await table(server, rows: 3)
        let writer = try await ServerSession.open(server.endpoint(database), database: database)
        try await writer.rows("BEGIN", to: "write")
        try await writer.rows("INSERT INTO `au``dit` (who) VALUES ('slow')", to: "write")
        try await server.sql("INSERT INTO `au``dit` (who) VALUES ('quick')", database: database)
        let records = MySQLRecords(server.endpoint(database), table: "au`dit", id: "id", writersWait: 1)
        let error = await #expect(throws: MySQLError.self) {
            try await records.records(after: nil, through: .number(5))
        }
        #expect(error?.kind == .timeout)
        try await writer.rows("COMMIT", to: "write")
        #expect(try await lines(records, after: nil, through: .number(5)).count == 5)
    }

    @Test(
        "are refused where table or id are not what they have to be",
        arguments: [
            ("missing", "id"), ("v", "id"), ("t", "missing"), ("t", "at"), ("t", "maybe"),
        ])
    func refusals(table: String, id: String) async throws {
        let server = try await MariaDBServer.shared()
        let database = try await server.createDatabase("audit")
        try await server.sql(
            """
            CREATE TABLE t (id INT PRIMARY KEY, at DATETIME, maybe INT); INSERT INTO t VALUES (1, NOW(), NULL);
            CREATE VIEW v AS SELECT * FROM t
            """, database: database)
        let records = MySQLRecords(server.endpoint(database), table: table, id: id)
        let error = await #expect(throws: MySQLError.self) { try await records.waiting(after: nil) }
        #expect(error?.exitCode == .configuration)
    }

    @Test("end with an error when they are given up")
    func cancelled() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await table(server, rows: 20000)
        let records = MySQLRecords(server.endpoint(database), table: "au`dit", id: "id")
        let source = try await records.records(after: nil, through: .number(20000))
        let first = try await onThread("read") { try source.next() }
        #expect((first?.count ?? 0) > 0)
        source.cancel()
        await #expect(throws: CancellationError.self) { try await onThread("read") { try source.next() } }
    }
}
