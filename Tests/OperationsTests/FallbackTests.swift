import Core
import Operations
import Sets
import TestSupport
import Testing

/// Segments of about two mebibytes, so that a text of five has several.
private let segmented: Int64 = 5 << 20

@Suite("Reading the other copy")
struct FallbackTests {
    private enum Damage: CaseIterable {
        case missing, flippedEarly, flippedLate, shorter, refused, cut, replaced
    }

    /// Shows that a restore reads a segment whose first copy fails in any way, before anything was read of it or in its
    /// middle, from the second copy, goes on to the same bytes, and says which and why.
    @Test(arguments: Damage.allCases)
    private func perSegment(_ damage: Damage) async throws {
        try await Clinic.open(largestObject: segmented) { clinic in
            let text = patternBytes(9_000_000)
            clinic.engine.text = text
            let key = try #require(try await clinic.backup().backupKey)
            let object = try #require(clinic.segments(clinic.firstMemory, of: key).first { $0.contains("0002") })
            let memory = clinic.firstMemory
            switch damage {
            case .missing: try await memory.delete(object)
            case .flippedEarly: memory.damage(object) { $0[5000] ^= 1 }
            case .flippedLate: memory.damage(object) { $0[$0.count - 100] ^= 1 }
            case .shorter: memory.damage(object) { $0.removeLast(10) }
            case .replaced:
                let other = try #require(clinic.segments(memory, of: key).first { $0.hasSuffix("text.encrypted") })
                let bytes = try #require(memory.bytes(other))
                memory.damage(object) { $0 = Array(bytes.prefix($0.count)) }
            case .refused: clinic.first.fail(.get, times: 99, keyContaining: object)
            case .cut: clinic.first.fail(.get, times: 99, keyContaining: object, with: .cut(afterBytes: 2_500_000))
            }
            clinic.engine.text = Array("something else\n".utf8)
            let result = try await clinic.restore(.exact(key))
            #expect(result.exitCode == .done)
            #expect(clinic.engine.text == text)
            // Once, and nothing of those that were sound.
            #expect(result.notes.count == 1, "\(result.notes)")
            #expect(result.notes.first?.contains("text.0002.encrypted read from the second copy: ") == true)
        }
    }

    /// Shows that where both copies of a segment are damaged, or none is there, the restore fails and nothing is touched.
    @Test(arguments: [true, false])
    func bothDamaged(isMissing: Bool) async throws {
        try await Clinic.open { clinic in
            let key = try #require(try await clinic.backup().backupKey)
            let object = try #require(clinic.segments(clinic.firstMemory, of: key).first { $0.contains("/text") })
            for store in [clinic.firstMemory, clinic.secondMemory] {
                if isMissing {
                    try await store.delete(object)
                } else {
                    store.damage(object) { $0[$0.count - 1] ^= 1 }
                }
            }
            clinic.engine.text = Array("untouched\n".utf8)
            let error = await #expect(throws: JobFailure.self) { try await clinic.restore(.exact(key)) }
            #expect(error?.exitCode == (isMissing ? .verificationFailed : .restoreFailedOriginalIntact))
            #expect(error?.cause.contains("first copy") == true && error?.cause.contains("second copy") == true)
            #expect(clinic.engine.text == Array("untouched\n".utf8))
        }
    }

    /// Shows that a manifest which is missing, unreadable or changed in the first store is taken from the second.
    @Test(arguments: ["missing", "unreadable", "changed"])
    func manifest(_ damage: String) async throws {
        try await Clinic.open { clinic in
            let text = clinic.engine.text
            let key = try #require(try await clinic.backup().backupKey)
            let path = "\(key)/manifest.json"
            switch damage {
            case "missing": try await clinic.firstMemory.delete(path)
            case "unreadable": clinic.firstMemory.damage(path) { $0[0] ^= 1 }
            default:
                var manifest = try await Catalog(clinic.firstMemory).manifest(key).manifest
                manifest.sourceSize += 1
                let bytes = manifest.json().canonicalBytes
                clinic.firstMemory.damage(path) { $0 = bytes }
            }
            clinic.engine.text = [1]
            for selector in [KeySelector.exact(key), .latest(nil)] {
                let result = try await clinic.restore(selector)
                #expect(result.backupKey == key)
                #expect(clinic.engine.text == text)
                #expect(result.notes.contains { $0.contains("second copy") })
            }
            // A verification is about the store that it names.
            await #expect(throws: (any Error).self) { try await clinic.verify(.exact(key)) }
            #expect(try await clinic.verify(.exact(key), store: .secondary).verdict == .proven)
        }
    }

    /// Shows that with the first store gone altogether a restore works from the second: its lock, its safety set and
    /// its sets; and that a listing says where it comes from.
    @Test func firstGone() async throws {
        try await Clinic.open { clinic in
            let text = clinic.engine.text
            let key = try #require(try await clinic.backup().backupKey)
            clinic.first.die(afterCalls: 0)
            clinic.engine.text = Array("damaged\n".utf8)
            let result = try await clinic.restore(.latest(nil))
            #expect(result.exitCode == .done)
            #expect(result.backupKey == key)
            #expect(clinic.engine.text == text)
            #expect(result.notes.contains { $0.contains("the first does not answer") })
            let safety = try #require(result.safetyBackupKey)
            #expect(clinic.secondMemory.keys.contains("\(safety)/manifest.json"))
            let list = try await clinic.list()
            #expect(list.notes.contains { $0.contains("second copy") })
            #expect(list.details["count"] == .integer(2))
        }
    }

    /// Shows that with `store: secondary` only that copy is read, however sound the first is.
    @Test func secondaryAlone() async throws {
        try await Clinic.open { clinic in
            let key = try #require(try await clinic.backup().backupKey)
            let object = try #require(clinic.segments(clinic.secondMemory, of: key).first { $0.contains("/text") })
            let text = clinic.engine.text
            let result = try await clinic.restore(.exact(key), store: .secondary)
            #expect(result.notes.allSatisfy { !$0.contains("copy:") })
            clinic.secondMemory.damage(object) { $0[$0.count - 1] ^= 1 }
            await #expect(throws: (any Error).self) { try await clinic.restore(.exact(key), store: .secondary) }
            #expect(clinic.engine.text == text)
        }
    }

    /// Shows that 'latest' means the same set when a request is repeated after the first store has come back.
    @Test func onceForARequest() async throws {
        try await Clinic.open { clinic in
            let key = try #require(try await clinic.backup().backupKey)
            clinic.first.die(afterCalls: 0)
            #expect(try await clinic.restore(.latest(nil), requestID: .run("uid")).backupKey == key)
            clinic.first.heal()
            _ = try await clinic.backup()
            #expect(try await clinic.restore(.latest(nil), requestID: .run("uid")).backupKey == key)
        }
    }

    /// Shows that a restore's safety set is copied too, and that a copy which fails is said and fails nothing.
    @Test func safetySet() async throws {
        try await Clinic.open { clinic in
            let key = try #require(try await clinic.backup().backupKey)
            let copied = try await clinic.restore(.exact(key))
            let safety = try #require(copied.safetyBackupKey)
            #expect(clinic.secondMemory.keys.contains("\(safety)/manifest.json"))
            #expect(copied.copies == CopyCount(made: 1))

            clinic.second.fail(.put, times: 9, keyContaining: "safety/")
            let failed = try await clinic.restore(.exact(key))
            #expect(failed.exitCode == .done)
            #expect(failed.notes.contains { $0.contains("safety backup is not in the second store") })
            clinic.second.heal()
            #expect(try await clinic.backup().copies == CopyCount(made: 2, failed: 0, missing: 0))
        }
    }
}

@Suite("Verifying either copy")
struct VerifyCopiesTests {
    private func verdicts(_ result: JobResult) -> JSON? { result.details["copies"] }

    /// Shows that `both` proves both, and fails by name where either is damaged or not there.
    @Test func both() async throws {
        try await Clinic.open { clinic in
            let key = try #require(try await clinic.backup().backupKey)
            let sound = try await clinic.verify(.exact(key), store: .both)
            #expect(sound.verdict == .proven && sound.exitCode == .done)
            #expect(verdicts(sound) == .object(["primary": .string("proven"), "secondary": .string("proven")]))

            let object = try #require(clinic.segments(clinic.secondMemory, of: key).first { $0.contains("/text") })
            clinic.secondMemory.damage(object) { $0[$0.count - 1] ^= 1 }
            let damaged = try await clinic.verify(.exact(key), store: .both)
            #expect(damaged.verdict == .failed && damaged.exitCode == .verificationFailed)
            #expect(damaged.failure?.cause.hasPrefix("second copy: ") == true)
            #expect(verdicts(damaged) == .object(["primary": .string("proven"), "secondary": .string("failed")]))
            #expect(try await clinic.verify(.exact(key), store: .primary).verdict == .proven)

            try await clinic.secondMemory.delete("\(key)/manifest.json")
            let missing = try await clinic.verify(.exact(key), store: .both)
            #expect(missing.verdict == .failed && missing.exitCode == .store)
            clinic.second.die(afterCalls: 0)
            let silent = try await clinic.verify(.exact(key), store: .both)
            #expect(silent.verdict == .inconclusive && silent.exitCode == .store)
        }
    }

    /// Shows that a second copy cannot be asked for where there is no second store.
    @Test(arguments: [StoreChoice.secondary, .both])
    func noSecond(_ choice: StoreChoice) async throws {
        try await Clinic.open { clinic in
            var clinic = clinic
            clinic.workplace.secondary = nil
            let result = try await clinic.backup()
            #expect(result.copies == nil)
            let error = await #expect(throws: JobFailure.self) {
                try await clinic.verify(.latest(nil), store: choice)
            }
            #expect(error?.exitCode == .configuration)
            #expect(error?.hint.contains("BACKUP_SECONDARY_STORE") == true)
        }
    }
}
