import Core

/// The records of one set: read with its data key where one is at hand, and by their form alone where none is.
struct SetRecords: Sendable {
    let stored: StoredManifest
    let store: any Store
    /// `nil`: what a record says cannot be checked.
    let dataKey: SecretBytes?

    var manifest: Manifest { stored.manifest }

    /// Whether what is read was written by a holder of the set's key.
    var areBelieved: Bool { dataKey != nil }

    /// With the data key where `configuration` opens it and the manifest is to be believed; `whyNot` is told what
    /// prevents that. A store that fails is an error.
    static func open(
        _ stored: StoredManifest, in store: any Store, configuration: SetReaderConfiguration,
        whyNot: (any Failure) -> Void = { _ in }
    ) async throws -> SetRecords {
        guard configuration.canOpen else { return SetRecords(stored: stored, store: store, dataKey: nil) }
        do {
            let belief = try await SetReader.believe(stored, in: store, configuration, notes: ReadingNotes())
            let dataKey = belief.opening.dataKey
            return SetRecords(stored: stored, store: store, dataKey: dataKey)
        } catch let failure as any Failure
            where failure.exitCode == .keys || failure.exitCode == .verificationFailed
        {
            whyNot(failure)
            return SetRecords(stored: stored, store: store, dataKey: nil)
        }
    }

    /// One record's document, canonical.
    func document(_ path: String) async throws -> JSON {
        let bytes: [UInt8]
        do {
            bytes = try await store.read(path, limit: 1 << 16)
        } catch let error as ObjectTooLarge {
            throw SetError.damagedRecord(path: path, problem: "\(error)")
        }
        do {
            let json = try JSON(parsing: bytes)
            guard json.canonicalBytes == bytes else {
                throw ManifestError(problem: "it is not in canonical form")
            }
            return json
        } catch {
            throw SetError.damagedRecord(path: path, problem: "\(error)")
        }
    }

    /// Whether `code` is the MAC of `document` under this set's key; true where there is none to check it with.
    func isMAC(_ code: [UInt8], of document: JSON) -> Bool {
        guard let dataKey else { return true }
        return ManifestSeal.isMAC(code, of: document, purpose: ManifestSeal.recordPurpose, dataKey: dataKey)
    }

    /// `nil` without a key.
    func mac(_ document: JSON) -> [UInt8]? {
        dataKey.map { ManifestSeal.mac(document, purpose: ManifestSeal.recordPurpose, dataKey: $0) }
    }
}

/// Adds a record after those that are there, create-only and kept like the set itself.
func addRecord(
    _ kind: String, of manifest: Manifest, _ document: JSON, to store: any Store, at now: Timestamp
) async throws {
    try await addRecord(kind, of: manifest, bytes: document.canonicalBytes, to: store, at: now)
}

/// The same for one that is in its stored form already.
func addRecord(
    _ kind: String, of manifest: Manifest, bytes: [UInt8], to store: any Store, at now: Timestamp
) async throws {
    var paths: [String] = []
    for try await object in store.list(SetLayout.directory(manifest.key) + "records/") { paths.append(object.key) }
    try Task.checkCancellation()
    let taken = paths.count
    var number = taken + 1
    let isHeld = HoldRecord.Change(rawValue: kind).map { $0 == .hold } ?? manifest.isHeld(records: paths)
    let options = PutOptions(
        createOnly: true, protection: manifest.protection(in: store, at: now, isHeld: isHeld))
    while true {
        do {
            _ = try await store.put(
                SetLayout.record(manifest.key, number: number, kind: kind), from: MemorySource(bytes),
                options: options)
            return
        } catch let conflict as StoreConflict {
            // Another run added one between the listing and now.
            guard number < taken + 100 else { throw conflict }
            number += 1
        }
    }
}
