package import Core

/// A table of records on a MariaDB or MySQL server, read by its id: a whole number, or text of one length.
///
/// Ids are handed out before the rows that carry them can be seen, so a greater id may be visible while a smaller one is
/// not. Before records are read the table is therefore locked for a moment against writers, which waits until every
/// transaction has ended that was writing to it; the user needs LOCK TABLES for that, beside SELECT.
package struct MySQLRecords: RecordTable {
    let endpoint: MySQLEndpoint
    let table: String
    let idColumn: String
    let writersWait: Int

    /// `table` is a table of the endpoint's database and `id` one of its columns, both as they are, without quotes.
    /// `writersWait` is how long to wait for transactions that write to it, in seconds.
    package init(_ endpoint: MySQLEndpoint, table: String, id: String, writersWait: Int = 60) {
        self.endpoint = endpoint
        self.table = table
        idColumn = id
        self.writersWait = writersWait
    }

    package var label: String { "table \(table) of \(endpoint.label)" }

    package func waiting(after id: RecordID?) async throws -> WaitingRecords {
        // Counting a long table takes its time.
        let session = try await ServerSession.open(endpoint, database: endpoint.database, patience: 600)
        defer { session.close() }
        let shape = try await MySQLRecordShape.read(self, session)
        let row = try await session.row(
            "SELECT COUNT(*), MAX(\(shape.sortedID)) FROM \(shape.table)\(try shape.condition(after: id, through: nil))",
            to: "count the records that wait")
        return WaitingRecords(count: row.integer(0), last: try row[1].map { try shape.id($0, in: self) })
    }

    package func records(after: RecordID?, through: RecordID) async throws -> any ByteSource {
        let session = try await ServerSession.open(
            endpoint, database: endpoint.database, patience: writersWait + ServerSession.patience,
            lockWait: writersWait)
        defer { session.close() }
        let shape = try await MySQLRecordShape.read(self, session)
        // Of a single id that has been stored before, nobody can still write a smaller one.
        if after == nil || after != through.predecessor { try await waitForWriters(of: shape, session) }
        let statement =
            "SELECT * FROM \(shape.table)\(try shape.condition(after: after, through: through)) "
            + "ORDER BY \(shape.sortedID)"
        return RecordRows(endpoint, statement, object: label)
    }

    private func waitForWriters(of shape: MySQLRecordShape, _ session: ServerSession) async throws {
        do {
            try await session.rows("LOCK TABLES \(shape.table) READ", to: "wait for those who write records")
            try await session.rows("UNLOCK TABLES", to: "let writers go on")
        } catch let error as MySQLError where error.number == ErrorNumber.lockWaitTimeout {
            throw MySQLError(
                .timeout, "read the records", object: label,
                cause:
                    "a transaction has been writing to the table for more than \(writersWait) s, and what it writes "
                    + "may have smaller ids than what can be seen",
                hint: "find it in SHOW PROCESSLIST; run again when it has ended", number: error.number)
        }
    }
}

/// What has to be known of the table for statements about it.
struct MySQLRecordShape {
    /// As it stands in a statement.
    let table: String
    private let column: String
    private let isNumber: Bool

    /// What the ids are compared and sorted by: text by its bytes, whatever the column's collation.
    var sortedID: String { isNumber ? column : "CAST(\(column) AS BINARY)" }

    private static let numbers: Set = ["tinyint", "smallint", "mediumint", "int", "bigint"]
    private static let texts: Set = ["char", "varchar", "uuid"]

    static func read(_ records: MySQLRecords, _ session: ServerSession) async throws -> MySQLRecordShape {
        let purpose = "look at the table of records"
        let place =
            "TABLE_SCHEMA = \(quotedText(records.endpoint.database)) AND TABLE_NAME = \(quotedText(records.table))"
        guard
            let found = try await session.rows(
                "SELECT TABLE_TYPE FROM information_schema.TABLES WHERE \(place)", to: purpose
            ).first
        else {
            throw refusal(records, "there is no such table that this user can see", hint: "check AUDIT_TABLE")
        }
        guard found.text(0) == "BASE TABLE" || found.text(0) == "SYSTEM VERSIONED" else {
            throw refusal(
                records, "it is not a table",
                hint: "name the table itself: of a view nobody can tell who writes to it")
        }
        guard
            let row = try await session.rows(
                """
                SELECT DATA_TYPE, IS_NULLABLE FROM information_schema.COLUMNS
                WHERE \(place) AND COLUMN_NAME = \(quotedText(records.idColumn))
                """, to: purpose
            ).first
        else { throw refusal(records, "it has no column '\(records.idColumn)'", hint: "check AUDIT_ID") }
        let type = row.text(0).lowercased()
        guard numbers.contains(type) || texts.contains(type) else {
            throw refusal(
                records, "its column '\(records.idColumn)' is of type \(type), and an id is a whole number or text",
                hint: "name a column in AUDIT_ID that only grows")
        }
        let shape = MySQLRecordShape(
            table: backticked(records.table), column: backticked(records.idColumn), isNumber: numbers.contains(type))
        if row.text(1) == "YES" {
            let nulls = try await session.rows(
                "SELECT 1 FROM \(shape.table) WHERE \(shape.column) IS NULL LIMIT 1",
                to: "look for records without an id")
            guard nulls.isEmpty else {
                throw refusal(
                    records, "there are records whose '\(records.idColumn)' is null, and no set would ever hold them",
                    hint: "give each an id, and make the column NOT NULL")
            }
        }
        return shape
    }

    /// As the server gives an id; a number above 2^63 - 1 is none that can be kept.
    func id(_ text: String, in records: MySQLRecords) throws -> RecordID {
        guard isNumber else { return .text(text) }
        guard let number = Int64(text) else {
            throw Self.refusal(
                records, "an id is larger than \(Int64.max)", hint: "name a column in AUDIT_ID with smaller ids")
        }
        return .number(number)
    }

    /// A WHERE clause, or nothing.
    func condition(after: RecordID?, through: RecordID?) throws -> String {
        var terms: [String] = []
        if let after { terms.append("\(sortedID) > \(try literal(after))") }
        if let through { terms.append("\(sortedID) <= \(try literal(through))") }
        return terms.isEmpty ? "" : " WHERE " + terms.joined(separator: " AND ")
    }

    /// An id of the other kind would be compared as something it is not.
    private func literal(_ id: RecordID) throws -> String {
        switch (id, isNumber) {
        case (.number(let number), true): return String(number)
        case (.text(let text), false): return "CAST(\(quotedText(text)) AS BINARY)"
        case (.number, false), (.text, true):
            throw MySQLError.configuration(
                "AUDIT_ID", "the ids of the last set are of another kind than the column's",
                hint: "name the column that the last set was made with, or begin a trail under another target")
        }
    }

    private static func refusal(_ records: MySQLRecords, _ cause: String, hint: String) -> MySQLError {
        MySQLError(
            .configuration, exitCode: .configuration, "read the table of records", object: records.label,
            cause: cause, hint: hint)
    }
}
