import Core
import Logging
import Sets
import WALArchive

/// Deletes what of the servers' logs no base backup that is kept needs.
struct LogPruning: Sendable {
    /// Deletions between two looks at the lock.
    private static let batch = 100

    let workplace: Workplace
    let now: Timestamp
    let meter: ProgressMeter

    struct Outcome: Sendable {
        var files = 0
        var bytes: Int64 = 0
        var notes: [String] = []
    }

    /// Without `lease` it only looks. Nothing goes while a set cannot be read, for it may be the base.
    func run(keeping inventory: SetInventory, under lease: Lease?) async throws -> Outcome {
        var outcome = Outcome()
        let stores = [workplace.store] + (workplace.secondary.map { [$0] } ?? [])
        var bases: [WALBase]?
        for store in stores {
            let archive = workplace.logArchive(in: store)
            guard try await archive.anySystem() != nil else { continue }
            guard inventory.unreadable.isEmpty else {
                outcome.notes.append("the servers' log stays as it is while there are sets that cannot be read")
                return outcome
            }
            meter.begin("prune the log")
            do {
                if bases == nil { bases = try await self.bases(inventory) }
            } catch let error as SetError {
                outcome.notes.append("the servers' log stays as it is: \(error)")
                return outcome
            } catch let unknown as UnknownBase {
                outcome.notes.append(
                    "the servers' log stays as it is: \(unknown.key) is of a whole server and does not say from where "
                        + "on it needs the log")
                return outcome
            }
            let expired = try await archive.expired(bases: bases ?? [], now: now, meter: meter)
            outcome.notes += expired.notes.filter { !outcome.notes.contains($0) }
            try await remove(expired, from: store, under: lease, &outcome)
        }
        return outcome
    }

    /// Of every set that is there: none of them may lose what it needs.
    private func bases(_ inventory: SetInventory) async throws -> [WALBase] {
        var bases: [WALBase] = []
        for (key, item) in inventory.items {
            meter.beat()
            let manifest: Manifest
            if let stored = item.stored {
                manifest = stored.manifest
            } else {
                guard let copy = item.copies.first else { continue }
                manifest = try await Catalog(copy.store).manifest(key).manifest
            }
            if let base = Workplace.base(of: manifest) {
                bases.append(base)
            } else if PhysicalBase.isPhysical(manifest) {
                throw UnknownBase(key: key)
            }
        }
        return bases
    }

    /// A set that may need any part of the log.
    private struct UnknownBase: Error {
        let key: BackupKey
    }

    private func remove(
        _ expired: WALExpired, from store: any Store, under lease: Lease?, _ outcome: inout Outcome
    ) async throws {
        for (number, object) in expired.objects.enumerated() {
            if let lease {
                if number.isMultiple(of: Self.batch) { try await lease.check() }
                do {
                    try await store.delete(object.key, allVersions: true)
                } catch let failure as any Failure where failure.exitCode == .store {
                    guard let info = try await store.stat(object.key), !info.protection.isNone else { throw failure }
                    // Oldest first, and none after it: a log with a hole is of no more use.
                    outcome.notes.append("the log from \(object.key) on is protected by the store and stays")
                    return
                }
                meter.beat()
            }
            outcome.files += 1
            outcome.bytes += object.size
        }
    }
}
