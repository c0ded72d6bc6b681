import Core

/// How a target's objects are kept: locked, held, classed, cut.
extension TargetReader {
    /// Settings that only buckets have, and those of the second copy's only.
    private static let bucketSettings: [Setting] = [
        .endpoint, .region, .addressing, .encryption, .encryptionKey,
    ]
    private static let secondaryBucketSettings: [Setting] = [
        .secondaryEndpoint, .secondaryRegion, .secondaryAddressing, .secondaryEncryption, .secondaryEncryptionKey,
        .secondaryProfile, .secondaryAccessKeyID, .secondarySecretAccessKey,
    ]
    private static let eitherSettings: [Setting] =
        [.thawDays, .multipartThreshold, .pieceSize, .accessLogBucket, .noncurrentDays, .storageClass]
        + Tier.allCases.map(Setting.storageClass(of:))

    mutating func keeping(
        _ store: StoreLocation, _ secondary: SecondarySettings?
    ) throws(ConfigurationError) -> KeepingSettings {
        var keeping = KeepingSettings()
        keeping.lock = try lock(store, secondary)
        keeping.legalHold = try legalHold(store, secondary)
        keeping.storageClasses = try storageClasses()
        let pieceSizes = [store.bucket, secondary?.store.bucket].compactMap { $0?.pieceSize }
        keeping.segmentSize = try segmentSize(pieceSizes.min())
        guard !pieceSizes.isEmpty else { return keeping }
        keeping.thawDays = try number(.thawDays, in: 1...365) ?? defaulted(.thawDays, keeping.thawDays)
        keeping.noncurrentDays =
            try number(.noncurrentDays, in: 1...36_500) ?? defaulted(.noncurrentDays, keeping.noncurrentDays)
        if let found = try find(.accessLogBucket) {
            do {
                try AWSNames.checkBucket(found.text)
            } catch {
                throw ConfigurationError(found.name, error.cause, hint: error.hint)
            }
            keeping.accessLogBucket = found.text
        }
        return keeping
    }

    private mutating func lock(
        _ store: StoreLocation, _ secondary: SecondarySettings?
    ) throws(ConfigurationError) -> ObjectLock.Mode? {
        guard let mode = try word(.objectLock, of: ObjectLock.Mode.self, "mode of a lock") else { return nil }
        try demandProtection(.objectLock, store, secondary)
        return mode
    }

    private mutating func legalHold(
        _ store: StoreLocation, _ secondary: SecondarySettings?
    ) throws(ConfigurationError) -> Bool {
        guard try flag(.legalHold) else { return false }
        try demandProtection(.legalHold, store, secondary)
        return true
    }

    /// A lock that was asked for has to be there; a second copy without one is better than none, and is recorded.
    private mutating func demandProtection(
        _ setting: Setting, _ store: StoreLocation, _ secondary: SecondarySettings?
    ) throws(ConfigurationError) {
        guard store.bucket != nil else {
            throw ConfigurationError(
                try find(setting)?.name ?? "", "a directory cannot keep what lies in it from being deleted",
                hint: "use an S3 store, or leave it out")
        }
        if let secondary, secondary.store.bucket == nil {
            exceptions.insert("\(setting.variable) not in the secondary store")
        }
    }

    private mutating func storageClasses() throws(ConfigurationError) -> [Tier: StorageClass] {
        let general = try word(.storageClass, of: StorageClass.self, "storage class")
        var classes: [Tier: StorageClass] = [:]
        for tier in Tier.allCases {
            let setting = Setting.storageClass(of: tier)
            let own = try word(setting, of: StorageClass.self, "storage class")
            // The restore that makes a safety backup reads it back before it goes on, and perhaps rolls back to it.
            if tier == .safety, own?.isArchive == true {
                throw ConfigurationError(
                    try find(setting)?.name ?? "", "a safety backup has to be readable at once",
                    hint: "write STANDARD, STANDARD_IA or GLACIER_IR, or leave it out")
            }
            guard let chosen = own ?? general, chosen != .standard, !(tier == .safety && chosen.isArchive) else {
                continue
            }
            classes[tier] = chosen
        }
        return classes
    }

    /// `pieceSize`: the smallest of the buckets; `nil` where there are none.
    private mutating func segmentSize(_ pieceSize: Int?) throws(ConfigurationError) -> Int64 {
        let usual = 15 << 30
        let most = pieceSize.map { $0 * Self.piecesOfAnObject } ?? 5 << 40
        guard let size = try number(.segmentSize, in: (8 << 20)...(5 << 40)) else {
            return Int64(defaulted(.segmentSize, min(usual, most)))
        }
        guard size <= most else {
            throw ConfigurationError(
                try find(.segmentSize)?.name ?? "", "it is more than \(Self.piecesOfAnObject) pieces of an upload",
                hint: "at most \(most) bytes, or more with a larger \(Setting.pieceSize.variable)")
        }
        return Int64(size)
    }

    /// Settings that mean nothing where the stores are what they are: who wrote them expects something of them. What
    /// stands under the file's defaults is for those targets that it concerns.
    mutating func refuseIdle(
        _ store: StoreLocation, _ secondary: SecondarySettings?
    ) throws(ConfigurationError) {
        let hasFirst = store.bucket != nil
        let hasSecond = secondary?.store.bucket != nil
        try refuse(hasFirst ? [] : Self.bucketSettings, because: "the store is a directory")
        try refuse(
            hasSecond ? [] : Self.secondaryBucketSettings,
            because: secondary == nil
                ? "there is no \(Setting.secondaryStore.variable)" : "the second store is a directory")
        try refuse(hasFirst || hasSecond ? [] : Self.eitherSettings, because: "no store is in S3")
    }

    mutating func refuse(_ settings: [Setting], because reason: String) throws(ConfigurationError) {
        for setting in settings {
            guard let found = try find(setting), !found.isDefault else { continue }
            throw ConfigurationError(
                found.name, "it means nothing here: \(reason)", hint: "leave it out, or set what it is for")
        }
    }
}
