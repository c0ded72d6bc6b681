package import Core

/// Takes sets out of every store they are in, so that whoever kills it leaves each of them whole, or gone for readers
/// with the rest for the next run: tombstone, manifest, and then everything else, the segments last.
///
/// Only under the target's lock. A tombstone alone deletes nothing: the next run decides anew, and goes on where that
/// still comes to the same.
package struct SetRemoval: Sendable {
    private let copies: [SetCopy]
    private let now: Timestamp
    private let meter: ProgressMeter

    /// `copies` are all stores of the target.
    package init(from copies: [SetCopy], now: Timestamp, meter: ProgressMeter) {
        self.copies = copies
        self.now = now
        self.meter = meter
    }

    /// What a store keeps of the set, for people; `nil` where it lets everything go. In no store anything is deleted
    /// unless all of it can be in all of them.
    package func obstacle(_ key: BackupKey) async throws -> String? {
        for copy in copies where copy.store.capabilities.protects {
            for path in try await objects(of: key, in: copy.store) {
                meter.beat()
                guard let protection = try await copy.store.stat(path)?.protection else { continue }
                if protection.legalHold { return "the \(copy.name.text)'s store holds \(path)" }
                if let lock = protection.lock, lock.until > now {
                    return "the \(copy.name.text)'s store has locked \(path) until \(lock.until)"
                }
            }
        }
        return nil
    }

    /// Whether somebody has held the set since its records were listed as `known`. To be asked for after the tombstone
    /// is written and before anything is deleted: ``SetHold/isSafe()``.
    package func isHeld(_ key: BackupKey, besides known: [CopyName: [String]]) async throws -> Bool {
        for copy in copies {
            let before = Set(known[copy.name] ?? [])
            for path in try await objects(of: key, in: copy.store)
            where HoldRecord.change(ofPath: path) == .hold && !before.contains(path) { return true }
        }
        return false
    }

    /// Writes `tombstone` to every store.
    package func bury(_ tombstone: Tombstone) async throws {
        for copy in copies { try await TombstoneStore(copy.store).write(tombstone) }
    }

    /// Removes the set, of which the tombstone is written.
    package func remove(_ key: BackupKey) async throws {
        for copy in copies { try await copy.store.delete(SetLayout.manifest(key), allVersions: true) }
        for copy in copies { try await removeRest(of: key, from: copy.store) { _ in true } }
    }

    /// Removes what an earlier run left of sets whose tombstones stand and whose manifests are in no store any more.
    /// Returns how many objects that were.
    package func finish(in listings: [CopyName: Catalog.Listing]) async throws -> Int {
        let committed = Set(listings.values.flatMap(\.entries).filter(\.isCommitted).map(\.key))
        var removed = 0
        for copy in copies {
            let left = listings[copy.name]?.entries.filter { !$0.isCommitted && !committed.contains($0.key) } ?? []
            guard !left.isEmpty else { continue }
            let tombstones = TombstoneStore(copy.store)
            let names = try await tombstones.listing().alone
            for entry in left {
                let sequences = entry.attempts.compactMap { SetLayout.reading(attempt: $0)?.sequence }
                for name in names where sequences.contains(name.sequence) {
                    guard let tombstone = try await tombstones.read(name), tombstone.key == entry.key else {
                        continue
                    }
                    let attempt = SetLayout.attemptDirectory(entry.key, attempt: tombstone.attempt)
                    let records = SetLayout.directory(entry.key) + "records/"
                    removed += try await removeRest(of: entry.key, from: copy.store) {
                        $0.hasPrefix(attempt) || $0.hasPrefix(records)
                    }
                }
            }
        }
        return removed
    }

    /// Records before segments: as long as one of these is there, its attempt's name leads to the tombstone.
    @discardableResult
    private func removeRest(
        of key: BackupKey, from store: any Store, where isIncluded: (String) -> Bool
    ) async throws -> Int {
        let records = SetLayout.directory(key) + "records/"
        let paths = try await objects(of: key, in: store).filter(isIncluded)
        for path in paths.filter({ $0.hasPrefix(records) }) + paths.filter({ !$0.hasPrefix(records) }) {
            meter.beat()
            try await store.delete(path, allVersions: true)
        }
        return paths.count
    }

    private func objects(of key: BackupKey, in store: any Store) async throws -> [String] {
        var paths: [String] = []
        for try await object in store.list(SetLayout.directory(key)) { paths.append(object.key) }
        try Task.checkCancellation()
        return paths
    }

    // MARK: Requests

    /// The notes of which set a symbolic key of a verification or a drill meant, by that set; only those that can be about a set
    /// as old as `oldest`. Those of restores stay: without its note a restore that is repeated would choose another set.
    package func verificationNotes(since oldest: Timestamp) async throws -> [BackupKey: [(CopyName, String)]] {
        var notes: [BackupKey: [(CopyName, String)]] = [:]
        for copy in copies {
            for try await object in copy.store.list("requests/")
            where object.key.hasSuffix("-verify.json") || object.key.hasSuffix("-drill.json") {
                // The store's clock is another one than the source's.
                guard object.modified.adding(seconds: 86_400) >= oldest else { continue }
                meter.beat()
                guard let key = try await noted(object.key, in: copy.store) else { continue }
                notes[key, default: []].append((copy.name, object.key))
            }
        }
        try Task.checkCancellation()
        return notes
    }

    /// `nil` for a note that is none of ours.
    private func noted(_ path: String, in store: any Store) async throws -> BackupKey? {
        do {
            var fields = try JSONFields(try JSON(parsing: try await store.read(path, limit: 1 << 16)), path: "")
            return try fields.backupKey("key")
        } catch let error where error is CancellationError || error is any Failure {
            throw error
        } catch {
            return nil
        }
    }

    package func removeNotes(_ notes: [(CopyName, String)]) async throws {
        for (name, path) in notes {
            try await copies.first { $0.name == name }?.store.delete(path, allVersions: true)
        }
    }
}

extension SetInventory {
    /// Makes the tombstone of a set that is to go, authenticated under the target's newest set and by `seal`'s signer,
    /// as far as they are at hand. To be asked for once a run.
    package func tombstones(
        by: String, requestID: RequestID, signer: RecordSeal
    ) async throws -> @Sendable (SetFacts) throws -> Tombstone {
        let newest = items.values.max { $0.facts.sequence < $1.facts.sequence }
        var sealing: SetRecords?
        if let newest, let home = newest.copies.first {
            let stored: StoredManifest
            if let known = newest.stored {
                stored = known
            } else {
                stored = try await Catalog(home.store).manifest(newest.facts.key, of: target)
            }
            sealing = try await SetRecords.open(stored, in: home.store, configuration: configuration)
        }
        let (target, now, records) = (target, now, sealing)
        return { facts in
            var tombstone = Tombstone(
                facts, target: target, retainUntil: facts.retainUntil ?? now,
                reason: PrunePlan.Reason.past(facts.retainUntil ?? now).text, time: now, by: by,
                requestID: requestID.description)
            try tombstone.seal(under: records, signer)
            return tombstone
        }
    }
}
