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
        guard let stored else { return result }
        // Outside the target's lock, and with the snapshot long closed: no slow second store holds either open. The vault
        // is asked first: that takes a moment, and a copy can take hours.
        return await copied(stored, await kept(stored, result))
    }

    private func make() async throws -> (StoredManifest?, JobResult) {
        try await workplace.locked(for: job.requestID, waiting: 0) { lease in
            let listing = try await workplace.catalog.listing()
            if let finished = try await workplace.catalog.finished(job.requestID, tier: job.tier, in: listing) {
                return (finished, result(of: finished, replayed: true))
            }
            try await sweep(listing)
            let expiries = try await workplace.keyExpiries()
            let phases = Phases(workplace.clock)
            let meter = ProgressMeter()
            await workplace.step("backup")
            let made = try await phases.measure("backup") {
                try await workplace.watching(meter) {
                    try await workplace.makeSet(
                        of: workplace.engine, tier: job.tier, requestID: job.requestID, records: job.records,
                        in: listing, under: lease, meter: meter)
                }
            }
            switch made {
            case .nothing(let nothing):
                var result = result(of: nothing)
                result.note(expiries, stored: nothing.keyExpiry, at: workplace.clock.now())
                return (nil, result.with(phases))
            case .set(let stored, let facts):
                var result = result(of: stored, replayed: false)
                result.notes += facts.notes
                result.note(expiries, stored: facts.keyExpiry, at: workplace.clock.now())
                if workplace.engine.capabilities.readsBack { try await readBack(stored, phases, &result) }
                return (stored, result.with(phases))
            }
        }
    }

    /// Proves the set in the run that made it. One that does not hold stays for a person to look at, and the run fails.
    private func readBack(_ stored: StoredManifest, _ phases: Phases, _ result: inout JobResult) async throws {
        await workplace.step("read back")
        let meter = ProgressMeter(stage: "read back")
        let examined = try await phases.measure("readBack") {
            try await workplace.watching(meter) {
                let reader = try await SetReader.open(stored, in: workplace.store, configuration: workplace.reader)
                let examined = try await workplace.proveIntegrity(of: reader, recompute: true, meter: meter)
                try await reader.add(
                    Proof(
                        depth: .integrity, verdict: .proven, time: workplace.clock.now(),
                        requestID: job.requestID.description, contentsCompared: true))
                return examined
            }
        }
        result.verdict = .proven
        result.proofDepth = .integrity
        result.notes += examined.notes
        result.details.merge(examined.details) { $1 }
    }

    private func result(of nothing: NothingToStore) -> JobResult {
        var result = JobResult(action: "backup", target: workplace.target, requestID: job.requestID)
        result.tier = job.tier
        result.notes = ["no set was made: \(nothing.why)"]
        result.details = nothing.details
        result.details["stored"] = .bool(false)
        return result
    }

    /// The copy that a vault makes, asked for. Whatever comes of it, the set is made.
    private func kept(_ stored: StoredManifest, _ made: JobResult) async -> JobResult {
        guard let vault = workplace.vault else { return made }
        var result = made
        let key = stored.manifest.key
        do {
            let promised = try await workplace.vaultJob(with: stored, in: vault, for: job.requestID)
            result.details["vaultJob"] = .object(promised.members)
        } catch {
            // Where the job was ended from outside, the step that follows says so in place of this.
            let failure = error as? any Failure
            result.exitCode = .notReplicated
            result.failure = JobFailure(
                .notReplicated, "ask for a copy in \(vault.label)", object: key.description,
                cause: failure.map { $0.object.isEmpty ? $0.cause : "\($0.object): \($0.cause)" } ?? "\(error)",
                hint: "the set is kept, and the same event again asks for the copy"
                    + (failure.map { "; \($0.hint)" } ?? ""))
        }
        return result
    }

    /// The set in the second store, and what earlier runs left to do there. Whatever comes of it, the set is made.
    private func copied(_ stored: StoredManifest, _ made: JobResult) async -> JobResult {
        var result = made
        guard workplace.secondary != nil else {
            if Task.isCancelled, made.failure != nil { result.terminated("ask for a copy in the vault", of: stored) }
            return result
        }
        let phases = Phases(workplace.clock)
        let copying = await phases.measure("copy") {
            await workplace.makeUpCopies(beginningWith: stored, for: job.requestID)
        }
        result.phases.merge(phases.all) { $1 }
        result.copies = copying.count
        result.notes += copying.notes
        if Task.isCancelled {
            result.terminated("copy the set to the second store", of: stored)
        } else if let failure = copying.failure {
            if let other = made.failure { result.notes.append("\(other); \(other.hint)") }
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
            "manifestSHA256": .string(hexText(stored.sha256)),
            "retainUntil": manifest.retention.retainUntil.map { .string($0.description) } ?? .null,
        ].merging(manifest.contents.json) { $1 }
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
        let request = workplace.snapshotRequest(
            after: head, records: job.records, isForced: false, meter: meter)
        let answer = try await workplace.watching(meter) { try await engine.snapshot(request) }
        let snapshot: any Snapshot
        switch answer {
        case .taken(let taken): snapshot = taken
        case .nothingToStore(let nothing):
            var result = result(of: nothing)
            result.dryRun = true
            result.note(try await workplace.keyExpiries(), stored: nothing.keyExpiry, at: workplace.clock.now())
            return result
        }
        await uncancelled { await snapshot.cancel() }
        _ = try await SetWriter(
            key: BackupKey(tier: job.tier, timestamp: snapshot.facts.time), attempt: "plan", in: workplace.store,
            configuration: workplace.writer)
        var result = JobResult(action: "backup", target: workplace.target, requestID: job.requestID)
        result.dryRun = true
        result.tier = job.tier
        result.snapshotTime = snapshot.facts.time
        result.notes = snapshot.facts.exceptions + snapshot.facts.notes + head.damaged.map(\.description)
        result.details = [
            "sourceSize": .exact(snapshot.facts.sourceSize),
            "nextInChain": .exact(head.next),
            "source": .object(snapshot.facts.details.mapValues { .string($0) }),
        ]
        if let vault = workplace.vault { result.notes.append("a copy would be asked for in \(vault.label)") }
        result.note(
            try await workplace.keyExpiries(), stored: snapshot.facts.keyExpiry, at: workplace.clock.now())
        await lookAtCopies(listing, &result)
        return result
    }
}

extension JobResult {
    /// The set is made, and what was to follow is not.
    fileprivate mutating func terminated(_ step: String, of stored: StoredManifest) {
        exitCode = .terminated
        failure = JobFailure(
            .terminated, step, object: stored.manifest.key.description, cause: "the job was ended from outside",
            hint: "the set is kept; this event again goes on with what is missing")
    }
}
