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
        let listing = try await workplace.catalog.listing(job.tier.map { [$0] } ?? Tier.allCases)
        let committed = listing.entries.filter(\.isCommitted)
        var sets: [JSON] = []
        for entry in committed.prefix(job.limit) { sets.append(try await describe(entry)) }
        var result = JobResult(action: "list", target: workplace.target, requestID: job.requestID)
        result.details = [
            "sets": .array(sets),
            "count": .integer(Int64(committed.count)),
            "unfinished": .array(
                listing.entries.filter { !$0.isCommitted }.map { .string($0.key.description) }),
            "foreign": .array(listing.foreign.prefix(20).map { .string($0) }),
        ]
        if !listing.foreign.isEmpty {
            result.notes = [
                "\(listing.foreign.count) objects in the store belong to no set; nothing of ours wrote them there"
            ]
        }
        return result
    }

    private func describe(_ entry: Catalog.Entry) async throws -> JSON {
        let stored: StoredManifest
        do {
            stored = try await workplace.catalog.manifest(entry.key)
        } catch let error as SetError {
            return .object([
                "key": .string(entry.key.description), "verdict": .string(Verdict.failed.rawValue),
                "problem": .string(error.description),
            ])
        }
        let manifest = stored.manifest
        let state = await state(of: stored, records: entry.records)
        return .object(present: [
            "key": .string(manifest.key.description),
            "tier": .string(manifest.key.tier.rawValue),
            "snapshotTime": .string(manifest.snapshotTime.description),
            "sequence": .exact(manifest.sequence),
            "storedSize": .exact(manifest.storedSize),
            "plainSize": .exact(manifest.plainSize),
            "tables": .exact(manifest.contents.tables),
            "rows": .exact(manifest.contents.rows),
            "retainUntil": manifest.retention.retainUntil.map { .string($0.description) },
            "origin": state.origin.map { .string($0.rawValue) },
            "verdict": .string(state.verdict.rawValue),
            "proofDepth": state.depth.map { .string($0.rawValue) },
            "proofTime": state.time.map { .string($0.description) },
            "problem": state.problem.map { .string($0) },
        ])
    }

    private struct State {
        var verdict: Verdict = .inconclusive
        var origin: Origin?
        var depth: ProofDepth?
        var time: Timestamp?
        var problem: String?
    }

    /// The verdict of the newest record, believed only where a key at hand shows that this set's holder wrote it.
    private func state(of stored: StoredManifest, records: [String]) async -> State {
        var state = State()
        guard workplace.reader.canOpen else {
            state.problem = "not opened: no identity here"
            return state
        }
        do {
            let reader = try await SetReader.open(stored, in: workplace.store, configuration: workplace.reader)
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
