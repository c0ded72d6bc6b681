import AWS
import Core

/// What is looked at in a bucket, in the order in which it is made: the bucket before its settings, versioning before
/// Object Lock.
extension Provisioning {
    static let bucketSubject = "bucket"

    var aspects: [Aspect] {
        [
            existence, publicAccess, versioning, objectLock, encryption, policy, lifecycle, accessLog,
            multiFactorDelete,
            replication,
        ]
    }

    private var existence: Aspect {
        Aspect(subject: Self.bucketSubject, isAskedFor: true) {
            let name = "s3://\(bucket.bucket)"
            if try await bucket.exists() { return .ok("\(name) is there") }
            return .short("there is no \(name)") { try await bucket.create(objectLock: wish.objectLock) }
        }
    }

    private var publicAccess: Aspect {
        let names = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"]
        let root = "PublicAccessBlockConfiguration"
        return Aspect(subject: "public access") {
            let found = try await bucket.configuration("GetPublicAccessBlock", "publicAccessBlock", root: root)
            let open = names.filter { found?.text($0)?.lowercased() != "true" }
            if open.isEmpty { return .ok("blocked") }
            return .short("not blocked: \(open.joined(separator: ", "))") {
                let body = XMLNode.root(root, names.map { XMLNode($0, "true") })
                try await bucket.configure("PutPublicAccessBlock", "publicAccessBlock", body)
            }
        }
    }

    private func versioningState() async throws -> XMLNode? {
        try await bucket.configuration("GetBucketVersioning", "versioning", root: "VersioningConfiguration")
    }

    private var versioning: Aspect {
        Aspect(subject: "versioning", isAskedFor: true) {
            let status = try await versioningState()?.text("Status") ?? ""
            if status == "Enabled" { return .ok("enabled") }
            return .short(status.isEmpty ? "never enabled" : status.lowercased()) {
                let body = XMLNode.root("VersioningConfiguration", [XMLNode("Status", "Enabled")])
                try await bucket.configure("PutBucketVersioning", "versioning", body)
            }
        }
    }

    private var objectLock: Aspect {
        let root = "ObjectLockConfiguration"
        return Aspect(subject: "Object Lock", isAskedFor: wish.objectLock) {
            let found = try await lockState(root)
            if let rule = found?.child("Rule") {
                let mode = rule.text("DefaultRetention", "Mode")?.lowercased() ?? "some"
                return .short(
                    "the bucket locks every new object by itself (\(mode) mode): locks of runs and records among them",
                    hint: "take the default retention away; each set is locked for as long as it is to be kept")
            }
            let isEnabled = found?.text("ObjectLockEnabled") == "Enabled"
            guard wish.objectLock else { return .reported(isEnabled ? "enabled, not asked for" : "not asked for") }
            if isEnabled { return .ok("enabled, without a default retention") }
            return .short("not enabled") {
                let body = XMLNode.root(root, [XMLNode("ObjectLockEnabled", "Enabled")])
                try await enableLock(body)
            }
        }
    }

    private func lockState(_ root: String) async throws -> XMLNode? {
        do {
            return try await bucket.configuration("GetObjectLockConfiguration", "object-lock", root: root)
        } catch let error as AWSError where error.code == "InvalidRequest" && error.status == 400 {
            // What some servers say of a bucket that was made without it.
            return nil
        }
    }

    /// An existing bucket gets Object Lock where the server allows it at all.
    private func enableLock(_ body: XMLNode) async throws {
        do {
            try await bucket.configure("PutObjectLockConfiguration", "object-lock", body)
        } catch var error as AWSError where error.code == "InvalidBucketState" {
            error.hint =
                "this server enables Object Lock only when a bucket is made: let 'lifeboat provision' make a new one"
            throw error
        }
    }

    private var encryption: Aspect {
        let root = "ServerSideEncryptionConfiguration"
        let (algorithm, keyID) =
            switch wish.encryption {
            case .aes256: ("AES256", String?.none)
            case .kms(let keyID): ("aws:kms", keyID)
            }
        return Aspect(subject: "default encryption", isAskedFor: wish.requiresEncryptedPuts) {
            let found = try await bucket.configuration("GetBucketEncryption", "encryption", root: root)?.child("Rule")
            let presentAlgorithm = found?.text("ApplyServerSideEncryptionByDefault", "SSEAlgorithm")
            let presentKey = found?.text("ApplyServerSideEncryptionByDefault", "KMSMasterKeyID")
            let isKMS = algorithm == "aws:kms"
            let hasKey = keyID == nil || keyID == presentKey
            let hasBucketKey = !isKMS || found?.text("BucketKeyEnabled")?.lowercased() == "true"
            // KMS is more than was asked for, and somebody's decision.
            if !isKMS, presentAlgorithm?.hasPrefix("aws:kms") == true {
                return .ok("\(presentAlgorithm ?? "") by choice")
            }
            if presentAlgorithm == algorithm, hasKey, hasBucketKey {
                return .ok(isKMS ? "aws:kms, with a bucket key" : "AES256")
            }
            let text = presentAlgorithm.map { "\($0)\(hasKey ? "" : " under another key")" } ?? "none"
            let isOnlyBucketKey = presentAlgorithm == algorithm && hasKey
            return .short(isOnlyBucketKey ? "aws:kms without a bucket key" : text) {
                var rule = [XMLNode("SSEAlgorithm", algorithm)]
                if let keyID { rule.append(XMLNode("KMSMasterKeyID", keyID)) }
                var children = [XMLNode("ApplyServerSideEncryptionByDefault", rule)]
                if isKMS { children.append(XMLNode("BucketKeyEnabled", "true")) }
                let body = XMLNode.root(root, [XMLNode("Rule", children)])
                try await bucket.configure("PutBucketEncryption", "encryption", body)
            }
        }
    }

    private var policy: Aspect {
        let region = bucket.endpoint.region
        let partition = region.hasPrefix("cn-") ? "aws-cn" : region.hasPrefix("us-gov-") ? "aws-us-gov" : "aws"
        let isTLS = bucket.endpoint.scheme == "https"
        let asked = BucketPolicy(bucket: bucket.bucket, partition: partition, overTLS: isTLS, wish: wish)
        let open = isTLS ? "" : "this store is reached without TLS, so nothing forbids that"
        return Aspect(subject: "bucket policy", isAskedFor: true) {
            let found = try await bucket.answer("GetBucketPolicy", "policy")
            let merged: (policy: JSON, missing: [String])?
            do {
                merged = try asked.merged(into: found)
            } catch {
                return .short(
                    "it cannot be read (\(error)), so it is left alone", hint: "add to it by hand: \(asked.summary)")
            }
            guard let merged else {
                if asked.wanted.isEmpty { return .reported(open) }
                return .ok(asked.summary + (isTLS ? "" : "; " + open))
            }
            let missing = merged.missing.joined(separator: ", ")
            return .short(missing.isEmpty ? "statements of ours that are not asked for" : "lacks \(missing)") {
                try await bucket.configure("PutBucketPolicy", "policy", merged.policy.canonicalText)
            }
        }
    }

    private var lifecycle: Aspect {
        let asked = LifecycleRules(prefix: settings.prefix, noncurrentDays: wish.noncurrentDays)
        return Aspect(subject: "lifecycle") {
            let found = try await bucket.configuration(
                "GetBucketLifecycleConfiguration", "lifecycle", root: "LifecycleConfiguration")
            let ending = asked.expiring(in: found)
            if let change = asked.merged(into: found) {
                return .short("lacks \(change.missing.joined(separator: ", "))") {
                    try await bucket.configure("PutBucketLifecycleConfiguration", "lifecycle", change.configuration)
                }
            }
            guard ending.isEmpty else {
                return .short(
                    "rules of others may delete sets before their time: \(ending.joined(separator: ", "))",
                    hint: "current versions are to go by 'lifeboat prune' only: narrow these rules or take them away")
            }
            return .ok(
                "bodies move by tier, uploads end after \(LifecycleRules.uploadDays) days, old versions after \(wish.noncurrentDays)"
            )
        }
    }

    private var accessLog: Aspect {
        let root = "BucketLoggingStatus"
        return Aspect(subject: "access log", isAskedFor: wish.accessLogBucket != nil) {
            let found = try await bucket.configuration("GetBucketLogging", "logging", root: root)?
                .child("LoggingEnabled")
            let target = found?.text("TargetBucket") ?? ""
            guard let wanted = wish.accessLogBucket else {
                if !target.isEmpty { return .ok("written to \(target)") }
                return .reported("none", hint: "S3_ACCESS_LOG_BUCKET names a bucket for it")
            }
            if target == wanted { return .ok("written to \(target)") }
            return .short(target.isEmpty ? "none" : "written to \(target), not to \(wanted)") {
                let enabled = [XMLNode("TargetBucket", wanted), XMLNode("TargetPrefix", "\(bucket.bucket)/")]
                let body = XMLNode.root(root, [XMLNode("LoggingEnabled", enabled)])
                try await bucket.configure("PutBucketLogging", "logging", body)
            }
        }
    }

    private var multiFactorDelete: Aspect {
        Aspect(subject: "MFA Delete") {
            let state = try await versioningState()
            // AWS writes the one name in requests and the other in answers; servers differ.
            let value = state?.text("MfaDelete") ?? state?.text("MFADelete") ?? ""
            return value == "Enabled"
                ? .reported("enabled: prune needs it off, or Object Lock in its place") : .reported("not enabled")
        }
    }

    private var replication: Aspect {
        Aspect(subject: "replication") {
            let found = try await bucket.configuration(
                "GetBucketReplication", "replication", root: "ReplicationConfiguration")
            let targets = (found?.all("Rule") ?? []).filter { $0.text("Status") == "Enabled" }
                .compactMap { $0.text("Destination", "Bucket") }
            return .reported(
                targets.isEmpty
                    ? "none; a second copy is made with BACKUP_SECONDARY_STORE"
                    : "to " + Set(targets).sorted().joined(separator: ", "))
        }
    }
}
