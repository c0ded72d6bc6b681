import Core
import TestSupport
import Testing

/// SIGKILL at any instant, for every kind of source: no set or a whole one, the original or what was restored in its
/// place, and a next run that goes on as if nothing had been.
@Suite(.serialized)
struct KillTests {
    /// How often each is killed: a seeded few in the quick run, fifty in the long one.
    private static let kills = runsSoak ? 50 : 4

    @Test(
        "A backup killed at random instants leaves no set or a whole one, and the next run makes its own",
        arguments: SourceKind.present)
    func backup(_ kind: SourceKind) async throws {
        try await EngineSite.with(kind, .large) { site in
            let begun = ContinuousClock.now
            _ = try await site.backup()
            let whole = ContinuousClock.now - begun
            var random = SeededRandom(seed: 20250115)
            for number in 1...Self.kills {
                try await site.source.spoil(number)
                let delay = whole * Double.random(in: 0...1.1, using: &random)
                let time = Timestamp(milliseconds: 1_736_924_400_000).adding(seconds: Int64(number))
                let event: [String: JSON] = [
                    "backupType": .string("daily"), "timestamp": .string(time.description),
                ]
                try await site.runKilled(event, after: delay)
                for manifest in try await site.manifests() {
                    let key = String(manifest.dropLast("/manifest.json".count))
                    guard key.hasSuffix("\(time.keyText)") else { continue }
                    let verified = try await site.event(["backupKey": .string(key), "recomputeContents": .bool(true)])
                    #expect(verified.text("verdict") == "proven", "killed after \(delay): \(verified)")
                }
                let next = try await site.runUnlocked(event)
                #expect(next.exitCode == 0, "after a kill at \(delay): \(next)")
                let key = try #require(next.text("backupKey"))
                try await site.event(["backupKey": .string(key)])
            }
        }
    }

    @Test(
        "A restore killed at random instants leaves the original or what was restored, never neither",
        arguments: SourceKind.restorable)
    func restore(_ kind: SourceKind) async throws {
        try await EngineSite.with(kind) { site in
            let key = try await site.backup()
            let restored = try await site.source.fingerprint()
            try await site.source.spoil(0)
            let begun = ContinuousClock.now
            try await site.event(site.confirmedRestore(key))
            let whole = ContinuousClock.now - begun
            var random = SeededRandom(seed: 20250116)
            for number in 1...Self.kills {
                try await site.source.spoil(number)
                let original = try await site.source.fingerprint()
                let delay = whole * Double.random(in: 0...1.1, using: &random)
                let time = Timestamp(milliseconds: 1_736_924_400_000).adding(seconds: Int64(1000 + number))
                let event = site.confirmedRestore(key, ["timestamp": .string(time.description)])
                try await site.runKilled(event, after: delay)
                if site.source.exchangesInOneStep {
                    let standing = try await site.source.fingerprint()
                    #expect(standing == original || standing == restored, "neither stands after a kill at \(delay)")
                }
                let next = try await site.runUnlocked(event)
                #expect(next.exitCode == 0, "after a kill at \(delay): \(next)")
                #expect(try await site.source.fingerprint() == restored)
                // One generation of what was replaced may stay; nothing else may.
                let left = try await site.source.leftovers()
                #expect(left.count <= 1, "left over after a kill at \(delay): \(left)")
            }
        }
    }
}
