package import Core

/// Looks whether sets that others name as the one before them are there, or were removed by us.
package struct ChainCheck: Sendable {
    private let store: any Store
    private let configuration: SetReaderConfiguration

    package init(in store: any Store, configuration: SetReaderConfiguration) {
        self.store = store
        self.configuration = configuration
    }

    /// What became of the sets before.
    package struct Findings: Equatable, Sendable {
        /// Gone without a tombstone that can be believed.
        package var vanished: [BackupKey] = []
        /// Gone with a tombstone that nothing at hand could check.
        package var unauthenticated: [BackupKey] = []
        /// Tombstones that were refused, and why.
        package var refused: [String] = []

        package init() {}

        package var notes: [String] {
            var notes = refused
            if let first = vanished.first {
                let others = vanished.count > 1 ? " and \(vanished.count - 1) more" : ""
                notes.append(
                    "\(first)\(others) vanished without a tombstone: it was not pruned, find out who removed it")
            }
            if let first = unauthenticated.first {
                let others = unauthenticated.count > 1 ? " and \(unauthenticated.count - 1) more" : ""
                notes.append("nothing at hand shows who wrote the tombstone of \(first)\(others)")
            }
            return notes
        }
    }

    /// Looks up the tombstones of `links`, sets that are not there. Reads no more rolls than it takes, the newest first.
    package func find(_ links: [ChainLink]) async throws -> Findings {
        var findings = Findings()
        guard !links.isEmpty else { return findings }
        var missing: [[UInt8]: ChainLink] = Dictionary(links.map { ($0.sha256, $0) }) { first, _ in first }
        let tombstones = TombstoneStore(store)
        let listing = try await tombstones.listing()
        let wanted = Set(missing.keys.map { hexText($0.prefix(8)) })
        var keys = SealingKeys(store: store, configuration: configuration)
        for name in listing.alone where wanted.contains(name.digest) {
            do {
                guard let tombstone = try await tombstones.read(name) else { continue }
                try await take(tombstone, &missing, &findings, &keys)
            } catch let damaged as SetError {
                findings.refused.append(damaged.description)
            }
        }
        for roll in listing.rolls.reversed() where !missing.isEmpty {
            do {
                for tombstone in try await tombstones.readRoll(roll).tombstones {
                    try await take(tombstone, &missing, &findings, &keys)
                }
            } catch let damaged as SetError {
                findings.refused.append(damaged.description)
            }
        }
        findings.vanished = missing.values.map(\.key).sorted { $0.timestamp < $1.timestamp }
        return findings
    }

    private func take(
        _ tombstone: Tombstone, _ missing: inout [[UInt8]: ChainLink], _ findings: inout Findings,
        _ keys: inout SealingKeys
    ) async throws {
        guard missing[tombstone.manifestSHA256]?.key == tombstone.key else { return }
        let seal = RecordSeal(signer: nil, trustedSigners: configuration.trustedSigners)
        switch tombstone.origin(dataKey: try await keys.key(of: tombstone.sealedBy), seal) {
        case .authenticated: missing[tombstone.manifestSHA256] = nil
        case .unauthenticated:
            missing[tombstone.manifestSHA256] = nil
            findings.unauthenticated.append(tombstone.key)
        case .refused(let why):
            findings.refused.append("the tombstone of \(tombstone.key) is not believed: \(why)")
        }
    }
}

/// The data keys of the sets that tombstones are sealed under, each opened once.
private struct SealingKeys {
    let store: any Store
    let configuration: SetReaderConfiguration
    private var known: [BackupKey: SecretBytes?] = [:]

    init(store: any Store, configuration: SetReaderConfiguration) {
        self.store = store
        self.configuration = configuration
    }

    /// `nil` where that set is gone, or nothing here opens it.
    mutating func key(of set: BackupKey?) async throws -> SecretBytes? {
        guard let set, configuration.canOpen else { return nil }
        if let found = known[set] { return found }
        var key: SecretBytes?
        do {
            let stored = try await Catalog(store).manifest(set)
            key = try await SetRecords.open(stored, in: store, configuration: configuration).dataKey
        } catch is SetError {
            // Gone, or not to be believed: the tombstone then counts as one that nothing here can check.
            key = nil
        }
        known[set] = .some(key)
        return key
    }
}
