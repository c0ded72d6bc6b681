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
        return try await workplace.locked(for: job.requestID, waiting: 0) { lease in
            let listing = try await workplace.catalog.listing()
            if let finished = try await workplace.catalog.finished(job.requestID, tier: job.tier, in: listing) {
                return result(of: finished, replayed: true)
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
            return result
        }
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
        return result
    }
}
