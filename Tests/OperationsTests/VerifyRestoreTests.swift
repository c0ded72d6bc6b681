import Core
import Operations
import Sets
import TestSupport
import Testing

@Suite("Proof by restore")
struct VerifyRestoreTests {
    /// Ten tables of a few rows.
    private static let tables = Array(("tables:\n" + (0..<10).map { "t\($0)=rows\n" }.joined()).utf8)

    private func withScratch(
        _ thresholds: ProofThresholds = ProofThresholds(),
        _ body: (Clinic, TextScratchPlace, BackupKey) async throws -> Void
    ) async throws {
        try await Clinic.open { clinic in
            var clinic = clinic
            clinic.engine.text = Self.tables
            let place = TextScratchPlace(clock: clinic.clock)
            clinic.workplace.scratch = place
            clinic.workplace.thresholds = thresholds
            let key = try #require(try await clinic.backup().backupKey)
            try await body(clinic, place, key)
            #expect(place.now.opened == place.now.closed, "a scratch place was left open")
        }
    }

    /// Shows that a set is restored to the scratch place, compared there and put in place, that the source is not
    /// touched, and that the proof beside the set says so with what it took.
    @Test func proven() async throws {
        try await withScratch { clinic, place, key in
            clinic.engine.text = [1]
            place.set { $0.acts[.stage] = { place.clock.advance(seconds: 3) } }
            let result = try await clinic.verify(.exact(key), depth: .restore)
            #expect(result.exitCode == .done && result.verdict == .proven && result.proofDepth == .restore)
            #expect(result.details["objectsCompared"] == .integer(10))
            #expect(result.details["objectsMatched"] == .integer(10))
            #expect(result.notes.contains("the server finds nothing wrong"))
            #expect(place.now.promoted == [Self.tables])
            #expect(clinic.engine.text == [1])
            let proof = try #require(try clinic.proofs(of: key).last)
            #expect(proof["depth"] == .string("restore") && proof["verdict"] == .string("proven"))
            #expect(proof["measured"]?["milliseconds"] == .integer(3000))
            #expect(proof["measured"]?["bytes"] == .integer(Int64(Self.tables.count)))
            // The record is read again by the next verification, its MAC included.
            #expect(try await clinic.verify(.exact(key)).verdict == .proven)
        }
    }

    /// Shows that whichever step fails the scratch place is closed, the failure is the job's, and nothing is proven by
    /// restore; that only a failure of the set itself is taken down as one; and that what a restore to a scratch place
    /// ends with says nothing of an original, for there is none.
    @Test(
        arguments: TextScratchPlace.Step.allCases.filter { $0 != .database },
        [ExitCode.source, .verificationFailed, .restoreFailedOriginalIntact, .rollbackFailed])
    func closedWhateverFails(_ step: TextScratchPlace.Step, _ code: ExitCode) async throws {
        try await withScratch { clinic, place, key in
            place.set {
                $0.faults[step] = JobFailure(code, "do it", object: "it", cause: "the test wants it", hint: "")
            }
            let error = await #expect(throws: JobFailure.self) {
                try await clinic.verify(.exact(key), depth: .restore)
            }
            let isOfReplacement = [.restoreFailedOriginalIntact, .rollbackFailed].contains(code)
            #expect(error?.exitCode == (isOfReplacement ? .inconclusive : code))
            #expect(error?.cause == "the test wants it")
            #expect(place.now.opened == (step == .open ? 0 : 1))
            let proofs = try clinic.proofs(of: key)
            if code == .verificationFailed {
                #expect(proofs.last?["verdict"] == .string("failed"))
            } else {
                #expect(proofs.last?["verdict"] == .string("proven"))
                #expect(proofs.last?["depth"] == .string("integrity"))
            }
        }
    }

    /// Shows that a job that is ended from outside, or stands still, while it stages leaves no scratch place open.
    @Test(arguments: [true, false])
    func ended(isCancelled: Bool) async throws {
        try await withScratch { clinic, place, key in
            let (arrivals, arrival) = AsyncStream.makeStream(of: Void.self)
            place.set {
                $0.acts[.stage] = {
                    arrival.yield()
                    try await Task.sleep(for: .seconds(3600))
                }
            }
            let task = Task { try await clinic.verify(.exact(key), depth: .restore) }
            for await _ in arrivals { break }
            if isCancelled {
                task.cancel()
                await #expect(throws: CancellationError.self) { try await task.value }
            } else {
                let error = await #expect(throws: (any Error).self) {
                    try await clinic.clock.running { try await task.value }
                }
                #expect((error as? any Failure)?.cause.contains("no progress") == true)
            }
            #expect(place.now.opened == 1 && place.now.closed == 1)
        }
    }

    /// Shows that a check that breaks because the job is being ended leaves no word against the set.
    @Test func brokenByTheEnd() async throws {
        try await withScratch { clinic, place, key in
            let (arrivals, arrival) = AsyncStream.makeStream(of: Void.self)
            place.set {
                $0.acts[.check] = {
                    arrival.yield()
                    do { try await Task.sleep(for: .seconds(3600)) } catch {}
                    throw JobFailure(.verificationFailed, "check", cause: "the tool was killed", hint: "")
                }
            }
            let task = Task { try await clinic.verify(.exact(key), depth: .restore) }
            for await _ in arrivals { break }
            task.cancel()
            await #expect(throws: (any Error).self) { try await task.value }
            let proofs = try clinic.proofs(of: key)
            #expect(proofs.isEmpty)
        }
    }

    /// Shows that a copy that differs in one of ten tables fails the set and names the table, and is not put in place;
    /// that at the threshold and above it is for a person to look at, and no proof either.
    @Test(arguments: [
        (100, Verdict.failed, ExitCode.verificationFailed), (91, .failed, .verificationFailed),
        (90, .inconclusive, .inconclusive), (89, .inconclusive, .inconclusive),
    ])
    func different(_ threshold: Int, _ verdict: Verdict, _ code: ExitCode) async throws {
        try await withScratch(ProofThresholds(integrity: threshold)) { clinic, place, key in
            place.set { $0.reading = { text in Self.replace("t3=rows", "t3=other rows", in: text) } }
            let result = try await clinic.verify(.exact(key), depth: .restore)
            #expect(result.verdict == verdict && result.exitCode == code)
            #expect(result.failure?.cause.contains("table public.t3 has") == true)
            #expect(result.details["objectsMatched"] == .integer(9))
            #expect(place.now.promoted.isEmpty && place.now.discarded == 1)
            #expect(try clinic.proofs(of: key).last?["verdict"] == .string(verdict.rawValue))
        }
    }

    /// Shows that a set of which nothing is recorded that could be compared is no proof, though nothing differs.
    @Test func empty() async throws {
        try await withScratch { clinic, _, _ in
            clinic.engine.text = Array("tables:\n".utf8)
            let key = try #require(try await clinic.backup().backupKey)
            let result = try await clinic.verify(.exact(key), depth: .restore)
            #expect(
                result.verdict == .inconclusive && result.exitCode == .inconclusive && result.proofDepth != .restore)
            #expect(result.failure?.cause.contains("nothing is recorded") == true)
            #expect(try clinic.proofs(of: key).last?["verdict"] == .string("inconclusive"))
        }
    }

    /// Shows that a table that is not there at all falls short of what has to be accessible, whatever else is allowed,
    /// and that nine of ten are ninety per cent and no more.
    @Test(arguments: [(100, Verdict.failed), (91, .failed), (90, .inconclusive), (89, .inconclusive)])
    func missing(_ threshold: Int, _ verdict: Verdict) async throws {
        try await withScratch(ProofThresholds(integrity: 1, accessibility: threshold)) { clinic, place, key in
            place.set { $0.reading = { text in Self.replace("t3=rows\n", "", in: text) } }
            let result = try await clinic.verify(.exact(key), depth: .restore)
            #expect(result.verdict == verdict)
            #expect(result.details["objectsMissing"] == .integer(1))
            #expect(result.failure?.cause.contains("9 of 10 objects are there") == (threshold > 90))
        }
    }

    /// Shows that a restore which takes a second too long, or moves a byte a second too few, is no success of the job
    /// although the set is proven, and that one which just reaches what is asked for is.
    @Test(arguments: [
        (ProofThresholds(seconds: 7), false), (ProofThresholds(seconds: 8), true),
        (ProofThresholds(seconds: 9), true),
        // 88 bytes in 8 seconds.
        (ProofThresholds(bytesPerSecond: 12), false), (ProofThresholds(bytesPerSecond: 11), true),
        (ProofThresholds(bytesPerSecond: 10), true),
    ])
    func slow(_ thresholds: ProofThresholds, isEnough: Bool) async throws {
        try await withScratch(thresholds) { clinic, place, key in
            try #require(Self.tables.count == 88)
            place.set { $0.acts[.stage] = { place.clock.advance(seconds: 8) } }
            let result = try await clinic.verify(.exact(key), depth: .restore)
            #expect(result.exitCode == (isEnough ? .done : .inconclusive))
            #expect(result.verdict == (isEnough ? .proven : .inconclusive))
            if !isEnough { #expect(result.failure?.cause.contains("the restore") == true) }
            #expect(try clinic.proofs(of: key).last?["verdict"] == .string("proven"))
        }
    }

    /// Shows that a scratch place in which something stands is left as it is.
    @Test func occupied() async throws {
        try await withScratch { clinic, place, key in
            place.set { $0.occupant = "the real one" }
            let error = await #expect(throws: JobFailure.self) {
                try await clinic.verify(.exact(key), depth: .restore)
            }
            #expect(error?.exitCode == .configuration)
            #expect(error?.cause.contains("the real one") == true)
            #expect(place.now.promoted.isEmpty)
        }
    }

    /// Shows that without a scratch place the job is refused before anything is read.
    @Test func noPlace() async throws {
        try await withScratch { clinic, _, key in
            var clinic = clinic
            clinic.workplace.scratch = nil
            let before = clinic.first.log.count
            let error = await #expect(throws: JobFailure.self) {
                try await clinic.verify(.exact(key), depth: .restore)
            }
            #expect(error?.exitCode == .configuration && error?.hint.contains("SCRATCH_DIRECTORY") == true)
            #expect(clinic.first.log.count == before)
        }
    }

    /// Shows that a damaged set fails before a scratch place is opened.
    @Test func damaged() async throws {
        try await withScratch { clinic, place, key in
            let object = try #require(clinic.segments(clinic.firstMemory, of: key).first { $0.contains("/text") })
            clinic.firstMemory.damage(object) { $0[$0.count - 1] ^= 1 }
            let error = await #expect(throws: (any Error).self) {
                try await clinic.verify(.exact(key), depth: .restore)
            }
            #expect((error as? any Failure)?.exitCode == .verificationFailed)
            #expect(place.now.opened == 0)
        }
    }

    private static func replace(_ old: String, _ new: String, in text: [UInt8]) -> [UInt8] {
        Array(String(decoding: text, as: UTF8.self).split(separator: old).joined(separator: new).utf8)
    }
}
