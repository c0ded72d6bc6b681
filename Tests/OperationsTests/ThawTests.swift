import Core
import Operations
import Sets
import TestSupport
import Testing

@Suite("Archived sets")
struct ThawTests {
    /// A set whose segments lie in an archive, in the stores given.
    private func archived(
        _ clinic: Clinic, in stores: [MemoryStore], as storageClass: StorageClass = .glacier
    ) async throws -> BackupKey {
        let key = try #require(try await clinic.backup().backupKey)
        for store in stores {
            for object in clinic.segments(store, of: key) { store.move(object, to: storageClass) }
        }
        return key
    }

    private func availability(_ clinic: Clinic, _ store: MemoryStore) async throws -> Set<String> {
        var found: Set<String> = []
        for object in clinic.segments(store) {
            found.insert("\(try #require(try await store.stat(object)).availability)")
        }
        return found
    }

    /// Shows that an archived set is asked for and ends with 19 and an estimate, for a restore and a verification; that
    /// nothing was touched; and that the same event works once the thaw is done.
    @Test(arguments: [(StorageClass.glacier, "3 to 5 hours"), (.deepArchive, "up to 12 hours")])
    func requested(_ storageClass: StorageClass, _ estimate: String) async throws {
        try await Clinic.open { clinic in
            let key = try await archived(
                clinic, in: [clinic.firstMemory, clinic.secondMemory], as: storageClass)
            clinic.engine.text = Array("later\n".utf8)
            for attempt in 1...2 {
                do {
                    _ = try await clinic.restore(.exact(key))
                    Issue.record("restored from an archive")
                } catch let failure as any Failure {
                    #expect(failure.exitCode == .thawRequested)
                    #expect(failure.cause.contains("2 objects lie in \(storageClass.rawValue)"))
                    #expect(failure.hint.contains(estimate) && failure.hint.contains("same event"))
                }
                // Asked for once, in one store.
                #expect(clinic.first.log.count { $0.call == .amend } == 2, "attempt \(attempt)")
            }
            #expect(clinic.engine.text == Array("later\n".utf8))
            #expect(try await availability(clinic, clinic.firstMemory) == ["thawing"])
            #expect(try await availability(clinic, clinic.secondMemory) == ["archived"])
            clinic.firstMemory.finishThaws()
            #expect(try await clinic.verify(.exact(key)).verdict == .proven)
            #expect(try await clinic.restore(.exact(key)).exitCode == .done)
            #expect(clinic.engine.text == Array("rows\n".utf8))
        }
    }

    /// Shows that a job which may wait does: hours pass, its steps say thaw, no watchdog ends it, the target's lock is
    /// free meanwhile, and then it goes on by itself.
    @Test func waits() async throws {
        try await Clinic.open { clinic in
            var clinic = clinic
            let key = try await archived(clinic, in: [clinic.firstMemory, clinic.secondMemory])
            let looks = Guarded(0)
            let (clock, memory, first, lease) = (
                clinic.clock, clinic.firstMemory, clinic.first, clinic.workplace.lease
            )
            clinic.workplace.sleep = { seconds in
                guard seconds > 1 else { return try await clock.sleep(seconds) }
                clock.advance(seconds: seconds)
                let count = looks.withLock { count in
                    count += 1
                    return count
                }
                if count == 3 {
                    _ = try await Lease.acquire(in: first, configuration: lease, requestID: "other").release()
                }
                if count == 100 { memory.finishThaws() }
            }
            let result = try await clinic.restore(.exact(key), waitForThaw: 8 * 3600)
            #expect(result.exitCode == .done)
            #expect(looks.value == 100)
            #expect(clinic.steps.value.contains("thaw"))
            #expect(clinic.clock.elapsed() >= 6000)
        }
    }

    /// Shows that the wait ends where it was said to, with 19.
    @Test func waitsNoLonger() async throws {
        try await Clinic.open { clinic in
            var clinic = clinic
            let key = try await archived(clinic, in: [clinic.firstMemory, clinic.secondMemory])
            let slept = Guarded(0.0)
            let clock = clinic.clock
            clinic.workplace.sleep = { seconds in
                guard seconds > 1 else { return try await clock.sleep(seconds) }
                slept.withLock { $0 += seconds }
            }
            let failure = await #expect(throws: (any Error).self) {
                try await clinic.verify(.exact(key), waitForThaw: 150)
            }
            #expect((failure as? any Failure)?.exitCode == .thawRequested)
            #expect(slept.value == 150)
        }
    }

    /// Shows that a dry run asks for nothing and says what a real one would.
    @Test func dryRun() async throws {
        try await Clinic.open { clinic in
            let key = try await archived(clinic, in: [clinic.firstMemory, clinic.secondMemory])
            let restore = try await clinic.restore(.exact(key), dryRun: true)
            let verify = try await clinic.verify(.exact(key), dryRun: true)
            for result in [restore, verify] {
                #expect(result.verdict == .inconclusive && result.dryRun)
                #expect(result.notes.contains { $0.contains("3 to 5 hours") })
                #expect(result.details["thaw"] != nil)
            }
            #expect(!clinic.first.log.contains { $0.call == .amend })
        }
    }

    /// Shows that a copy which is online is read where the other one is archived, and that the result says so.
    @Test func otherCopyOnline() async throws {
        try await Clinic.open { clinic in
            let key = try await archived(clinic, in: [clinic.firstMemory])
            let result = try await clinic.restore(.exact(key))
            #expect(result.exitCode == .done)
            #expect(result.notes.contains { $0.contains("second copy") && $0.contains("GLACIER") })
            #expect(try await availability(clinic, clinic.firstMemory).contains("archived"))
        }
    }

    /// Shows that classes which answer at once are online.
    @Test(arguments: [StorageClass.standardIA, .glacierInstant])
    func online(_ storageClass: StorageClass) async throws {
        try await Clinic.open { clinic in
            let key = try await archived(clinic, in: [clinic.firstMemory], as: storageClass)
            #expect(try await clinic.verify(.exact(key)).verdict == .proven)
        }
    }

    /// Shows that a verification of a set at random chooses none that has to be thawed.
    @Test func random() async throws {
        try await Clinic.open { clinic in
            _ = try await archived(clinic, in: [clinic.firstMemory])
            let online = try #require(try await clinic.backup().backupKey)
            for _ in 0..<10 { #expect(try await clinic.verify(.random).backupKey == online) }
        }
    }

    /// Shows that a set which was archived before there was a second store is named, stops no other copy and fails no
    /// backup.
    @Test func notCopied() async throws {
        try await Clinic.open { clinic in
            clinic.second.die(afterCalls: 0)
            let key = try await archived(clinic, in: [clinic.firstMemory])
            clinic.second.heal()
            let result = try await clinic.backup()
            #expect(result.exitCode == .done)
            #expect(result.copies == CopyCount(made: 1, failed: 0, missing: 1))
            #expect(result.notes.contains { $0.contains("\(key)") && $0.contains("GLACIER") })
        }
    }
}

@Suite("What a store may hold by mistake or malice")
struct BadStoreTests {
    private func code(_ body: () async throws -> JobResult) async -> ExitCode {
        do {
            return try await body().exitCode
        } catch {
            return (error as? any Failure)?.exitCode ?? .source
        }
    }

    /// Shows that a manifest without its parts is a damaged set for verify and restore, that nothing is touched, and
    /// that it stops no backup.
    @Test func manifestWithoutParts() async throws {
        try await Clinic.open { clinic in
            let key = try #require(try await clinic.backup().backupKey)
            for store in [clinic.firstMemory, clinic.secondMemory] {
                for object in clinic.segments(store, of: key) { try await store.delete(object) }
            }
            clinic.engine.text = Array("untouched\n".utf8)
            #expect(await code { try await clinic.verify(.exact(key)) } == .verificationFailed)
            #expect(await code { try await clinic.restore(.exact(key)) } == .verificationFailed)
            #expect(clinic.engine.text == Array("untouched\n".utf8))
            #expect(try await clinic.backup().exitCode == .done)
        }
    }

    /// Shows that parts without a manifest are no set: not found by name or as the latest, and listed as unfinished.
    @Test func partsWithoutManifest() async throws {
        try await Clinic.open { clinic in
            let key = try #require(try await clinic.backup().backupKey)
            for store in [clinic.firstMemory, clinic.secondMemory] {
                try await store.delete("\(key)/manifest.json")
            }
            #expect(await code { try await clinic.verify(.exact(key)) } == .store)
            #expect(await code { try await clinic.restore(.latest(nil)) } == .store)
            #expect(try await clinic.list().details["unfinished"] == .array([.string(key.description)]))
            #expect(try await clinic.backup().exitCode == .done)
        }
    }

    /// Shows that another set's object in the place of one of this set is refused, of the same size or not, and taken
    /// from the second copy by a restore.
    @Test(arguments: [true, false])
    func replacedObject(isEqualInSize: Bool) async throws {
        try await Clinic.open { clinic in
            let key = try #require(try await clinic.backup().backupKey)
            clinic.engine.text = Array((isEqualInSize ? "wors\n" : "other rows\n").utf8)
            let other = try #require(try await clinic.backup().backupKey)
            let mine = try #require(clinic.segments(clinic.firstMemory, of: key).first { $0.contains("/text") })
            let strange = try #require(clinic.segments(clinic.firstMemory, of: other).first { $0.contains("/text") })
            let bytes = try #require(clinic.firstMemory.bytes(strange))
            #expect((bytes.count == clinic.firstMemory.bytes(mine)?.count) == isEqualInSize)
            clinic.firstMemory.damage(mine) { $0 = bytes }
            #expect(await code { try await clinic.verify(.exact(key)) } == .verificationFailed)
            #expect(try await clinic.restore(.exact(key)).exitCode == .done)
            #expect(clinic.engine.text == Array("rows\n".utf8))
        }
    }
}
