package import Core
import Sets

/// Sets or lifts the legal hold on a set, in every store it is in, and records why.
package struct Hold: Sendable {
    private let workplace: Workplace
    private let job: HoldJob

    package init(_ job: HoldJob, at workplace: Workplace) {
        self.job = job
        self.workplace = workplace
    }

    /// Takes no lock, unless a prune is about to delete the very set: a hold must not wait for a backup that takes
    /// hours.
    package func run() async throws -> JobResult {
        try checkReason()
        let meter = ProgressMeter(stage: job.change.rawValue)
        return try await workplace.watching(meter) {
            let key = try await resolve()
            let holds = try await open(key)
            guard let first = holds.first else { throw SetError.notFound(key.description) }
            var result = try await result(of: first, before: try await first.state(seal: seal), in: holds)
            guard !job.dryRun else { return result }
            var objects: [String: JSON] = [:]
            for hold in holds {
                meter.beat()
                let count = try await apply(to: hold, &result)
                objects[hold.copy.name.rawValue] = .integer(Int64(count))
            }
            result.details["objects"] = .object(objects)
            if job.change == .hold { try await makeSure(holds) }
            result.details["legalHold"] = .bool(job.change == .hold)
            return result
        }
    }

    // MARK: Steps

    private func checkReason() throws {
        let reason = job.reason
        let isBlank = reason.allSatisfy(\.isWhitespace)
        let hasControls = reason.unicodeScalars.contains { $0.properties.generalCategory == .control }
        guard !isBlank, !hasControls, reason.count <= Self.longestReason else {
            throw JobFailure(
                .eventRefused, "\(job.change.rawValue) a set", object: "reason",
                cause: isBlank
                    ? "it is empty"
                    : hasControls
                        ? "it has control characters" : "it has more than \(Self.longestReason) characters",
                hint: "give in one line why; it lies in clear in the store, so name a case and no patient")
        }
    }

    /// Characters.
    private static let longestReason = 1000

    private func resolve() async throws -> BackupKey {
        guard job.key != .random else {
            throw JobFailure(
                .eventRefused, "\(job.change.rawValue) a set", object: "backupKey",
                cause: "'random' means no set in particular", hint: "name the set; 'lifeboat list' shows them")
        }
        return try await workplace.resolve(
            job.key, for: job.requestID, action: job.change.rawValue, dryRun: job.dryRun,
            in: try workplace.copies(.primary), notes: ReadingNotes())
    }

    /// The set in each store that has it. A store that does not answer is an error: a hold in one of two is none.
    private func open(_ key: BackupKey) async throws -> [SetHold] {
        var holds: [SetHold] = []
        for copy in try workplace.eachCopy(workplace.secondary == nil ? .primary : .both) {
            do {
                holds.append(
                    try await SetHold(key, of: workplace.target, in: copy, configuration: workplace.reader))
            } catch SetError.notFound {
                continue
            }
        }
        return holds
    }

    private func apply(to hold: SetHold, _ result: inout JobResult) async throws -> Int {
        let state = try await hold.state(seal: seal)
        let isRecorded =
            job.requestID.isReplayable && state.record?.requestID == job.requestID.description
            && state.record?.change == job.change
        if isRecorded { result.replayed = true }
        let record = HoldRecord(
            change: job.change, reason: job.reason, by: workplace.lease.holder, time: workplace.clock.now(),
            requestID: job.requestID.description)
        let count = try await hold.apply(record, seal: seal, isRecorded: isRecorded)
        if !hold.copy.store.capabilities.protects {
            result.notes.append(
                "the \(hold.copy.name.text)'s store knows no holds: prune respects this one, other programs do not")
        }
        if !hold.canAuthenticate, seal.signer == nil, job.change == .release {
            result.notes.append(
                "the release carries neither a MAC nor a signature: a prune that has an identity or trusts signers "
                    + "will not believe it")
        }
        return count
    }

    /// Where a prune has decided to delete the set, waits for it to end and sees who was first.
    private func makeSure(_ holds: [SetHold]) async throws {
        for hold in holds where try await !hold.isSafe() {
            try await workplace.locked(for: job.requestID, waiting: Self.longestWait) { _ in
                guard try await hold.stands() else {
                    throw JobFailure(
                        .store, "hold the set", object: hold.manifest.key.description,
                        cause: "a prune deleted it meanwhile",
                        hint: "its retention had ended; hold another set, see 'lifeboat list'")
                }
            }
        }
    }

    /// Seconds.
    private static let longestWait = 300

    private var seal: RecordSeal { workplace.recordSeal }

    private func result(
        of hold: SetHold, before: HoldState, in holds: [SetHold]
    ) async throws -> JobResult {
        var result = JobResult(action: job.change.rawValue, target: workplace.target, requestID: job.requestID)
        result.dryRun = job.dryRun
        result.backupKey = hold.manifest.key
        result.tier = hold.manifest.key.tier
        result.snapshotTime = hold.manifest.snapshotTime
        result.chainSequence = hold.manifest.sequence
        result.notes = before.notes
        result.details = [
            "reason": .string(job.reason),
            "legalHold": .bool(before.isHeld),
            "before": .object(present: [
                "legalHold": .bool(before.isHeld), "reason": before.reason.map { .string($0) },
            ]),
            "copies": .array(holds.map { .string($0.copy.name.rawValue) }),
        ]
        if workplace.secondary != nil && holds.count == 1 {
            result.notes.append(
                "the set is in the \(hold.copy.name.text)'s store alone; a copy made later is held like this one")
        }
        return result
    }
}
