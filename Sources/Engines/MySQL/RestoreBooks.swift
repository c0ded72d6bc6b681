import Core

/// What restores write down at the server they restore to, in the database `__lifeboat`: by it a replay finds its
/// restore done, nothing that is not ours is ever dropped, and a restore that was killed while it exchanged tables is
/// put right by the next.
struct RestoreBooks {
    enum State: String, Sendable {
        /// Being loaded beside the original.
        case staging
        /// The tables are being exchanged: the database is neither the old nor the new one.
        case exchanging
        /// The new one is in place and has been compared; only its sign is still to go.
        case verified
        case restored
        /// Another restore has replaced it since.
        case past
    }

    struct Entry: Sendable {
        var identity: String
        var database: String
        var requestID: String
        var setKey: String
        var safetyKey: BackupKey?
        var state: State
        var staging: String
        /// The database that holds the tables that were replaced.
        var replaced: String
        /// There was no database before.
        var isNew: Bool
        /// Of the original: how its character set is put back, and the digest of its schema.
        var properties: String
        var schemaDigest: String
    }

    enum Side: String { case old, new }

    let session: ServerSession
    let database: String

    private static let purpose = "keep the books of restores"
    private static let books = backticked(SchemaNaming.books)

    /// Whether there are any books at this server.
    func exist() async throws -> Bool {
        try await !session.rows(
            """
            SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = \(quotedText(SchemaNaming.books))
            AND TABLE_NAME = 'restores'
            """, to: Self.purpose
        ).isEmpty
    }

    func open() async throws {
        let options = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin"
        for statement in [
            "CREATE DATABASE IF NOT EXISTS \(Self.books) CHARACTER SET utf8mb4",
            """
            CREATE TABLE IF NOT EXISTS \(Self.books).restores (identity CHAR(32) PRIMARY KEY,
            database_name VARCHAR(64) NOT NULL, request VARCHAR(255) NOT NULL, set_key VARCHAR(255) NOT NULL,
            safety_key VARCHAR(255), state VARCHAR(16) NOT NULL, staging VARCHAR(64) NOT NULL,
            replaced VARCHAR(64) NOT NULL, is_new BOOLEAN NOT NULL, properties VARCHAR(512) NOT NULL,
            schema_digest CHAR(64) NOT NULL, changed TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3)) \(options)
            """,
            """
            CREATE TABLE IF NOT EXISTS \(Self.books).moves (identity CHAR(32) NOT NULL, side VARCHAR(3) NOT NULL,
            name VARCHAR(64) NOT NULL, PRIMARY KEY (identity, side, name)) \(options)
            """,
            """
            CREATE TABLE IF NOT EXISTS \(Self.books).code (identity CHAR(32) NOT NULL, side VARCHAR(3) NOT NULL,
            number INT NOT NULL, piece LONGBLOB NOT NULL, PRIMARY KEY (identity, side, number)) \(options)
            """,
        ] { try await session.rows(statement, to: Self.purpose) }
    }

    /// The restores of this database, the newest last.
    func entries() async throws -> [Entry] {
        let rows = try await session.rows(
            """
            SELECT identity, database_name, request, set_key, safety_key, state, staging, replaced, is_new, properties,
            schema_digest FROM \(Self.books).restores WHERE database_name = \(quotedText(database)) ORDER BY changed
            """, to: Self.purpose)
        return try rows.map { row in
            guard let state = State(rawValue: row.text(5)) else {
                throw MySQLError(
                    .query, Self.purpose, object: "\(SchemaNaming.books).restores",
                    cause: "an entry has the state '\(row.text(5))', which this version does not know",
                    hint: "use the version that wrote it")
            }
            return Entry(
                identity: row.text(0), database: row.text(1), requestID: row.text(2), setKey: row.text(3),
                safetyKey: row[4].flatMap { BackupKey($0) }, state: state, staging: row.text(6),
                replaced: row.text(7), isNew: row.bool(8), properties: row.text(9), schemaDigest: row.text(10))
        }
    }

    /// Writes an entry, in the place of an earlier one of its identity.
    func write(_ entry: Entry) async throws {
        let values = [
            entry.identity, entry.database, entry.requestID, entry.setKey, entry.safetyKey?.description,
            entry.state.rawValue, entry.staging, entry.replaced, entry.isNew ? "1" : "0", entry.properties,
            entry.schemaDigest,
        ].map { $0.map { quotedText($0) } ?? "NULL" }
        try await session.rows(
            """
            REPLACE INTO \(Self.books).restores (identity, database_name, request, set_key, safety_key, state, staging,
            replaced, is_new, properties, schema_digest) VALUES (\(values.joined(separator: ", ")))
            """, to: Self.purpose)
    }

    /// The restore is done; what others of this database had done is past.
    func close(_ entry: Entry) async throws {
        try await session.rows(
            """
            UPDATE \(Self.books).restores SET changed = changed, state =
            IF(identity = \(quotedText(entry.identity)), 'restored', 'past')
            WHERE database_name = \(quotedText(database)) AND state IN ('verified', 'restored')
            """, to: Self.purpose)
        try await forgetWork(of: entry.identity)
    }

    func remove(_ identity: String) async throws {
        try await session.rows(
            "DELETE FROM \(Self.books).restores WHERE identity = \(quotedText(identity))", to: Self.purpose)
        try await forgetWork(of: identity)
    }

    private func forgetWork(of identity: String) async throws {
        for table in ["moves", "code"] {
            try await session.rows(
                "DELETE FROM \(Self.books).\(table) WHERE identity = \(quotedText(identity))", to: Self.purpose)
        }
    }

    // MARK: What an exchange needs to be undone

    func write(tables: [String], _ side: Side, of identity: String) async throws {
        try await session.rows(
            """
            DELETE FROM \(Self.books).moves WHERE identity = \(quotedText(identity))
            AND side = \(quotedText(side.rawValue))
            """, to: Self.purpose)
        for table in tables {
            try await session.rows(
                """
                INSERT INTO \(Self.books).moves VALUES
                (\(quotedText(identity)), \(quotedText(side.rawValue)), \(quotedText(table)))
                """, to: Self.purpose)
        }
    }

    func tables(_ side: Side, of identity: String) async throws -> [String] {
        try await session.rows(
            """
            SELECT name FROM \(Self.books).moves WHERE identity = \(quotedText(identity))
            AND side = \(quotedText(side.rawValue)) ORDER BY name
            """, to: Self.purpose
        ).map { $0.text(0) }
    }

    func removeCode(_ side: Side, of identity: String) async throws {
        try await session.rows(
            """
            DELETE FROM \(Self.books).code WHERE identity = \(quotedText(identity))
            AND side = \(quotedText(side.rawValue))
            """, to: Self.purpose)
    }

    /// A piece of the statements that make views, triggers, routines and events.
    func write(code: [UInt8], number: Int, _ side: Side, of identity: String) async throws {
        try await session.rows(
            """
            INSERT INTO \(Self.books).code VALUES (\(quotedText(identity)), \(quotedText(side.rawValue)), \(number),
            x'\(hexText(code))')
            """, to: Self.purpose)
    }

    /// The piece `number`; `nil` after the last.
    func code(number: Int, _ side: Side, of identity: String) async throws -> [UInt8]? {
        let row = try await session.rows(
            """
            SELECT HEX(piece) FROM \(Self.books).code WHERE identity = \(quotedText(identity))
            AND side = \(quotedText(side.rawValue)) AND number = \(number)
            """, to: Self.purpose
        ).first
        return row.flatMap { bytes(hexText: $0.text(0).lowercased()) }
    }
}
