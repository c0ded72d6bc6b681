import Core

/// What there is to know about a server and a database before it is dumped.
struct DatabaseFacts: Sendable {
    var time: Timestamp
    /// Bytes of rows and indexes, as far as the server knows.
    var size: Int64
    var hasBinaryLog: Bool
    /// What was executed (MySQL), where GTIDs are on.
    var gtidExecuted: String?
    /// The server's setting of that name: 0 where names differ by case.
    var lowerCaseTableNames: Int64
    /// Tables with rows that take part in no transaction, by name.
    var nonTransactional: [String]
    var isReplica: Bool

    static func read(_ session: ServerSession, database: String) async throws -> DatabaseFacts {
        let purpose = "look at the server"
        let name = quotedText(database)
        let row = try await session.row(
            """
            SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED), @@log_bin, @@lower_case_table_names,
            (SELECT COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) FROM information_schema.TABLES
                WHERE TABLE_SCHEMA = \(name)), @@read_only
            """, to: purpose)
        let plain = try await session.rows(
            """
            SELECT t.TABLE_NAME FROM information_schema.TABLES t LEFT JOIN information_schema.ENGINES e
            ON e.ENGINE = t.ENGINE WHERE t.TABLE_SCHEMA = \(name) AND t.TABLE_TYPE = 'BASE TABLE'
            AND COALESCE(e.TRANSACTIONS, 'NO') <> 'YES' ORDER BY 1
            """, to: purpose)
        var gtid: String?
        if !session.version.isMariaDB, session.version.major >= 8 || session.version.minor >= 7 {
            let executed = try await session.row("SELECT @@gtid_executed", to: purpose).text(0)
            gtid = executed.isEmpty ? nil : executed.filter { !$0.isWhitespace }
        }
        return DatabaseFacts(
            time: Timestamp(milliseconds: row.integer(0)), size: row.integer(3), hasBinaryLog: row.bool(1),
            gtidExecuted: gtid, lowerCaseTableNames: row.integer(2), nonTransactional: plain.map { $0.text(0) },
            isReplica: row.bool(4))
    }
}
