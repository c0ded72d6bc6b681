package import Core

extension Catalog {
    /// The recorded contents of a set that has been proven since, for those who decide whether a copy of the same data
    /// may go; `nil` where there is no such set or no believable proof of it.
    package func verifiedContents(
        _ key: BackupKey, configuration: SetReaderConfiguration
    ) async throws -> Contents? {
        let listing = try await listing([key.tier])
        guard let entry = listing.entries.first(where: { $0.key == key && $0.isCommitted }) else { return nil }
        do {
            let reader = try await SetReader.open(try await manifest(key), in: store, configuration: configuration)
            guard try await reader.proofs(entry.records).last?.verdict == .proven else { return nil }
            return try await reader.contents()
        } catch let failure as any Failure
            where [.verificationFailed, .keys, .thawRequested].contains(failure.exitCode)
        {
            return nil
        }
    }
}
