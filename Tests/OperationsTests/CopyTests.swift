import Core
import Operations
import Sets
import TestSupport
import Testing

@Suite("The second copy")
struct CopyTests {
    /// Shows that a backup leaves the same bytes in both stores, a record beside the first copy, and a listing that
    /// names both; the second copy verifies by itself.
    @Test func copied() async throws {
        try await Clinic.open { clinic in
            let result = try await clinic.backup()
            #expect(result.exitCode == .done)
            #expect(result.copies == CopyCount(made: 1, failed: 0, missing: 0))
            let key = try #require(result.backupKey)
            let set = clinic.secondMemory.keys
            #expect(set.count == 3)
            for object in set { #expect(clinic.secondMemory.bytes(object) == clinic.firstMemory.bytes(object)) }
            let record = try #require(clinic.firstMemory.bytes("\(key)/records/000001-copy.json"))
            #expect(String(decoding: record, as: UTF8.self).contains("\"store\":\"secondary\""))
            #expect(try await copies(clinic) == [["primary", "secondary"]])
            #expect(try await clinic.verify(.exact(key), store: .secondary).verdict == .proven)
            // The proof lies with the copy that was read.
            #expect(clinic.secondMemory.keys.contains("\(key)/records/000001-proof.json"))
        }
    }

    /// Shows that the copy is made when the target's lock is free again: another run can take it meanwhile.
    @Test func outsideTheLock() async throws {
        try await Clinic.open { clinic in
            let lease = clinic.workplace.lease
            let first = clinic.first
            clinic.second.fail(
                .put,
                with: .interleave { _ = try await Lease.acquire(in: first, configuration: lease, requestID: "other") }
            )
            let result = try await clinic.backup()
            #expect(result.exitCode == .done)
        }
    }

    /// Shows that a copy which fails keeps the set, ends with 18 and says so, and that the next backup makes up what is
    /// missing, oldest first, before which the gauge names it.
    @Test func madeUp() async throws {
        try await Clinic.open { clinic in
            clinic.second.die(afterCalls: 0)
            let failed = try await clinic.backup()
            #expect(failed.exitCode == .notReplicated)
            #expect(failed.failure?.exitCode == .notReplicated)
            #expect(failed.failure?.hint.contains("next backup") == true)
            #expect(failed.copies == CopyCount(made: 0, failed: 1, missing: nil))
            let first = try #require(failed.backupKey)
            #expect(try await clinic.verify(.exact(first)).verdict == .proven)

            clinic.second.heal()
            clinic.second.fail(.put, times: 9)
            let second = try await clinic.backup(.weekly)
            #expect(second.exitCode == .notReplicated)
            #expect(second.copies == CopyCount(made: 0, failed: 1, missing: 2))

            clinic.second.heal()
            let third = try await clinic.backup()
            #expect(third.exitCode == .done)
            #expect(third.copies == CopyCount(made: 3, failed: 0, missing: 0))
            let order = clinic.second.log.filter { $0.call == .put && $0.key.hasSuffix("/manifest.json") }.map(\.key)
            let keys = [third, failed, second].compactMap { $0.backupKey?.description }
            #expect(order == keys.map { "\($0)/manifest.json" })
            #expect(try await copies(clinic).allSatisfy { $0 == ["primary", "secondary"] })
        }
    }

    /// Shows that a copy interrupted at any of its calls goes on in a replay of the same event: whole segments stay, and
    /// both stores hold the same set in the end.
    @Test func interrupted() async throws {
        for calls in 1...9 {
            try await Clinic.open { clinic in
                let event = RequestID.run("uid")
                clinic.second.die(afterCalls: calls)
                let made = try await clinic.backup(requestID: event)
                #expect(made.exitCode == .done || made.exitCode == .notReplicated)
                let isCommitted = clinic.secondMemory.keys.contains { $0.hasSuffix("/manifest.json") }
                if isCommitted { #expect(clinic.secondMemory.keys.count == 3) }
                clinic.second.heal()
                let before = clinic.segments(clinic.secondMemory)
                let calls = clinic.second.log.count
                let replay = try await clinic.backup(requestID: event)
                #expect(replay.exitCode == .done)
                #expect(replay.replayed)
                #expect(replay.copies?.missing == 0)
                let puts = clinic.second.log[calls...].filter { $0.call == .put }.map(\.key)
                #expect(puts.allSatisfy { !before.contains($0) })
                let key = try #require(replay.backupKey)
                #expect(try await clinic.verify(.exact(key), store: .both).verdict == .proven)
            }
        }
    }

    /// Shows that what is damaged in the first store is not copied: nothing is committed in the second, the object is
    /// named, and other sets are copied all the same.
    @Test(arguments: [true, false])
    func damagedSource(isShorter: Bool) async throws {
        try await Clinic.open { clinic in
            clinic.second.die(afterCalls: 0)
            let damaged = try #require(try await clinic.backup().backupKey)
            let sound = try #require(try await clinic.backup().backupKey)
            clinic.second.heal()
            let object = try #require(clinic.segments(clinic.firstMemory, of: damaged).last)
            clinic.firstMemory.damage(object) { bytes in
                if isShorter { bytes.removeLast() } else { bytes[bytes.count - 1] ^= 1 }
            }
            let result = try await clinic.backup()
            #expect(result.exitCode == .notReplicated)
            #expect(result.copies == CopyCount(made: 2, failed: 1, missing: 1))
            #expect(result.failure?.cause.contains(object) == true)
            #expect(!clinic.secondMemory.keys.contains("\(damaged)/manifest.json"))
            #expect(!clinic.secondMemory.keys.contains(object))
            #expect(clinic.secondMemory.keys.contains("\(sound)/manifest.json"))
        }
    }

    /// Shows that two runs which copy one set at once both succeed.
    @Test func twoAtOnce() async throws {
        try await Clinic.open { clinic in
            let (from, to, clock) = (clinic.firstMemory, clinic.secondMemory, clinic.clock)
            clinic.second.fail(
                .put, nth: 2,
                with: .interleave {
                    let catalog = Catalog(from)
                    let entry = try #require(try await catalog.listing().entries.first)
                    try await Replication(from: from, to: to).copy(
                        try await catalog.manifest(entry.key), now: clock.now(), meter: ProgressMeter())
                })
            let result = try await clinic.backup()
            #expect(result.exitCode == .done)
            #expect(result.copies == CopyCount(made: 0, failed: 0, missing: 0))
            let key = try #require(result.backupKey)
            #expect(try await clinic.verify(.exact(key), store: .secondary).verdict == .proven)
        }
    }

    /// Shows that nothing in the second store is ever overwritten: another set under the name, and another object where
    /// a segment belongs, are errors that name it.
    @Test(arguments: ["manifest.json", "text"])
    func taken(_ name: String) async throws {
        try await Clinic.open { clinic in
            let event = RequestID.run("uid")
            clinic.second.die(afterCalls: 0)
            _ = try await clinic.backup(requestID: event)
            clinic.second.heal()
            let object = try #require(clinic.firstMemory.keys.first { $0.contains("/\(name)") })
            try await clinic.secondMemory.put(object, [1, 2, 3])
            let result = try await clinic.backup(requestID: event)
            #expect(result.exitCode == .notReplicated)
            #expect(result.failure?.cause.contains(object) == true)
            #expect(clinic.secondMemory.bytes(object) == [1, 2, 3])
        }
    }

    /// Shows that a set past its retention is neither copied nor missed.
    @Test func expired() async throws {
        try await Clinic.open { clinic in
            clinic.second.die(afterCalls: 0)
            _ = try await clinic.backup(.hourly)
            clinic.second.heal()
            clinic.clock.advance(seconds: 8 * 86400)
            let result = try await clinic.backup()
            #expect(result.copies == CopyCount(made: 1, failed: 0, missing: 0))
        }
    }

    /// Shows that an end from outside during the copying keeps the set, ends with 143, and that the next run goes on.
    @Test func ended() async throws {
        try await Clinic.open { clinic in
            let running = Guarded<Task<JobResult, any Error>?>(nil)
            clinic.second.fail(.put, nth: 2, with: .interleave { running.value?.cancel() })
            let event = RequestID.run("uid")
            let workplace = clinic.workplace
            let task = Task {
                // Not before the test can reach it.
                while running.value == nil { await Task.yield() }
                return try await Backup(
                    BackupJob(target: "clinic", tier: .daily, requestID: event), at: workplace
                ).run()
            }
            running.withLock { $0 = task }
            let result = try await task.value
            #expect(result.exitCode == .terminated)
            #expect(result.backupKey != nil)
            #expect(!clinic.secondMemory.keys.contains { $0.hasSuffix("/manifest.json") })
            let again = try await clinic.backup(requestID: event)
            #expect(again.exitCode == .done && again.replayed)
            #expect(again.copies == CopyCount(made: 1, failed: 0, missing: 0))
        }
    }

    /// Shows that a dry run copies nothing, says how many copies there are to make, and names a store that fails.
    @Test func dryRun() async throws {
        try await Clinic.open { clinic in
            let result = try await clinic.backup(dryRun: true)
            #expect(result.details["copiesToMake"] == .integer(1))
            #expect(clinic.secondMemory.keys.isEmpty)
            clinic.second.die(afterCalls: 0)
            #expect(try await clinic.backup(dryRun: true).notes.contains { $0.contains("second store") })
        }
    }

    /// Shows that a copy which cannot be recorded is a copy all the same, and the listing finds it.
    @Test func unrecorded() async throws {
        try await Clinic.open { clinic in
            clinic.first.fail(.put, keyContaining: "-copy.json")
            let result = try await clinic.backup()
            #expect(result.exitCode == .done)
            #expect(result.notes.contains { $0.contains("not recorded") })
            #expect(try await copies(clinic) == [["primary", "secondary"]])
        }
    }

    private func copies(_ clinic: Clinic) async throws -> [[String]] {
        guard case .array(let sets)? = try await clinic.list().details["sets"] else { return [] }
        return sets.map { set in
            guard case .object(let members) = set, case .array(let copies)? = members["copies"] else { return [] }
            return copies.map { if case .string(let name) = $0 { name } else { "" } }
        }
    }
}

@Suite("Sets under lock and in classes")
struct ProtectionTests {
    /// Shows that every object of a set is locked until the end of its retention in both stores, that segments alone
    /// have a class and tags, and that locks and requests stay free.
    @Test func both() async throws {
        try await Clinic.open { clinic in
            var clinic = clinic
            clinic.workplace.writer.protection = SetProtection(lockMode: .compliance, legalHold: true)
            clinic.workplace.writer.storageClasses = [.weekly: .glacierInstant]
            let result = try await clinic.backup(.weekly, requestID: .run("uid"))
            #expect(result.exitCode == .done)
            let key = try #require(result.backupKey)
            _ = try await clinic.verify(.latest(nil))
            let until = try #require(result.snapshotTime).adding(seconds: 365 * 86400)
            for store in [clinic.firstMemory, clinic.secondMemory] {
                for object in store.keys {
                    let info = try #require(try await store.stat(object))
                    let isOfSet = object.hasPrefix("\(key)/")
                    let lock = ObjectLock(mode: .compliance, until: until)
                    #expect(info.protection == (isOfSet ? Protection(lock: lock, legalHold: true) : Protection()))
                    let isSegment = object.hasSuffix(".encrypted")
                    #expect(info.storageClass == (isSegment ? .glacierInstant : .standard))
                    let tags = ["lifeboat-tier": "weekly", "lifeboat-kind": "body"]
                    #expect(store.tags(object) == (isSegment ? tags : [:]))
                }
            }
            let stored = try await Catalog(clinic.first).manifest(key)
            #expect(stored.manifest.retention.objectLock == .compliance)
            #expect(stored.manifest.retention.legalHold)
            #expect(stored.manifest.retention.storageClass == .glacierInstant)
        }
    }

    /// Shows that bodies of audit records are told from those of tiers in both stores, so that other rules move them.
    @Test func auditRecords() async throws {
        try await Clinic.open { clinic in
            var clinic = clinic
            clinic.workplace.writer.bodies = .auditRecords
            _ = try await clinic.backup(.weekly, requestID: .run("uid"))
            for store in [clinic.firstMemory, clinic.secondMemory] {
                let bodies = store.keys.filter { $0.hasSuffix(".encrypted") }
                #expect(!bodies.isEmpty)
                for body in bodies {
                    #expect(store.tags(body) == ["lifeboat-tier": "audit-records", "lifeboat-kind": "body"])
                }
            }
        }
    }

    /// Shows that a second store which has no locks and classes gets the copy as it can.
    @Test func plainSecond() async throws {
        try await Clinic.open(secondIsBucket: false) { clinic in
            var clinic = clinic
            clinic.workplace.writer.protection = SetProtection(lockMode: .governance)
            clinic.workplace.writer.storageClasses = [.daily: .standardIA]
            let result = try await clinic.backup()
            #expect(result.exitCode == .done)
            #expect(clinic.secondMemory.keys.count == 3)
        }
    }

    /// Shows that a set which is to be locked is not made where the store cannot, before the source is read.
    @Test func plainFirst() async throws {
        try await Clinic.open(secondIsBucket: false) { clinic in
            var clinic = clinic
            clinic.workplace.store = clinic.second
            clinic.workplace.secondary = nil
            clinic.workplace.writer.protection = SetProtection(lockMode: .governance)
            let error = await #expect(throws: NotSupportedByStore.self) { try await clinic.backup() }
            #expect(error?.exitCode == .configuration)
            #expect(!clinic.secondMemory.keys.contains { $0.hasPrefix("daily/") })
        }
    }

    /// Shows that a tier without an end cannot be locked, that the manifest says so, and that its hold stands.
    @Test func withoutEnd() async throws {
        try await Clinic.open { clinic in
            var clinic = clinic
            clinic.workplace.writer.protection = SetProtection(lockMode: .compliance, legalHold: true)
            let result = try await clinic.backup(.manual)
            #expect(result.notes.contains { $0.contains("not locked") })
            let object = try #require(clinic.segments(clinic.firstMemory).first)
            let info = try #require(try await clinic.first.stat(object))
            #expect(info.protection == Protection(legalHold: true))
        }
    }

    /// Shows that an attempt which fails before its locks leaves nothing, and that one which fails among them stops no
    /// later backup: what is locked stays, and is swept once its lock has ended.
    @Test func failedAttempts() async throws {
        try await Clinic.open { clinic in
            var clinic = clinic
            clinic.workplace.secondary = nil
            clinic.workplace.writer.protection = SetProtection(lockMode: .compliance)
            clinic.first.fail(.put, nth: 2, keyContaining: ".encrypted")
            await #expect(throws: InjectedFault.self) { try await clinic.backup(.hourly) }
            #expect(clinic.segments(clinic.firstMemory).isEmpty)

            clinic.first.fail(.amend, nth: 2)
            await #expect(throws: InjectedFault.self) { try await clinic.backup(.hourly) }
            #expect(!clinic.segments(clinic.firstMemory).isEmpty)
            let orphans = clinic.segments(clinic.firstMemory)

            clinic.clock.advance(seconds: 3 * 86400)
            let later = try await clinic.backup(.hourly)
            #expect(later.exitCode == .done)
            #expect(clinic.firstMemory.keys.contains { orphans.contains($0) })
            clinic.clock.advance(seconds: 5 * 86400)
            #expect(try await clinic.backup(.hourly).exitCode == .done)
            #expect(!clinic.firstMemory.keys.contains { orphans.contains($0) })
        }
    }

    /// Shows that a manifest whose commit failed although it was written does not stand without its parts: both go.
    @Test func lostCommit() async throws {
        try await Clinic.open { clinic in
            clinic.first.fail(.put, keyContaining: "/manifest.json", with: .loseReply)
            await #expect(throws: InjectedFault.self) { try await clinic.backup() }
            #expect(clinic.firstMemory.keys.allSatisfy { $0.hasPrefix("locks/") })
            // And where it cannot be removed the whole set stays.
            clinic.first.fail(.put, keyContaining: "/manifest.json", with: .loseReply)
            clinic.first.fail(.delete, keyContaining: "/manifest.json")
            await #expect(throws: InjectedFault.self) { try await clinic.backup() }
            let result = try await clinic.verify(.latest(nil))
            #expect(result.verdict == .proven)
        }
    }
}
