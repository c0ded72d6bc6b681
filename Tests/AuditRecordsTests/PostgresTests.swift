import AuditRecordsEngine
import Core
import Streams
import TestSupport
import Testing

@testable import PostgresEngine

@Suite("Audit records from PostgreSQL", .needs(.postgres))
struct PostgresTests {
    /// A database with a table of records whose ids come from a sequence.
    private struct Site {
        let server: PostgresServer
        let database: String

        init() async throws {
            server = try await PostgresServer.shared()
            database = try await server.createDatabase("audit")
            try await sql(
                """
                CREATE TABLE audit_log (id bigserial PRIMARY KEY, at timestamptz, amount numeric, who text,
                  raw bytea, extra jsonb)
                """)
        }

        @discardableResult
        func sql(_ text: String) async throws -> String { try await server.sql(text, database: database) }

        var endpoint: PostgresEndpoint {
            PostgresEndpoint(host: server.host, port: server.port, database: database, user: "postgres")
        }

        /// Thirty thousand rows: more than fits between server and client at once.
        func makeBig() async throws -> any ByteSource {
            try await sql("CREATE TABLE big (id bigint PRIMARY KEY, t text)")
            try await sql("INSERT INTO big SELECT n, repeat('\(marker)', 20) FROM generate_series(1, 30000) AS n")
            return try await records("big").records(after: nil, through: .number(30_000))
        }

        func add(_ count: Int) async throws {
            try await sql(
                """
                INSERT INTO audit_log (at, amount, who, raw, extra)
                SELECT '2025-01-15 08:00+01', n / 4.0, E'\(marker)\\n"\\\\' || n, '\\x00ff', '{"b":1,"a":[1.50,null]}'
                FROM generate_series(1, \(count)) AS n
                """)
        }

        func records(
            _ table: String = "audit_log", id: String = "id", user: String = "postgres",
            timing: PostgresRecords.Timing = .init(writers: .seconds(20), interval: .milliseconds(20))
        ) -> PostgresRecords {
            PostgresRecords(
                PostgresEndpoint(host: server.host, port: server.port, database: database, user: user), table: table,
                id: id, timing: timing)
        }
    }

    /// Every row is a line with every column, in one spelling whatever the role and the database have set.
    @Test func readsEveryColumn() async throws {
        let site = try await Site()
        try await site.add(3)
        let trail = Trail(site.records())
        let first = try await trail.back()
        #expect(first.ids == "1-3")
        #expect(first.records.split(separator: "\n").count == 3)
        #expect(
            first.records.hasPrefix(
                #"{"id":1,"at":"2025-01-15T07:00:00+00:00","amount":0.25000000000000000000,"who":"\#(marker)\n\"\\1","raw":"\\x00ff","extra":{"a": [1.50, null], "b": 1}}"#
            ))
        try await site.sql("ALTER DATABASE \"\(site.database)\" SET timezone = 'Asia/Tokyo'")
        try await site.sql("ALTER DATABASE \"\(site.database)\" SET bytea_output = 'escape'")
        try await site.add(2)
        trail.hour()
        #expect(try await trail.back().ids == "4-5")
        let counts = try await trail.waits()
        #expect(counts?.details["waiting"] == .integer(0))
    }

    /// What was written as `json` keeps its line breaks in the table, also inside an array and a row; a record is one
    /// line all the same, and says the same.
    @Test(arguments: ["json", "json[]", "public.kept"])
    func takesBreaksOutOfJSON(type: String) async throws {
        let site = try await Site()
        try await site.sql("CREATE TYPE public.kept AS (value json)")
        try await site.sql("ALTER TABLE public.audit_log ADD COLUMN kept \(type)")
        let text = "E'{\"a\":\\n\\r\\n\"b\\\\nc\"}'::json"
        let value = type == "json" ? text : type == "json[]" ? "ARRAY[\(text)]" : "ROW(\(text))::public.kept"
        try await site.sql("INSERT INTO public.audit_log (who, kept) VALUES ('it', \(value)), ('it', NULL)")
        let set = try await Trail(site.records()).back()
        let lines = set.records.split(separator: "\n")
        #expect(set.ids == "1-2" && lines.count == 2)
        #expect(lines.first?.contains(#"{"a":   "b\nc"}"#) == true)
        #expect(!set.records.contains("\r"))
    }

    /// A transaction that drew a smaller id and has not committed is waited for, so that its record is in the set; one
    /// that never ends is an error.
    @Test func waitsForSmallerIds() async throws {
        let site = try await Site()
        let writer = try await Connection.open(site.endpoint, purpose: "writer")
        try await writer.rows("BEGIN", to: "begin")
        try await writer.rows("INSERT INTO public.audit_log (who) VALUES ('late')", to: "insert")
        try await site.add(2)
        let hasty = site.records(timing: .init(writers: .milliseconds(40), interval: .milliseconds(20)))
        let found = try await failure(PostgresError.self) { try await hasty.records(after: nil, through: .number(3)) }
        #expect(found.kind == .timeout && found.exitCode == .source)

        async let set = Trail(site.records()).back()
        // The reader has begun to wait when its session has asked who holds locks.
        while try await site.sql(
            """
            SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lifeboat records'
            AND datname = current_database() AND query LIKE '%pg_locks%'
            """
        ).hasPrefix("0") {}
        try await writer.rows("COMMIT", to: "commit")
        let made = try await set
        #expect(made.facts.details["records"] == "3" && made.ids == "1-3")
        writer.close()
    }

    /// Partitions, uuid and text ids, a schema and quoted names are read as plain tables are.
    @Test func readsOtherTables() async throws {
        let site = try await Site()
        try await site.sql(
            """
            CREATE SCHEMA "Odd.Schema";
            CREATE TABLE "Odd.Schema"."Log" ("The Id" uuid PRIMARY KEY, n int);
            INSERT INTO "Odd.Schema"."Log" SELECT ('0190c7a2-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, n
              FROM generate_series(1, 300) AS n;
            CREATE TABLE parts (id int NOT NULL) PARTITION BY RANGE (id);
            CREATE TABLE parts_a PARTITION OF parts FOR VALUES FROM (0) TO (100);
            CREATE TABLE parts_b PARTITION OF parts FOR VALUES FROM (100) TO (200);
            INSERT INTO parts SELECT generate_series(1, 150);
            CREATE TABLE texts (id text PRIMARY KEY);
            INSERT INTO texts VALUES ('b1'), ('a2'), ('A3');
            """)
        let odd = Trail(
            AuditRecordsSettings(
                source: .table(site.records(#""Odd.Schema"."Log""#, id: "The Id")), idMember: "The Id"))
        #expect(
            try await odd.back().ids == "0190c7a2-0000-7000-8000-000000000001-0190c7a2-0000-7000-8000-00000000012c")
        try await site.sql(
            "INSERT INTO \"Odd.Schema\".\"Log\" VALUES ('0190c7a2-0000-7000-8000-0000000001ff', 301)")
        odd.hour()
        #expect(try await odd.back().facts.details["records"] == "1")
        #expect(try await Trail(site.records("parts")).back().facts.details["records"] == "150")
        #expect(try await Trail(site.records("texts")).back().ids == "A3-b1")
    }

    /// What would lose records in silence is refused before anything is read.
    @Test func refusesWhatWouldLoseRecords() async throws {
        let site = try await Site()
        try await site.sql(
            """
            CREATE VIEW shown AS SELECT * FROM audit_log;
            CREATE TABLE loose (id bigint); INSERT INTO loose VALUES (1), (NULL);
            CREATE TABLE ahead (id bigserial PRIMARY KEY);
            ALTER SEQUENCE ahead_id_seq CACHE 20;
            """)
        for (table, id, words) in [
            ("nowhere", "id", "no such table"), ("audit_log", "number", "no column 'number'"),
            ("audit_log", "at", "timestamp with time zone"), ("shown", "id", "not a table"),
            ("loose", "id", "null"), ("ahead", "id", "CACHE"),
        ] {
            let found = try await failure(PostgresError.self) {
                try await site.records(table, id: id).waiting(after: nil)
            }
            #expect(found.cause.contains(words), "\(table): \(found.cause)")
        }
    }

    /// Rows that a policy hides from the role are an error, not absent.
    @Test func seesHiddenRows() async throws {
        let site = try await Site()
        try await site.add(2)
        try await site.sql(
            """
            CREATE ROLE \(site.database)_reader LOGIN;
            GRANT SELECT ON audit_log TO \(site.database)_reader;
            ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;
            CREATE POLICY hides ON audit_log FOR SELECT USING (id > 1);
            """)
        let records = site.records(user: "\(site.database)_reader")
        let found = try await failure(PostgresError.self) { try await records.waiting(after: nil) }
        #expect(found.sqlState == "42501")
    }

    /// A session that is ended in the middle of the records fails by its code alone.
    @Test func failsInTheMiddle() async throws {
        let site = try await Site()
        let source = try await site.makeBig()
        try await onThread("read") { _ = try source.next() }
        let found = try await failure(PostgresError.self) {
            try await site.sql(
                """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name = 'lifeboat records' AND datname = current_database()
                """)
            try await drain(source)
        }
        #expect(found.exitCode == .source && found.operation == "read the records")
    }

    /// Given up midway, a read ends at once.
    @Test func endsWhenCancelled() async throws {
        let site = try await Site()
        let source = try await site.makeBig()
        try await onThread("read") { _ = try source.next() }
        source.cancel()
        await #expect(throws: CancellationError.self) { try await drain(source) }
    }
}
