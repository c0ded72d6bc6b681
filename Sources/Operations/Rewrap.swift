package import Core
import Logging
import Sets

/// Wraps the data keys of the target's sets for the recipients that are configured now, by a record beside each. No
/// segment is touched. Ended at any point it goes on in the next run, for what a set has already is found.
package struct Rewrap: Sendable {
    private let workplace: Workplace
    private let job: RewrapJob

    package init(_ job: RewrapJob, at workplace: Workplace) {
        self.job = job
        self.workplace = workplace
    }

    /// Sets looked at under one holding of the target's lock: backups need it too.
    private static let batch = 100
    /// Seconds to wait for another run's lock.
    private static let patience = 600

    package func run() async throws -> JobResult {
        let notes = ReadingNotes()
        // Where the second store alone is asked for, the first may be gone, and its locks with it.
        let here = job.store == .secondary ? try await workplace.answering(notes) : workplace
        let tally = Guarded(RewrapTally())
        let sets = try await sets(tally, notes)
        let phases = Phases(workplace.clock)
        var result: JobResult
        if let newest = sets.first {
            let rewrapping = try await Rewrapping(
                of: newest.key, target: workplace.target, writer: workplace.writer, reader: workplace.reader)
            try await phases.measure("rewrap") { try await work(through: sets, rewrapping, here, tally, notes) }
            result = tally.value.result(of: job, workplace)
            result.notes += rewrapping.unsealed
        } else {
            result = tally.value.result(of: job, workplace)
        }
        result.notes += notes.all
        return result.with(phases)
    }

    // MARK: Steps

    /// A set and the stores it is committed in.
    private struct Work: Sendable {
        let key: BackupKey
        let copies: Copies
    }

    /// The sets that are to be rewrapped, newest first: they are the ones that are restored.
    private func sets(_ tally: Guarded<RewrapTally>, _ notes: ReadingNotes) async throws -> [Work] {
        var places: [BackupKey: [SetCopy]] = [:]
        let copies = try copies()
        for copy in copies.all {
            do {
                for entry in try await Catalog(copy.store).listing().entries where entry.isCommitted {
                    places[entry.key, default: []].append(copy)
                }
            } catch let failure as any Failure where failure.exitCode == .store && copy.name != copies.first.name {
                tally.withLock { $0.stores[copy.name] = failure }
            }
        }
        var keys = places.keys.sorted { ($0.timestamp, $0.tier.rawValue) > ($1.timestamp, $1.tier.rawValue) }
        if let selector = job.key {
            let key = try await workplace.resolve(
                selector, for: job.requestID, action: "rewrap", dryRun: job.dryRun, in: copies, notes: notes)
            guard places[key] != nil else { throw SetError.notFound(key.description) }
            keys = [key]
        }
        tally.withLock { $0.total = keys.count }
        return keys.compactMap { key in
            places[key].flatMap { found in
                found.first.map { Work(key: key, copies: Copies($0, reserve: Array(found.dropFirst()))) }
            }
        }
    }

    /// Both stores where there are two and none was named.
    private func copies() throws -> Copies {
        switch job.store {
        case .primary: Copies(SetCopy(workplace.storeName, workplace.store))
        case .secondary: try workplace.copies(.secondary)
        case .both: try workplace.copies(.primary)
        }
    }

    private func work(
        through sets: [Work], _ rewrapping: Rewrapping, _ here: Workplace, _ tally: Guarded<RewrapTally>,
        _ notes: ReadingNotes
    ) async throws {
        await workplace.step(job.dryRun ? "plan" : "rewrap")
        let meter = ProgressMeter(stage: "rewrap")
        var rest = sets[...]
        while !rest.isEmpty {
            let batch = Array(rest.prefix(Self.batch))
            rest = rest.dropFirst(Self.batch)
            do {
                if job.dryRun {
                    try await work(on: batch, rewrapping, nil, meter, tally, notes)
                } else {
                    try await here.locked(for: job.requestID, waiting: Self.patience) { lease in
                        try await work(on: batch, rewrapping, lease, meter, tally, notes)
                    }
                }
            } catch let failure as any Failure {
                // Nothing is lost, and how far it came is worth knowing.
                throw JobFailure(
                    failure.exitCode, failure.operation, object: failure.object,
                    cause: "\(failure.cause) (\(tally.value.summary))", hint: failure.hint)
            }
            let summary = tally.value.summary
            workplace.logger.info("rewrapping", metadata: ["sets": "\(summary)"])
        }
    }

    /// A few sets side by side: most of the time goes into waiting for stores and key services.
    private func work(
        on batch: [Work], _ rewrapping: Rewrapping, _ lease: Lease?, _ meter: ProgressMeter,
        _ tally: Guarded<RewrapTally>, _ notes: ReadingNotes
    ) async throws {
        try await workplace.watching(meter) {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (index, set) in batch.enumerated() {
                    if index >= max(1, workplace.writer.parallelJobs) { try await group.next() }
                    group.addTask {
                        try await work(on: set, rewrapping, lease, tally, notes)
                        meter.beat()
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    /// What is wrong with one set is taken down, and the others go on; a store that fails ends the run.
    private func work(
        on set: Work, _ rewrapping: Rewrapping, _ lease: Lease?, _ tally: Guarded<RewrapTally>,
        _ notes: ReadingNotes
    ) async throws {
        let copies = answering(set.copies, tally)
        do {
            let plan = try await rewrapping.plan(set.key, of: workplace.target, in: copies, notes: notes)
            tally.withLock { $0.add(plan, of: job.requestID) }
            guard !plan.isDone, let lease else { return }
            try await lease.check()
            let failures = try await rewrapping.carryOut(plan, at: workplace.clock.now(), requestID: job.requestID)
            tally.withLock { $0.done(plan, failures) }
        } catch let error as SetError where error.isNotFound {
            // Pruned since it was listed.
            tally.withLock { $0.total -= 1 }
        } catch let failure as any Failure
            where failure.exitCode == .store && job.store == .both && copies.first.name != workplace.storeName
        {
            // A set that the second store alone has.
            tally.withLock { $0.stores[copies.first.name] = failure }
        } catch let failure as any Failure where [.keys, .verificationFailed].contains(failure.exitCode) {
            tally.withLock { $0.failures.append(RewrapTally.Refused(key: set.key, failure: failure)) }
            workplace.logger.warning("not rewrapped", metadata: ["set": "\(set.key)", "why": "\(failure)"])
        }
    }

    /// Without the stores that have failed beside the first: asked again for every set, they would hold up all.
    private func answering(_ copies: Copies, _ tally: Guarded<RewrapTally>) -> Copies {
        let silent = tally.withLock { Set($0.stores.keys) }
        return Copies(copies.first, reserve: copies.reserve.filter { !silent.contains($0.name) })
    }
}

extension SetError {
    fileprivate var isNotFound: Bool { if case .notFound = self { true } else { false } }
}
