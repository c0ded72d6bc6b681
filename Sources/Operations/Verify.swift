package import Core
import Sets

/// Reads a set back and says whether it can be relied on.
package struct Verify: Sendable {
    let workplace: Workplace
    private let job: VerifyJob

    package init(_ job: VerifyJob, at workplace: Workplace) {
        self.job = job
        self.workplace = workplace
    }

    package func run() async throws -> JobResult {
        if job.depth == .restore { _ = try workplace.requireScratch(for: "prove the set by restoring it") }
        return try await workplace.afterThaw(waiting: job.waitForThaw) {
            let each = try workplace.eachCopy(job.store)
            let key = try await resolve(in: each)
            guard each.count > 1 else { return try await check(key, in: each[0]) }
            return try await compare(key, each)
        }
    }

    private func resolve(in each: [SetCopy]) async throws -> BackupKey {
        // A verification is about the store it names: what it means there is not looked up elsewhere.
        try await workplace.resolve(
            job.key, for: job.requestID, action: "verify", dryRun: job.dryRun, in: Copies(each[0]),
            notes: ReadingNotes())
    }

    /// Verifies every copy, whatever comes of the others; proven where all of them are.
    private func compare(_ key: BackupKey, _ each: [SetCopy]) async throws -> JobResult {
        var sound: JobResult?
        var verdicts: [String: JSON] = [:]
        var failures: [JobFailure] = []
        for copy in each {
            do {
                let result = try await check(key, in: copy)
                verdicts[copy.name.rawValue] = .string(result.verdict?.rawValue ?? Verdict.inconclusive.rawValue)
                sound = sound ?? result
                if let failure = result.failure { failures.append(JobFailure(failure, of: copy)) }
            } catch let needed as ThawNeeded {
                throw needed
            } catch let stalled as Stalled {
                throw stalled
            } catch let failure as any Failure {
                verdicts[copy.name.rawValue] = .string(verdict(of: failure).rawValue)
                failures.append(JobFailure(failure, of: copy))
            }
        }
        var result = sound ?? JobResult(action: "verify", target: workplace.target, requestID: job.requestID)
        result.backupKey = key
        result.tier = key.tier
        result.details["copies"] = .object(verdicts)
        guard let worst = failures.first(where: { $0.exitCode == .verificationFailed }) ?? failures.first else {
            return result
        }
        result.verdict = verdicts.values.contains(.string(Verdict.failed.rawValue)) ? .failed : .inconclusive
        result.proofDepth = nil
        result.exitCode = worst.exitCode
        result.failure = worst
        result.failure?.cause = failures.map(\.cause).joined(separator: "; ")
        return result
    }

    /// A copy that is not there has failed as one that is damaged; of a store that does not answer nothing is known.
    private func verdict(of failure: some Failure) -> Verdict {
        if case .notFound? = failure as? SetError { return .failed }
        return failure.exitCode == .verificationFailed ? .failed : .inconclusive
    }

    /// Verifies the set as it lies in one store.
    private func check(_ key: BackupKey, in copy: SetCopy) async throws -> JobResult {
        let meter = ProgressMeter(stage: "verify")
        let phases = Phases(workplace.clock)
        return try await phases.measure("verify") {
            try await workplace.watching(meter) {
                guard workplace.reader.canOpen else { return try await checkClosed(key, copy, meter) }
                return try await checkOpened(key, copy, phases, meter)
            }
        }.with(phases)
    }

    /// Without a key to open it, what is stored can only be found to be what the manifest names. Never a pass.
    private func checkClosed(
        _ key: BackupKey, _ copy: SetCopy, _ meter: ProgressMeter
    ) async throws -> JobResult {
        let stored = try await Catalog(copy.store).manifest(key, of: workplace.target)
        meter.begin("verify", expected: stored.manifest.storedSize)
        let places = try await SegmentPlaces.find(stored.manifest, in: Copies(copy))
        var result = result(of: stored, .inconclusive)
        if let needed = ThawNeeded(places.archived, of: key) {
            guard job.dryRun else { throw needed }
            result.note(needed)
        } else if !job.dryRun {
            try await SetReader.checkDigests(of: stored.manifest, in: copy.store, meter: meter)
        }
        result.exitCode = .inconclusive
        result.failure = JobFailure(
            .inconclusive, "open the set", object: key.description,
            cause: "no identity here opens it; "
                + (job.dryRun
                    ? "only the sizes of what is stored were compared"
                    : "only the digests of what is stored were compared, and they match"),
            hint: "run verify where a private key is at hand, with BACKUP_IDENTITIES")
        return result
    }

    private func checkOpened(
        _ key: BackupKey, _ copy: SetCopy, _ phases: Phases, _ meter: ProgressMeter
    ) async throws -> JobResult {
        let reader = try await workplace.openWithRecords(key, in: copy)
        meter.begin("verify", expected: reader.manifest.storedSize)
        var result = result(of: reader.stored, .proven)
        result.origin = reader.origin
        result.notes = try await lookBack(reader.manifest, in: copy)
        result.proofDepth = .integrity
        if job.dryRun {
            result.verdict = .inconclusive
            if let needed = ThawNeeded(reader.archived, of: key) { result.note(needed) }
            return result
        }
        if let needed = ThawNeeded(reader.archived, of: key) { throw needed }
        do {
            let examined = try await workplace.examine(
                reader, recompute: job.recomputeContents, comparesSource: true, meter: meter)
            result.notes += examined.notes
            result.details.merge(examined.details) { $1 }
            if let objection = examined.objection { result.object(objection) }
            if let objection = examined.objection, objection.isOfSet {
                try await record(.failed, .integrity, reader)
                return result
            }
        } catch let failure as any Failure where failure.exitCode == .verificationFailed && !Task.isCancelled {
            // What breaks because the job is being ended says nothing about the set.
            try await record(.failed, .integrity, reader)
            throw failure
        }
        guard job.depth == .restore, result.exitCode == .done else {
            try await record(.proven, .integrity, reader)
            return result
        }
        return try await workplace.havingScratch(for: job.requestID) { [result] in
            try await proveByRestore(reader, result, phases, meter)
        }
    }

    /// Whether the set before this one is there, or was pruned. It says nothing about this set, so it is only noted.
    private func lookBack(_ manifest: Manifest, in copy: SetCopy) async throws -> [String] {
        // The second store need not have them all.
        guard copy.name == .primary, let previous = manifest.previous,
            try await copy.store.stat(SetLayout.manifest(previous.key)) == nil
        else { return [] }
        return try await ChainCheck(in: copy.store, configuration: workplace.reader).find([previous]).notes
    }

    func record(
        _ verdict: Verdict, _ depth: ProofDepth, _ reader: SetReader, measured: RestoreMeasurement? = nil
    ) async throws {
        try await reader.add(
            Proof(
                depth: depth, verdict: verdict, time: workplace.clock.now(),
                requestID: job.requestID.description, contentsCompared: job.recomputeContents || depth == .restore,
                measured: measured))
    }

    private func result(of stored: StoredManifest, _ verdict: Verdict) -> JobResult {
        var result = JobResult(action: "verify", target: workplace.target, requestID: job.requestID)
        result.verdict = verdict
        result.dryRun = job.dryRun
        result.backupKey = stored.manifest.key
        result.tier = stored.manifest.key.tier
        result.snapshotTime = stored.manifest.snapshotTime
        result.storedBytes = stored.manifest.storedSize
        result.sourceBytes = stored.manifest.plainSize
        result.chainSequence = stored.manifest.sequence
        result.details = [
            "contentsCompared": .bool(job.recomputeContents && verdict == .proven)
        ].merging(stored.manifest.contents.json) { $1 }
        return result
    }
}

extension JobResult {
    func with(_ phases: Phases) -> JobResult {
        var result = self
        result.phases = phases.all
        return result
    }

    /// Ends the run with it. A difference is a failure; what could not be compared has not been proven.
    fileprivate mutating func object(_ objection: Objection) {
        verdict = objection.failure.exitCode == .verificationFailed ? .failed : .inconclusive
        exitCode = objection.failure.exitCode
        failure = objection.failure
        if objection.isOfSet { proofDepth = nil }
    }

    /// What a dry run says instead of asking for a thaw.
    mutating func note(_ needed: ThawNeeded) {
        notes.append(needed.note)
        details["thaw"] = needed.json
    }
}

extension JobFailure {
    /// The same, with the copy named that it is about.
    fileprivate init(_ failure: some Failure, of copy: SetCopy) {
        self.init(failure, as: failure.exitCode)
        cause = "\(copy.name.text): \(cause)"
    }
}

extension Workplace {
    /// The set as it lies in one store, with the records beside it looked through: those of its proofs and recipients.
    func openWithRecords(_ key: BackupKey, in copy: SetCopy) async throws -> SetReader {
        let reader = try await SetReader.open(
            key, of: target, in: Copies(copy), configuration: reader, notes: ReadingNotes())
        var records: [String] = []
        for try await object in copy.store.list(SetLayout.directory(key) + "records/") { records.append(object.key) }
        try Task.checkCancellation()
        _ = try await reader.proofs(records)
        try await reader.checkRewraps(records)
        return reader
    }

    /// Reads every part of a set to its end: stored digests, every frame, decompression, and the engine's own sign
    /// that it is complete; with `recompute` also that its rows are those that were recorded. Returns what is worth
    /// noting; throws what makes the set unusable.
    ///
    /// `engine` is what reads the parts where it is known already.
    func proveIntegrity(
        of reader: SetReader, recompute: Bool, by engine: (any Engine)? = nil, meter: ProgressMeter
    ) async throws -> Examined {
        let examined = try await examine(
            reader, recompute: recompute, comparesSource: false, by: engine, meter: meter)
        if let objection = examined.objection { throw objection.failure }
        return examined
    }

    /// The same, with the source compared where the engine does that. What the engine objects to is left to the caller.
    func examine(
        _ reader: SetReader, recompute: Bool, comparesSource: Bool, by engine: (any Engine)? = nil,
        meter: ProgressMeter
    ) async throws -> Examined {
        let recorded = try await reader.contents()
        let parts = NotingOpener(reader)
        var examined = try await (engine ?? reading(reader.manifest)).examine(
            ExamineRequest(
                manifest: reader.manifest, parts: parts, recompute: recompute, comparesSource: comparesSource,
                predecessor: { try await reader.predecessor() }, meter: meter))
        try await reader.readThrough(parts.unopened, meter: meter)
        guard let found = examined.contents else { return examined }
        let comparison = ContentsComparison(recorded: recorded, found: found)
        guard comparison.isEqual else {
            throw JobFailure(
                .verificationFailed, "find the recorded contents in the set", object: reader.manifest.key.description,
                cause: comparison.failures.prefix(20).joined(separator: "; "),
                hint: "do not use this set; verify others and restore one that is proven")
        }
        examined.notes += comparison.reprints
        return examined
    }
}

/// Notes which parts an engine has opened, so that none goes unread.
final class NotingOpener: PartOpener {
    private let base: any PartOpener
    private let opened = Guarded<Set<String>>([])

    init(_ base: any PartOpener) { self.base = base }

    var partNames: [String] { base.partNames }
    var unopened: [String] { partNames.filter { !opened.value.contains($0) } }

    func open(_ part: String) async throws -> any ByteSource {
        opened.withLock { _ = $0.insert(part) }
        return try await base.open(part)
    }
}
