package import Core

/// What a bucket has to be like. Blocked public access, versioning, TLS only, rules for bodies, the end of abandoned
/// uploads and of old versions are asked of every bucket.
package struct ProvisionWish: Equatable, Sendable {
    /// What the bucket encrypts objects with that come without a word about it.
    package var encryption: S3Settings.ServerSideEncryption
    /// Objects are written with an encryption of their own, so that those without may be refused.
    package var requiresEncryptedPuts: Bool
    /// Sets are to be kept by Object Lock.
    package var objectLock: Bool
    /// Where the server writes its access log (`S3_ACCESS_LOG_BUCKET`), beneath the bucket's name.
    package var accessLogBucket: String?
    /// Days after which versions that were replaced or deleted go (`S3_NONCURRENT_DAYS`).
    package var noncurrentDays: Int
    /// When the bodies of sets of audit records move on, where any are kept in this store.
    package var auditStages: AuditStages?
    /// KMS keys, by ARN, alias or id, that are to be rotated each year.
    package var keys: [String]

    package init(
        encryption: S3Settings.ServerSideEncryption = .aes256, requiresEncryptedPuts: Bool = false,
        objectLock: Bool = false, accessLogBucket: String? = nil, noncurrentDays: Int = 30,
        auditStages: AuditStages? = nil, keys: [String] = []
    ) {
        self.encryption = encryption
        self.requiresEncryptedPuts = requiresEncryptedPuts
        self.objectLock = objectLock
        self.accessLogBucket = accessLogBucket
        self.noncurrentDays = noncurrentDays
        self.auditStages = auditStages
        self.keys = keys
    }

    /// What `settings` ask of their bucket: an encryption that objects are written with is the bucket's default too,
    /// and no other is let in.
    package init(
        settings: S3Settings, objectLock: Bool = false, accessLogBucket: String? = nil, noncurrentDays: Int = 30,
        auditStages: AuditStages? = nil, keys: [String] = []
    ) {
        self.init(
            encryption: settings.encryption ?? .aes256, requiresEncryptedPuts: settings.encryption != nil,
            objectLock: objectLock, accessLogBucket: accessLogBucket, noncurrentDays: noncurrentDays,
            auditStages: auditStages, keys: keys)
    }
}
