import Core
import Crypto
import Operations
import Sets
import TestSupport
import Testing

/// Setting and lifting a legal hold: the record, the stores' own holds, and what prune and list make of it.
@Suite struct HoldTests {
    /// Held on every object in both stores, in records with reason, person and time; released likewise; and then it
    /// goes.
    @Test func holdAndRelease() async throws {
        let archive = try await Archive()
        let key = try await archive.add(day: 0)
        try await archive.add(day: 60)
        let held = try await archive.change(.hold, .exact(key))
        #expect(held.exitCode == .done && held.backupKey == key && held.notes == [])
        #expect(held.details["legalHold"] == .bool(true))
        #expect(held.details["objects"] == .object(["primary": .integer(3), "secondary": .integer(3)]))
        for store in [archive.firstMemory, archive.secondMemory] {
            for path in store.keys where path.hasPrefix("\(key)/") {
                #expect(try await store.stat(path)?.protection.legalHold == true)
            }
            #expect(store.keys.contains("\(key)/records/000001-hold.json"))
        }
        let listed = try await archive.list()
        #expect(listed.said("legalHold", of: key, in: "sets") == .bool(true))
        #expect(
            listed.said("holdReason", of: key, in: "sets") == .string("case 4711 (test, 2025-01-15T00:00:00.000Z)"))
        archive.go(toDay: 100)
        let reason = try await archive.prune().why(key, "keptPastRetention")
        #expect(reason == "it is under legal hold: case 4711 (test, 2025-01-15T00:00:00.000Z)")

        let released = try await archive.change(.release, .exact(key), reason: "closed")
        #expect(released.details["legalHold"] == .bool(false))
        for store in [archive.firstMemory, archive.secondMemory] {
            for path in store.keys where path.hasPrefix("\(key)/") {
                #expect(try await store.stat(path)?.protection.legalHold == false)
            }
        }
        #expect(try await archive.list().said("legalHold", of: key, in: "sets") == nil)
        #expect(try await archive.prune().keys("deleted") == texts(key))
    }

    /// A hold that was configured when the set was made is lifted like any other: a person decided, and it is recorded.
    @Test func madeHeld() async throws {
        let archive = try await Archive()
        let key = try await archive.add(day: 0, isHeld: true)
        try await archive.add(day: 60)
        try await archive.change(.release, .exact(key))
        archive.go(toDay: 100)
        #expect(try await archive.prune().keys("deleted") == texts(key))
    }

    /// The last record decides, however often it goes back and forth.
    @Test func lastRecordDecides() async throws {
        let archive = try await Archive()
        let key = try await archive.add(day: 0)
        try await archive.add(day: 60)
        for change in [HoldJob.Change.hold, .release, .hold, .hold, .release, .hold] {
            try await archive.change(change, .exact(key))
        }
        archive.go(toDay: 100)
        #expect(try await archive.prune().keys("deleted") == [])
        #expect(archive.firstMemory.keys.contains("\(key)/records/000006-hold.json"))
    }

    /// The same request again says so and records nothing twice; another one does.
    @Test func replay() async throws {
        let archive = try await Archive()
        let key = try await archive.add(day: 0)
        let id = RequestID.run("job-1")
        #expect(try await archive.change(.hold, .exact(key), requestID: id).replayed == false)
        #expect(try await archive.change(.hold, .exact(key), requestID: id).replayed)
        #expect(archive.firstMemory.keys.count { $0.hasSuffix("-hold.json") } == 1)
        #expect(try await archive.change(.hold, .exact(key), requestID: .run("job-2")).replayed == false)
        #expect(archive.firstMemory.keys.count { $0.hasSuffix("-hold.json") } == 2)
    }

    /// Killed at any call, the same request again comes to the same, and until a release has reached every object the
    /// set counts as held.
    @Test(arguments: HoldJob.Change.allCases) func killed(_ change: HoldJob.Change) async throws {
        for call in 1...200 {
            let archive = try await Archive()
            let key = try await archive.add(day: 0, isHeld: change == .release)
            try await archive.add(day: 60)
            archive.second.die(afterCalls: call)
            let id = RequestID.run("job")
            let isDone = (try? await archive.change(change, .exact(key), requestID: id)) != nil
            archive.second.heal()
            if change == .release, !isDone {
                let catalog = Catalog(archive.second)
                let stored = try await catalog.manifest(key)
                let records = archive.secondMemory.keys.filter { $0.hasPrefix("\(key)/records/") }
                let state = try await catalog.holdState(
                    of: stored, records: records, configuration: archive.workplace.reader)
                var isHeld = false
                for path in archive.secondMemory.keys where path.hasPrefix("\(key)/") {
                    if try await archive.secondMemory.stat(path)?.protection.legalHold ?? false { isHeld = true }
                }
                #expect(state.isHeld || !isHeld, "call \(call)")
            }
            try await archive.change(change, .exact(key), requestID: id)
            for store in [archive.firstMemory, archive.secondMemory] {
                for path in store.keys where path.hasPrefix("\(key)/") {
                    #expect(try await store.stat(path)?.protection.legalHold == (change == .hold), "call \(call)")
                }
                #expect(store.keys.count { $0.hasSuffix("-\(change.rawValue).json") } == 1, "call \(call)")
            }
            if isDone { return }
        }
        Issue.record("it never came to its end")
    }

    /// Whoever lacks the key cannot release: neither by a record without a MAC, nor by one of another key.
    @Test func forgedRelease() async throws {
        let archive = try await Archive(isBucket: false)
        let key = try await archive.add(day: 0)
        try await archive.add(day: 60)
        try await archive.change(.hold, .exact(key))
        let reader = archive.workplace.reader
        archive.workplace.reader.identities = []
        let released = try await archive.change(.release, .exact(key))
        #expect(released.notes.contains { $0.contains("neither a MAC nor a signature") })
        archive.workplace.reader = reader
        archive.go(toDay: 100)
        let result = try await archive.prune()
        #expect(result.keys("deleted") == [] && result.keys("keptPastRetention") == texts(key))
        #expect(result.notes.contains { $0.contains("000002-release.json was passed over") })
        // Where no key and no signer is at hand nobody can tell, and the result says so.
        archive.workplace.reader.identities = []
        let unable = try await archive.prune()
        #expect(unable.keys("deleted") == texts(key))
        #expect(unable.notes.contains { $0.hasPrefix("no identity is here") })
    }

    /// Signed by a trusted signer a release is believed where no key is at hand, and by another one it is not.
    @Test func signedRelease() async throws {
        let (signer, other) = (Curve25519.Signing.PrivateKey(), Curve25519.Signing.PrivateKey())
        let trusted = [Array(signer.publicKey.rawRepresentation)]
        for isTrusted in [true, false] {
            let archive = try await Archive(
                hasIdentity: false, isBucket: false, signer: isTrusted ? signer : other, trusted: trusted)
            let key = try await archive.add(day: 0)
            try await archive.add(day: 60)
            try await archive.change(.hold, .exact(key))
            try await archive.change(.release, .exact(key))
            archive.go(toDay: 100)
            #expect(try await archive.prune().keys("deleted") == (isTrusted ? texts(key) : []))
        }
    }

    /// A record that was damaged keeps the set.
    @Test func damagedRecord() async throws {
        let archive = try await Archive(isBucket: false)
        let key = try await archive.add(day: 0)
        try await archive.add(day: 60)
        try await archive.change(.hold, .exact(key))
        for store in [archive.firstMemory, archive.secondMemory] {
            store.damage("\(key)/records/000001-hold.json") { $0[20] ^= 1 }
        }
        archive.go(toDay: 100)
        let result = try await archive.prune()
        #expect(result.keys("deleted") == [])
        #expect(result.notes.contains { $0.contains("000001-hold.json") })
    }

    /// A hold in one store of two is enough.
    @Test func heldInTheSecondStore() async throws {
        let archive = try await Archive(isBucket: false)
        let key = try await archive.add(day: 0)
        try await archive.add(day: 60)
        try await archive.change(.hold, .exact(key))
        try await archive.firstMemory.delete("\(key)/records/000001-hold.json")
        archive.go(toDay: 100)
        #expect(try await archive.prune().keys("deleted") == [])
    }

    /// What is added to a held set is held, and what is added after the release is not: a proof, and the second copy.
    @Test func laterObjects() async throws {
        let archive = try await Archive()
        let key = try await archive.add(day: 0, in: .first)
        let held = try await archive.change(.hold, .exact(key))
        #expect(held.notes.contains { $0.contains("a copy made later is held") })
        let stored = try await Catalog(archive.first).manifest(key)
        let reader = try await SetReader.open(
            stored, in: archive.first, configuration: archive.workplace.reader)
        let proof = Proof(
            depth: .integrity, verdict: .proven, time: archive.clock.now(), requestID: "v", contentsCompared: false)
        try await reader.add(proof)
        #expect(
            try await archive.firstMemory.stat("\(key)/records/000002-proof.json")?.protection.legalHold == true)
        let replication = Replication(from: archive.first, to: archive.second)
        try await replication.copy(stored, now: archive.clock.now(), meter: ProgressMeter())
        for path in archive.secondMemory.keys {
            #expect(try await archive.secondMemory.stat(path)?.protection.legalHold == true)
        }
        try await archive.change(.release, .exact(key))
        try await reader.add(proof)
        #expect(
            try await archive.firstMemory.stat("\(key)/records/000004-proof.json")?.protection.legalHold == false)
    }

    /// A hold that comes before a prune's tombstone is seen by the prune, which keeps the set; one that comes after it
    /// sees the tombstone, and does not say that the set is held while the prune goes on.
    @Test(arguments: [true, false]) func raceWithPrune(_ isBefore: Bool) async throws {
        let archive = try await Archive()
        let key = try await archive.add(day: 0)
        try await archive.add(day: 60)
        archive.go(toDay: 100)
        let held = Guarded<Bool?>(nil)
        var other = archive.workplace
        other.store = archive.firstMemory
        // Does not wait for the lock, which the prune would not give back before this has ended.
        other.lease.sleep = { _ in throw TestFailure("it waits") }
        let hold = Hold(
            HoldJob(target: "clinic", key: .exact(key), requestID: .random("h"), change: .hold, reason: "case"),
            at: other)
        archive.first.fail(
            isBefore ? .put : .delete, keyContaining: isBefore ? "tombstones/" : "\(key)/manifest.json",
            with: .interleave {
                do {
                    _ = try await hold.run()
                    held.withLock { $0 = true }
                } catch is TestFailure {
                    held.withLock { $0 = false }
                }
            })
        let result = try? await archive.prune()
        #expect(held.value == isBefore)
        guard isBefore else { return }
        #expect(result?.why(key, "lockedByStore") == "it was put under legal hold meanwhile")
        #expect(archive.sets(archive.firstMemory).contains(key) && archive.sets(archive.secondMemory).contains(key))
    }

    @Test(arguments: ["", "  ", "a\nb", String(repeating: "x", count: 1001)])
    func badReasons(_ reason: String) async throws {
        let archive = try await Archive()
        let key = try await archive.add(day: 0)
        let failure = await #expect(throws: JobFailure.self) {
            try await archive.change(.hold, .exact(key), reason: reason)
        }
        #expect(failure?.exitCode == .eventRefused && failure?.object == "reason")
        #expect(!archive.firstMemory.keys.contains { $0.contains("records/") })
    }

    @Test func badKeys() async throws {
        let archive = try await Archive()
        let key = try await archive.add(day: 0)
        let random = await #expect(throws: JobFailure.self) { try await archive.change(.hold, .random) }
        #expect(random?.exitCode == .eventRefused)
        let nothing = BackupKey(tier: .weekly, timestamp: key.timestamp)
        let unknown = await #expect(throws: SetError.self) { try await archive.change(.hold, .exact(nothing)) }
        #expect(unknown?.exitCode == .store)
        #expect(try await archive.change(.hold, .latest(nil)).backupKey == key)
    }

    @Test func dryRun() async throws {
        let archive = try await Archive()
        let key = try await archive.add(day: 0)
        let before = archive.firstMemory.keys
        let result = try await archive.change(.hold, .exact(key), dryRun: true)
        #expect(result.dryRun && result.details["legalHold"] == .bool(false))
        #expect(archive.firstMemory.keys == before)
    }

    /// With the second store out of reach the hold fails, and says so: half a hold is none.
    @Test func secondStoreOutOfReach() async throws {
        let archive = try await Archive()
        let key = try await archive.add(day: 0)
        archive.second.die(afterCalls: 0)
        let failure = await #expect(throws: InjectedFault.self) { try await archive.change(.hold, .exact(key)) }
        #expect(failure?.exitCode == .store)
    }
}
