package import Core

/// Every set of a target in the stores there are, with what decides whether it may go.
///
/// Costs a listing of each store and the rolls of the catalog; manifests are read where no roll has them, and the
/// records of sets on whose holds or proofs something hangs.
package struct SetInventory: Sendable {
    package struct Item: Sendable {
        package var facts: SetFacts
        /// Where the set is, in the order of the stores; never empty.
        package var copies: [SetCopy]
        /// Its manifest, read in this run; `nil` for what a roll says.
        package internal(set) var stored: StoredManifest?
        /// The paths of its records as they were listed.
        package internal(set) var records: [CopyName: [String]]
        var isMadeHeld: Bool
        var isLinked = false
        /// What a roll says of its proofs, no record having come since.
        var hint: Hint?
        var isStandingRead = false

        /// Everything that decides about it was read in this run.
        package var isConfirmed: Bool { stored != nil && (isStandingRead || !hasProofs) }

        var hasProofs: Bool { records.values.contains { $0.contains { $0.hasSuffix("-proof.json") } } }
        var holdPaths: [CopyName: [String]] {
            records.mapValues { $0.filter { HoldRecord.change(ofPath: $0) != nil } }.filter { !$0.value.isEmpty }
        }
        var recordCount: Int { records.values.reduce(0) { $0 + $1.count } }
    }

    struct Hint: Sendable {
        var standing: SetFacts.Standing?
    }

    package internal(set) var items: [BackupKey: Item] = [:]
    /// Sets whose manifests nobody can read, in any store. They stay, for a person to look at.
    package private(set) var unreadable: [BackupKey: any Failure] = [:]
    /// What is worth saying: records that were passed over, keys that do not open.
    package internal(set) var notes: [String] = []
    package let listings: [CopyName: Catalog.Listing]
    let copies: [SetCopy]
    let target: String
    let configuration: SetReaderConfiguration
    let now: Timestamp
    /// How many reads a month's roll would save if it were written again.
    var changes: [String: Int] = [:]

    package var facts: [SetFacts] { items.values.map(\.facts) }

    /// The set with the highest number in each store: the next one there is numbered after it.
    package var heads: Set<BackupKey> {
        var heads: [CopyName: SetFacts] = [:]
        for item in items.values {
            for copy in item.copies where heads[copy.name].map({ item.facts.sequence > $0.sequence }) ?? true {
                heads[copy.name] = item.facts
            }
        }
        return Set(heads.values.map(\.key))
    }

    /// Lists `copies` and finds what has to be known of each set to decide about all of them; `meter` beats with each.
    package static func take(
        of target: String, in copies: [SetCopy], configuration: SetReaderConfiguration, now: Timestamp,
        meter: ProgressMeter
    ) async throws -> SetInventory {
        var listings: [CopyName: Catalog.Listing] = [:]
        for copy in copies { listings[copy.name] = try await Catalog(copy.store).listing() }
        var inventory = SetInventory(
            listings: listings, copies: copies, target: target, configuration: configuration, now: now)
        try await inventory.addAll(meter)
        try await inventory.findHolds(meter)
        try await inventory.findStandings(meter)
        return inventory
    }

    private init(
        listings: [CopyName: Catalog.Listing], copies: [SetCopy], target: String,
        configuration: SetReaderConfiguration, now: Timestamp
    ) {
        self.listings = listings
        self.copies = copies
        self.target = target
        self.configuration = configuration
        self.now = now
    }

    // MARK: Manifests

    private mutating func addAll(_ meter: ProgressMeter) async throws {
        var rolls = try await readRolls()
        var committed: [BackupKey: [(copy: SetCopy, entry: Catalog.Entry)]] = [:]
        for copy in copies {
            for entry in listings[copy.name]?.entries ?? [] where entry.isCommitted {
                committed[entry.key, default: []].append((copy, entry))
            }
        }
        for (key, places) in committed {
            meter.beat()
            let records = Dictionary(places.map { ($0.copy.name, $0.entry.records) }) { first, _ in first }
            let month = CatalogRoll.month(key)
            if let known = rolls[month]?.entries.removeValue(forKey: key),
                places.contains(where: { $0.entry.attempts.contains(known.facts.attempt) })
            {
                var item = Item(
                    facts: known.facts, copies: places.map(\.copy), stored: nil, records: records,
                    isMadeHeld: known.isMadeHeld, isLinked: known.isLinked)
                if known.recordCount == item.recordCount { item.hint = Hint(standing: known.facts.standing) }
                item.facts.standing = nil
                items[key] = item
            } else {
                changes[month, default: 0] += 1
                try await read(key, places.map(\.copy), records)
            }
        }
        for (month, roll) in rolls where !roll.entries.isEmpty { changes[month, default: 0] += roll.entries.count }
    }

    private mutating func readRolls() async throws -> [String: CatalogRoll] {
        var rolls: [String: CatalogRoll] = [:]
        guard let first = copies.first else { return rolls }
        for try await object in first.store.list(CatalogRoll.directory) {
            let name = object.key.dropFirst(CatalogRoll.directory.count)
            guard name.hasSuffix(".json") else { continue }
            do {
                let bytes = try await first.store.read(object.key, limit: 64 << 20)
                rolls[String(name.dropLast(5))] = try CatalogRoll(json: JSON(parsing: bytes), target: target)
            } catch let error where error is CancellationError || error is any Failure {
                throw error
            } catch {
                // Only a hint: what it would have saved is read again, and it is written anew.
                notes.append("\(object.key) was passed over, for it cannot be read")
            }
        }
        try Task.checkCancellation()
        return rolls
    }

    /// Reads the manifest of a set from the first copy that has one to be read.
    private mutating func read(
        _ key: BackupKey, _ places: [SetCopy], _ records: [CopyName: [String]]
    ) async throws {
        var refusals = CopyRefusals()
        for copy in places {
            do {
                let stored = try await Catalog(copy.store).manifest(key, of: target)
                items[key] = Item(
                    facts: SetFacts(stored), copies: places, stored: stored, records: records,
                    isMadeHeld: stored.manifest.retention.legalHold, isLinked: items[key]?.isLinked ?? false,
                    hint: items[key]?.hint)
                return
            } catch let error as SetError {
                refusals.add(copy, error)
            }
        }
        items[key] = nil
        unreadable[key] = refusals.error as? any Failure
    }

    /// The same for one that a roll knew.
    mutating func readManifest(_ key: BackupKey) async throws {
        guard let item = items[key] else { return }
        let (hold, standing) = (item.facts.hold, item.facts.standing)
        try await read(key, item.copies, item.records)
        var known = item.facts
        (known.hold, known.standing) = (nil, nil)
        // A roll that lies is not kept.
        if items[key]?.facts != known { changes[CatalogRoll.month(key), default: 0] += Self.worthWriting }
        items[key]?.facts.hold = hold
        items[key]?.facts.standing = standing
    }

    // MARK: Confirming

    /// Reads of the set what was taken from a roll until now.
    package mutating func confirm(_ key: BackupKey) async throws {
        guard let item = items[key], !item.isConfirmed else { return }
        if item.stored == nil {
            try await readManifest(key)
            if items[key]?.facts.isPast(now) ?? false { try await findHold(key) }
        }
        try await readStanding(key)
    }

    /// After the set has been deleted.
    package mutating func remove(_ key: BackupKey) {
        guard items.removeValue(forKey: key) != nil else { return }
        changes[CatalogRoll.month(key), default: 0] += 1
    }

    // MARK: The chain

    /// The sets that others name as the one before them and that are nowhere, as far as no roll says what became of
    /// them.
    package var missingLinks: [ChainLink] {
        items.values.compactMap { item in
            guard !item.isLinked, let previous = item.facts.previous, unreadable[previous.key] == nil,
                items[previous.key]?.facts.sha256 != previous.sha256
            else { return nil }
            return previous
        }
    }

    /// Notes that the tombstones of all missing sets but `vanished` were found.
    package mutating func markLinked(besides vanished: [BackupKey]) {
        let vanished = Set(vanished)
        let found = Set(missingLinks.map(\.key)).subtracting(vanished)
        for (key, item) in items {
            guard let previous = item.facts.previous, !item.isLinked, found.contains(previous.key) else { continue }
            items[key]?.isLinked = true
            changes[CatalogRoll.month(key), default: 0] += 1
        }
    }

    // MARK: Rolls

    /// How many reads of the next run have to be saved for a month to be written again.
    static let worthWriting = 24
    /// To learn what the proofs of a set come to: its manifest, a proof, and a key opened.
    static let readsOfStanding = 3

    /// Writes the months again of which enough has changed. Only under the target's lock.
    package func writeRolls() async throws {
        guard let first = copies.first else { return }
        let months = Set(changes.filter { $0.value >= Self.worthWriting }.keys)
        var rolls: [String: CatalogRoll] = Dictionary(months.map { ($0, CatalogRoll()) }) { first, _ in first }
        for item in items.values { rolls[CatalogRoll.month(item.facts.key)]?.entries[item.facts.key] = item.rolled }
        for (month, roll) in rolls {
            let path = CatalogRoll.path(month)
            if roll.entries.isEmpty {
                try await first.store.delete(path, allVersions: true)
            } else {
                try await first.store.put(path, roll.document(target: target).canonicalBytes)
            }
        }
    }
}

extension SetInventory.Item {
    fileprivate var rolled: CatalogRoll.Entry {
        var facts = facts
        facts.hold = nil
        let known = isStandingRead ? SetInventory.Hint(standing: facts.standing) : hint
        facts.standing = known?.standing
        return CatalogRoll.Entry(
            facts: facts, isMadeHeld: isMadeHeld, recordCount: known == nil ? nil : recordCount, isLinked: isLinked)
    }
}

extension SetFacts {
    /// What a manifest says; hold and standing are for its records to say.
    package init(_ stored: StoredManifest) {
        let manifest = stored.manifest
        self.init(
            key: manifest.key, attempt: manifest.attempt, sequence: manifest.sequence, sha256: stored.sha256,
            previous: manifest.previous, snapshotTime: manifest.snapshotTime,
            retainUntil: manifest.retention.retainUntil, needs: manifest.needs)
    }
}
