package import Core
import Sets

/// Lists the target's sets with what is known of each.
package struct List: Sendable {
    private let workplace: Workplace
    private let job: ListJob

    package init(_ job: ListJob, at workplace: Workplace) {
        self.job = job
        self.workplace = workplace
    }

    package func run() async throws -> JobResult {
        let copies = try workplace.copies(job.store)
        let tiers = job.tier.map { [$0] } ?? Tier.allCases
        let (copy, listing, reason) = try await listing(tiers, in: copies)
        let committed = listing.entries.filter(\.isCommitted)
        var result = JobResult(action: "list", target: workplace.target, requestID: job.requestID)
        let second = await second(tiers, besides: copy, &result)
        var sets: [JSON] = []
        var links: [ChainLink] = []
        for entry in committed.prefix(job.limit) {
            let (set, previous) = try await describe(entry, in: copy, also: second)
            sets.append(set)
            if let previous { links.append(previous) }
        }
        // A listing of one tier does not show what the others hold, and the second store need not have them all.
        let chain = job.tier == nil && copy.name == .primary ? try await chain(links, committed, in: copy) : nil
        result.details = [
            "sets": .array(sets),
            "count": .integer(Int64(committed.count)),
            "unfinished": .array(
                listing.entries.filter { !$0.isCommitted }.map { .string($0.key.description) }),
            "foreign": .array(listing.foreign.prefix(20).map { .string($0) }),
        ]
        if let chain {
            result.notes += chain.notes
            result.details["vanished"] = .array(chain.vanished.map { .string($0.description) })
        }
        if let reason { result.notes.append("these are the sets of the \(copy.name.text): \(reason)") }
        if !listing.foreign.isEmpty {
            result.notes.append(
                counted(listing.foreign.count, "object in the store belongs", "objects in the store belong")
                    + " to no set; nothing of ours wrote that there")
        }
        return result
    }

    /// Of the first copy that can be listed.
    private func listing(
        _ tiers: [Tier], in copies: Copies
    ) async throws -> (copy: SetCopy, listing: Catalog.Listing, reason: String?) {
        do {
            return (copies.first, try await Catalog(copies.first.store).listing(tiers), nil)
        } catch let failure as any Failure {
            guard let other = copies.reserve.first else { throw failure }
            return (other, try await Catalog(other.store).listing(tiers), failure.description)
        }
    }

    /// The sets in the second store; `nil` where that is not known, and then records have to do.
    private func second(
        _ tiers: [Tier], besides copy: SetCopy, _ result: inout JobResult
    ) async -> Set<BackupKey>? {
        guard copy.name == .primary, let secondary = workplace.secondary else { return nil }
        do {
            return Set(try await Catalog(secondary).listing(tiers).entries.filter(\.isCommitted).map(\.key))
        } catch {
            result.notes.append("the second store cannot be listed, its copies are those on record: \(error)")
            return nil
        }
    }

    /// Where the set lies, as far as is known.
    private func names(_ entry: Catalog.Entry, _ copy: SetCopy, _ second: Set<BackupKey>?) -> [CopyName] {
        let isCopied = second?.contains(entry.key) ?? entry.hasCopyRecord
        return copy.name == .primary && isCopied ? [.primary, .secondary] : [copy.name]
    }

    /// What became of the sets that the listed ones name as those before them and that are not there.
    private func chain(
        _ links: [ChainLink], _ committed: [Catalog.Entry], in copy: SetCopy
    ) async throws -> ChainCheck.Findings {
        let there = Set(committed.map(\.key))
        return try await ChainCheck(in: copy.store, configuration: workplace.reader).find(
            links.filter { !there.contains($0.key) })
    }

    private func describe(
        _ entry: Catalog.Entry, in copy: SetCopy, also second: Set<BackupKey>?
    ) async throws -> (JSON, previous: ChainLink?) {
        let stored: StoredManifest
        do {
            stored = try await Catalog(copy.store).manifest(entry.key)
        } catch let error as SetError {
            return (
                .object([
                    "key": .string(entry.key.description), "verdict": .string(Verdict.failed.rawValue),
                    "problem": .string(error.description),
                ]), nil
            )
        }
        let manifest = stored.manifest
        let state = await state(of: stored, records: entry.records, in: copy.store)
        let hold = try await Catalog(copy.store).holdState(
            of: stored, records: entry.records, configuration: workplace.reader)
        let set = JSON.object(present: [
            "key": .string(manifest.key.description),
            "tier": .string(manifest.key.tier.rawValue),
            "snapshotTime": .string(manifest.snapshotTime.description),
            "sequence": .exact(manifest.sequence),
            "storedSize": .exact(manifest.storedSize),
            "plainSize": .exact(manifest.plainSize),
            "contents": .object(manifest.contents.json),
            "retainUntil": manifest.retention.retainUntil.map { .string($0.description) },
            "origin": state.origin.map { .string($0.rawValue) },
            "verdict": .string(state.verdict.rawValue),
            "proofDepth": state.depth.map { .string($0.rawValue) },
            "proofTime": state.time.map { .string($0.description) },
            "problem": state.problem.map { .string($0) },
            "copies": .array(names(entry, copy, second).map { .string($0.rawValue) }),
            "archived": entry.isArchived ? .bool(true) : nil,
            "objectLock": manifest.retention.objectLock.map { .string($0.rawValue) },
            "legalHold": hold.isHeld ? .bool(true) : nil,
            "holdReason": hold.reason.map { .string($0) },
            "dataClass": manifest.retention.dataClass.map { .string($0.rawValue) },
            "needs": manifest.needs.isEmpty ? nil : .array(manifest.needs.map { .string($0.description) }),
        ])
        return (set, manifest.previous)
    }

    private struct State {
        var verdict: Verdict = .inconclusive
        var origin: Origin?
        var depth: ProofDepth?
        var time: Timestamp?
        var problem: String?
    }

    /// The verdict of the newest record, believed only where a key at hand shows that this set's holder wrote it.
    private func state(of stored: StoredManifest, records: [String], in store: any Store) async -> State {
        var state = State()
        guard workplace.reader.canOpen else {
            state.problem = "not opened: no identity here"
            return state
        }
        do {
            let reader = try await SetReader.open(
                stored, in: store, records: records, configuration: workplace.reader)
            state.origin = reader.origin
            let proofs = try await reader.proofs(records)
            if let newest = proofs.last {
                let deepest = proofs.last { $0.depth == .restore && $0.verdict == .proven }
                state.verdict = newest.verdict
                state.depth = newest.verdict == .proven && deepest != nil ? .restore : newest.depth
                state.time = newest.time
            }
        } catch let failure as any Failure {
            state.verdict = failure.exitCode == .verificationFailed ? .failed : .inconclusive
            state.problem = failure.description
        } catch {
            state.problem = "\(error)"
        }
        return state
    }
}
