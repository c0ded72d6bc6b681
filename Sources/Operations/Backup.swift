package import Core
import Logging
import Sets

/// Makes one set of the target's source.
package struct Backup: Sendable {
    private let workplace: Workplace
    private let job: BackupJob

    package init(_ job: BackupJob, at workplace: Workplace) {
        self.job = job
        self.workplace = workplace
    }

    package func run() async throws -> JobResult {
        if job.dryRun { return try await plan() }
        let (stored, result) = try await make()
        // Outside the target's lock, and with the snapshot long closed: no slow second store holds either open.
        return await copied(stored, result)
    }

    private func make() async throws -> (StoredManifest, JobResult) {
        try await workplace.locked(for: job.requestID, waiting: 0) { lease in
            let listing = try await workplace.catalog.listing()
            if let finished = try await workplace.catalog.finished(job.requestID, tier: job.tier, in: listing) {
                return (finished, result(of: finished, replayed: true))
            }
            try await sweep(listing)
            let phases = Phases(workplace.clock)
            let meter = ProgressMeter()
            await workplace.step("backup")
            let made = try await phases.measure("backup") {
                try await workplace.watching(meter) {
                    try await workplace.makeSet(
                        of: workplace.engine, tier: job.tier, requestID: job.requestID, in: listing, under: lease,
                        meter: meter)
                }
            }
            var result = result(of: made, replayed: false)
            result.phases = phases.all
            return (made, result)
        }
    }

    /// The set in the second store, and what earlier runs left to do there. Whatever comes of it, the set is made.
    private func copied(_ stored: StoredManifest, _ made: JobResult) async -> JobResult {
        guard workplace.secondary != nil else { return made }
        var result = made
        let phases = Phases(workplace.clock)
        let copying = await phases.measure("copy") {
            await workplace.makeUpCopies(beginningWith: stored, for: job.requestID)
        }
        result.phases.merge(phases.all) { $1 }
        result.copies = copying.count
        result.notes += copying.notes
        if Task.isCancelled {
            result.exitCode = .terminated
            result.failure = JobFailure(
                .terminated, "copy the set to the second store", object: stored.manifest.key.description,
                cause: "the job was ended from outside",
                hint: "the set is kept; the next backup, or this event again, goes on with the copy")
        } else if let failure = copying.failure {
            result.exitCode = failure.exitCode
            result.failure = failure
        }
        return result
    }

    private func sweep(_ listing: Catalog.Listing) async throws {
        var removed = try await workplace.catalog.sweepOrphans(in: listing, now: workplace.clock.now())
        removed += try await workplace.sweepUnfinishedWrites(job.tier)
        if removed > 0 {
            workplace.logger.notice("removed what unfinished attempts had left", metadata: ["objects": "\(removed)"])
        }
    }

    private func result(of stored: StoredManifest, replayed: Bool) -> JobResult {
        let manifest = stored.manifest
        var result = JobResult(action: "backup", target: workplace.target, requestID: job.requestID)
        // Fresh sets are proven by 'verify', which reads them back.
        result.verdict = .inconclusive
        result.backupKey = manifest.key
        result.tier = manifest.key.tier
        result.snapshotTime = manifest.snapshotTime
        result.storedBytes = manifest.storedSize
        result.sourceBytes = manifest.plainSize
        result.chainSequence = manifest.sequence
        result.replayed = replayed
        result.notes = manifest.exceptions
        result.details = [
            "tables": .exact(manifest.contents.tables), "rows": .exact(manifest.contents.rows),
            "manifestSHA256": .string(hexText(stored.sha256)),
            "retainUntil": manifest.retention.retainUntil.map { .string($0.description) } ?? .null,
        ]
        return result
    }

    private func lookAtCopies(_ listing: Catalog.Listing, _ result: inout JobResult) async {
        guard let secondary = workplace.secondary else { return }
        do {
            let missing = listing.committed(notIn: try await Catalog(secondary).listing())
            result.details["copiesToMake"] = .integer(Int64(missing.count + 1))
        } catch {
            result.notes.append("the second store cannot be read, so a backup would end with exit code 18: \(error)")
        }
    }

    /// Looks at source, keys and store as a backup would, and changes nothing.
    private func plan() async throws -> JobResult {
        await workplace.step("plan")
        let listing = try await workplace.catalog.listing()
        let head = try await workplace.catalog.head(in: listing)
        let meter = ProgressMeter(stage: "plan")
        let engine = workplace.engine
        let snapshot = try await workplace.watching(meter) {
            try await engine.snapshot(SnapshotRequest(previous: head.stored?.manifest, meter: meter))
        }
        await uncancelled { await snapshot.cancel() }
        _ = try await SetWriter(
            key: BackupKey(tier: job.tier, timestamp: snapshot.facts.time), attempt: "plan", in: workplace.store,
            configuration: workplace.writer)
        var result = JobResult(action: "backup", target: workplace.target, requestID: job.requestID)
        result.dryRun = true
        result.tier = job.tier
        result.snapshotTime = snapshot.facts.time
        result.notes = snapshot.facts.exceptions + head.damaged.map(\.description)
        result.details = [
            "sourceSize": .exact(snapshot.facts.sourceSize),
            "nextInChain": .exact(head.next),
            "source": .object(snapshot.facts.details.mapValues { .string($0) }),
        ]
        await lookAtCopies(listing, &result)
        return result
    }
}
