import Core
import Glibc
import TestSupport
import Testing

@testable import KeysEngine

@Suite("Backups of keys")
struct SnapshotTests {
    /// The manifest says how many keys there are and nothing else of them; the parts are what a person opens by hand.
    @Test func saysNothingInClear() async throws {
        try await withKeys { keys, _ in
            try keys.putMaster()
            try keys.put("token", marker)
            let set = try await keys.engine().take()
            #expect(set.order == ["keys.json", "keys.tar"])
            #expect(set.facts.details.keys.sorted() == ["digest", "recipients"])
            #expect(set.facts.details["digest"]?.hasPrefix("scrypt$16$8$3$") == true)
            let clear = "\(set.facts)\(set.manifest.contents)"
            #expect(!clear.contains("token") && !clear.contains("master") && !clear.contains(marker))
            #expect(set.manifest.contents.counts == ["keys": 2])
        }
    }

    /// On DAILY the same keys are stored again; on ON_CHANGE the run says whose they are, with and without a key that
    /// opens that set.
    @Test(arguments: [true, false])
    func storesOnChange(opens: Bool) async throws {
        try await withKeys { keys, _ in
            try keys.putMaster()
            let first = try await keys.engine().take()
            _ = try await keys.engine(schedule: .daily).take(first.next(opens: opens))
            let engine = keys.engine(schedule: .onChange)
            guard case .nothingToStore(let nothing) = try await engine.snapshot(first.next(opens: opens)) else {
                throw TestFailure("stored again")
            }
            #expect(nothing.why == "the keys are those of \(testKey)")
            #expect(nothing.details["unchangedSince"] == .string(testKey.description))
            _ = try await engine.take(first.next(opens: opens, isForced: true))
            try keys.putMaster(version: 2, seed: 8)
            let second = try await engine.take(first.next(opens: opens))
            #expect(second.contents.data.map(\.name) == ["2"])
            chmod(keys.directory + "/master.key", 0o640)
            _ = try await engine.take(second.next(opens: opens))
        }
    }

    /// Unchanged keys are stored again before the only set of them may be pruned, after a safety set, for other
    /// recipients, and where the set before cannot be read.
    @Test func storesAgainWhereItHasTo() async throws {
        try await withKeys { keys, elsewhere in
            try keys.putMaster()
            let clock = ManualClock()
            let engine = keys.engine(schedule: .onChange, clock: clock)
            let first = try await engine.take()
            var request = first.next()
            request.previous?.retention.retainUntil = clock.now().adding(seconds: 100)
            clock.advance(seconds: 49)
            #expect(try await engine.isUnchanged(request))
            clock.advance(seconds: 1)
            #expect(try await !engine.isUnchanged(request))

            var safety = first.next()
            safety.previous?.key.tier = .safety
            #expect(try await !engine.isUnchanged(safety))

            try writeFile(elsewhere + "/safe.key", hexText([UInt8](repeating: 3, count: 32)))
            let other = keys.engine([try aes(elsewhere + "/safe.key")], schedule: .onChange, clock: clock)
            #expect(try await !other.isUnchanged(first.next()))

            var unreadable = first.next()
            unreadable.previousContents = {
                throw JobFailure(.verificationFailed, "read", cause: "it is damaged", hint: "none")
            }
            #expect(try await !engine.isUnchanged(unreadable))
        }
    }

    /// Expired keys are stored, counted in clear, and named in the result alone.
    @Test func namesExpiredKeys() async throws {
        try await withKeys { keys, _ in
            try keys.putMaster()
            try keys.put("old.key", hexText([UInt8](repeating: 9, count: 32)))
            try keys.put(
                "old.json", KeyRing.metadata("old", algorithm: "AES", expires: "2025-01-01T00:00:00Z"))
            let set = try await keys.engine().take()
            #expect(set.facts.exceptions == ["1 of the keys has expired"])
            #expect(set.facts.notes == ["key old version 1 has expired at 2025-01-01T00:00:00.000Z"])
            #expect(set.contents.counts["keys"] == 2)
        }
    }

    /// The first key to end that has not yet is told by its time alone, when keys are stored and when they are not.
    @Test func tellsWhenTheNextKeyEnds() async throws {
        try await withKeys { keys, _ in
            #expect(try await keys.with("old", expires: "2025-01-01T00:00:00Z").take().facts.keyExpiry == nil)
            _ = try keys.with("late", expires: "2027-01-01T00:00:00Z")
            let first = try await keys.with("soon", expires: "2026-01-01T00:00:00Z").take()
            let soon = KeyExpiry(key: "stored keys", expires: try #require(Timestamp("2026-01-01T00:00:00Z")))
            #expect(first.facts.keyExpiry == soon)
            let engine = keys.engine(schedule: .onChange)
            guard case .nothingToStore(let nothing) = try await engine.snapshot(first.next()) else {
                throw TestFailure("stored again")
            }
            #expect(nothing.keyExpiry == soon)
        }
    }

    /// An empty directory and one that is missing give no set; what is no directory of keys is a setting's error.
    @Test func refusesMissingKeys() async throws {
        try await withKeys { keys, elsewhere in
            let empty = try await refusal([keys.directory])
            #expect(empty.kind == .empty)
            let missing = try await refusal([elsewhere + "/nothing"])
            #expect(missing.kind == .unreadable && missing.exitCode == .source)
            let relative = try await refusal(["relative/keys"])
            #expect(relative.kind == .configuration && relative.exitCode == .configuration)
            let climbing = try await refusal(["/a/../b"])
            #expect(climbing.kind == .configuration)
            let same = try await refusal(["/a/k", "/b/k"])
            #expect(same.kind == .configuration)
        }
    }

    private func refusal(_ directories: [String]) async throws -> KeysError {
        try await failure { try await keysEngine(directories).take() }
    }

    /// Links to nothing and to directories, pipes and giants are no keys, and are named.
    @Test func refusesWhatAreNoKeys() async throws {
        try await withKeys { keys, elsewhere in
            try keys.putMaster()
            let place = keys.directory + "/odd"
            symlink("nowhere", place)
            let lost = try await refusal([keys.directory])
            #expect(lost.cause.contains("a link to nothing") && lost.object == place)
            unlink(place)
            mkfifo(place, 0o600)
            let pipe = try await refusal([keys.directory])
            #expect(pipe.cause.contains("a device or a socket"))
            unlink(place)
            symlink(elsewhere, place)
            let folder = try await refusal([keys.directory])
            #expect(folder.cause.contains("a link to a directory"))
            unlink(place)
            try keys.put("odd", [UInt8](repeating: 1, count: (1 << 20) + 1))
            let giant = try await refusal([keys.directory])
            #expect(giant.cause.contains("larger than 1 MiB"))
        }
    }

    /// A link leads to a key elsewhere, whose content is stored; directories below are part of the set, and several
    /// sources stand side by side.
    @Test func readsLinksAndDirectories() async throws {
        try await withKeys { keys, elsewhere in
            try keys.putMaster()
            try writeFile(elsewhere + "/real.key", hexText([UInt8](repeating: 5, count: 32)))
            symlink("../elsewhere/real.key", keys.directory + "/linked.key")
            mkdir(keys.directory + "/tls", 0o700)
            try keys.put("tls/server.key", "x")
            let one = try await keys.engine().take()
            #expect(one.contents.data.map(\.schema) == ["linked.key", "master", "tls/server.key"])
            let two = try await keysEngine([keys.directory, elsewhere]).take()
            #expect(
                two.contents.data.map(\.schema).sorted()
                    == ["elsewhere/real.key", "keys/linked.key", "keys/tls/server.key", "master"])
        }
    }

    /// A set that was not read to its end is none.
    @Test func refusesAHalfReadSet() async throws {
        try await withKeys { keys, _ in
            try keys.putMaster()
            let snapshot = try await keys.engine().picture()
            #expect(try await failure { try await snapshot.finish() }.kind == .unreadable)
            await snapshot.cancel()
        }
    }
}

extension KeysEngine {
    fileprivate func isUnchanged(_ request: SnapshotRequest) async throws -> Bool {
        if case .nothingToStore = try await snapshot(request) { true } else { false }
    }
}
