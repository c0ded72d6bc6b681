package import Core

/// Which keys are backed up, and when. The settings behind it: `KEYS_PATHS`, `KEYS_SCHEDULE`,
/// `KEYS_VERIFY_INTERVAL_HOURS`.
package struct KeysSettings: Sendable {
    package enum Schedule: String, CaseIterable, Sendable {
        /// Every run stores the keys.
        case daily = "DAILY"
        /// A run stores them only where they are other than those of the newest set.
        case onChange = "ON_CHANGE"
    }

    /// Absolute paths of directories of key files, or of mounted Kubernetes Secrets. Of several, each is stored under
    /// its last name, so no two may share one.
    package var directories: [String]
    package var schedule: Schedule
    /// Seconds from one verification of a set to the next that is expected.
    package var verifyInterval: Int64

    package init(directories: [String], schedule: Schedule = .daily, verifyInterval: Int64 = 24 * 3600) {
        self.directories = directories
        self.schedule = schedule
        self.verifyInterval = verifyInterval
    }
}

/// What a key file can be read as, to find out whether a recipient is itself among the keys: every key that `material`
/// gives as one of `recipient`'s kind and under its name. `recipient` is as ``KeyCapabilities/name`` has it,
/// `aes:clinic`; for a kind that no file holds, and for material that is no such key, there are none.
package typealias KeyCandidates = @Sendable (_ material: SecretBytes, _ recipient: String) -> [any KeyProvider]
