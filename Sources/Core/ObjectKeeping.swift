/// How an object is to be kept. What was asked for is read back after the write; an object that is not kept so is
/// an error.
package struct PutOptions: Sendable {
    /// Fail where the key is taken.
    package var createOnly: Bool
    package var storageClass: StorageClass
    package var protection: Protection
    /// For the store's own rules; at most ten.
    package var tags: [String: String]

    package init(
        createOnly: Bool = false, storageClass: StorageClass = .standard, protection: Protection = Protection(),
        tags: [String: String] = [:]
    ) {
        self.createOnly = createOnly
        self.storageClass = storageClass
        self.protection = protection
        self.tags = tags
    }
}

/// What keeps an object from being changed or deleted by anybody, ourselves included.
package struct Protection: Equatable, Sendable {
    package var lock: ObjectLock?
    /// Without an end: until a person lifts it.
    package var legalHold: Bool

    package init(lock: ObjectLock? = nil, legalHold: Bool = false) {
        self.lock = lock
        self.legalHold = legalHold
    }

    package var isNone: Bool { lock == nil && !legalHold }
}

/// Write once, read many, until a time.
package struct ObjectLock: Equatable, Sendable {
    package enum Mode: String, CaseIterable, Sendable {
        /// Who has a special right may lift it.
        case governance
        /// Nobody may, the account's owner included.
        case compliance
    }

    package var mode: Mode
    package var until: Timestamp

    package init(mode: Mode, until: Timestamp) {
        self.mode = mode
        self.until = until
    }
}

/// S3's storage classes that sets may lie in, by their names there.
package enum StorageClass: String, CaseIterable, Sendable {
    case standard = "STANDARD"
    case standardIA = "STANDARD_IA"
    case glacierInstant = "GLACIER_IR"
    case glacier = "GLACIER"
    case deepArchive = "DEEP_ARCHIVE"

    /// Has to be thawed before it can be read.
    package var isArchive: Bool { self == .glacier || self == .deepArchive }
}

/// What a bucket's rules choose the bodies of sets by. Nothing else of a set has tags: manifests, records and locks may
/// never leave the standard class.
package enum BodyTag {
    package static let kind = (name: "lifeboat-kind", value: "body")
    /// Which of the rules is the body's: a tier's, or ``auditRecords``.
    package static let group = "lifeboat-tier"
    package static let auditRecords = "audit-records"
}

/// By which of the bucket's rules the bodies of a target's sets move.
package enum BodyGroup: Sendable {
    case byTier
    /// In the stages of a trail, whatever the tier.
    case auditRecords

    /// Of a body of a set of `tier`.
    package func tags(of tier: Tier) -> [String: String] {
        let group =
            switch self {
            case .byTier: tier.rawValue
            case .auditRecords: BodyTag.auditRecords
            }
        return [BodyTag.kind.name: BodyTag.kind.value, BodyTag.group: group]
    }
}

package enum Amendment: Equatable, Sendable {
    /// Adds a lock, prolongs it, or sets the legal hold; never shortens.
    case protect(Protection)
    /// Takes the legal hold away; a lock stays as it is.
    case liftHold
    /// Asks for an archived object to be readable for so many days. Returns at once; the thaw takes hours.
    case thaw(days: Int)
}
