/// A setting of a target, as an environment variable and as a key of the file. The source has its own
/// (``PostgresSourceReader``).
enum Setting: CaseIterable {
    case store, recipients, identities, compression, compressionLevel, parallelJobs, retentionDays
    case metricsDirectory, metricsPrefix, stallTimeout, rateLimit, lockLease, signingKey, trustedSigners
    case allowUnverifiedTLS

    var variable: String {
        switch self {
        case .store: "BACKUP_STORE"
        case .recipients: "BACKUP_RECIPIENTS"
        case .identities: "BACKUP_IDENTITIES"
        case .compression: "BACKUP_COMPRESSION"
        case .compressionLevel: "BACKUP_COMPRESSION_LEVEL"
        case .parallelJobs: "BACKUP_PARALLEL_JOBS"
        case .retentionDays: "BACKUP_RETENTION_DAYS"
        case .metricsDirectory: "METRICS_DIR"
        case .metricsPrefix: "METRICS_PREFIX"
        case .stallTimeout: "BACKUP_STALL_TIMEOUT"
        case .rateLimit: "BACKUP_RATE_LIMIT"
        case .lockLease: "BACKUP_LOCK_LEASE"
        case .signingKey: "BACKUP_SIGNING_KEY"
        case .trustedSigners: "BACKUP_TRUSTED_SIGNERS"
        case .allowUnverifiedTLS: "BACKUP_ALLOW_UNVERIFIED_TLS"
        }
    }

    var key: String {
        switch self {
        case .store: "store"
        case .recipients: "recipients"
        case .identities: "identities"
        case .compression: "compression"
        case .compressionLevel: "compressionLevel"
        case .parallelJobs: "parallelJobs"
        case .retentionDays: "retentionDays"
        case .metricsDirectory: "metricsDirectory"
        case .metricsPrefix: "metricsPrefix"
        case .stallTimeout: "stallTimeout"
        case .rateLimit: "rateLimit"
        case .lockLease: "lockLease"
        case .signingKey: "signingKey"
        case .trustedSigners: "trustedSigners"
        case .allowUnverifiedTLS: "allowUnverifiedTLS"
        }
    }

    var isSecret: Bool { self == .signingKey }

    /// A list in the file; separated by commas in the environment.
    var isList: Bool {
        switch self {
        case .recipients, .identities, .trustedSigners: true
        default: false
        }
    }
}

/// Names that mean something to the design and nothing to this version. Passing them over would let somebody believe
/// that a second copy is made, or that an alert will come.
enum NotInThisVersion {
    static let variables: [String: String] = {
        var reasons: [String: String] = [:]
        let groups: [(String, [String])] = [
            ("only file:// stores are in this version", ["S3_BUCKET", "S3_PREFIX", "S3_ENDPOINT"]),
            ("only file:// stores are in this version", ["S3_MULTIPART_THRESHOLD"]),
            ("a second copy is not in this version", ["BACKUP_SECONDARY_STORE"]),
            (
                "only aes: and rsa: keys are in this version, in BACKUP_RECIPIENTS",
                ["BACKUP_KMS_KEY_ID", "BACKUP_GPG_KEY_ID"]
            ),
            (
                "reports go to METRICS_DIR and standard output in this version",
                [
                    "METRICS_PUSHGATEWAY_URL", "ALERT_WEBHOOK_URL", "ALERT_WEBHOOK_URL_FILE", "SLACK_WEBHOOK_URL",
                    "SLACK_WEBHOOK_URL_FILE", "SNS_TOPIC_ARN",
                ]
            ),
            (
                "only PostgreSQL sources are in this version",
                [
                    "MYSQL_HOST", "MYSQL_DB", "MYSQL_USER", "MYSQL_PASSWORD", "MYSQL_PASSWORD_FILE", "MYSQL_URL",
                    "MYSQL_URL_FILE", "MONGODB_URL", "MONGODB_URL_FILE", "FILES_PATHS",
                ]
            ),
        ]
        for (reason, names) in groups {
            for name in names { reasons[name] = reason }
        }
        return reasons
    }()

    /// Keys of the file, of the same kinds.
    static let keys: [String: String] = [
        "secondaryStore": "a second copy is not in this version",
        "kmsKeyId": "only aes: and rsa: keys are in this version, in recipients",
        "gpgKeyId": "only aes: and rsa: keys are in this version, in recipients",
        "metricsPushgatewayURL": "reports go to metricsDirectory and standard output in this version",
        "alertWebhookURL": "reports go to metricsDirectory and standard output in this version",
        "slackWebhookURL": "reports go to metricsDirectory and standard output in this version",
        "snsTopicARN": "reports go to metricsDirectory and standard output in this version",
    ]

    static let engines = ["mysql", "mongodb", "files"]
    static let keySchemes = ["kms", "pkcs11", "gpg"]
}
