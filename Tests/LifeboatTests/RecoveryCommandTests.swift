import Core
import TestSupport
import Testing

/// The shell's words for recovery, drills and the log, as far as they are refused before a server is asked.
struct RecoveryCommandTests {
    /// Arguments with what they are refused for.
    private static let refused: [(arguments: [String], exitCode: Int32, object: String)] = [
        (["restore", "--recovery-target-time", "2025-01-15 07:00:00"], 2, "recoveryTarget.time"),
        (["restore", "--recovery-target-time", "2125-01-15 07:00:00Z"], 2, "recoveryTarget.time"),
        (["restore", "--recovery-target-xid", "2"], 2, "recoveryTarget.xid"),
        (["restore", "--recovery-target-lsn", "0/0"], 2, "recoveryTarget.lsn"),
        (["restore", "--recovery-target-name", ""], 2, "recoveryTarget.name"),
        (["restore", "--recovery-target-xid", "7", "--recovery-target-latest"], 2, "recoveryTarget"),
        (["restore", "--recovery-target-latest", "--recovery-target-exclusive"], 2, "recoveryTarget.inclusive"),
        (["restore", "--recovery-target-xid", "7", "--recovery-target-timeline", "0"], 2, "recoveryTarget.timeline"),
        (["restore"], 2, "backupKey"),
        (["restore", "latest", "--source-database", String(repeating: "d", count: 64)], 2, "sourceDatabase"),
        (["restore", "latest", "--create-database"], 2, "createDatabase"),
        (["verify", "--depth", "deep"], 2, "depth"),
        (["verify", "--depth", "restore", "--contents"], 2, "recomputeContents"),
        (["drill", "FLOOD"], 2, "scenario"),
        (["drill", "KEY_LOSS", "../x"], 2, "backupKey"),
    ]

    @Test("What the shell asks for is the event that would be refused for the same reason")
    func options() async throws {
        try await withScratchDirectory { directory in
            _ = try await runProgram("/bin/mkdir", ["\(directory)/store"])
            try writeFile(directory + "/clinic.key", String(repeating: "5a", count: 32))
            let environment = [
                "BACKUP_METHOD": "physical", "POSTGRES_HOST": directory, "POSTGRES_DB": "clinic",
                "POSTGRES_USER": "backup", "BACKUP_STORE": "file://\(directory)/store",
                "BACKUP_RECIPIENTS": "aes:\(directory)/clinic.key", "RESTORE_DIRECTORY": directory + "/restored",
                "SCRATCH_DIRECTORY": directory + "/scratch",
            ]
            for (arguments, exitCode, object) in Self.refused {
                let confirm = arguments.first == "restore" ? ["--confirm", "YES_I_WANT_TO_RESTORE"] : []
                let ended = try await Binary.run(arguments + confirm, environment: environment)
                #expect(ended.exitCode == exitCode && ended.error("object") == object, "\(arguments): \(ended)")
            }
            let unconfirmed = try await Binary.run(
                ["restore", "--recovery-target-latest"], environment: environment)
            #expect(unconfirmed.exitCode == 3, "\(unconfirmed)")
            // A set of one database has no log.
            let logical = environment.merging(["BACKUP_METHOD": "", "RESTORE_DIRECTORY": ""]) { $1 }
            #expect(try await Binary.run(["wal"], environment: logical).error("object") == "action")
            #expect(try await Binary.run(["wal", "push", "x"], environment: logical).exitCode == 4)
            #expect(try await Binary.run(["wal", "fetch", "x", "y"], environment: logical).exitCode == 126)
            let dry = environment.merging(["DRY_RUN": "1"]) { $1 }
            #expect(try await Binary.run(["wal", "push", "x"], environment: dry).error("object") == "DRY_RUN")
            #expect(try await Binary.run(["wal", "fetch", "x", "y"], environment: dry).exitCode == 126)
            // Here is no cluster that would say whose log it is.
            let elsewhere = try await Binary.run(
                ["wal", "push", "clinic.key"], environment: environment, in: directory)
            #expect(elsewhere.exitCode == 4 && elsewhere.error("hint").contains("data directory"), "\(elsewhere)")
            #expect(try await listFiles(directory + "/store").isEmpty)
        }
    }

    @Test("A usage error of what a server calls for its log ends a recovery rather than looking like the log's end")
    func usage() async throws {
        for arguments in [["wal", "fetch"], ["wal", "fetch", "a"], ["wal", "hand-over", "a", "b"]] {
            #expect(try await Binary.run(arguments, environment: [:]).exitCode == 126, "\(arguments)")
        }
        // Nothing is configured.
        #expect(try await Binary.run(["wal", "fetch", "a", "b"], environment: [:]).exitCode == 126)
        #expect(try await Binary.run(["wal", "push"], environment: [:]).exitCode == 2)
        #expect(try await Binary.run(["wal", "push", "a"], environment: [:]).exitCode == 4)
        #expect(try await Binary.run(["wal", "--help"], environment: [:]).exitCode == 0)
    }
}
