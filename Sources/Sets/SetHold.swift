package import Core

/// A set's legal hold in one store: the record that says so, and the store's own hold on every object where it has such
/// a thing.
package struct SetHold: Sendable {
    package let copy: SetCopy
    private let records: SetRecords
    private let paths: [String]

    /// ``SetError/notFound(_:)`` where the set is not in this store.
    package init(
        _ key: BackupKey, of target: String, in copy: SetCopy, configuration: SetReaderConfiguration
    ) async throws {
        self.copy = copy
        let stored = try await Catalog(copy.store).manifest(key, of: target)
        records = try await SetRecords.open(stored, in: copy.store, configuration: configuration)
        paths = try await Self.objects(of: stored.manifest, in: copy.store).filter {
            HoldRecord.change(ofPath: $0) != nil
        }
    }

    package var manifest: Manifest { records.manifest }
    /// Whether a record made here can be checked by a holder of the set's key.
    package var canAuthenticate: Bool { records.areBelieved }

    package func state(seal: RecordSeal) async throws -> HoldState {
        try await records.holdState(paths, seal: seal)
    }

    /// Records the change and has the store make it true, in the order in which the set counts as held for as long as
    /// any object of it may be. `isRecorded`: an earlier try of the same request wrote the record. Returns how many
    /// objects the store now holds or has let go; 0 for a store that has no holds.
    package func apply(_ record: HoldRecord, seal: RecordSeal, isRecorded: Bool) async throws -> Int {
        switch record.change {
        case .hold:
            if !isRecorded { try await records.add(record, seal: seal) }
            return try await amend(.protect(Protection(legalHold: true)))
        case .release:
            let count = try await amend(.liftHold)
            if !isRecorded { try await records.add(record, seal: seal) }
            return count
        }
    }

    /// The store reads back what it was asked for.
    private func amend(_ amendment: Amendment) async throws -> Int {
        guard copy.store.capabilities.protects else { return 0 }
        var count = 0
        for path in try await Self.objects(of: manifest, in: copy.store) {
            try await copy.store.amend(path, amendment)
            count += 1
        }
        return count
    }

    /// Whether the set is still there, and no prune is about to delete it. A prune writes its tombstone and then looks
    /// for holds; whoever holds writes the record and then looks for the tombstone: one of the two sees the other.
    package func isSafe() async throws -> Bool {
        let name = TombstoneStore.Name(sequence: manifest.sequence, sha256: records.stored.sha256)
        guard try await TombstoneStore(copy.store).read(name) == nil else { return false }
        return try await stands()
    }

    package func stands() async throws -> Bool {
        try await copy.store.stat(SetLayout.manifest(manifest.key)) != nil
    }

    private static func objects(of manifest: Manifest, in store: any Store) async throws -> [String] {
        var paths: [String] = []
        for try await object in store.list(SetLayout.directory(manifest.key)) { paths.append(object.key) }
        try Task.checkCancellation()
        return paths
    }
}

extension Catalog {
    /// Whether a set is under legal hold. Reads its records only where there are any about that.
    package func holdState(
        of stored: StoredManifest, records paths: [String], configuration: SetReaderConfiguration
    ) async throws -> HoldState {
        guard paths.contains(where: { HoldRecord.change(ofPath: $0) != nil }) else {
            return HoldState(isHeld: stored.manifest.retention.legalHold)
        }
        let records = try await SetRecords.open(stored, in: store, configuration: configuration)
        return try await records.holdState(
            paths, seal: RecordSeal(signer: nil, trustedSigners: configuration.trustedSigners))
    }
}
