import Core

/// What stands at the place a restore is for.
struct DestinationSchema: Sendable {
    var name: String
    var version: ServerVersion
    var exists: Bool
    /// Bytes of what is there.
    var size: Int64
    var lowerCaseTableNames: Int64
    var isReadOnly: Bool
    var longestPacket: Int64
    /// `DATA` of the server's own machine.
    var dataDirectory: String
    var hasBinaryLog: Bool
    var trustsFunctionCreators: Bool

    static func read(_ session: ServerSession, name: String) async throws -> DestinationSchema {
        let purpose = "look at the destination"
        let row = try await session.row(
            """
            SELECT @@lower_case_table_names, @@read_only, @@global.max_allowed_packet, @@datadir, @@log_bin,
            @@log_bin_trust_function_creators,
            (SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = \(quotedText(name))),
            (SELECT COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) FROM information_schema.TABLES
                WHERE TABLE_SCHEMA = \(quotedText(name)))
            """, to: purpose)
        return DestinationSchema(
            name: name, version: session.version, exists: row.bool(6), size: row.integer(7),
            lowerCaseTableNames: row.integer(0), isReadOnly: row.bool(1), longestPacket: row.integer(2),
            dataDirectory: row.text(3), hasBinaryLog: row.bool(4), trustsFunctionCreators: row.bool(5))
    }
}

/// The tables and code of a database, as statements about them need them.
struct SchemaInventory: Sendable {
    /// Tables and sequences: what can be moved.
    var tables: [String]
    var triggers: [String]
    var views: [String]
    /// Kind and name.
    var routines: [(kind: String, name: String)]
    var events: [String]

    static func read(_ session: ServerSession, database: String) async throws -> SchemaInventory {
        let purpose = "list what is in the database"
        let name = quotedText(database)
        func names(_ statement: String) async throws -> [String] {
            try await session.rows(statement, to: purpose).map { $0.text(0) }
        }
        let routines = try await session.rows(
            """
            SELECT ROUTINE_TYPE, ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = \(name)
            ORDER BY 1, 2
            """, to: purpose)
        return SchemaInventory(
            tables: try await names(
                """
                SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = \(name)
                AND TABLE_TYPE NOT LIKE '%VIEW' AND TABLE_NAME <> \(quotedText(ExchangeSign.table)) ORDER BY 1
                """),
            triggers: try await names(
                """
                SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = \(name) ORDER BY 1
                """),
            views: try await names(
                """
                SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = \(name)
                AND TABLE_TYPE LIKE '%VIEW' ORDER BY 1
                """),
            routines: routines.map { ($0.text(0), $0.text(1)) },
            events: try await names(
                "SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = \(name) ORDER BY 1"))
    }

    /// Statements that drop everything but tables and sequences. Events first, so that none runs meanwhile.
    func codeDrops(in database: String) -> [String] {
        func full(_ name: String) -> String { "\(backticked(database)).\(backticked(name))" }
        // A package's body goes with it.
        let routines = routines.filter { $0.kind != "PACKAGE BODY" }
        return events.map { "DROP EVENT IF EXISTS \(full($0))" }
            + triggers.map { "DROP TRIGGER IF EXISTS \(full($0))" }
            + views.map { "DROP VIEW IF EXISTS \(full($0))" }
            + routines.flatMap { routine in
                let drop = "DROP \(routine.kind) IF EXISTS \(full(routine.name))"
                // MariaDB knows the word only in the mode that packages are made in.
                return routine.kind == "PACKAGE"
                    ? ["SET @lifeboat_mode = @@sql_mode, sql_mode = ORACLE", drop, "SET sql_mode = @lifeboat_mode"]
                    : [drop]
            }
    }
}
