import AWS
import Core

/// What is looked at in a bucket, in the order in which it is made: the bucket before its settings, versioning before
/// Object Lock, the policy before the block of public ones, for there are servers that then take policies of others
/// for public.
extension Provisioning {
    static let bucketSubject = "bucket"

    var aspects: [Aspect] {
        [
            existence, versioning, objectLock, encryption, policy, publicAccess, lifecycle, accessLog,
            multiFactorDelete,
            replication,
        ]
    }

    private var existence: Aspect {
        Aspect(subject: Self.bucketSubject, isAskedFor: true) {
            let name = "s3://\(bucket.name)"
            if try await bucket.exists() { return .ok("\(name) is there") }
            return .short("there is no \(name)") { try await bucket.create(objectLock: wish.objectLock) }
        }
    }

    private var publicAccess: Aspect {
        var names = ["IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"]
        // Ceph then refuses every write whose ACL is not public. Ignoring such ACLs comes to the same.
        if !bucket.endpoint.isCustom { names.insert("BlockPublicAcls", at: 0) }
        return Aspect(subject: "public access") { [names] in
            let found = try await bucket.configuration("GetPublicAccessBlock", "publicAccessBlock")
            let open = names.filter { found?.text($0)?.lowercased() != "true" }
            if open.isEmpty { return .ok("blocked") }
            return .short("not blocked: \(open.joined(separator: ", "))") {
                let kept = (found?.children ?? []).filter { !names.contains($0.name) }
                let body = XMLTree("PublicAccessBlockConfiguration", kept + names.map { XMLTree($0, "true") })
                try await bucket.configure("PutPublicAccessBlock", "publicAccessBlock", body)
            }
        }
    }

    private func versioningState() async throws -> XMLTree? {
        try await bucket.configuration("GetBucketVersioning", "versioning")
    }

    private var versioning: Aspect {
        Aspect(subject: "versioning", isAskedFor: true) {
            let status = try await versioningState()?.text("Status") ?? ""
            if status == "Enabled" { return .ok("enabled") }
            return .short(status.isEmpty ? "never enabled" : status.lowercased()) {
                let body = XMLTree("VersioningConfiguration", [XMLTree("Status", "Enabled")])
                try await bucket.configure("PutBucketVersioning", "versioning", body)
            }
        }
    }

    private var objectLock: Aspect {
        let root = "ObjectLockConfiguration"
        return Aspect(subject: "Object Lock", isAskedFor: wish.objectLock) {
            let found = try await lockState()
            if let rule = found?.first("Rule") {
                let mode = rule.text(at: "DefaultRetention", "Mode")?.lowercased() ?? "some"
                return .short(
                    "the bucket locks every new object by itself (\(mode) mode): locks of runs and records among them",
                    hint: "take the default retention away; each set is locked for as long as it is to be kept")
            }
            let isEnabled = found?.text("ObjectLockEnabled") == "Enabled"
            guard wish.objectLock else { return .reported(isEnabled ? "enabled, not asked for" : "not asked for") }
            if isEnabled { return .ok("enabled, without a default retention") }
            return .short("not enabled") {
                let body = XMLTree(root, [XMLTree("ObjectLockEnabled", "Enabled")])
                try await enableLock(body)
            }
        }
    }

    private func lockState() async throws -> XMLTree? {
        do {
            return try await bucket.configuration("GetObjectLockConfiguration", "object-lock")
        } catch let error as AWSError where error.code == "InvalidRequest" && error.status == 400 {
            // What some servers say of a bucket that was made without it.
            return nil
        }
    }

    /// An existing bucket gets Object Lock where the server allows it at all.
    private func enableLock(_ body: XMLTree) async throws {
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
        // Objects carry their own encryption where one is asked for, and others are refused: a server without a default
        // lacks nothing.
        return Aspect(subject: "default encryption") {
            let found = try await bucket.configuration("GetBucketEncryption", "encryption")?.first("Rule")
            let presentAlgorithm = found?.text(at: "ApplyServerSideEncryptionByDefault", "SSEAlgorithm")
            let presentKey = found?.text(at: "ApplyServerSideEncryptionByDefault", "KMSMasterKeyID")
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
                var rule = [XMLTree("SSEAlgorithm", algorithm)]
                if let keyID { rule.append(XMLTree("KMSMasterKeyID", keyID)) }
                var children = [XMLTree("ApplyServerSideEncryptionByDefault", rule)]
                if isKMS { children.append(XMLTree("BucketKeyEnabled", "true")) }
                let body = XMLTree(root, [XMLTree("Rule", children)])
                try await bucket.configure("PutBucketEncryption", "encryption", body)
            }
        }
    }

    private var policy: Aspect {
        let region = bucket.endpoint.region
        let partition = region.hasPrefix("cn-") ? "aws-cn" : region.hasPrefix("us-gov-") ? "aws-us-gov" : "aws"
        let isTLS = bucket.endpoint.scheme == "https"
        let asked = BucketPolicy(
            bucket: bucket.name, partition: partition, overTLS: isTLS, isAWS: !bucket.endpoint.isCustom,
            wish: wish)
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
                try await bucket.configure("PutBucketPolicy", "policy", merged.policy)
            }
        }
    }

    private var lifecycle: Aspect {
        let asked = LifecycleRules(
            prefix: settings.prefix, noncurrentDays: wish.noncurrentDays, auditStages: wish.auditStages)
        return Aspect(subject: "lifecycle") {
            let found = try await bucket.configuration(
                "GetBucketLifecycleConfiguration", "lifecycle")
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
            let found = try await bucket.configuration("GetBucketLogging", "logging")?
                .first("LoggingEnabled")
            let target = found?.text("TargetBucket") ?? ""
            guard let wanted = wish.accessLogBucket else {
                if !target.isEmpty { return .ok("written to \(target)") }
                return .reported("none", hint: "S3_ACCESS_LOG_BUCKET names a bucket for it")
            }
            if target == wanted { return .ok("written to \(target)") }
            return .short(target.isEmpty ? "none" : "written to \(target), not to \(wanted)") {
                let enabled = [XMLTree("TargetBucket", wanted), XMLTree("TargetPrefix", "\(bucket.name)/")]
                let body = XMLTree(root, [XMLTree("LoggingEnabled", enabled)])
                do {
                    try await bucket.configure("PutBucketLogging", "logging", body)
                } catch var error as AWSError where error.code == "InvalidTargetBucketForLogging" {
                    error.hint = "let logging.s3.amazonaws.com put objects into \(wanted) by that bucket's policy"
                    throw error
                }
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
                "GetBucketReplication", "replication")
            let targets = (found?.all("Rule") ?? []).filter { $0.text("Status") == "Enabled" }
                .compactMap { $0.text(at: "Destination", "Bucket") }
            return .reported(
                targets.isEmpty
                    ? "none; a second copy is made with BACKUP_SECONDARY_STORE"
                    : "to " + Set(targets).sorted().joined(separator: ", "))
        }
    }
}
