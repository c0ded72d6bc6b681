import Core
import Operations
import Sets
import TestSupport
import Testing

/// A prune that is killed at any of its calls to a store, and the one that comes after it.
@Suite struct KillTests {
    private func archive() async throws -> Archive {
        let archive = try await Archive()
        let first = try await archive.add(day: 0)
        let second = try await archive.add(.hourly, day: 1)
        try await archive.prove(first, .integrity, in: .both)
        let newest = try await archive.add(day: 60)
        try await archive.prove(newest, .restore)
        let note = JSON.object(["selector": .string("latest"), "key": .string(second.description)])
        try await archive.first.put("requests/aa-verify.json", note.canonicalBytes)
        archive.go(toDay: 100)
        return archive
    }

    /// What is there but locks, which tell of who ran. The digests in the names of tombstones are of manifests with
    /// freshly wrapped keys.
    private func state(_ archive: Archive) -> [[String]] {
        [archive.firstMemory, archive.secondMemory].map { store in
            store.keysOfVersions.filter { !$0.hasPrefix("locks/") }.map {
                $0.hasPrefix("tombstones/") ? String($0.prefix("tombstones/0000000001".count)) : $0
            }
        }
    }

    /// Whatever lies where a set was is a whole set, or has its tombstone in the first store.
    private func check(_ archive: Archive, _ before: [BackupKey], _ point: String) throws {
        for store in [archive.firstMemory, archive.secondMemory] {
            #expect(try archive.missingSegments(store) == [], "\(point)")
            for key in before where !archive.sets(store).contains(key) {
                #expect(archive.firstMemory.keys.contains { $0.hasPrefix("tombstones/") }, "\(point): \(key)")
            }
        }
    }

    /// Killed after each number of calls to the first store, and to the second, with the last call's reply lost or the
    /// call refused: no set is half there, and the next run comes to what an undisturbed one comes to.
    @Test(arguments: [true, false], [FaultyStore.Fault.refuse, .loseReply])
    func everyCall(_ isFirst: Bool, _ fault: FaultyStore.Fault) async throws {
        let undisturbed = try await archive()
        let before = undisturbed.sets(undisturbed.firstMemory)
        let store = isFirst ? undisturbed.first : undisturbed.second
        let begun = store.log.count
        try await undisturbed.prune()
        let calls = store.log.count - begun
        let expected = state(undisturbed)
        #expect(calls > 10)
        for call in 1...calls {
            let archive = try await archive()
            let store = isFirst ? archive.first : archive.second
            store.fail(nil, nth: call, with: fault)
            store.die(afterCalls: call)
            let point = "\(isFirst ? "first" : "second") store, call \(call)"
            let result = try? await archive.prune()
            try check(archive, before, point)
            store.heal()
            // A killed run's lock has run out by then.
            archive.clock.advance(seconds: 3600)
            let again = try await archive.prune()
            #expect(again.exitCode == .done, "\(point)")
            #expect(state(archive) == expected, "\(point)")
            #expect(again.keys("vanished") == [], "\(point)")
            if result != nil { #expect(call >= calls - 5, "\(point): a failure went unnoticed") }
        }
    }

    /// A tombstone whose set may no longer go deletes nothing: a hold came between the two runs.
    @Test func holdAfterKill() async throws {
        let archive = try await archive()
        let held = archive.sets(archive.firstMemory)[0]
        archive.first.fail(.delete, keyContaining: "\(held)/manifest.json", with: .refuse)
        await #expect(throws: InjectedFault.self) { try await archive.prune() }
        #expect(archive.firstMemory.keys.contains { $0.hasPrefix("tombstones/0000000001") })
        try await archive.change(.hold, .exact(held))
        let result = try await archive.prune()
        #expect(!result.keys("deleted").contains(held.description) && result.keys("vanished") == [])
        #expect(archive.sets(archive.secondMemory).contains(held))
        try await archive.change(.release, .exact(held))
        #expect(try await archive.prune().keys("deleted").contains(held.description))
        #expect(try await archive.list().keys("vanished") == [])
    }

    /// A tombstone that somebody lays down for a set that stands, to have it deleted, does nothing.
    @Test func plantedTombstone() async throws {
        let archive = try await archive()
        let newest = try #require(archive.sets(archive.firstMemory).last)
        let stored = try await Catalog(archive.first).manifest(newest)
        let planted = Tombstone(
            SetFacts(stored), target: "clinic", retainUntil: archive.clock.now(), reason: "",
            time: archive.clock.now(),
            by: "somebody", requestID: "r")
        for store in [archive.first, archive.second] { try await TombstoneStore(store).write(planted) }
        try await archive.prune()
        for store in [archive.firstMemory, archive.secondMemory] {
            #expect(archive.sets(store) == [newest])
            #expect(try archive.missingSegments(store) == [])
        }
    }
}
