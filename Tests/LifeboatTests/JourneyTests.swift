import Core
import TestSupport
import Testing

/// What a user does, in the order a user does it, against a real server.
@Suite(.serialized, .needs(.postgres))
struct JourneyTests {
    @Test("Backup, list, verify, damage, refused restore, restore, replay: each does what it says")
    func wholeWay() async throws {
        try await Site.with { site in
            let before = try await site.fingerprint()
            let key = try await site.backup()
            #expect(key == "daily/backup-2025-01-15T07-00-00-000Z")

            let verified = try await site.event(["backupKey": .string("latest")])
            #expect(verified.text("verdict") == "proven" && verified.text("proofDepth") == "integrity")
            let recomputed = try await site.event([
                "backupKey": .string("daily/2025-01-15"), "recomputeContents": .bool(true),
            ])
            #expect(recomputed.details["contentsCompared"] == .bool(true))

            let list = try await site.event(["action": .string("list")])
            guard case .array(let sets)? = list.details["sets"], case .object(let set)? = sets.first else {
                Issue.record("no sets in \(list)")
                return
            }
            #expect(sets.count == 1 && set["verdict"] == .string("proven") && set["key"] == .string(key))

            try await site.server.sql(
                "DELETE FROM clinic.results; UPDATE clinic.patients SET name = 'wrong'", database: site.database)
            let damaged = try await site.fingerprint()
            #expect(damaged != before)

            let unconfirmed = try await site.event(
                ["action": .string("restore"), "backupKey": .string(key)], expecting: .restoreNotConfirmed)
            #expect(unconfirmed.error("object").contains("CONFIRM_RESTORE"))
            #expect(try await site.fingerprint() == damaged)

            let restore = site.confirmedRestore(key, ["timestamp": .string("2025-01-16T01:00:00Z")])
            let restored = try await site.event(restore)
            #expect(restored.text("verdict") == "proven" && restored.text("proofDepth") == "restore")
            #expect(try await site.fingerprint() == before)
            let safety = try #require(restored.text("safetyBackupKey"))
            #expect(safety.hasPrefix("safety/safety-backup-"))

            let replay = try await site.event(restore)
            #expect(replay.result["replayed"] == .bool(true))
            #expect(replay.text("safetyBackupKey") == nil)

            // The way back: what was there before the restore stands in the safety backup.
            try await site.event(
                site.confirmedRestore(
                    safety, ["targetDatabase": .string(site.database + "_was"), "createDatabase": .bool(true)]))
            #expect(try await site.fingerprint(site.database + "_was") == damaged)
        }
    }

    @Test("A backup that is run again under the same time or run id finds its set and makes no other")
    func replayedBackup() async throws {
        try await Site.with { site in
            _ = try await site.backup()
            let again = try await site.event([
                "backupType": .string("daily"), "timestamp": .string("2025-01-15T07:00:00Z"),
            ])
            #expect(again.result["replayed"] == .bool(true))
            let run = ["LIFEBOAT_RUN_ID": "0b6c9b0e-uid"]
            let first = try await site.event(["backupType": .string("hourly")], environment: run)
            let second = try await site.event(["backupType": .string("hourly")], environment: run)
            #expect(second.result["replayed"] == .bool(true))
            #expect(first.text("backupKey") == second.text("backupKey"))
            #expect(try await site.manifests().count == 2)
        }
    }

    @Test("A dry run of each action changes neither store nor server")
    func dryRuns() async throws {
        try await Site.with { site in
            let key = try await site.backup()
            // Other tests make databases on the same server meanwhile; these are this site's.
            let databases = "SELECT oid, datname FROM pg_database WHERE datname LIKE '\(site.database)%' ORDER BY 1"
            let (store, before) = (try await site.listing(), try await site.server.sql(databases))
            for event in [
                ["backupType": .string("daily")], ["backupKey": .string(key)], site.confirmedRestore(key),
            ] {
                let ended = try await site.event(event.merging(["dryRun": .bool(true)]) { $1 })
                #expect(ended.result["dryRun"] == .bool(true))
                #expect(ended.text("verdict") != "proven")
            }
            let restore = try await site.event(site.confirmedRestore(key), environment: ["DRY_RUN": "1"])
            #expect(restore.details["neededBytes"] != nil && restore.details["estimatedSeconds"] != nil)
            #expect(try await site.listing() == store)
            #expect(try await site.server.sql(databases) == before)
        }
    }

    @Test("A pod that holds only a public key backs up, and its verify never passes")
    func publicKeyOnly() async throws {
        try await Site.with { site in
            _ = try await runProgram(
                "/usr/bin/openssl",
                [
                    "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out",
                    "\(site.directory)/escrow.pem",
                ])
            _ = try await runProgram(
                "/usr/bin/openssl",
                ["pkey", "-in", "\(site.directory)/escrow.pem", "-pubout", "-out", "\(site.directory)/escrow.pub"])
            let publicOnly = ["BACKUP_RECIPIENTS": "rsa:\(site.directory)/escrow.pub"]
            let made = try await site.event(["backupType": .string("daily")], environment: publicOnly)
            let key = try #require(made.text("backupKey"))
            let closed = try await site.event(
                ["backupKey": .string(key)], environment: publicOnly, expecting: .inconclusive)
            #expect(closed.text("verdict") == "inconclusive")

            // The name of the key is that of its file, so the private half is named like the public one.
            _ = try await runProgram("/bin/mv", ["\(site.directory)/escrow.pub", "\(site.directory)/public.pem"])
            let opened = try await site.event(
                ["backupKey": .string(key)],
                environment: [
                    "BACKUP_RECIPIENTS": "aes:\(site.directory)/clinic.key",
                    "BACKUP_IDENTITIES": "rsa:\(site.directory)/escrow.pem",
                ])
            #expect(opened.text("verdict") == "proven")
            #expect(opened.text("origin") == "unauthenticated")
        }
    }

    @Test("encrypt and decrypt bring a file back, refuse to overwrite, and leave nothing of a damaged one")
    func singleFile() async throws {
        try await Site.with { site in
            let file = site.directory + "/letter.txt"
            try writeFile(file, "for the doctor")
            let sealed = try await Binary.run(["encrypt", file], environment: site.environment)
            #expect(sealed.exitCode == 0, "\(sealed)")
            #expect(try await Binary.run(["encrypt", file], environment: site.environment).exitCode != 0)
            let opened = try await Binary.run(
                ["decrypt", file + ".encrypted", "--output", file + ".again"], environment: site.environment)
            #expect(opened.exitCode == 0, "\(opened)")
            #expect(try contentsOfFile(file + ".again") == Array("for the doctor".utf8))

            var bytes = try contentsOfFile(file + ".encrypted")
            bytes[bytes.count - 3] ^= 1
            try writeFile(file + ".encrypted", bytes)
            let damaged = try await Binary.run(
                ["decrypt", file + ".encrypted", "--output", file + ".damaged"], environment: site.environment)
            #expect(damaged.exitCode == 13, "\(damaged)")
            let files = try await listFiles(site.directory)
            #expect(!files.contains("letter.txt.damaged"))
        }
    }

    @Test("config check prints what is in force and masks what is secret")
    func configCheck() async throws {
        try await Site.with { site in
            let ended = try await Binary.run(
                ["config", "check"],
                environment: site.environment.merging(["POSTGRES_PASSWORD": "NEVER-SHOW-ME"]) { $1 })
            #expect(ended.exitCode == 0, "\(ended)")
            #expect(ended.output.contains("BACKUP_STORE"))
            #expect(!ended.everything.contains("NEVER-SHOW-ME"))
        }
    }
}
