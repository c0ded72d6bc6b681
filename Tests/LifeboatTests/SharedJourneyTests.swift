import Core
import TestSupport
import Testing

/// What a user does, in the order a user does it, with every kind of source alike.
@Suite(.serialized)
struct SharedJourneyTests {
    @Test(
        "Backup, list, verify, damage, refused restore, restore, replay, hold, export: each does what it says",
        arguments: SourceKind.restorable)
    func wholeWay(_ kind: SourceKind) async throws {
        try await EngineSite.with(kind) { site in
            let before = try await site.source.fingerprint()
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

            try await site.source.spoil(1)
            let damaged = try await site.source.fingerprint()
            #expect(damaged != before)

            let unconfirmed = try await site.event(
                ["action": .string("restore"), "backupKey": .string(key)], expecting: .restoreNotConfirmed)
            #expect(unconfirmed.error("object").contains("CONFIRM_RESTORE"))
            #expect(try await site.source.fingerprint() == damaged)

            let restore = site.confirmedRestore(key, ["timestamp": .string("2025-01-16T01:00:00Z")])
            let restored = try await site.event(restore)
            #expect(restored.text("verdict") == "proven" && restored.text("proofDepth") == "restore")
            #expect(try await site.source.fingerprint() == before)
            let safety = try #require(restored.text("safetyBackupKey"))
            #expect(safety.hasPrefix("safety/safety-backup-"))

            let replay = try await site.event(restore)
            #expect(replay.result["replayed"] == .bool(true))
            #expect(replay.text("safetyBackupKey") == nil)

            // The way back: what was there before the restore stands in the safety backup.
            try await site.event(site.confirmedRestore(safety))
            #expect(try await site.source.fingerprint() == damaged)
        }
    }

    @Test(
        "A backup that is run again under the same time or run id finds its set and makes no other",
        arguments: SourceKind.present)
    func replayedBackup(_ kind: SourceKind) async throws {
        try await EngineSite.with(kind) { site in
            _ = try await site.backup()
            let again = try await site.event([
                "backupType": .string("daily"), "timestamp": .string("2025-01-15T07:00:00Z"),
            ])
            #expect(again.result["replayed"] == .bool(true))
            try await site.source.spoil(1)
            let run = ["LIFEBOAT_RUN_ID": "0b6c9b0e-uid"]
            let first = try await site.event(["backupType": .string("hourly")], environment: run)
            let second = try await site.event(["backupType": .string("hourly")], environment: run)
            #expect(second.result["replayed"] == .bool(true))
            #expect(first.text("backupKey") == second.text("backupKey"))
            #expect(try await site.manifests().count == 2)
        }
    }

    @Test("A dry run of each action changes neither store nor source", arguments: SourceKind.restorable)
    func dryRuns(_ kind: SourceKind) async throws {
        try await EngineSite.with(kind) { site in
            let key = try await site.backup()
            let store = try await site.listing()
            let (before, beside) = (try await site.source.fingerprint(), try await site.source.leftovers())
            let export = site.directory + "/export"
            for event: [String: JSON] in [
                ["backupType": .string("daily")], ["backupKey": .string(key)], site.confirmedRestore(key),
                ["action": .string("prune")], ["action": .string("rewrap")],
                ["action": .string("hold"), "backupKey": .string(key), "reason": .string("case 4711")],
                ["action": .string("export"), "backupKey": .string(key), "directory": .string(export)],
            ] {
                let ended = try await site.event(event.merging(["dryRun": .bool(true)]) { $1 })
                #expect(ended.result["dryRun"] == .bool(true), "\(ended)")
                #expect(ended.text("verdict") != "proven")
            }
            let restore = try await site.event(site.confirmedRestore(key), environment: ["DRY_RUN": "1"])
            #expect(restore.details["neededBytes"] != nil && restore.details["estimatedSeconds"] != nil)
            #expect(try await site.listing() == store)
            #expect(try await site.source.fingerprint() == before)
            #expect(try await site.source.leftovers() == beside)
        }
    }
}
