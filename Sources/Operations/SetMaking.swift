import Core
import Logging
import Sets

/// What became of an attempt to make a set.
enum SetMade {
    /// With what the engine said of the picture when it was whole.
    case set(StoredManifest, facts: SnapshotFacts)
    case nothing(NothingToStore)
}

extension Workplace {
    /// Takes a picture of `source`, writes it and commits it as the next set of the target's chain. `listing` is of all
    /// tiers, taken under the target's lock, which is still held. Whatever ends it before the commit, no set exists and
    /// the segments are removed.
    func makeSet(
        of source: any Engine, tier: Tier, requestID: RequestID, records: [JSON] = [], in listing: Catalog.Listing,
        under lease: Lease, meter: ProgressMeter
    ) async throws -> SetMade {
        let head = try await catalog.head(in: listing)
        meter.begin("snapshot")
        let request = snapshotRequest(after: head, records: records, isForced: tier == .safety, meter: meter)
        switch try await source.snapshot(request) {
        case .nothingToStore(let nothing): return .nothing(nothing)
        case .taken(let snapshot):
            do {
                let stored = try await write(
                    snapshot, tier: tier, requestID: requestID, after: head, under: lease, meter: meter)
                return .set(stored, facts: snapshot.facts)
            } catch {
                await uncancelled { await snapshot.cancel() }
                throw error
            }
        }
    }

    /// What an engine is asked, with the target's newest set for it to look at.
    func snapshotRequest(
        after head: Catalog.Head, records: [JSON], isForced: Bool, meter: ProgressMeter
    ) -> SnapshotRequest {
        let (store, reader) = (store, reader)
        return SnapshotRequest(
            previous: head.stored?.manifest,
            previousContents: {
                guard let stored = head.stored, reader.canOpen else { return nil }
                return try await SetReader.open(stored, in: store, configuration: reader).contents()
            }, records: records, isForced: isForced, meter: meter)
    }

    private func write(
        _ snapshot: any Snapshot, tier: Tier, requestID: RequestID, after head: Catalog.Head, under lease: Lease,
        meter: ProgressMeter
    ) async throws -> StoredManifest {
        let key = BackupKey(tier: tier, timestamp: nominalTime(requestID, tier: tier, snapshot.facts.time))
        let attempt = SetLayout.attempt(
            sequence: head.next, requestDigest: Catalog.digest(requestID), random: random(8))
        let writer = try await SetWriter(key: key, attempt: attempt, in: store, configuration: writer)
        do {
            meter.begin("dump", expected: snapshot.facts.sourceSize)
            let contents = try await writer.write(snapshot, meter: meter)
            var facts = snapshot.facts
            facts.exceptions += exceptions + head.damaged.map(\.description)
            meter.begin("commit")
            try await lease.check()
            return try await writer.commit(
                SetWriter.Closing(
                    requestID: requestID, sequence: head.next, previous: head.stored?.link, facts: facts,
                    contents: contents, finished: clock.now()))
        } catch {
            let logger = logger
            await uncancelled {
                do {
                    try await writer.abandon()
                } catch let failure {
                    logger.warning(
                        "segments of the failed attempt stay until a later run sweeps them",
                        metadata: ["attempt": "\(key)/\(attempt)", "why": "\(failure)"])
                }
            }
            throw error
        }
    }

    /// A set is named by its nominal time; one without, and a safety set, by its snapshot's.
    private func nominalTime(_ requestID: RequestID, tier: Tier, _ snapshot: Timestamp) -> Timestamp {
        if tier != .safety, case .timestamp(let nominal) = requestID { nominal } else { snapshot }
    }
}
