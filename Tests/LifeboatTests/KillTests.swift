import Core
import Glibc
import TestSupport
import Testing

/// SIGKILL at any instant: no set or a whole one, the original or the restored database under the name, and a next run
/// that goes on as if nothing had been.
@Suite(.serialized, .needs(.postgres))
struct KillTests {
    /// How often each is killed: a seeded few in the quick run, fifty in the long one.
    private static let kills = runsSoak ? 50 : 6

    /// Runs `event` and kills the process after `share` of the time that an undisturbed run took.
    private func runKilled(_ site: Site, _ event: [String: JSON], after delay: Duration) async throws -> Binary.Ended
    {
        try await Binary.run(environment: site.environment, input: JSON.object(event).canonicalText) { pid in
            // The instant is the test's subject, so it has to be a real one.
            try await Task.sleep(for: delay)
            kill(pid, SIGKILL)
        }
    }

    /// Runs `event` until the killed run's lock has run out.
    private func runUndisturbed(_ site: Site, _ event: [String: JSON]) async throws -> Binary.Ended {
        while true {
            let ended = try await Binary.run(
                environment: site.environment, input: JSON.object(event).canonicalText)
            guard ended.exitCode == Core.ExitCode.locked.rawValue else { return ended }
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    @Test("A backup killed at random instants leaves no set or a whole one, and the next run makes its own")
    func backup() async throws {
        try await Site.with(Clinic.sql(patients: 3000)) { site in
            let begun = ContinuousClock.now
            _ = try await site.backup()
            let whole = ContinuousClock.now - begun
            var random = SeededRandom(seed: 20250115)
            for number in 1...Self.kills {
                let delay = whole * Double.random(in: 0...1.1, using: &random)
                let time = Timestamp(milliseconds: 1_736_924_400_000).adding(seconds: Int64(number))
                let event: [String: JSON] = [
                    "backupType": .string("daily"), "timestamp": .string(time.description),
                ]
                _ = try await runKilled(site, event, after: delay)
                for manifest in try await site.manifests() {
                    let key = String(manifest.dropLast("/manifest.json".count))
                    guard key.hasSuffix("\(time.keyText)") else { continue }
                    let verified = try await site.event(["backupKey": .string(key), "recomputeContents": .bool(true)])
                    #expect(verified.text("verdict") == "proven", "killed after \(delay): \(verified)")
                }
                let next = try await runUndisturbed(site, event)
                #expect(next.exitCode == 0, "after a kill at \(delay): \(next)")
                let key = try #require(next.text("backupKey"))
                try await site.event(["backupKey": .string(key)])
            }
        }
    }

    @Test("A restore killed at random instants leaves the original or the restored database, never neither")
    func restore() async throws {
        try await Site.with(Clinic.sql(patients: 2000)) { site in
            let key = try await site.backup()
            let restored = try await site.fingerprint()
            var original = restored
            func spoil(_ number: Int) async throws {
                try await site.server.sql(
                    "UPDATE clinic.patients SET name = 'spoilt \(number)' WHERE id <= 10", database: site.database)
                original = try await site.fingerprint()
            }
            try await spoil(0)
            let begun = ContinuousClock.now
            let first = try await site.event(site.confirmedRestore(key))
            #expect(first.exitCode == 0)
            let whole = ContinuousClock.now - begun
            var random = SeededRandom(seed: 20250116)
            for number in 1...Self.kills {
                try await spoil(number)
                let delay = whole * Double.random(in: 0...1.1, using: &random)
                let time = Timestamp(milliseconds: 1_736_924_400_000).adding(seconds: Int64(1000 + number))
                let event = site.confirmedRestore(key, ["timestamp": .string(time.description)])
                _ = try await runKilled(site, event, after: delay)
                let standing = try await site.fingerprint()
                #expect(standing == original || standing == restored, "neither stands after a kill at \(delay)")

                let next = try await runUndisturbed(site, event)
                #expect(next.exitCode == 0, "after a kill at \(delay): \(next)")
                #expect(try await site.fingerprint() == restored)
                // One generation of what was replaced may stay; nothing else may.
                #expect(try await site.leftovers().count <= 1, "left over after a kill at \(delay)")
            }
        }
    }
}
