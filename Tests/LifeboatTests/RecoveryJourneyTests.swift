import Core
import TestSupport
import Testing

/// What a user does with a whole PostgreSQL server: bases, the log between them, and the way back to a moment.
@Suite(.serialized, .needs(.postgres))
struct RecoveryJourneyTests {
    @Test("A server is brought back to between two commits: one database beside the live one, and the whole of it")
    func betweenTwoCommits() async throws {
        try await ServerSite.with { site in
            let base = try await site.backup()
            try await site.mark("before")
            let moment = try await site.now()
            try await site.mark("mistake")
            try await site.archive()

            let target: [String: JSON] = ["recoveryTarget": .object(["time": .string(moment)])]
            let confirmed: [String: JSON] = ["CONFIRM_RESTORE": .string("YES_I_WANT_TO_RESTORE")]
            let beside: [String: JSON] = [
                "sourceDatabase": .string("clinic"), "targetDatabase": .string("clinic_then"),
                "createDatabase": .bool(true),
            ]
            let planned = try await site.event(
                confirmed.merging(target) { $1 }.merging(["dryRun": .bool(true)]) { $1 })
            #expect(planned.result["dryRun"] == .bool(true) && planned.text("backupKey") == base, "\(planned)")
            #expect(try await everything(in: site.restored).isEmpty)
            try await expectPlanned(site, confirmed.merging(target) { $1 }, beside)

            let one = try await site.event(confirmed.merging(target) { $1 }.merging(beside) { $1 })
            #expect(one.text("backupKey") == base && one.text("verdict") == "proven", "\(one)")
            #expect(try await site.marks(in: "clinic_then") == ["before"])
            #expect(try await site.marks(in: "clinic") == ["before", "mistake"])
            #expect(try await everything(in: site.scratch).isEmpty)

            let restore = confirmed.merging(target) { $1 }
            let timed = restore.merging(["timestamp": .string("2025-01-16T01:00:00Z")]) { $1 }
            let whole = try await site.event(timed)
            #expect(whole.text("backupKey") == base, "\(whole)")
            let replay = try await site.event(timed)
            #expect(replay.result["replayed"] == .bool(true), "\(replay)")
            // Another request finds the directory taken.
            let refused = try await site.run(restore)
            #expect(refused.exitCode != 0 && refused.error("hint") != "", "\(refused)")
            #expect(try await site.marks(inDirectory: site.restored + "/data") == ["before"])
        }
    }

    /// A dry run for one database looks at both places, and stops where the real run would.
    private func expectPlanned(
        _ site: ServerSite, _ restore: [String: JSON], _ beside: [String: JSON]
    ) async throws {
        let dry = restore.merging(["dryRun": .bool(true)]) { $1 }
        let planned = try await site.event(dry.merging(beside) { $1 })
        #expect(planned.details["replaces"] == .null, "\(planned)")
        var scratch: [String: JSON] = [:]
        if case .object(let members)? = planned.details["scratch"] { scratch = members }
        for place in [planned.details, scratch] {
            for name in ["neededBytes", "freeBytes"] {
                guard case .integer(let bytes)? = place[name], bytes > 0 else {
                    Issue.record("\(name) is missing: \(planned)")
                    continue
                }
            }
        }
        let nowhere: [String: JSON] = [
            "sourceDatabase": .string("clinic"), "targetDatabase": .string("clinic_then"),
        ]
        for event in [dry, restore] {
            let refused = try await site.event(
                event.merging(nowhere) { $1 }, expecting: .restoreFailedOriginalIntact)
            #expect(refused.error("cause").contains("there is no database 'clinic_then'"), "\(refused)")
        }
        #expect(try await everything(in: site.scratch).isEmpty)
    }

    @Test("A database is taken back to before a transaction in its own place, and from there to its safety backup")
    func inPlace() async throws {
        try await ServerSite.with { site in
            try await site.backup(inPlaceOf: "before")
            let transaction = try await site.server.sql(
                "INSERT INTO marks VALUES ('mistake'); SELECT pg_current_xact_id()", database: "clinic")
            // The statement above is two transactions: the row's is the one before the question's.
            let mistake = try #require(UInt64(transaction)) - 1
            try await site.archive()
            let restored = try await site.event([
                "CONFIRM_RESTORE": .string("YES_I_WANT_TO_RESTORE"), "sourceDatabase": .string("clinic"),
                "recoveryTarget": .object(["xid": .integer(Int64(mistake)), "inclusive": .bool(false)]),
            ])
            #expect(restored.text("verdict") == "proven", "\(restored)")
            #expect(try await site.marks(in: "clinic") == ["before"])
            let safety = try #require(restored.text("safetyBackupKey"))

            try await site.event(["backupKey": .string(safety)])
            try await site.event(
                site.confirmedRestore(safety, ["targetDatabase": .string("clinic")]))
            #expect(try await site.marks(in: "clinic") == ["before", "mistake"])
        }
    }

    @Test("The log is stored once, and costs nothing when nothing is new")
    func log() async throws {
        try await ServerSite.with { site in
            try await site.event(["action": .string("wal"), "dryRun": .bool(true)])
            #expect(try await site.listing().isEmpty)
            #expect(try await site.server.sql("SELECT count(*) FROM pg_replication_slots") == "0")
            try await site.archive()
            let first = try await site.listing().filter { $0.hasPrefix("wal/") && $0.hasSuffix(".zst.encrypted") }
            #expect(!first.isEmpty)
            try await site.archive()
            #expect(
                try await site.listing().filter { $0.hasPrefix("wal/") && $0.hasSuffix(".zst.encrypted") } == first)

        }
    }

    @Test("A server archives its own log by push and gets it back by fetch, with the exit codes that it understands")
    func pushAndFetch() async throws {
        try await ServerSite.with { site in
            try await site.mark("before")
            let name = try await site.server.sql("SELECT pg_walfile_name(pg_switch_wal())")
            let file = site.server.dataDirectory + "/pg_wal/" + name
            for _ in 1...2 {
                let pushed = try await Binary.run(
                    ["wal", "push", "pg_wal/" + name], environment: site.environment, in: site.server.dataDirectory)
                #expect(pushed.exitCode == 0, "\(pushed)")
            }
            let path = site.directory + "/fetched"
            let fetched = try await Binary.run(
                ["wal", "fetch", name, path], environment: site.environment, in: site.server.dataDirectory)
            #expect(fetched.exitCode == 0, "\(fetched)")
            #expect(try contentsOfFile(path) == contentsOfFile(file))

            let missing = String(repeating: "0", count: 7) + "1" + String(repeating: "0", count: 13) + "FFF"
            let none = try await Binary.run(["wal", "fetch", missing, path + "2"], environment: site.environment)
            #expect(none.exitCode == 1, "\(none)")
            // Whatever else goes wrong must not look like the end of the log.
            let broken = ["BACKUP_RECIPIENTS": "aes:/nowhere.key"]
            for (arguments, more) in [
                (["wal", "fetch", name, path + "3"], broken), (["wal", "fetch", name], [:]),
                (["wal", "hand-over", path, name, path], [:]),
            ] {
                let ended = try await Binary.run(arguments, environment: site.environment.merging(more) { $1 })
                #expect(try #require(ended.exitCode) > 125, "\(arguments): \(ended)")
            }

            // Another file of the same name.
            var bytes = try contentsOfFile(file)
            bytes[bytes.count - 1] ^= 1
            let other = site.directory + "/" + name
            try writeFile(other, bytes)
            let refused = try await Binary.run(
                ["wal", "push", other], environment: site.environment, in: site.server.dataDirectory)
            #expect(try #require(refused.exitCode) != 0, "\(refused)")
            #expect(try #require(refused.exitCode) <= 125, "\(refused)")
        }
    }

    @Test("A set of a whole server is proven by starting it, and each disaster is rehearsed and recorded")
    func rehearsals() async throws {
        try await ServerSite.with { site in
            let key = try await site.backup()
            let proven = try await site.event([
                "action": .string("verify"), "backupKey": .string(key), "depth": .string("restore"),
            ])
            #expect(proven.text("verdict") == "proven" && proven.text("proofDepth") == "restore", "\(proven)")
            for scenario in DrillJob.Scenario.allCases {
                try await site.event(["backupType": .string("hourly")])
                // A point between two commits needs the log after the base.
                try await site.mark("before \(scenario.rawValue)")
                try await site.mark("after \(scenario.rawValue)")
                try await site.archive()
                let before = try await site.listing().filter { $0.hasPrefix("proofs/") }
                let drilled = try await site.event([
                    "action": .string("drill"), "scenario": .string(scenario.rawValue),
                    "backupKey": .string("latest"),
                ])
                #expect(drilled.text("verdict") == "proven", "\(drilled)")
                let after = try await site.listing().filter { $0.hasPrefix("proofs/") }
                #expect(after.count == before.count + 1, "\(drilled)")
                #expect(try await everything(in: site.scratch).isEmpty)
            }
        }
    }
}

extension ServerSite {
    /// A base, and a row in it by which it is told from what comes later.
    fileprivate func backup(inPlaceOf mark: String) async throws {
        try await self.mark(mark)
        _ = try await backup()
    }
}
