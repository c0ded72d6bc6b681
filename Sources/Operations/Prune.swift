package import Core
import Logging
import Sets

/// Deletes the target's sets that are past their retention, in every store they are in, but for those that a hold, a
/// lock, another set or the plan's own guards keep.
package struct Prune: Sendable {
    private let workplace: Workplace
    private let job: PruneJob

    package init(_ job: PruneJob, at workplace: Workplace) {
        self.job = job
        self.workplace = workplace
    }

    package func run() async throws -> JobResult {
        let meter = ProgressMeter(stage: "prune")
        if job.dryRun { return try await workplace.watching(meter) { try await rehearse(meter) } }
        return try await workplace.locked(for: job.requestID, waiting: 0) { lease in
            try await workplace.watching(meter) { try await prune(under: lease, meter) }
        }
    }

    /// Without the lock, for nothing is changed: the lock is an object too.
    private func rehearse(_ meter: ProgressMeter) async throws -> JobResult {
        let now = workplace.clock.now()
        var inventory = try await look(now, meter)
        let chain = try await checkChain(&inventory)
        let plan = try await decide(&inventory, now)
        var result = result(of: plan, inventory, chain)
        result.dryRun = true
        var sets: [JSON] = []
        for entry in plan.entries {
            let obstacle = entry.isDeleted ? try await removal(now, meter).obstacle(entry.facts.key) : nil
            if entry.isDeleted, obstacle == nil { inventory.remove(entry.facts.key) }
            sets.append(
                .object([
                    "key": .string(entry.facts.key.description),
                    "action": .string(entry.isDeleted && obstacle == nil ? "delete" : "keep"),
                    "why": .string(obstacle ?? entry.reason.text),
                ]))
        }
        result.details["sets"] = .array(sets)
        let log = try await LogPruning(workplace: workplace, now: now, meter: meter).run(
            keeping: inventory, under: nil)
        log.describe(&result)
        return result
    }

    private func prune(under lease: Lease, _ meter: ProgressMeter) async throws -> JobResult {
        let phases = Phases(workplace.clock)
        let now = workplace.clock.now()
        var inventory = try await phases.measure("look") { try await look(now, meter) }
        let finished = try await removal(now, meter).finish(in: inventory.listings)
        let chain = try await checkChain(&inventory)
        let plan = try await decide(&inventory, now)
        var result = result(of: plan, inventory, chain)
        let removed = try await phases.measure("delete") {
            try await delete(plan.deleted, from: inventory, now, under: lease, meter)
        }
        for key in removed.keys { inventory.remove(key) }
        removed.describe(&result)
        meter.begin("sweep")
        let swept = try await phases.measure("sweep") { try await sweep(inventory, now, under: lease) }
        result.details["leftoversRemoved"] = .integer(Int64(finished + swept))
        let log = try await phases.measure("prune the log") { [inventory] in
            try await LogPruning(workplace: workplace, now: now, meter: meter).run(
                keeping: inventory, under: lease)
        }
        log.describe(&result)
        result.notes += try await phases.measure("roll up") { try await rollUp(inventory, under: lease) }
        return result.with(phases)
    }

    // MARK: Steps

    private var copies: [SetCopy] {
        [SetCopy(workplace.storeName, workplace.store)]
            + (workplace.secondary.map { [SetCopy(.secondary, $0)] } ?? [])
    }

    private func removal(_ now: Timestamp, _ meter: ProgressMeter) -> SetRemoval {
        SetRemoval(from: copies, now: now, meter: meter)
    }

    /// A store that does not answer ends the run here: nothing is deleted from one while nobody sees the other.
    private func look(_ now: Timestamp, _ meter: ProgressMeter) async throws -> SetInventory {
        await workplace.step("look at the sets")
        meter.begin("look at the sets")
        return try await SetInventory.take(
            of: workplace.target, in: copies, configuration: workplace.reader, now: now, meter: meter)
    }

    private func checkChain(_ inventory: inout SetInventory) async throws -> ChainCheck.Findings {
        let findings = try await ChainCheck(in: workplace.store, configuration: workplace.reader).find(
            inventory.missingLinks)
        inventory.markLinked(besides: findings.vanished)
        return findings
    }

    /// Decides, reads what that rests on itself where it came from a roll, and decides again.
    private func decide(_ inventory: inout SetInventory, _ now: Timestamp) async throws -> PrunePlan {
        while true {
            let plan = PrunePlan(inventory.facts, heads: inventory.heads, now: now)
            let deleted = plan.deleted.map(\.key)
            let rests = deleted.isEmpty ? [] : deleted + plan.guards
            let unread = rests.filter { !(inventory.items[$0]?.isConfirmed ?? true) }
            guard !unread.isEmpty else { return plan }
            for key in unread { try await inventory.confirm(key) }
        }
    }

    private func delete(
        _ sets: [SetFacts], from inventory: SetInventory, _ now: Timestamp, under lease: Lease,
        _ meter: ProgressMeter
    ) async throws -> Removed {
        var removed = Removed()
        guard let oldest = sets.map(\.snapshotTime).min() else { return removed }
        await workplace.step("delete \(counted(sets.count, "set"))")
        meter.begin("delete")
        let removal = removal(now, meter)
        let notes = try await removal.verificationNotes(since: oldest)
        let tombstone = try await inventory.tombstones(
            by: workplace.lease.holder, requestID: job.requestID, signer: workplace.recordSeal)
        for facts in sets {
            if let obstacle = try await removal.obstacle(facts.key) {
                removed.kept.append((facts.key, obstacle))
                continue
            }
            let made = try tombstone(facts)
            try await lease.check()
            try await removal.bury(made)
            if try await removal.isHeld(facts.key, besides: inventory.items[facts.key]?.records ?? [:]) {
                removed.kept.append((facts.key, "it was put under legal hold meanwhile"))
                continue
            }
            try await removal.removeNotes(notes[facts.key] ?? [])
            try await lease.check()
            do {
                try await removal.remove(facts.key)
            } catch let failure as any Failure where failure.exitCode == .store {
                // Locked since it was looked at: that set's affair. Anything else is the store's.
                guard let obstacle = try await removal.obstacle(facts.key) else { throw failure }
                removed.kept.append((facts.key, obstacle))
                continue
            }
            removed.add(facts, inventory.items[facts.key]?.stored, isAuthenticated: made.isAuthenticated)
            workplace.logger.notice("deleted", metadata: ["set": "\(facts.key)"])
        }
        return removed
    }

    private func sweep(_ inventory: SetInventory, _ now: Timestamp, under lease: Lease) async throws -> Int {
        var swept = 0
        for copy in copies {
            guard let listing = inventory.listings[copy.name] else { continue }
            try await lease.check()
            swept += try await Catalog(copy.store).sweepOrphans(in: listing, now: now, allVersions: true)
        }
        return swept
    }

    /// Saves later runs their reads. What fails here is made up by the next run, so it is only noted.
    private func rollUp(_ inventory: SetInventory, under lease: Lease) async throws -> [String] {
        try await lease.check()
        let present = Set(inventory.listings.values.flatMap(\.entries).map(\.key))
        do {
            try await inventory.writeRolls()
            for copy in copies {
                _ = try await TombstoneStore(copy.store).rollUp { !present.contains($0.key) }
            }
            return []
        } catch let failure as any Failure {
            return ["what was read could not be kept for the next run: \(failure)"]
        }
    }

    // MARK: Results

    private func result(
        of plan: PrunePlan, _ inventory: SetInventory, _ chain: ChainCheck.Findings
    ) -> JobResult {
        var result = JobResult(action: "prune", target: workplace.target, requestID: job.requestID)
        result.chainSequence = plan.entries.map(\.facts.sequence).max()
        result.notes = inventory.notes + chain.notes
        var kept: [String: Int64] = [:]
        for entry in plan.entries where !entry.isDeleted { kept[entry.reason.name, default: 0] += 1 }
        if !inventory.unreadable.isEmpty { kept["unreadable"] = Int64(inventory.unreadable.count) }
        result.details = [
            "kept": .object(kept.mapValues { .integer($0) }),
            "keptPastRetention": .array(
                plan.entries.filter { $0.isPastAndKept }.map { reason($0.facts.key, $0.reason.text) }),
            "unreadable": .array(
                inventory.unreadable.sorted { $0.key.description < $1.key.description }.map {
                    reason($0.key, $0.value.cause)
                }),
            "vanished": .array(chain.vanished.map { .string($0.description) }),
            "tombstonesUnauthenticated": .integer(Int64(chain.unauthenticated.count)),
        ]
        if let dataClass = workplace.writer.retention.dataClass {
            result.details["dataClass"] = .string(dataClass.rawValue)
            // For whoever watches the schedule.
            result.details["rhythm"] = .string(dataClass.rhythm.rawValue)
        }
        for (key, failure) in inventory.unreadable {
            result.notes.append("\(key) stays, and whatever it needs is not known: \(failure.cause)")
        }
        if !workplace.reader.canOpen {
            result.notes.append("no identity is here: which sets are proven was taken from records as they stand")
        }
        return result
    }
}

extension LogPruning.Outcome {
    /// What went of the servers' logs, or in a rehearsal would go.
    fileprivate func describe(_ result: inout JobResult) {
        result.notes += notes
        guard files > 0 else { return }
        result.details["logFilesDeleted"] = .integer(Int64(files))
        result.details["logBytesDeleted"] = .exact(bytes)
    }
}

private func reason(_ key: BackupKey, _ why: String) -> JSON {
    .object(["key": .string(key.description), "why": .string(why)])
}

extension PrunePlan.Entry {
    /// Worth naming: everybody else's end is still to come.
    fileprivate var isPastAndKept: Bool {
        switch reason {
        case .held, .guarded, .needed: true
        case .past, .until, .forever: false
        }
    }
}

/// What a prune did.
private struct Removed {
    var keys: [BackupKey] = []
    var bytes: Int64 = 0
    /// What could have gone, and why it did not.
    var kept: [(key: BackupKey, why: String)] = []
    var unauthenticated = 0

    mutating func add(_ facts: SetFacts, _ stored: StoredManifest?, isAuthenticated: Bool) {
        keys.append(facts.key)
        bytes += stored?.manifest.storedSize ?? 0
        if !isAuthenticated { unauthenticated += 1 }
    }

    func describe(_ result: inout JobResult) {
        result.details["deleted"] = .array(keys.map { .string($0.description) })
        result.details["deletedBytes"] = .exact(bytes)
        result.details["lockedByStore"] = .array(kept.map { reason($0.key, $0.why) })
        if unauthenticated > 0 {
            result.notes.append(
                "\(unauthenticated) tombstones carry neither a MAC nor a signature: no identity and no signing key "
                    + "are here")
        }
    }
}

extension Workplace {
    /// With what records beside sets are authenticated.
    var recordSeal: RecordSeal { RecordSeal(signer: writer.signer, trustedSigners: reader.trustedSigners) }
}
