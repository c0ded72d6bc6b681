import Core
import Glibc
import TestSupport
import Testing

/// Everything around a backup that can fail: the right code, a hint, and no set.
@Suite(.serialized, .needs(.postgres))
struct FailureTests {
    /// Puts `script` in the place of a program, in a directory that has links to the real others.
    private func fakeTools(
        _ directory: String, _ server: PostgresServer, _ scripts: [String: String]
    ) async throws
        -> String
    {
        let bin = directory + "/bin"
        mkdir(bin, 0o755)
        for tool in ["pg_dump", "pg_dumpall", "psql"] where scripts[tool] == nil {
            symlink("\(server.binaries)/\(tool)", "\(bin)/\(tool)")
        }
        for (tool, script) in scripts {
            // Asked for its version a fake answers like the real one.
            try writeFile(
                "\(bin)/\(tool)",
                "#!/bin/sh\ncase \"$*\" in *--version*) exec \(server.binaries)/\(tool) --version;; esac\n\(script)\n"
            )
            chmod("\(bin)/\(tool)", 0o755)
        }
        return bin
    }

    private func expectNoSet(
        _ site: Site, _ ended: Binary.Ended, sourceLocation: SourceLocation = #_sourceLocation
    )
        async throws
    {
        #expect(ended.error("hint") != "", "no hint: \(ended)", sourceLocation: sourceLocation)
        let listing = try await site.listing().filter { !$0.hasPrefix("locks/") }
        #expect(listing.isEmpty, "left behind: \(listing)", sourceLocation: sourceLocation)
    }

    @Test("A server that is down, a wrong password, a database that is not there: the source's code")
    func source() async throws {
        try await Site.with { site in
            let daily: [String: JSON] = ["backupType": .string("daily")]
            let down = try await site.event(
                daily, environment: ["POSTGRES_HOST": site.directory], expecting: .source)
            try await expectNoSet(site, down)
            let missing = try await site.event(
                daily, environment: ["POSTGRES_DB": "no_such_database"], expecting: .source)
            #expect(missing.error("object").contains("no_such_database") || missing.error("cause").contains("exist"))
            try await expectNoSet(site, missing)
        }
        let locked = try await PostgresServer.start(PostgresServer.Options(password: "right"))
        do {
            try await Site.with(server: locked) { site in
                let wrong = try await site.event(
                    ["backupType": .string("daily")], environment: ["POSTGRES_PASSWORD": "NEVER-SHOW-ME"],
                    expecting: .source)
                #expect(wrong.error("cause").contains("password"))
                #expect(!wrong.everything.contains("NEVER-SHOW-ME"))
                try await expectNoSet(site, wrong)
                try await site.event(["backupType": .string("daily")], environment: ["POSTGRES_PASSWORD": "right"])
            }
        }
        try await locked.stop()
    }

    @Test(
        "A dump tool that is killed midway, fails late, stops early or is missing leaves no set",
        arguments: [
            "killed midway": "exec 3>&1; \"$REAL\" \"$@\" | head -c 3000 >&3; kill -KILL $$",
            "exits 1 after everything": "\"$REAL\" \"$@\"; exit 1",
            "exits 0 without its completion line": "\"$REAL\" \"$@\" | sed '/database dump complete/d'; exit 0",
            "exits 0 halfway": "\"$REAL\" \"$@\" | head -c 3000; exit 0",
            "writes nothing": "exit 0",
        ])
    func dumpTool(_ name: String, _ script: String) async throws {
        try await Site.with { site in
            let bin = try await fakeTools(
                site.directory, site.server, ["pg_dump": "REAL=\(site.server.binaries)/pg_dump\n\(script)"])
            let ended = try await site.event(
                ["backupType": .string("daily")], environment: ["POSTGRES_BIN": bin], expecting: .source)
            try await expectNoSet(site, ended)
        }
    }

    @Test("A dump tool that is not installed is named with what to install")
    func missingTool() async throws {
        try await Site.with { site in
            let ended = try await site.event(
                ["backupType": .string("daily")], environment: ["POSTGRES_BIN": site.directory], expecting: .source)
            #expect(ended.error("hint").contains("postgresql-client"))
            try await expectNoSet(site, ended)
        }
    }

    @Test(
        "A full disk ends the backup with the store's code and leaves no set",
        .enabled(if: getuid() == 0 || runsInCI, "needs root, for a small file system"))
    func fullDisk() async throws {
        try await Site.with(Clinic.sql(patients: 20_000)) { site in
            try await runProgram(
                "/bin/mount", ["-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", site.store])
            do {
                let ended = try await site.event(["backupType": .string("daily")], expecting: .store)
                #expect(ended.error("cause").contains("space") || ended.error("cause").contains("full"))
                try await expectNoSet(site, ended)
            } catch {
                try await runProgram("/bin/umount", ["-l", site.store])
                throw error
            }
            try await runProgram("/bin/umount", ["-l", site.store])
        }
    }

    @Test("A second backup meanwhile ends with 75 and names the holder, and touches nothing")
    func locked() async throws {
        try await Site.with { site in
            let bin = try await fakeTools(
                site.directory, site.server,
                [
                    "pg_dump":
                        "touch \(site.directory)/begun; while [ ! -e \(site.directory)/go ]; do sleep 0.1; done; exec \(site.server.binaries)/pg_dump \"$@\""
                ])
            async let first = site.event(["backupType": .string("daily")], environment: ["POSTGRES_BIN": bin])
            while access(site.directory + "/begun", F_OK) != 0 { try await Task.sleep(for: .milliseconds(20)) }
            let second = try await site.event(["backupType": .string("weekly")], expecting: .locked)
            #expect(second.error("cause").contains("pid"))
            try writeFile(site.directory + "/go", "")
            _ = try await first
            #expect(try await site.manifests().count == 1)
        }
    }

    @Test("SIGTERM ends a backup within ten seconds with 143, cleaned up")
    func terminated() async throws {
        try await Site.with { site in
            let bin = try await fakeTools(
                site.directory, site.server, ["pg_dump": "touch \(site.directory)/begun; exec sleep 1000"])
            let begun = ContinuousClock.now
            let ended = try await Binary.run(
                environment: site.environment.merging(["POSTGRES_BIN": bin]) { $1 }, input: #"{"backupType":"daily"}"#
            ) { pid in
                while access(site.directory + "/begun", F_OK) != 0 { try await Task.sleep(for: .milliseconds(20)) }
                kill(pid, SIGTERM)
            }
            #expect(ended.exitCode == 143, "\(ended)")
            #expect(ContinuousClock.now - begun < .seconds(30))
            let left = try await site.listing().filter { !$0.hasPrefix("locks/") }
            #expect(left.isEmpty)
            // The lock was given back: the next run need not wait for it to run out.
            try await site.event(["backupType": .string("daily")])
        }
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

    @Test("No progress for the stall timeout ends the job by the name of the stage")
    func stalled() async throws {
        try await Site.with { site in
            let bin = try await fakeTools(site.directory, site.server, ["pg_dump": "exec sleep 1000"])
            let ended = try await site.event(
                ["backupType": .string("daily")], environment: ["POSTGRES_BIN": bin, "BACKUP_STALL_TIMEOUT": "2"],
                expecting: .source)
            #expect(ended.error("object") == "dump")
            try await expectNoSet(site, ended)
        }
    }
}
