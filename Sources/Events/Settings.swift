package import Core

/// Everything the configuration says, checked. Made by ``ConfigurationReader``, taken apart by `lifeboat`, which
/// hands each part of the program only what concerns it.
package struct Settings: Equatable, Sendable {
    /// Sorted by name, never empty.
    package var targets: [TargetSettings]
    /// `DEBUG`.
    package var debug: Bool
    /// `DRY_RUN`: every job only plans.
    package var dryRun: Bool
    /// `LIFEBOAT_RUN_ID`.
    package var runID: String?

    package init(targets: [TargetSettings], debug: Bool, dryRun: Bool, runID: String?) {
        self.targets = targets
        self.debug = debug
        self.dryRun = dryRun
        self.runID = runID
    }
}

/// One source with the place its sets are kept in and the rules for them.
package struct TargetSettings: Equatable, Sendable {
    /// Letters, digits, `-` and `_`; in metrics, manifests and events.
    package var name: String
    package var source: SourceSettings
    package var store: StoreLocation
    /// Where every set is copied to once it is committed.
    package var secondary: SecondarySettings?
    package var keeping: KeepingSettings
    /// Stores across a network may be reached without TLS: `BACKUP_ALLOW_HTTP_STORE`.
    package var allowsHTTPStore: Bool
    /// What stands before the target's keys in the store, without slashes at its ends; empty for the environment's
    /// one target.
    package var keyPrefix: String
    /// Never empty: there is no backup in clear.
    package var recipients: [KeySpecification]
    /// Keys that open a backup too, unless they could not be reached when it was made.
    package var optionalRecipients: [KeySpecification]
    /// What verify and restore open with.
    package var identities: [KeySpecification]
    package var pkcs11: PKCS11Settings
    package var gpg: GPGSettings
    package var compression: Compression
    /// Parts and pieces in flight, 1 to 64.
    package var parallelJobs: Int
    package var retention: RetentionPolicy
    package var metricsDirectory: String?
    package var metricsPrefix: String
    /// Seconds without progress after which a job is ended.
    package var stallTimeout: Int
    /// Bytes per second read from the source; `nil` for as fast as it goes.
    package var rateLimit: Int64?
    /// Seconds a lock holds without being renewed.
    package var lockLease: Int
    /// Ed25519, as PEM.
    package var signingKey: Secret?
    /// Ed25519 public keys, 64 hexadecimal digits each, in lower case. Where there are any, unsigned sets are refused.
    package var trustedSigners: [String]
    /// Where restores may go beside the source, by name.
    package var destinations: [String: DestinationSettings]
    package var recovery: RecoverySettings
    package var awsBackup: AWSBackupSettings?
    /// Checks that were switched off by name and would have failed; each manifest records them.
    package var exceptions: [String]

    /// Its sets are of a whole PostgreSQL server, as its files.
    package var isPhysical: Bool { recovery.method == .physical }

    /// Everything of it that lies in S3.
    package var buckets: [BucketSettings] { [store.bucket, secondary?.store.bucket].compactMap { $0 } }

    /// Every key that its sets are sealed for or opened with, once each.
    package var keys: [KeySpecification] {
        (recipients + optionalRecipients + identities).reduce(into: []) { keys, key in
            if !keys.contains(key) { keys.append(key) }
        }
    }

    /// When the bodies of its sets move on, where it keeps audit records; `nil` for every other source.
    package var auditStages: AuditStages? {
        if case .auditRecords(let settings) = source { settings.stages } else { nil }
    }

    /// Whether any of its keys is of this kind.
    package func hasKey(_ scheme: KeySpecification.Scheme) -> Bool { keys.contains { $0.scheme == scheme } }

    /// The names of its keys in KMS.
    package var kmsKeys: [String] { keys.compactMap { if case .kms(let key) = $0 { key } else { nil } } }
}
