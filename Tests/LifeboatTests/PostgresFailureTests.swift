import Core
import TestSupport
import Testing

/// What of the failures around a backup only PostgreSQL has; the others are ``FailureTests``'.
@Suite(.serialized, .needs(.postgres))
struct PostgresFailureTests {
    @Test("A wrong password is named as such and never shown, and the right one is enough")
    func password() async throws {
        let locked = try await PostgresServer.start(PostgresServer.Options(password: "right"))
        do {
            try await Site.with(server: locked) { site in
                let wrong = try await site.event(
                    ["backupType": .string("daily")], environment: ["POSTGRES_PASSWORD": "NEVER-SHOW-ME"],
                    expecting: .source)
                #expect(wrong.error("cause").contains("password"))
                #expect(!wrong.everything.contains("NEVER-SHOW-ME"))
                try await site.expectNoSet(wrong)
                try await site.event(["backupType": .string("daily")], environment: ["POSTGRES_PASSWORD": "right"])
            }
        } catch {
            try await locked.stop()
            throw error
        }
        try await locked.stop()
    }

    @Test(
        "A row that the server refuses at a restore, and its values, appear in no output, log or error",
        arguments: [
            // Each can be dumped, and cannot be loaded once the function says otherwise; psql would print the row.
            "ALTER TABLE notes ADD CHECK (harmless(body) > 0)", "CREATE UNIQUE INDEX ON notes (harmless(body))",
        ])
    func refusedRow(_ definition: String) async throws {
        let clinic = """
            CREATE FUNCTION harmless(text) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT hashtextextended($1, 0) & 1023 | 1';
            CREATE TABLE notes (id int, body text);
            INSERT INTO notes VALUES (1, 'MARKER-OF-A-PATIENT'), (2, 'MARKER-OF-ANOTHER');
            \(definition);
            CREATE OR REPLACE FUNCTION harmless(text) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT 0::bigint';
            """
        try await Site.with(clinic) { site in
            let key = try await site.backup()
            let before = try await site.fingerprint()
            let ended = try await site.event(
                site.confirmedRestore(key), environment: ["DEBUG": "1"], expecting: .restoreFailedOriginalIntact)
            #expect(!ended.everything.contains("MARKER"), "\(ended)")
            #expect(ended.error("hint") != "")
            #expect(try await site.fingerprint() == before)
            #expect(try await site.leftovers().isEmpty)
        }
    }
}
