import Core
import TestSupport
import Testing

/// SIGKILL at any instant of what is done with a whole PostgreSQL server: nothing half stays that counts as whole, no
/// process of a recovery is left, and the next run goes on as if nothing had been.
@Suite(.serialized, .needs(.postgres))
struct RecoveryKillTests {
    /// How often each is killed: a seeded few in the quick run, thirty in the long one.
    private static let kills = runsSoak ? 30 : 3

    /// Instants within what `run` takes and a little after, and what it takes.
    private func instants(
        seed: UInt64, of run: () async throws -> Void
    ) async throws -> [(number: Int, delay: Duration)] {
        let begun = ContinuousClock.now
        try await run()
        let whole = ContinuousClock.now - begun
        var random = SeededRandom(seed: seed)
        return (1...Self.kills).map { (number: $0, delay: whole * Double.random(in: 0...1.1, using: &random)) }
    }

    private func timestamp(_ second: Int) -> JSON {
        .string(Timestamp(milliseconds: 1_736_924_400_000).adding(seconds: Int64(second)).description)
    }

    @Test("A base backup killed at random instants leaves no set or a whole one, and lets go of the server")
    func base() async throws {
        try await ServerSite.with { site in
            let instants = try await instants(seed: 20250115) { _ = try await site.backup() }
            for (number, delay) in instants {
                let event: [String: JSON] = ["backupType": .string("daily"), "timestamp": timestamp(number)]
                try await site.runKilled(event, after: delay)
                for manifest in try await site.manifests() {
                    let verified = try await site.event([
                        "backupKey": .string(String(manifest.dropLast("/manifest.json".count)))
                    ])
                    #expect(verified.text("verdict") == "proven", "killed after \(delay): \(verified)")
                }
                try await until("the server has ended what it sent") {
                    try await site.server.sql("SELECT count(*) FROM pg_stat_replication") == "0"
                }
                let next = try await site.runUnlocked(event)
                #expect(next.exitCode == 0, "after a kill at \(delay): \(next)")
            }
            #expect(try await site.manifests().count == Self.kills + 1)
        }
    }

    @Test("Of a log whose jobs are killed at random instants nothing is missing: the last commit comes back from it")
    func log() async throws {
        try await ServerSite.with { site in
            _ = try await site.backup()
            func write(_ number: Int) async throws {
                // Several segments, so that there is something to be killed between.
                for _ in 1...4 {
                    try await site.mark("mark \(number)")
                    try await site.server.sql("SELECT pg_switch_wal()")
                }
            }
            try await write(0)
            let instants = try await instants(seed: 20250116) { try await site.archive() }
            for (number, delay) in instants {
                try await write(number)
                try await site.runKilled(["action": .string("wal")], after: delay)
                try await until("the server has let go of the slot") {
                    try await site.server.sql("SELECT count(*) FROM pg_replication_slots WHERE active") == "0"
                }
                // Every other time what the killed job left is found by the next killed one.
                if number % 2 == 0 { try await site.archive() }
            }
            try await site.archive()
            try await site.event([
                "CONFIRM_RESTORE": .string("YES_I_WANT_TO_RESTORE"), "recoveryTarget": .string("latest"),
            ])
            let marks = try await site.marks(inDirectory: site.restored + "/data")
            #expect(marks == (0...Self.kills).flatMap { [String](repeating: "mark \($0)", count: 4) }.sorted())
        }
    }

    @Test("A recovery killed at random instants leaves no server behind, and the next run makes the directory whole")
    func recovery() async throws {
        try await ServerSite.with { site in
            _ = try await site.backup()
            try await site.mark("after the base")
            try await site.archive()
            func event(_ number: Int) -> [String: JSON] {
                [
                    "CONFIRM_RESTORE": .string("YES_I_WANT_TO_RESTORE"), "recoveryTarget": .string("latest"),
                    "targetDatabase": .string("\(site.restored)/\(number)"), "timestamp": timestamp(number),
                ]
            }
            let instants = try await instants(seed: 20250117) { try await site.event(event(0)) }
            for (number, delay) in instants {
                try await site.runKilled(event(number), after: delay)
                try await until("the recovery's server has gone") { try processes(naming: site.restored).isEmpty }
                let next = try await site.runUnlocked(event(number))
                #expect(next.exitCode == 0, "after a kill at \(delay): \(next)")
                #expect(try await everything(in: site.temporary).isEmpty, "after a kill at \(delay)")
                let marks = try await site.marks(inDirectory: "\(site.restored)/\(number)/data")
                #expect(marks == ["after the base"], "after a kill at \(delay)")
            }
        }
    }

    @Test("A drill killed at random instants leaves no scratch server, and the next one clears what it left")
    func drill() async throws {
        try await ServerSite.with { site in
            _ = try await site.backup()
            try await site.mark("after the base")
            try await site.archive()
            func event(_ number: Int) -> [String: JSON] {
                [
                    "action": .string("drill"), "scenario": .string("SYSTEM_FAILURE"), "backupKey": .string("latest"),
                    "timestamp": timestamp(number),
                ]
            }
            let instants = try await instants(seed: 20250118) { try await site.event(event(0)) }
            for (number, delay) in instants {
                try await site.runKilled(event(number), after: delay)
                try await until("the scratch server has gone") { try processes(naming: site.scratch).isEmpty }
                let next = try await site.runUnlocked(event(number))
                #expect(next.text("verdict") == "proven", "after a kill at \(delay): \(next)")
                let left = try await everything(in: site.scratch) + everything(in: site.temporary)
                #expect(left.isEmpty, "after a kill at \(delay): \(left)")
            }
        }
    }
}
