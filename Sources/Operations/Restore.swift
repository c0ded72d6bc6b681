package import Core
import Logging
import Sets

/// Puts a set in the place of what stands at the destination: a verified safety backup of that first, the restore beside
/// it, compared, and only then the exchange.
package struct Restore: Sendable {
    let workplace: Workplace
    let job: RestoreJob

    package init(_ job: RestoreJob, at workplace: Workplace) {
        self.job = job
        self.workplace = workplace
    }

    package func run() async throws -> JobResult {
        let notes = ReadingNotes()
        if job.dryRun { return try await rehearse(notes) }
        let here = Restore(job, at: try await workplace.answering(notes))
        // The hours of a thaw pass outside the lock, which backups need meanwhile.
        var result = try await workplace.afterThaw(waiting: job.waitForThaw) {
            guard let database = job.sourceDatabase else { return try await here.restore(nil, notes) }
            return try await here.withDatabase(database, notes) { try await here.restore($0, notes) }
        }
        result.notes += notes.all
        await here.copySafety(&result)
        return result
    }

    /// `taken` is what is to be restored in place of the set itself.
    private func restore(_ taken: TakenDatabase?, _ notes: ReadingNotes) async throws -> JobResult {
        try await workplace.locked(for: job.requestID, waiting: job.waitForLock) { lease in
            let phases = Phases(workplace.clock)
            let destination = try workplace.destination(job.destination)
            let meter = ProgressMeter(stage: "check")
            let material: RestoreMaterial
            if let taken {
                material = taken.material
            } else {
                material = try await phases.measure("check") { try await self.material(notes) }
            }
            let plan = try await phases.measure("preflight") {
                try await preflight(material, at: destination, meter)
            }
            if plan.summary.alreadyDone { return replay(material.reader) }

            let (safety, staged) = try await stageBesideSafety(plan, of: destination, under: lease, phases, meter)
            let comparison = try await compare(staged, with: material, phases, meter)
            let promotion = try await promote(staged, material, safety, under: lease, phases, meter)
            let done = Done(
                material: material, plan: plan, safety: safety, comparison: comparison, promotion: promotion)
            return await finish(done, taken, phases)
        }
    }

    // MARK: Steps

    /// The set as it is, and the log after it where that is to be followed.
    private func material(_ notes: ReadingNotes) async throws -> RestoreMaterial {
        let reader = try await openSet(notes)
        if let needed = ThawNeeded(reader.archived, of: reader.manifest.key) { throw needed }
        let recovery = try await recovery(after: reader, notes)
        return RestoreMaterial(reader, contents: try await reader.contents(), recovery: recovery)
    }

    func preflight(
        _ material: RestoreMaterial, at destination: any Engine, _ meter: ProgressMeter
    ) async throws -> any RestorePlan {
        await workplace.step("preflight")
        let workplace = workplace
        return try await destination.plan(
            RestoreRequest(
                requestID: job.requestID, setKey: material.manifest.key, manifest: material.manifest,
                contents: material.contents, parts: material.parts, createDatabase: job.createDatabase,
                restoreRoles: job.restoreRoles, acknowledgeDisk: job.acknowledgeDisk,
                acknowledgeBoundObjects: job.acknowledgeBoundObjects,
                verifiedContents: { key in try await workplace.verifiedContents(key) },
                recovery: material.recovery?.recovery, meter: meter))
    }

    /// The safety backup of what stands there and the load of what is to come, side by side; where either fails the
    /// other is ended and nothing of the staging stays.
    private func stageBesideSafety(
        _ plan: any RestorePlan, of destination: any Engine, under lease: Lease, _ phases: Phases,
        _ meter: ProgressMeter
    ) async throws -> (safety: StoredManifest?, staged: any StagedRestore) {
        let needsSafety = plan.summary.replaces != nil && job.skipSafetyBackupReason == nil
        let safety = Guarded<StoredManifest?>(nil)
        let staged = Guarded<(any StagedRestore)?>(nil)
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                if needsSafety {
                    group.addTask {
                        let made = try await makeSafety(of: destination, under: lease, phases)
                        safety.withLock { $0 = made }
                    }
                }
                group.addTask {
                    let loaded = try await load(plan, phases, meter)
                    staged.withLock { $0 = loaded }
                }
                // The first to fail ends the other.
                try await group.waitForAll()
            }
            guard let loaded = staged.value else { throw CancellationError() }
            return (safety.value, loaded)
        } catch {
            if let loaded = staged.value { await discard(loaded) }
            throw error
        }
    }

    private func load(
        _ plan: any RestorePlan, _ phases: Phases, _ meter: ProgressMeter
    ) async throws -> any StagedRestore {
        await workplace.step("stage")
        return try await failing(as: .restoreFailedOriginalIntact) {
            try await phases.measure("stage") {
                try await workplace.watching(meter) { try await plan.stage() }
            }
        }
    }

    private func makeSafety(
        of destination: any Engine, under lease: Lease, _ phases: Phases
    ) async throws -> StoredManifest {
        await workplace.step("safety backup")
        let meter = ProgressMeter(stage: "safety backup")
        return try await failing(as: .restoreFailedOriginalIntact) {
            try await phases.measure("safetyBackup") {
                try await workplace.watching(meter) {
                    let attempt = try await workplace.makeSet(
                        of: destination, tier: .safety, requestID: job.requestID,
                        in: try await workplace.catalog.listing(), under: lease, meter: meter)
                    guard case .set(let made, _) = attempt else { throw noSafety(of: destination) }
                    meter.begin("verify the safety backup", expected: made.manifest.storedSize)
                    let reader = try await SetReader.open(
                        made, in: workplace.store, configuration: workplace.reader)
                    // Of a target of a whole server, what is replaced may be one database: who made the set reads it.
                    _ = try await workplace.proveIntegrity(
                        of: reader, recompute: false, by: destination, meter: meter)
                    try await reader.add(
                        Proof(
                            depth: .integrity, verdict: .proven, time: workplace.clock.now(),
                            requestID: job.requestID.description, contentsCompared: false))
                    return made
                }
            }
        }
    }

    private func noSafety(of destination: any Engine) -> JobFailure {
        JobFailure(
            .restoreFailedOriginalIntact, "make the safety backup", object: destination.capabilities.endpoint,
            cause: "the source gave nothing to store", hint: "nothing was replaced; look at what stands there")
    }

    private func compare(
        _ staged: any StagedRestore, with material: RestoreMaterial, _ phases: Phases, _ meter: ProgressMeter
    ) async throws -> ContentsComparison {
        await workplace.step("compare")
        meter.begin("compare", expected: material.manifest.plainSize)
        do {
            let found = try await failing(as: .restoreFailedOriginalIntact) {
                try await phases.measure("compare") {
                    try await workplace.watching(meter) { try await staged.inspect() }
                }
            }
            let comparison = ContentsComparison(recorded: material.contents, found: found)
            guard comparison.isEqual else {
                throw JobFailure(
                    .restoreFailedOriginalIntact, "prove the restored copy",
                    object: material.manifest.key.description,
                    cause: comparison.failures.prefix(20).joined(separator: "; "),
                    hint: "nothing was replaced; restore another set, and keep this one for examination")
            }
            return comparison
        } catch {
            await discard(staged)
            throw error
        }
    }

    private func promote(
        _ staged: any StagedRestore, _ material: RestoreMaterial, _ safety: StoredManifest?, under lease: Lease,
        _ phases: Phases,
        _ meter: ProgressMeter
    ) async throws -> Promotion {
        await workplace.step("swap")
        meter.begin("swap")
        let marker = RestoreMarker(
            requestID: job.requestID, setKey: material.manifest.key, safetyKey: safety?.manifest.key,
            time: workplace.clock.now())
        do {
            try await lease.check()
            return try await failing(as: .restoreFailedOriginalIntact) {
                let safety = try await open(safety)
                return try await phases.measure("swap") {
                    try await workplace.watching(meter) {
                        try await staged.promote(PromotionRequest(marker: marker, safety: safety, meter: meter))
                    }
                }
            }
        } catch let failure as any Failure where failure.exitCode == .rollbackFailed {
            // Nobody knows what stands where: a person has to look, and needs both copies.
            throw failure
        } catch {
            await discard(staged)
            throw error
        }
    }

    private func open(_ safety: StoredManifest?) async throws -> SafetySet? {
        guard let safety else { return nil }
        let reader = try await SetReader.open(safety, in: workplace.store, configuration: workplace.reader)
        return SafetySet(manifest: safety.manifest, contents: try await reader.contents(), parts: reader)
    }

    /// A restore that is in place.
    private struct Done: Sendable {
        let material: RestoreMaterial
        let plan: any RestorePlan
        let safety: StoredManifest?
        let comparison: ContentsComparison
        let promotion: Promotion
    }

    private func finish(_ done: Done, _ taken: TakenDatabase?, _ phases: Phases) async -> JobResult {
        let (material, promotion) = (done.material, done.promotion)
        var result = result(of: material.reader)
        result.verdict = .proven
        result.proofDepth = .restore
        result.safetyBackupKey = done.safety?.manifest.key
        result.phases = phases.all.merging(taken?.phases ?? [:]) { $1 }
        result.notes = (taken?.notes ?? []) + promotion.notes + done.comparison.reprints
        result.details["replaced"] = promotion.replacedName.map { .string($0) } ?? .null
        result.details["unheldWrites"] = unheldWrites(done.plan, done.safety, promotion)
        result.details.merge(material.recovery?.details ?? taken?.details ?? [:]) { $1 }
        if let recovered = promotion.recovered ?? taken?.recovered { result.details["recovered"] = recovered.json }
        if let startable = promotion.startable { result.details["dataDirectory"] = .string(startable) }
        if taken != nil { result.details.merge(material.manifest.contents.json) { $1 } }
        if let reason = job.skipSafetyBackupReason, done.plan.summary.replaces != nil {
            result.notes.append("no safety backup was made, as asked for: \(reason)")
        } else if done.plan.summary.replaces == nil {
            result.notes.append("no safety backup was made: there was \(nothingReplaced)")
        }
        // The restore has succeeded; a proof that cannot be kept is worth saying, not worth failing.
        do {
            try await material.reader.add(
                Proof(
                    depth: .restore, verdict: .proven, time: promotion.time, requestID: job.requestID.description,
                    contentsCompared: true,
                    measured: taken == nil ? measurement(material, phases) : nil))
        } catch {
            result.notes.append("the proof was not recorded: \(error)")
        }
        return result
    }

    private var nothingReplaced: String {
        job.recoveryTarget != nil && job.sourceDatabase == nil ? "nothing in its place" : "no database of this name"
    }

    private func measurement(_ material: RestoreMaterial, _ phases: Phases) -> RestoreMeasurement {
        phases.measurement(
            of: material.manifest, exchange: "swap", log: material.recovery.map { $0.needed.bytes })
    }

    /// The safety backup in the second store as well. The restore is done: what fails here is said, and made up by the
    /// next backup.
    private func copySafety(_ result: inout JobResult) async {
        guard let safety = result.safetyBackupKey, workplace.secondary != nil else { return }
        let copying = await workplace.makeCopy(of: safety, for: job.requestID)
        result.copies = copying.count
        result.notes += copying.notes
        if let failure = copying.failure {
            result.notes.append("the safety backup is not in the second store yet: \(failure.cause)")
        } else if Task.isCancelled {
            result.notes.append("the safety backup may not be in the second store yet: the job was ended")
        }
    }

    /// Between the safety backup's picture and the swap somebody may have written: no set holds that, only the
    /// database that was put aside.
    private func unheldWrites(
        _ plan: any RestorePlan, _ safety: StoredManifest?, _ promotion: Promotion
    ) -> JSON {
        guard plan.summary.replaces != nil else { return .null }
        guard let safety else { return .string("everything since the last backup of the replaced database") }
        return .object([
            "from": .string(safety.manifest.snapshotTime.description), "to": .string(promotion.time.description),
        ])
    }

    // MARK: Results

    func replay(_ reader: SetReader) -> JobResult {
        var result = result(of: reader)
        result.verdict = .proven
        result.proofDepth = .restore
        result.replayed = true
        return result
    }

    func result(of reader: SetReader) -> JobResult {
        var result = JobResult(action: "restore", target: workplace.target, requestID: job.requestID)
        result.backupKey = reader.manifest.key
        result.tier = reader.manifest.key.tier
        result.origin = reader.origin
        result.snapshotTime = reader.manifest.snapshotTime
        result.storedBytes = reader.manifest.storedSize
        result.sourceBytes = reader.manifest.plainSize
        result.details = reader.manifest.contents.json
        result.details["destination"] = .string(job.destination ?? workplace.engine.capabilities.endpoint)
        return result
    }

    private func discard(_ staged: any StagedRestore) async {
        let logger = workplace.logger
        await uncancelled {
            do {
                try await staged.discard()
            } catch {
                logger.warning(
                    "the staged copy stays until the next restore clears it", metadata: ["why": "\(error)"])
            }
        }
    }

    /// Whatever goes wrong in `body` is a failed restore; only what already says how a restore ended, and an end from
    /// outside, stays what it is.
    func failing<Result: Sendable>(
        as code: ExitCode, _ body: () async throws -> Result
    ) async throws -> Result {
        do {
            return try await body()
        } catch let failure as any Failure {
            switch failure.exitCode {
            case .restoreFailedOriginalIntact, .restoreFailedRolledBack, .rollbackFailed, .locked: throw failure
            default: throw JobFailure(failure, as: code)
            }
        }
    }
}
