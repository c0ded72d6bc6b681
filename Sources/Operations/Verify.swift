package import Core
import Sets

/// Reads a set back and says whether it can be relied on.
package struct Verify: Sendable {
    private let workplace: Workplace
    private let job: VerifyJob

    package init(_ job: VerifyJob, at workplace: Workplace) {
        self.job = job
        self.workplace = workplace
    }

    package func run() async throws -> JobResult {
        let stored = try await workplace.choose(job.key, for: job.requestID, action: "verify", dryRun: job.dryRun)
        let meter = ProgressMeter(stage: "verify")
        meter.begin("verify", expected: stored.manifest.storedSize)
        let phases = Phases(workplace.clock)
        return try await phases.measure("verify") {
            try await workplace.watching(meter) {
                guard workplace.reader.canOpen else { return try await checkClosed(stored, meter) }
                return try await checkOpened(stored, meter)
            }
        }.with(phases)
    }

    /// Without a key to open it, what is stored can only be found to be what the manifest names. Never a pass.
    private func checkClosed(_ stored: StoredManifest, _ meter: ProgressMeter) async throws -> JobResult {
        try await SetReader.checkSegments(of: stored.manifest, in: workplace.store)
        if !job.dryRun {
            try await SetReader.checkDigests(of: stored.manifest, in: workplace.store, meter: meter)
        }
        var result = result(of: stored, .inconclusive)
        result.exitCode = .inconclusive
        result.failure = JobFailure(
            .inconclusive, "open the set", object: stored.manifest.key.description,
            cause: "no identity here opens it; only the digests of what is stored were compared, and they match",
            hint: "run verify where a private key is at hand, with BACKUP_IDENTITIES")
        return result
    }

    private func checkOpened(_ stored: StoredManifest, _ meter: ProgressMeter) async throws -> JobResult {
        let reader = try await SetReader.open(stored, in: workplace.store, configuration: workplace.reader)
        _ = try await reader.proofs(try await records(stored.manifest.key))
        var result = result(of: stored, .proven)
        result.origin = reader.origin
        result.proofDepth = .integrity
        if job.dryRun {
            result.verdict = .inconclusive
            return result
        }
        do {
            result.notes = try await workplace.proveIntegrity(
                of: reader, recompute: job.recomputeContents, meter: meter)
        } catch let failure as any Failure where failure.exitCode == .verificationFailed {
            try await record(.failed, reader)
            throw failure
        }
        try await record(.proven, reader)
        return result
    }

    private func records(_ key: BackupKey) async throws -> [String] {
        var paths: [String] = []
        for try await object in workplace.store.list(SetLayout.directory(key) + "records/") {
            paths.append(object.key)
        }
        return paths
    }

    private func record(_ verdict: Verdict, _ reader: SetReader) async throws {
        try await reader.add(
            Proof(
                depth: .integrity, verdict: verdict, time: workplace.clock.now(),
                requestID: job.requestID.description, contentsCompared: job.recomputeContents))
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
            "tables": .exact(stored.manifest.contents.tables), "rows": .exact(stored.manifest.contents.rows),
            "contentsCompared": .bool(job.recomputeContents && verdict == .proven),
        ]
        return result
    }
}

extension JobResult {
    func with(_ phases: Phases) -> JobResult {
        var result = self
        result.phases = phases.all
        return result
    }
}

extension Workplace {
    /// Reads every part of a set to its end: stored digests, every frame, decompression, and the engine's own sign
    /// that it is complete; with `recompute` also that its rows are those that were recorded. Returns what is worth
    /// noting; throws what makes the set unusable.
    func proveIntegrity(of reader: SetReader, recompute: Bool, meter: ProgressMeter) async throws -> [String] {
        let recorded = try await reader.contents()
        let parts = NotingOpener(reader)
        let examined = try await engine.examine(parts, recompute: recompute, meter: meter)
        try await reader.readThrough(parts.unopened, meter: meter)
        guard let found = examined else { return [] }
        let comparison = ContentsComparison(recorded: recorded, found: found)
        guard comparison.isEqual else {
            throw JobFailure(
                .verificationFailed, "find the recorded contents in the set", object: reader.manifest.key.description,
                cause: comparison.failures.prefix(20).joined(separator: "; "),
                hint: "do not use this set; verify others and restore one that is proven")
        }
        return comparison.reprints
    }
}

/// Notes which parts an engine has opened, so that none goes unread.
private final class NotingOpener: PartOpener {
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
