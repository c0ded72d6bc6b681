package import Core

/// What a target's pictures are of, how it is brought back beyond them, and where that is rehearsed.
package struct RecoverySettings: Equatable, Sendable {
    /// What a PostgreSQL target's sets hold.
    package enum Method: String, CaseIterable, Sendable {
        /// One database, as SQL.
        case logical
        /// The whole server, as its files: what its log can be followed from.
        case physical
    }

    package var method: Method = .logical
    /// The replication slot that keeps the log until it is stored; `nil` for targets without one.
    package var slot: String?
    /// Where a physical set is unpacked when the event names no place: an absolute path.
    package var restoreDirectory: String?
    /// Where scratch servers and directories may stand while a set is proven: an absolute path.
    package var scratchDirectory: String?
    /// The configured destination on whose server sets are brought to life to be proven, for engines that have no
    /// server of their own inside the job.
    package var scratchDestination: String?
    /// Libraries that a PostgreSQL server of our own loads when it starts, by name.
    package var preloadLibraries: [String] = []
    package var thresholds = ProofThresholds()

    /// Whether a set can be brought to life here without touching what is in use.
    package var hasScratch: Bool { scratchDirectory != nil || scratchDestination != nil }
}

/// The additional layer: AWS Backup is asked for a recovery point of a resource once a set is stored.
package struct AWSBackupSettings: Equatable, Sendable {
    package var vault: String
    package var resourceARN: String
    /// What AWS Backup acts with.
    package var roleARN: String

    package init(vault: String, resourceARN: String, roleARN: String) {
        self.vault = vault
        self.resourceARN = resourceARN
        self.roleARN = roleARN
    }
}
