import Core
import PostgresEngine
import TestSupport
import Testing

/// Every change that a restore could make to a database shows in the contents, under the name of its object.
@Suite("Contents of a changed database", .serialized, .needs(.postgres))
struct DumpChangeTests {
    struct Change: CustomTestStringConvertible {
        var sql: String
        /// What one of the failures has to contain.
        var names: String

        var testDescription: String { sql }
    }

    static let changes = [
        Change(
            sql: "UPDATE clinic.patients SET address = address || '.' WHERE id = 7", names: "table clinic.patients"),
        Change(sql: "INSERT INTO clinic.notes SELECT * FROM clinic.notes LIMIT 1", names: "101 rows instead of 100"),
        Change(sql: "DELETE FROM clinic.results WHERE id = 1", names: "table clinic.results has 499 rows"),
        Change(
            sql: "ALTER TABLE clinic.results ALTER unit TYPE varchar(30)", names: "table clinic.results is defined"),
        Change(sql: "ALTER TABLE clinic.notes ALTER body SET NOT NULL", names: "table clinic.notes is defined"),
        Change(sql: "ALTER TABLE clinic.notes RENAME body TO text", names: "table clinic.notes has other columns"),
        Change(sql: "ALTER TABLE clinic.visits DROP CONSTRAINT visits_fee_check", names: "table clinic.visits"),
        Change(sql: "ALTER TABLE clinic.patients ALTER created DROP DEFAULT", names: "table clinic.patients"),
        Change(sql: "ALTER TABLE clinic.notes OWNER TO lb_owner", names: "table clinic.notes has another owner"),
        Change(sql: "GRANT SELECT ON clinic.notes TO lb_reader", names: "acl clinic.TABLE notes"),
        Change(sql: "REVOKE SELECT ON clinic.patients FROM lb_reader", names: "acl clinic.TABLE patients"),
        Change(sql: "DROP INDEX clinic.visits_patient", names: "index clinic.visits_patient is missing"),
        Change(
            sql: "DROP INDEX clinic.visits_patient; CREATE INDEX visits_patient ON clinic.visits (at)",
            names: "index clinic.visits_patient is defined"),
        Change(sql: "DROP TRIGGER touch ON clinic.notes", names: "trigger clinic.notes touch is missing"),
        Change(sql: "ALTER TABLE clinic.notes DISABLE TRIGGER touch", names: "trigger clinic.notes touch"),
        Change(
            sql: "ALTER TABLE clinic.visits DROP CONSTRAINT visits_patient_fkey",
            names: "fk constraint clinic.visits visits_patient_fkey is missing"),
        Change(sql: "SELECT setval('clinic.patients_id_seq', 5)", names: "sequence clinic.patients_id_seq"),
        Change(sql: "DROP VIEW clinic.fees", names: "view clinic.fees is missing"),
        Change(
            sql:
                "CREATE OR REPLACE FUNCTION clinic.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
            names: "function clinic.touch()"),
        Change(sql: "ALTER TABLE clinic.notes DISABLE ROW LEVEL SECURITY", names: "row security clinic.notes"),
        Change(sql: "ALTER POLICY own ON clinic.notes TO lb_owner", names: "policy clinic.notes own"),
        Change(sql: "SELECT lo_put(4711, 1, 'X')", names: "largeObject 4711"),
        Change(sql: "COMMENT ON TABLE clinic.notes IS 'changed'", names: "comment clinic.TABLE notes"),
    ]

    private static let additions = """
        CREATE FUNCTION clinic.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER touch BEFORE UPDATE ON clinic.notes FOR EACH ROW EXECUTE FUNCTION clinic.touch();
        ALTER TABLE clinic.notes ENABLE ROW LEVEL SECURITY;
        CREATE POLICY own ON clinic.notes TO lb_reader USING (body <> '');
        GRANT SELECT, INSERT ON clinic.patients TO lb_reader;
        COMMENT ON TABLE clinic.notes IS 'notes';
        SELECT lo_from_bytea(4711, 'abcdef');
        """

    private static let original = Task {
        let server = try await PostgresServer.shared()
        try await server.sql(AwkwardDatabase.rolesSQL)
        let database = try await Clinic.create(on: server, patients: 100, prefix: "original")
        try await server.sql(additions, database: database)
        return (server, database, try read(try await server.dump(database), pieces: Chunk.size).contents)
    }

    @Test("shows the change as a failure that names the object", arguments: changes)
    func shows(change: Change) async throws {
        let (server, original, recorded) = try await Self.original.value
        try await server.sql("CREATE DATABASE changed TEMPLATE \(original)")
        try await server.sql(change.sql, database: "changed")
        let found = try read(try await server.dump("changed"), pieces: Chunk.size).contents
        try await server.sql("DROP DATABASE changed")
        let comparison = ContentsComparison(recorded: recorded, found: found)
        #expect(comparison.failures.contains { $0.contains(change.names) }, "\(comparison.failures)")
    }

    @Test("lists what a server may print differently as a reprint, not as a failure")
    func reprints() async throws {
        let (server, original, recorded) = try await Self.original.value
        try await server.sql("CREATE DATABASE changed TEMPLATE \(original)")
        try await server.sql(
            """
            CREATE OR REPLACE VIEW clinic.fees AS
                SELECT patient, sum(fee + 0) AS total FROM clinic.visits GROUP BY patient;
            ALTER TABLE clinic.patients ALTER created SET DEFAULT clock_timestamp();
            ALTER POLICY own ON clinic.notes USING (body <> 'x');
            DROP INDEX clinic.results_high;
            CREATE INDEX results_high ON clinic.results (code) WHERE value > 101;
            """, database: "changed")
        let found = try read(try await server.dump("changed"), pieces: Chunk.size).contents
        try await server.sql("DROP DATABASE changed")
        let comparison = ContentsComparison(recorded: recorded, found: found)
        #expect(comparison.failures == [])
        #expect(comparison.reprints.count == 4, "\(comparison.reprints)")
    }
}
