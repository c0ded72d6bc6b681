import Core

/// One restore of a database at a time, whoever began it: a lock of the server's that ends with its session.
enum ExchangeLock {
    /// Waits `seconds` for another's end.
    static func take(
        for database: String, with session: ServerSession, waiting seconds: Int, object: String
    ) async throws {
        let row = try await session.row(
            "SELECT GET_LOCK(\(quotedText(SchemaNaming.lock(of: database))), \(seconds))",
            to: "take the lock of restores")
        guard row.bool(0) else {
            throw MySQLError(
                .exchange, exitCode: .locked, "restore", object: object,
                cause: "another restore of this database is at work",
                hint: "wait for its end; SHOW PROCESSLIST shows its session")
        }
    }
}

extension ExchangeSign {
    private static func full(_ database: String) -> String { "\(backticked(database)).\(backticked(table))" }

    static func make(in database: String) -> String {
        "CREATE TABLE IF NOT EXISTS \(full(database)) (id INT) COMMENT 'a restore exchanges the tables of this database'"
    }

    static func drop(in database: String) -> String { "DROP TABLE IF EXISTS \(full(database))" }
}
