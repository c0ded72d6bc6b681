package import Core

/// Where a copy of the sets lies.
package enum StoreLocation: Hashable, Sendable, CustomStringConvertible {
    /// An absolute path without a slash at its end.
    case directory(path: String)
    case s3(BucketSettings)

    package var description: String {
        switch self {
        case .directory(let path): "file://\(path)"
        case .s3(let bucket): bucket.description
        }
    }

    /// In a bucket; `nil` for a directory.
    package var bucket: BucketSettings? {
        if case .s3(let bucket) = self { bucket } else { nil }
    }

    /// The same for two locations under which the same objects would lie, a target's prefix included.
    package func place(of keyPrefix: String) -> String {
        let steps: [String]
        switch self {
        case .directory(let path): steps = ["file:/", path]
        // Buckets of AWS have names of their own in all the world, whatever address they are reached by.
        case .s3(let bucket): steps = [bucket.isOfAWS ? "s3:/" : bucket.endpoint ?? "", bucket.bucket, bucket.prefix]
        }
        return (steps + [keyPrefix]).filter { !$0.isEmpty }.joined(separator: "/")
    }
}

/// A bucket, and how it is reached and written.
package struct BucketSettings: Hashable, Sendable, CustomStringConvertible {
    /// How the bucket's name goes into requests.
    package enum Addressing: String, CaseIterable, Sendable {
        case automatic, path
        case virtualHost = "virtual-host"
    }

    /// What the bucket encrypts objects with on its own disks, beside our own encryption.
    package enum Encryption: Hashable, Sendable {
        case aes256
        /// `nil` for the bucket's default key.
        case kms(key: String?)
    }

    package var bucket: String
    /// Without slashes at its ends; empty for the bucket itself.
    package var prefix: String
    /// A URL without a path; `nil` for what AWS' own settings say.
    package var endpoint: String?
    /// `nil` for what AWS' own settings say.
    package var region: String?
    package var addressing: Addressing
    package var encryption: Encryption?
    /// Bytes from which an object goes up in pieces; at most ``pieceSize``.
    package var multipartThreshold: Int
    /// Bytes, 5 MiB to 512 MiB.
    package var pieceSize: Int

    package var description: String { "s3://\(bucket)" + (prefix.isEmpty ? "" : "/\(prefix)") }

    fileprivate var isOfAWS: Bool {
        guard let endpoint else { return true }
        return endpoint.hasSuffix(".amazonaws.com") || endpoint.hasSuffix(".amazonaws.com.cn")
    }
}

/// The second copy's place, and whose rights it is written with.
package struct SecondarySettings: Equatable, Sendable {
    package enum Access: Equatable, Sendable {
        /// As the first store.
        case shared
        /// A profile of AWS' shared files.
        case profile(String)
        case keys(id: Secret, secret: Secret)
    }

    package var store: StoreLocation
    package var access: Access
}

/// How objects are kept, in whichever store can.
package struct KeepingSettings: Equatable, Sendable {
    /// Objects are locked until their set's retention ends.
    package var lock: ObjectLock.Mode?
    package var legalHold = false
    /// For the bodies of sets; the standard class for tiers that are not in it.
    package var storageClasses: [Tier: StorageClass] = [:]
    /// Days that a thawed object stays readable.
    package var thawDays = 7
    /// Bytes after which a part goes on in its next segment.
    package var segmentSize: Int64 = 15 << 30
    /// For `lifeboat provision`: the bucket that access is logged to.
    package var accessLogBucket: String?
    /// For `lifeboat provision`: days after which a version that was replaced or deleted is removed for good.
    package var noncurrentDays = 30
}
