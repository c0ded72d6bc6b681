package import Core

/// A table of records on a PostgreSQL server, read by its id: `integer`, `bigint` and `smallint`, or `uuid` and text of
/// one length.
///
/// Ids are handed out before the rows that carry them can be seen, so a greater id may be visible while a smaller one is
/// not. Records are therefore only read once every transaction has ended that was writing to the table when the
/// greatest id was seen.
package struct PostgresRecords: RecordTable {
    /// How long to wait for transactions that write to the table, and how often they are looked for.
    package struct Timing: Sendable {
        package var writers: Duration
        package var interval: Duration

        package init(writers: Duration = .seconds(60), interval: Duration = .milliseconds(250)) {
            self.writers = writers
            self.interval = interval
        }
    }

    let endpoint: PostgresEndpoint
    let table: String
    let idColumn: String
    let timing: Timing

    /// `table` is a name as SQL has it, with or without its schema (`public` is then taken), in double quotes where it
    /// needs them. `id` is a column's name as it is, without quotes.
    package init(_ endpoint: PostgresEndpoint, table: String, id: String, timing: Timing = Timing()) {
        self.endpoint = endpoint
        self.table = table
        self.idColumn = id
        self.timing = timing
    }

    package var label: String { "table \(table) of \(endpoint.label)" }

    package func waiting(after id: RecordID?) async throws -> WaitingRecords {
        try await connected { connection in
            let shape = try await RecordTableShape.read(self, connection)
            let row = try await connection.rows(
                """
                SELECT count(*), max(\(shape.sortedID)) FROM \(shape.name) AS r
                \(try shape.condition(after: id, through: nil))
                """, to: "count the records that wait", seconds: nil
            ).first
            return WaitingRecords(
                count: row?.integer(0) ?? 0, last: try (row?[1]).map { try shape.id($0, in: self) })
        }
    }

    package func records(after: RecordID?, through: RecordID) async throws -> any ByteSource {
        let connection = try await Connection.open(endpoint, purpose: "records")
        do {
            try await prepare(connection)
            let shape = try await RecordTableShape.read(self, connection)
            // Of a single id that has been stored before, nobody can still write a smaller one.
            if after == nil || after != through.predecessor { try await waitForWriters(of: shape, connection) }
            // In this form of CSV a line is the text itself: JSON holds neither of the two characters, and a record no
            // line break.
            let statement = """
                COPY (SELECT \(shape.record) FROM \(shape.name) AS r
                \(try shape.condition(after: after, through: through)) ORDER BY \(shape.sortedID))
                TO STDOUT WITH (FORMAT csv, DELIMITER E'\\x02', QUOTE E'\\x01')
                """
            return RecordCopy(connection, statement, object: label)
        } catch {
            connection.close()
            throw error
        }
    }

    private func connected<Value: Sendable>(
        _ body: (Connection) async throws -> Value
    ) async throws -> Value {
        let connection = try await Connection.open(endpoint, purpose: "records")
        defer { connection.close() }
        try await prepare(connection)
        return try await body(connection)
    }

    /// One spelling of values whatever role and database say; and rows that a policy hides are an error, not absent.
    private func prepare(_ connection: Connection) async throws {
        _ = try await connection.rows(
            """
            SELECT set_config(name, value, false) FROM (VALUES ('TimeZone', 'UTC'), ('IntervalStyle', 'iso_8601'),
            ('bytea_output', 'hex'), ('extra_float_digits', '1'), ('DateStyle', 'ISO, YMD'), ('row_security', 'off'),
            ('default_transaction_read_only', 'on'))
            AS settings (name, value)
            """, to: "prepare the session")
    }

    /// Until each transaction has ended that may hold an id smaller than one already seen: an INSERT locks the table
    /// before it draws its id.
    private func waitForWriters(of shape: RecordTableShape, _ connection: Connection) async throws {
        var waited: Duration = .zero
        var left = try await writers(of: shape, connection)
        while !left.isEmpty {
            guard waited < timing.writers else {
                throw PostgresError(
                    .timeout, "read the records", object: label,
                    cause: counted(left.count, "transaction has", "transactions have")
                        + " been writing to the table for more than "
                        + "\(timing.writers.components.seconds) s, and what is written there may have smaller ids than what "
                        + "can be seen",
                    hint: "find them in pg_stat_activity; run again when they have ended")
            }
            try await Task.sleep(for: timing.interval)
            waited += timing.interval
            left.formIntersection(try await writers(of: shape, connection))
        }
    }

    private func writers(of shape: RecordTableShape, _ connection: Connection) async throws -> Set<String> {
        let rows = try await connection.rows(
            """
            SELECT DISTINCT virtualtransaction FROM pg_catalog.pg_locks
            WHERE locktype = 'relation' AND granted AND pid IS DISTINCT FROM pg_backend_pid()
            AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
            AND relation::text = ANY(string_to_array($1, ','))
            AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
            """, [shape.relations.joined(separator: ",")], to: "look for transactions that write")
        return Set(rows.map { $0.text(0) })
    }
}

/// What has to be known of the table for statements about it.
struct RecordTableShape {
    /// As it stands in a statement.
    let name: String
    /// The table and all that hold rows of it, by their numbers.
    let relations: [String]
    private let column: String
    private let isNumber: Bool
    /// Values of these types may bring line breaks along, as `json` does, which is kept as it was written.
    private let mayHoldBreaks: Bool

    /// A record as JSON on one line, in `r`. Between the tokens of JSON a line break means no more than a space, and
    /// within them it cannot stand.
    var record: String {
        let text = "row_to_json(r)::text"
        return mayHoldBreaks ? "replace(replace(\(text), E'\\n', ' '), E'\\r', ' ')" : text
    }

    /// What the ids are compared and sorted by.
    var sortedID: String { isNumber ? "r.\(column)" : "r.\(column)::text COLLATE \"C\"" }

    static func read(_ records: PostgresRecords, _ connection: Connection) async throws -> RecordTableShape {
        guard
            let row = try await connection.rows(
                """
                WITH RECURSIVE named AS (
                  SELECT coalesce(to_regclass($1), to_regclass('public.' || $1)) AS relation
                ), family (relation) AS (
                  SELECT relation::oid FROM named
                  UNION SELECT inhrelid FROM pg_catalog.pg_inherits JOIN family ON inhparent = family.relation
                )
                SELECT class.oid::regclass::text, class.relkind, attribute.atttypid::regtype::text,
                  attribute.attnotnull, pg_is_in_recovery(),
                  (SELECT string_agg(relation::text, ',') FROM family),
                  sequence.seqcache, sequence.seqincrement, sequence.seqcycle,
                  EXISTS (
                    SELECT FROM pg_catalog.pg_attribute AS held JOIN pg_catalog.pg_type AS type ON type.oid = held.atttypid
                    LEFT JOIN pg_catalog.pg_type AS element ON element.oid = type.typelem AND type.typcategory = 'A'
                    WHERE held.attrelid = class.oid AND held.attnum > 0 AND NOT held.attisdropped
                    AND (coalesce(element.oid, type.oid) = 'pg_catalog.json'::regtype
                      OR coalesce(element.typtype, type.typtype) NOT IN ('b', 'e')
                      OR coalesce(element.typtype, type.typtype) = 'b' AND coalesce(element.oid, type.oid) >= 16384))
                FROM named JOIN pg_catalog.pg_class AS class ON class.oid = named.relation
                LEFT JOIN pg_catalog.pg_attribute AS attribute
                  ON attribute.attrelid = class.oid AND attribute.attname = $2 AND attribute.attnum > 0
                  AND NOT attribute.attisdropped
                LEFT JOIN pg_catalog.pg_sequence AS sequence ON sequence.seqrelid = CASE WHEN attribute.attnum IS NOT NULL
                  THEN pg_get_serial_sequence(class.oid::regclass::text, $2)::regclass END
                """, [records.table, records.idColumn], to: "look at the table of records"
            ).first
        else {
            throw refusal(records, "there is no such table that this role can see", hint: "check AUDIT_TABLE")
        }
        try check(row, records)
        let shape = RecordTableShape(
            name: row.text(0), relations: row.text(5).split(separator: ",").map(String.init),
            column: quoted(name: records.idColumn), isNumber: Self.numbers.contains(row.text(2)),
            mayHoldBreaks: row.bool(9))
        if !row.bool(3) { try await shape.checkNulls(records, connection) }
        return shape
    }

    private static let numbers: Set = ["smallint", "integer", "bigint"]
    private static let texts: Set = ["uuid", "text", "character varying", "character"]

    /// What cannot be read without losing records is refused before anything is.
    private static func check(_ row: Row, _ records: PostgresRecords) throws {
        guard ["r", "p"].contains(row.text(1)) else {
            throw refusal(
                records, "it is not a table",
                hint: "name the table itself: of a view nobody can tell who writes to it")
        }
        guard let type = row[2] else {
            throw refusal(records, "it has no column '\(records.idColumn)'", hint: "check AUDIT_ID")
        }
        guard numbers.contains(type) || texts.contains(type) else {
            throw refusal(
                records,
                "its column '\(records.idColumn)' is of type \(type), and an id is a whole number, a uuid or text",
                hint: "name a column in AUDIT_ID that only grows")
        }
        guard !row.bool(4) else {
            throw refusal(
                records, "the server is a standby, where transactions that are still writing cannot be seen",
                hint: "name the primary server")
        }
        guard row[6] == nil || (row.integer(6) == 1 && row.integer(7) > 0 && !row.bool(8)) else {
            throw refusal(
                records,
                "the sequence of its ids hands them out ahead (CACHE), backwards or in a circle, so they do "
                    + "not grow as records are written",
                hint: "ALTER SEQUENCE … CACHE 1 NO CYCLE INCREMENT BY 1")
        }
    }

    private func checkNulls(_ records: PostgresRecords, _ connection: Connection) async throws {
        let found = try await connection.row(
            "SELECT EXISTS (SELECT FROM \(name) AS r WHERE r.\(column) IS NULL)", to: "look for records without an id"
        )
        guard !found.bool(0) else {
            throw Self.refusal(
                records, "there are records whose '\(records.idColumn)' is null, and no set would ever hold them",
                hint: "give each an id, and make the column NOT NULL")
        }
    }

    private static func refusal(_ records: PostgresRecords, _ cause: String, hint: String) -> PostgresError {
        PostgresError(.configuration, "read the table of records", object: records.label, cause: cause, hint: hint)
    }

    /// A WHERE clause, or nothing.
    func condition(after: RecordID?, through: RecordID?) throws -> String {
        var terms: [String] = []
        if let after { terms.append("\(sortedID) > \(literal(after))") }
        if let through { terms.append("\(sortedID) <= \(literal(through))") }
        return terms.isEmpty ? "" : "WHERE " + terms.joined(separator: " AND ")
    }

    private func literal(_ id: RecordID) -> String {
        switch id {
        case .number(let number) where isNumber: "'\(number)'::bigint"
        default: quoted(literal: id.description) + (isNumber ? "::bigint" : "")
        }
    }

    func id(_ text: String, in records: PostgresRecords) throws -> RecordID {
        guard isNumber else { return .text(text) }
        guard let number = Int64(text) else {
            throw PostgresError.query("read an id", sqlState: "22003", on: records.label)
        }
        return .number(number)
    }
}
