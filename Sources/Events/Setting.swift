import Core

/// A setting of a target, as an environment variable and as a key of the file. The source has its own
/// (``SourceSetting``).
enum Setting: CaseIterable {
    case store, recipients, optionalRecipients, kmsKeyID, gpgKeyID, identities, auditRecipients
    case pkcs11Module, pkcs11PIN, gpgHome, gpgKeys, gpgPassphrase
    case compression, compressionLevel, parallelJobs, dataClass, retentionDays, segmentSize
    case metricsDirectory, metricsPrefix, stallTimeout, rateLimit, lockLease, signingKey, trustedSigners
    case allowUnverifiedTLS, allowHTTPStore
    case bucket, prefix, endpoint, region, addressing, encryption, encryptionKey
    case objectLock, legalHold, thawDays, multipartThreshold, pieceSize, accessLogBucket, noncurrentDays
    case storageClass, hourlyClass, dailyClass, weeklyClass, monthlyClass, annualClass, manualClass, safetyClass
    case secondaryStore, secondaryEndpoint, secondaryRegion, secondaryAddressing, secondaryEncryption
    case secondaryEncryptionKey, secondaryProfile, secondaryAccessKeyID, secondarySecretAccessKey
    case method, walSlot, restoreDirectory, scratchDirectory, scratchDestination, preloadLibraries
    case minimumIntegrity, minimumAccessibility, maximumSeconds, minimumRate
    case awsBackupVault, awsBackupResource, awsBackupRole

    var variable: String { names.variable }
    var key: String { names.key }

    var isSecret: Bool {
        switch self {
        case .signingKey, .secondaryAccessKeyID, .secondarySecretAccessKey, .pkcs11PIN, .gpgPassphrase: true
        default: false
        }
    }

    /// A list in the file; separated by commas in the environment.
    var isList: Bool {
        switch self {
        case .recipients, .optionalRecipients, .identities, .auditRecipients, .trustedSigners, .gpgKeys,
            .preloadLibraries:
            true
        default: false
        }
    }

    /// The class that bodies of one tier lie in.
    static func storageClass(of tier: Tier) -> Setting {
        switch tier {
        case .hourly: .hourlyClass
        case .daily: .dailyClass
        case .weekly: .weeklyClass
        case .monthly: .monthlyClass
        case .annual: .annualClass
        case .manual: .manualClass
        case .safety: .safetyClass
        }
    }

    private var names: (variable: String, key: String) {
        switch self {
        case .store: ("BACKUP_STORE", "store")
        case .recipients: ("BACKUP_RECIPIENTS", "recipients")
        case .optionalRecipients: ("BACKUP_OPTIONAL_RECIPIENTS", "optionalRecipients")
        case .kmsKeyID: ("BACKUP_KMS_KEY_ID", "kmsKeyId")
        case .gpgKeyID: ("BACKUP_GPG_KEY_ID", "gpgKeyId")
        case .identities: ("BACKUP_IDENTITIES", "identities")
        case .auditRecipients: ("AUDIT_BACKUP_KEY", "auditBackupKey")
        case .pkcs11Module: ("PKCS11_MODULE", "pkcs11Module")
        case .pkcs11PIN: ("PKCS11_PIN", "pkcs11Pin")
        case .gpgHome: ("BACKUP_GPG_HOME", "gpgHome")
        case .gpgKeys: ("BACKUP_GPG_KEYS", "gpgKeys")
        case .gpgPassphrase: ("BACKUP_GPG_PASSPHRASE", "gpgPassphrase")
        case .compression: ("BACKUP_COMPRESSION", "compression")
        case .compressionLevel: ("BACKUP_COMPRESSION_LEVEL", "compressionLevel")
        case .parallelJobs: ("BACKUP_PARALLEL_JOBS", "parallelJobs")
        case .dataClass: ("BACKUP_DATA_CLASS", "dataClass")
        case .retentionDays: ("BACKUP_RETENTION_DAYS", "retentionDays")
        case .segmentSize: ("BACKUP_SEGMENT_SIZE", "segmentSize")
        case .metricsDirectory: ("METRICS_DIR", "metricsDirectory")
        case .metricsPrefix: ("METRICS_PREFIX", "metricsPrefix")
        case .stallTimeout: ("BACKUP_STALL_TIMEOUT", "stallTimeout")
        case .rateLimit: ("BACKUP_RATE_LIMIT", "rateLimit")
        case .lockLease: ("BACKUP_LOCK_LEASE", "lockLease")
        case .signingKey: ("BACKUP_SIGNING_KEY", "signingKey")
        case .trustedSigners: ("BACKUP_TRUSTED_SIGNERS", "trustedSigners")
        case .allowUnverifiedTLS: ("BACKUP_ALLOW_UNVERIFIED_TLS", "allowUnverifiedTLS")
        case .allowHTTPStore: ("BACKUP_ALLOW_HTTP_STORE", "allowHTTPStore")
        case .bucket: ("S3_BUCKET", "s3Bucket")
        case .prefix: ("S3_PREFIX", "s3Prefix")
        case .endpoint: ("S3_ENDPOINT", "s3Endpoint")
        case .region: ("S3_REGION", "s3Region")
        case .addressing: ("S3_ADDRESSING", "s3Addressing")
        case .encryption: ("S3_SSE", "s3SSE")
        case .encryptionKey: ("S3_SSE_KMS_KEY_ID", "s3SSEKMSKeyId")
        case .objectLock: ("S3_OBJECT_LOCK", "s3ObjectLock")
        case .legalHold: ("S3_LEGAL_HOLD", "s3LegalHold")
        case .thawDays: ("S3_THAW_DAYS", "s3ThawDays")
        case .multipartThreshold: ("S3_MULTIPART_THRESHOLD", "s3MultipartThreshold")
        case .pieceSize: ("S3_PIECE_SIZE", "s3PieceSize")
        case .accessLogBucket: ("S3_ACCESS_LOG_BUCKET", "s3AccessLogBucket")
        case .noncurrentDays: ("S3_NONCURRENT_DAYS", "s3NoncurrentDays")
        case .storageClass: ("S3_STORAGE_CLASS", "s3StorageClass")
        case .hourlyClass: ("S3_STORAGE_CLASS_HOURLY", "s3StorageClassHourly")
        case .dailyClass: ("S3_STORAGE_CLASS_DAILY", "s3StorageClassDaily")
        case .weeklyClass: ("S3_STORAGE_CLASS_WEEKLY", "s3StorageClassWeekly")
        case .monthlyClass: ("S3_STORAGE_CLASS_MONTHLY", "s3StorageClassMonthly")
        case .annualClass: ("S3_STORAGE_CLASS_ANNUAL", "s3StorageClassAnnual")
        case .manualClass: ("S3_STORAGE_CLASS_MANUAL", "s3StorageClassManual")
        case .safetyClass: ("S3_STORAGE_CLASS_SAFETY", "s3StorageClassSafety")
        case .secondaryStore: ("BACKUP_SECONDARY_STORE", "secondaryStore")
        case .secondaryEndpoint: ("BACKUP_SECONDARY_ENDPOINT", "secondaryEndpoint")
        case .secondaryRegion: ("BACKUP_SECONDARY_REGION", "secondaryRegion")
        case .secondaryAddressing: ("BACKUP_SECONDARY_ADDRESSING", "secondaryAddressing")
        case .secondaryEncryption: ("BACKUP_SECONDARY_SSE", "secondarySSE")
        case .secondaryEncryptionKey: ("BACKUP_SECONDARY_SSE_KMS_KEY_ID", "secondarySSEKMSKeyId")
        case .secondaryProfile: ("BACKUP_SECONDARY_PROFILE", "secondaryProfile")
        case .secondaryAccessKeyID: ("BACKUP_SECONDARY_ACCESS_KEY_ID", "secondaryAccessKeyId")
        case .secondarySecretAccessKey: ("BACKUP_SECONDARY_SECRET_ACCESS_KEY", "secondarySecretAccessKey")
        case .method: ("BACKUP_METHOD", "method")
        case .walSlot: ("BACKUP_WAL_SLOT", "walSlot")
        case .restoreDirectory: ("RESTORE_DIRECTORY", "restoreDirectory")
        case .scratchDirectory: ("SCRATCH_DIRECTORY", "scratchDirectory")
        case .scratchDestination: ("BACKUP_SCRATCH_DESTINATION", "scratchDestination")
        case .preloadLibraries: ("POSTGRES_PRELOAD_LIBRARIES", "preloadLibraries")
        case .minimumIntegrity: ("VERIFY_MIN_INTEGRITY", "verifyMinIntegrity")
        case .minimumAccessibility: ("VERIFY_MIN_ACCESSIBILITY", "verifyMinAccessibility")
        case .maximumSeconds: ("VERIFY_MAX_SECONDS", "verifyMaxSeconds")
        case .minimumRate: ("VERIFY_MIN_RATE", "verifyMinRate")
        case .awsBackupVault: ("AWS_BACKUP_VAULT", "awsBackupVault")
        case .awsBackupResource: ("AWS_BACKUP_RESOURCE_ARN", "awsBackupResourceArn")
        case .awsBackupRole: ("AWS_BACKUP_ROLE_ARN", "awsBackupRoleArn")
        }
    }
}
