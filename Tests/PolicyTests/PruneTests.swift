import Core
import Operations
import Sets
import TestSupport
import Testing

/// What a prune deletes, what it keeps, and what it leaves behind.
@Suite struct PruneTests {
    /// Past sets go from both stores, with their records, their notes and their older versions; a tombstone stands in
    /// each for each, and the chain is whole.
    @Test func deletesPastSets() async throws {
        let archive = try await Archive()
        let old = try await archive.add(day: 0)
        let older = try await archive.add(.hourly, day: 1)
        let newest = try await archive.add(day: 30)
        try await archive.prove(old, .integrity)
        try await archive.prove(newest, .restore)
        for (digest, key) in [("aa", old), ("bb", newest)] {
            for action in ["verify", "restore"] {
                let note = JSON.object(["selector": .string("latest"), "key": .string(key.description)])
                try await archive.first.put("requests/\(digest)-\(action).json", note.canonicalBytes)
            }
        }
        archive.go(toDay: 100)
        let result = try await archive.prune()
        #expect(result.exitCode == .done && result.keys("deleted") == texts(old, older))
        #expect(result.details["deletedBytes"] == .integer(2) && result.notes == [])
        #expect(result.chainSequence == 3)
        for store in [archive.firstMemory, archive.secondMemory] {
            #expect(archive.sets(store) == [newest])
            #expect(store.keysOfVersions.filter { $0.hasPrefix("\(old)/") || $0.hasPrefix("\(older)/") } == [])
            #expect(store.keys.count { $0.hasPrefix("tombstones/") } == 2)
        }
        let notes = archive.firstMemory.keys.filter { $0.hasPrefix("requests/") }
        #expect(notes == ["requests/aa-restore.json", "requests/bb-restore.json", "requests/bb-verify.json"])
        let again = try await archive.prune()
        #expect(again.keys("deleted") == [] && again.keys("vanished") == [] && again.notes == [])
        #expect(try await archive.list().keys("vanished") == [])
    }

    /// The tombstones first, in both stores; then the manifests; then the records; the segments last.
    @Test func order() async throws {
        let archive = try await Archive()
        let old = try await archive.add(day: 0)
        try await archive.prove(old, .integrity, in: .both)
        try await archive.prove(try await archive.add(day: 60), .integrity)
        let log = Guarded<[String]>([])
        for (name, store) in [("1", archive.first), ("2", archive.second)] {
            for call in [FaultyStore.Call.put, .delete] {
                for part in ["tombstones/", "manifest.json", "records/", ".encrypted"] {
                    let entry = "\(name) \(call.rawValue) \(part)"
                    store.fail(
                        call, times: 99, keyContaining: part, with: .interleave { log.withLock { $0.append(entry) } })
                }
            }
        }
        archive.go(toDay: 91)
        #expect(try await archive.prune().keys("deleted") == texts(old))
        #expect(
            log.value == [
                "1 put tombstones/", "2 put tombstones/", "1 delete manifest.json", "2 delete manifest.json",
                "1 delete records/", "1 delete .encrypted", "2 delete records/", "2 delete .encrypted",
            ])
    }

    /// The newest set that a restore proved stays, however old; a proof that a later one contradicts, and one that
    /// nobody with a key wrote, count for nothing.
    @Test func keepsProven() async throws {
        let archive = try await Archive()
        let earlier = try await archive.add(day: 0)
        let proven = try await archive.add(day: 1)
        let broken = try await archive.add(day: 2)
        let forged = try await archive.add(day: 3)
        let newest = try await archive.add(day: 4)
        for key in [earlier, proven, broken] { try await archive.prove(key, .restore) }
        try await archive.prove(broken, .integrity, .failed)
        try await archive.prove(forged, .restore, isForged: true)
        archive.go(toDay: 500)
        let result = try await archive.prune()
        #expect(result.keys("deleted") == texts(earlier, broken, forged))
        #expect(result.why(proven, "keptPastRetention") == "it is the newest that is proven restorable")
        #expect(result.why(newest, "keptPastRetention") == "it is the newest")
        #expect(result.notes.contains { $0.contains("\(forged)/records/000001-proof.json") })
        #expect(archive.sets(archive.firstMemory) == [proven, newest])
    }

    /// A copy that was proven in the second store counts, for a restore is read from there.
    @Test func provenInTheSecondStore() async throws {
        let archive = try await Archive()
        let proven = try await archive.add(day: 0)
        try await archive.add(day: 1)
        try await archive.prove(proven, .integrity, .failed)
        try await archive.prove(proven, .restore, in: .second)
        archive.go(toDay: 500)
        let result = try await archive.prune()
        #expect(result.keys("deleted") == [] && result.keys("keptPastRetention").contains(proven.description))
    }

    /// Without a key records are taken as they stand, tombstones carry nothing, and both are said.
    @Test func withoutIdentity() async throws {
        let archive = try await Archive(hasIdentity: false)
        let old = try await archive.add(day: 0)
        let claimed = try await archive.add(day: 1)
        try await archive.add(day: 2)
        try await archive.prove(claimed, .restore, isForged: true)
        archive.go(toDay: 500)
        let result = try await archive.prune()
        #expect(result.keys("deleted") == texts(old))
        #expect(
            result.why(claimed, "keptPastRetention") == "it is the newest with a record of a restore")
        #expect(result.notes.contains { $0.hasPrefix("no identity is here") })
        #expect(result.notes.contains { $0.contains("neither a MAC nor a signature") })
    }

    /// What the store itself keeps is named and passed over, and nothing of it is touched in either store.
    @Test(arguments: [true, false]) func lockedByStore(_ isHold: Bool) async throws {
        let archive = try await Archive()
        let locked = try await archive.add(day: 0)
        let other = try await archive.add(day: 1)
        try await archive.add(day: 60)
        let until = Archive.start.adding(seconds: 200 * 86_400)
        let protection =
            isHold ? Protection(legalHold: true) : Protection(lock: ObjectLock(mode: .compliance, until: until))
        let segment = try #require(archive.secondMemory.keys.first { $0.hasPrefix("\(locked)/0") })
        try await archive.secondMemory.amend(segment, .protect(protection))
        archive.go(toDay: 120)
        let result = try await archive.prune()
        #expect(result.exitCode == .done && result.keys("deleted") == texts(other))
        #expect(result.why(locked, "lockedByStore")?.contains("second copy's store") ?? false)
        for store in [archive.firstMemory, archive.secondMemory] {
            #expect(archive.sets(store).contains(locked))
            #expect(try archive.missingSegments(store) == [])
        }
        guard !isHold else { return }
        archive.go(toDay: 201)
        #expect(try await archive.prune().keys("deleted").contains(locked.description))
    }

    /// An object lock until `retainUntil` and the end of the retention meet.
    @Test func lockedSets() async throws {
        let archive = try await Archive()
        let old = try await archive.add(day: 0, lock: .compliance)
        try await archive.add(day: 60, lock: .compliance)
        archive.go(toDay: 89.99)
        #expect(try await archive.prune().keys("deleted") == [])
        archive.go(toDay: 90)
        #expect(try await archive.prune().keys("deleted") == texts(old))
    }

    /// A set made to be held stays.
    @Test func madeHeld() async throws {
        let archive = try await Archive()
        let held = try await archive.add(day: 0, isHeld: true)
        try await archive.add(day: 60)
        archive.go(toDay: 100)
        let result = try await archive.prune()
        #expect(result.why(held, "keptPastRetention") == "it is under legal hold: it was made under legal hold")
    }

    /// What another set needs stays as long as that does.
    @Test func neededSets() async throws {
        let archive = try await Archive()
        let base = try await archive.add(day: 0)
        let next = try await archive.add(.annual, day: 1, needs: [base])
        try await archive.add(day: 2)
        archive.go(toDay: 1000)
        #expect(try await archive.prune().why(base, "keptPastRetention") == "\(next) needs it")
        try await archive.add(day: 999)
        archive.go(toDay: 2557)
        #expect(try await archive.prune().keys("deleted").prefix(2) == texts(base, next)[...])
    }

    /// A dry run says of each set what would become of it and why, and changes nothing, not even for a moment.
    @Test func dryRun() async throws {
        let archive = try await Archive()
        let old = try await archive.add(day: 0)
        let kept = try await archive.add(day: 60)
        archive.go(toDay: 100)
        let before = (archive.firstMemory.keys, archive.secondMemory.keys)
        let result = try await archive.prune(dryRun: true)
        #expect(result.dryRun && result.keys("sets") == texts(old, kept))
        #expect(result.said("action", of: old, in: "sets") == .string("delete"))
        #expect(result.why(old, "sets") == "its retention ended at 2025-04-15T00:00:00.000Z")
        #expect(result.said("action", of: kept, in: "sets") == .string("keep"))
        #expect(result.why(kept, "sets") == "it is kept until 2025-06-14T00:00:00.000Z")
        #expect(archive.firstMemory.keys == before.0 && archive.secondMemory.keys == before.1)
        for store in [archive.first, archive.second] {
            #expect(!store.log.contains { $0.call == .put || $0.call == .delete || $0.call == .amend })
        }
    }

    /// With one of the stores out of reach nothing is deleted from the other.
    @Test func storeOutOfReach() async throws {
        let archive = try await Archive()
        try await archive.add(day: 0)
        try await archive.add(day: 60)
        archive.go(toDay: 100)
        archive.second.die(afterCalls: 0)
        let failure = await #expect(throws: InjectedFault.self) { try await archive.prune() }
        #expect(failure?.exitCode == .store)
        #expect(archive.sets(archive.firstMemory).count == 2)
    }

    /// A manifest that cannot be read stays, is named, and does not keep the others from going.
    @Test func unreadable() async throws {
        let archive = try await Archive()
        let damaged = try await archive.add(day: 0)
        let old = try await archive.add(day: 1)
        try await archive.add(day: 60)
        for store in [archive.firstMemory, archive.secondMemory] {
            store.damage(SetLayout.manifest(damaged)) { $0.removeLast() }
        }
        archive.go(toDay: 100)
        let result = try await archive.prune()
        #expect(result.keys("deleted") == texts(old) && result.keys("unreadable") == texts(damaged))
        #expect(archive.sets(archive.firstMemory).contains(damaged))
    }

    /// One that is only damaged in one store is read in the other, and goes from both.
    @Test func damagedInOneStore() async throws {
        let archive = try await Archive()
        let old = try await archive.add(day: 0)
        try await archive.add(day: 60)
        archive.firstMemory.damage(SetLayout.manifest(old)) { $0[0] = 0 }
        archive.go(toDay: 100)
        #expect(try await archive.prune().keys("deleted") == texts(old))
        #expect(!archive.sets(archive.firstMemory).contains(old))
    }

    /// A set that is in one store only goes from there. The end of each store's chain stays.
    @Test func inOneStoreOnly() async throws {
        let archive = try await Archive()
        let inFirst = try await archive.add(day: 0, in: .first)
        let inSecond = try await archive.add(day: 1, in: .second)
        let head = try await archive.add(day: 2, in: .first)
        let newest = try await archive.add(day: 3, in: .second)
        archive.go(toDay: 1000)
        let result = try await archive.prune()
        #expect(result.keys("deleted") == texts(inFirst, inSecond))
        #expect(result.why(head, "keptPastRetention") == "it is the last of the chain")
        #expect(archive.sets(archive.firstMemory) == [head] && archive.sets(archive.secondMemory) == [newest])
    }

    /// What unfinished attempts have left for two days is swept from both stores.
    @Test func orphans() async throws {
        let archive = try await Archive()
        try await archive.add(day: 0)
        let attempt = "0000000009-0011223344556677-0011223344556677"
        let orphan = "daily/backup-2024-12-01T00-00-00-000Z/\(attempt)/x.encrypted"
        for store in [archive.first, archive.second] { try await store.put(orphan, [1]) }
        archive.go(toDay: 1)
        #expect(try await archive.prune().details["leftoversRemoved"] == .integer(0))
        archive.go(toDay: 3)
        #expect(try await archive.prune().details["leftoversRemoved"] == .integer(2))
        #expect(!archive.secondMemory.keys.contains(orphan))
    }

    /// One store is enough.
    @Test func withoutSecondStore() async throws {
        let archive = try await Archive(hasSecond: false, isBucket: false)
        let old = try await archive.add(day: 0, in: .first)
        try await archive.add(day: 60, in: .first)
        archive.go(toDay: 100)
        #expect(try await archive.prune().keys("deleted") == texts(old))
    }

    /// Another run has the target: 75, and nothing happens.
    @Test func locked() async throws {
        let archive = try await Archive()
        try await archive.add(day: 0)
        try await archive.add(day: 60)
        archive.go(toDay: 100)
        let lease = try await Lease.acquire(
            in: archive.first, configuration: archive.workplace.lease, requestID: "other")
        let failure = await #expect(throws: LeaseError.self) { try await archive.prune() }
        #expect(failure?.exitCode == .locked && archive.sets(archive.firstMemory).count == 2)
        try await lease.release()
    }

    /// A lock that is lost between two sets ends the run before the next.
    @Test func lockLost() async throws {
        let archive = try await Archive()
        for day in 0..<4 { try await archive.add(day: Double(day)) }
        try await archive.add(day: 60)
        archive.go(toDay: 100)
        let memory = archive.firstMemory
        archive.first.fail(
            .put, nth: 2, keyContaining: "tombstones/",
            with: .interleave { try await memory.put("locks/0000000009", [1]) })
        let failure = await #expect(throws: LeaseError.self) { try await archive.prune() }
        #expect(failure?.exitCode == .locked && archive.sets(archive.firstMemory).count == 4)
    }
}
