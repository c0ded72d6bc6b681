import Core

// What the records of sets come to: holds, and the proofs on which it hangs what else may go.

extension SetInventory {
    /// Of the sets that could go; nobody asks about the others.
    mutating func findHolds(_ meter: ProgressMeter) async throws {
        for (key, item) in items where item.facts.isPast(now) {
            meter.beat()
            try await findHold(key)
        }
    }

    /// Held where any copy's records say so, or the manifest where no copy has a record of it.
    mutating func findHold(_ key: BackupKey) async throws {
        guard let item = items[key] else { return }
        let paths = item.holdPaths
        guard !paths.isEmpty else {
            items[key]?.facts.hold = item.isMadeHeld ? "it was made under legal hold" : nil
            return
        }
        guard let opened = try await openRecords(key) else { return }
        let seal = RecordSeal(signer: nil, trustedSigners: configuration.trustedSigners)
        var reason: String?
        for copy in item.copies {
            guard let here = paths[copy.name] else { continue }
            let state = try await opened.at(copy.store).holdState(here, seal: seal)
            notes += state.notes
            reason = reason ?? state.reason
        }
        items[key]?.facts.hold = reason
    }

    /// Finds the newest proven sets, reading from the newest set down until every kind of them is found or no set is
    /// left that could go.
    mutating func findStandings(_ meter: ProgressMeter) async throws {
        let newestFirst = items.values.map(\.facts).sorted { $0.isNewer(than: $1) }
        guard let last = newestFirst.lastIndex(where: { $0.isPast(now) }) else { return }
        var open = Slot.all
        for facts in newestFirst[...last] {
            guard !open.isEmpty else { return }
            guard let item = items[facts.key], item.hasProofs else { continue }
            meter.beat()
            if let hint = item.hint {
                var hinted = facts
                hinted.standing = hint.standing
                guard !open.isDisjoint(with: Slot.filled(by: hinted)) else { continue }
            }
            try await readStanding(facts.key)
            if let found = items[facts.key]?.facts { open.subtract(Slot.filled(by: found)) }
        }
    }

    /// Reads the proofs of a set, in every copy: what is damaged in one may be whole in the other.
    mutating func readStanding(_ key: BackupKey) async throws {
        guard let item = items[key], item.hasProofs, !item.isStandingRead else { return }
        guard let opened = try await openRecords(key) else { return }
        var best: SetFacts.Standing?
        var damaged: [String] = []
        for copy in item.copies {
            let paths = item.records[copy.name] ?? []
            guard
                let standing = try await opened.at(copy.store).standing(
                    paths, damaged: { damaged.append($0.description) })
            else { continue }
            if best.map({ $0.depth == .integrity && standing.depth == .restore }) ?? true { best = standing }
        }
        notes += damaged
        if item.hint.map({ $0.standing != best }) ?? true {
            changes[CatalogRoll.month(key), default: 0] += Self.readsOfStanding
        }
        items[key]?.facts.standing = best
        items[key]?.isStandingRead = true
    }

    /// `nil` where no copy's manifest can be read.
    private mutating func openRecords(_ key: BackupKey) async throws -> SetRecords? {
        if items[key]?.stored == nil { try await readManifest(key) }
        guard let item = items[key], let stored = item.stored, let home = item.copies.first else { return nil }
        var why: (any Failure)?
        let opened = try await SetRecords.open(stored, in: home.store, configuration: configuration) { why = $0 }
        if let why { notes.append("the records of \(key) are not believed, for it does not open: \(why.cause)") }
        return opened
    }
}

/// A kind of set that a prune leaves one of, among all sets or among those that symbolic keys mean.
private struct Slot: Hashable {
    var which: PruneGuard
    var isSelectable: Bool

    static let all = Set(
        PruneGuard.allCases.filter { $0 != .head && $0 != .newest }.flatMap {
            [Slot(which: $0, isSelectable: true), Slot(which: $0, isSelectable: false)]
        })

    static func filled(by facts: SetFacts) -> Set<Slot> {
        all.filter { $0.which.covers(facts) && (!$0.isSelectable || facts.key.tier != .safety) }
    }
}

extension SetRecords {
    /// The same set's records in another store.
    fileprivate func at(_ store: any Store) -> SetRecords {
        SetRecords(stored: stored, store: store, dataKey: dataKey)
    }
}
