import Core

/// Where a target's sets lie, in one copy or two.
extension TargetReader {
    typealias Found = ConfigurationValues.Found

    /// How one copy's bucket is configured: by which settings.
    private struct Side {
        var endpoint: Setting
        var region: Setting
        var addressing: Setting
        var encryption: Setting
        var encryptionKey: Setting

        static let primary = Side(
            endpoint: .endpoint, region: .region, addressing: .addressing, encryption: .encryption,
            encryptionKey: .encryptionKey)
        static let secondary = Side(
            endpoint: .secondaryEndpoint, region: .secondaryRegion, addressing: .secondaryAddressing,
            encryption: .secondaryEncryption, encryptionKey: .secondaryEncryptionKey)
    }

    private static let storeForms = "a directory by its absolute path, file:///srv/backups, or s3://BUCKET/PREFIX"
    /// The pieces of an object that every server takes, with some to spare: a few take no more than 1,000.
    static let piecesOfAnObject = 960

    // MARK: The first store

    mutating func store() throws(ConfigurationError) -> StoreLocation {
        var address = try find(.store)
        var bucket = try find(.bucket)
        var prefix = try find(.prefix)
        // What a target says of its own place counts before what the defaults say of theirs.
        if address?.isOfTarget == true {
            if bucket?.isDefault == true { bucket = nil }
            if prefix?.isDefault == true { prefix = nil }
        } else if bucket?.isOfTarget == true, address?.isDefault == true {
            address = nil
        }
        guard let address else {
            if let bucket { return .s3(try self.bucket(bucket, prefix, .primary)) }
            let endpoint = try find(.endpoint)
            if let lost = prefix ?? endpoint {
                throw ConfigurationError(
                    Setting.bucket.variable, "it is missing, and \(lost.name) is set",
                    hint: "set it to the bucket's name, or BACKUP_STORE to s3://BUCKET/PREFIX")
            }
            throw ConfigurationError(
                Setting.store.variable, "it is missing, so \(name) has nowhere to go",
                hint: "set it to \(Self.storeForms)")
        }
        if address.text.hasPrefix("s3://") { return .s3(try self.bucket(address, bucket, prefix)) }
        let directory = try Self.directory(address)
        if let other = bucket ?? prefix {
            throw ConfigurationError(
                other.name, "it means S3, and \(address.name) is a directory", hint: "keep one of the two")
        }
        return directory
    }

    /// `s3://bucket/prefix` with what single settings add to it.
    private mutating func bucket(
        _ address: Found, _ bucket: Found?, _ prefix: Found?
    ) throws(ConfigurationError) -> BucketSettings {
        let parts = try Self.parts(address)
        if let bucket, bucket.text != parts.bucket.text {
            throw ConfigurationError(
                bucket.name, "it contradicts \(address.name)", hint: "say it once, or the same in both")
        }
        guard let prefix else { return try self.bucket(parts.bucket, parts.prefix, .primary) }
        let own = try Self.prefix(parts.prefix)
        let single = try Self.prefix(prefix)
        guard own.isEmpty || own == single else {
            throw ConfigurationError(
                prefix.name, "it contradicts \(address.name)", hint: "say it once, or the same in both")
        }
        return try self.bucket(parts.bucket, prefix, .primary)
    }

    private static func parts(_ address: Found) throws(ConfigurationError) -> (bucket: Found, prefix: Found) {
        let rest = address.text.dropFirst("s3://".count)
        guard !rest.contains("?"), !rest.contains("#") else {
            throw ConfigurationError(
                address.name, "it has a '?' or '#', and an address of a bucket has no parameters",
                hint: "s3://BUCKET/PREFIX; region, endpoint and the like have settings of their own")
        }
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        var bucket = address
        bucket.values = [String(rest[..<slash])]
        var prefix = address
        prefix.values = [String(rest[slash...])]
        return (bucket, prefix)
    }

    private static func directory(_ found: Found) throws(ConfigurationError) -> StoreLocation {
        guard found.text.hasPrefix("file://") else {
            throw ConfigurationError(found.name, "no such kind of store is known", hint: storeForms)
        }
        let path: String
        do {
            path = try ConnectionString.decoded(found.text.dropFirst("file://".count))
        } catch {
            throw ConfigurationError(found.name, error.cause, hint: storeForms)
        }
        let steps = path.split(separator: "/").map(String.init)
        guard path.hasPrefix("/"), !steps.isEmpty, !steps.contains(".."), !steps.contains("."),
            !hasControlCharacter(path)
        else {
            throw ConfigurationError(found.name, "it is not a directory's absolute path", hint: storeForms)
        }
        return .directory(path: "/" + steps.joined(separator: "/"))
    }

    // MARK: The second store

    mutating func secondary() throws(ConfigurationError) -> SecondarySettings? {
        guard let address = try find(.secondaryStore) else { return nil }
        guard address.text.hasPrefix("s3://") else {
            return SecondarySettings(store: try Self.directory(address), access: .shared)
        }
        let parts = try Self.parts(address)
        return SecondarySettings(
            store: .s3(try bucket(parts.bucket, parts.prefix, .secondary)), access: try secondaryAccess())
    }

    private mutating func secondaryAccess() throws(ConfigurationError) -> SecondarySettings.Access {
        let profile = try find(.secondaryProfile)
        let id = try find(.secondaryAccessKeyID)
        let secret = try find(.secondarySecretAccessKey)
        guard id != nil || secret != nil else {
            guard let profile else { return .shared }
            guard profile.text.utf8.count <= 128, !hasControlCharacter(profile.text) else {
                throw ConfigurationError(profile.name, "it is no profile's name", hint: "as in ~/.aws/config")
            }
            return .profile(profile.text)
        }
        guard let id, let secret else {
            throw ConfigurationError(
                (id == nil ? Setting.secondaryAccessKeyID : .secondarySecretAccessKey).variable,
                "it is missing, and the other half of the access key is set", hint: "give both, or neither")
        }
        if let profile {
            throw ConfigurationError(
                profile.name, "it is set, and so is \(id.name)", hint: "name a profile or an access key, not both")
        }
        for half in [id, secret] {
            guard half.text.utf8.count <= 1024, half.text.utf8.allSatisfy({ (0x21..<0x7F).contains($0) }) else {
                throw ConfigurationError(
                    half.name, "it has a character that no access key has, or too many",
                    hint: "copy it again, without blanks and line ends")
            }
        }
        return .keys(id: Secret(id.text), secret: Secret(secret.text))
    }

    // MARK: A bucket

    private mutating func bucket(
        _ bucket: Found, _ prefix: Found?, _ side: Side
    ) throws(ConfigurationError) -> BucketSettings {
        do {
            try AWSNames.checkBucket(bucket.text)
        } catch {
            throw ConfigurationError(bucket.name, error.cause, hint: error.hint)
        }
        let pieceSize =
            try number(.pieceSize, in: (5 << 20)...(512 << 20)) ?? defaulted(.pieceSize, 16 << 20)
        return BucketSettings(
            bucket: bucket.text, prefix: try prefix.map(Self.prefix) ?? "", endpoint: try endpoint(side.endpoint),
            region: try region(side.region),
            addressing: try word(side.addressing, of: BucketSettings.Addressing.self, "addressing") ?? .automatic,
            encryption: try encryption(side),
            multipartThreshold: try number(.multipartThreshold, in: 1...pieceSize)
                ?? defaulted(.multipartThreshold, pieceSize),
            pieceSize: pieceSize)
    }

    private static func prefix(_ found: Found) throws(ConfigurationError) -> String {
        do {
            return try AWSNames.prefix(found.text)
        } catch {
            throw ConfigurationError(found.name, error.cause, hint: error.hint)
        }
    }

    private mutating func region(_ setting: Setting) throws(ConfigurationError) -> String? {
        guard let found = try find(setting) else { return nil }
        do {
            try AWSNames.checkRegion(found.text)
        } catch {
            throw ConfigurationError(found.name, error.cause, hint: error.hint)
        }
        return found.text
    }

    /// The address that was set for the bucket. AWS' own variables count where none was; they have to keep to the same
    /// rule, and `AWS_ENDPOINT_URL_S3` goes before `AWS_ENDPOINT_URL`.
    private mutating func endpoint(_ setting: Setting) throws(ConfigurationError) -> String? {
        let own = try find(setting)
        guard let found = own ?? values.variable("AWS_ENDPOINT_URL_S3") ?? values.variable("AWS_ENDPOINT_URL") else {
            return nil
        }
        let endpoint: AWSNames.Endpoint
        do {
            endpoint = try AWSNames.endpoint(found.text)
        } catch {
            throw ConfigurationError(found.name, error.cause, hint: error.hint)
        }
        if !endpoint.isPrivate {
            guard try flag(.allowHTTPStore) else {
                throw ConfigurationError(
                    found.name, "it is a server across a network, reached without TLS",
                    hint: "use https://, with the server's CA in AWS_CA_BUNDLE; to do without, set "
                        + "\(Setting.allowHTTPStore.variable)=1, which every manifest will say")
            }
            exceptions.insert(Setting.allowHTTPStore.variable)
        }
        return own == nil ? nil : endpoint.url
    }

    private mutating func encryption(_ side: Side) throws(ConfigurationError) -> BucketSettings.Encryption? {
        let key = try find(side.encryptionKey)
        let kind = try find(side.encryption)
        switch kind?.text {
        case "AES256":
            if let key {
                throw ConfigurationError(
                    key.name, "with AES256 the store chooses its key itself", hint: "write aws:kms for a key of yours"
                )
            }
            return .aes256
        case "aws:kms", nil:
            if let key { return .kms(key: try Self.diskKey(key)) }
            return kind == nil ? nil : .kms(key: nil)
        default:
            throw ConfigurationError(
                kind?.name ?? "", "no such encryption is known", hint: "write AES256 or aws:kms")
        }
    }

    /// A key that the store itself uses. Servers other than AWS name theirs as they like.
    private static func diskKey(_ found: Found) throws(ConfigurationError) -> String {
        if found.text.hasPrefix("arn:") || found.text.hasPrefix("alias/") {
            return try kmsKey(found.text, found.name)
        }
        guard found.text.utf8.count <= 2048, found.text.utf8.allSatisfy({ (0x21..<0x7F).contains($0) }) else {
            throw ConfigurationError(
                found.name, "it is no key's name",
                hint: "\(AWSNames.keyForm); or the name that the server knows it by")
        }
        return found.text
    }
}
