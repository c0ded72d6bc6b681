import Core

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
    var taken = 0
    for try await _ in store.list(SetLayout.directory(manifest.key) + "records/") { taken += 1 }
    try Task.checkCancellation()
    var number = taken + 1
    let options = PutOptions(createOnly: true, protection: manifest.protection(in: store, at: now))
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
