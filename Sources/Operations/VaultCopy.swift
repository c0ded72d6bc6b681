import Core
import Logging
import Sets

extension Workplace {
    /// Asks `vault` for a copy with the set `stored`, and notes it beside the set. Once for each set: a run that finds
    /// the note asks no more, and one that was killed before it was written gets the same copy for the same token.
    func vaultJob(
        with stored: StoredManifest, in vault: any Vault, for requestID: RequestID
    ) async throws -> VaultJob {
        if let known = try await VaultJobRecord.newest(of: stored, in: store) { return known }
        await step("vault")
        let manifest = stored.manifest
        let now = clock.now()
        // As long as the set, and the same however often it is asked. A part of a day counts as one: the copy does not go
        // before the set may.
        let keepDays = manifest.retention.retainUntil.map {
            max(1, Int(($0.seconds(since: manifest.finishedTime) / 86_400).rounded(.up)))
        }
        // One request makes one set, so the set's own digest stands for the request; a timestamp alone would be the same
        // for targets of other installations in the same account.
        let promised = try await vault.start(token: hexText(stored.sha256), keepDays: keepDays)
        logger.info("a copy was asked for", metadata: ["in": "\(vault.label)", "job": "\(promised.id)"])
        try await VaultJobRecord.add(promised, of: stored, to: store, at: now, requestID: requestID)
        return promised
    }
}
