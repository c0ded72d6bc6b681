import Core

extension AWSError {
    /// What a person can do about an error, by its code.
    struct Hint {
        var error: AWSError
        var now: Timestamp

        var text: String {
            if let text = ofIdentity ?? ofPlace ?? ofService { return text }
            switch error.status {
            case 403: return lackOfPermission
            case 429, 500...: return "the service has trouble; run again later, and see its status page"
            default: return "look the code up in the documentation of \(error.service.rawValue), and run again"
            }
        }

        private var ofService: String? {
            switch error.service {
            case .kms: ofKeys
            case .backup: ofVaults
            default: ofObjects
            }
        }

        // MARK: Who asks

        private var ofIdentity: String? {
            switch error.code {
            case "AccessDenied", "AccessDeniedException", "AuthorizationError", "AuthorizationErrorException":
                return lackOfPermission
            case "InvalidAccessKeyId", "UnrecognizedClientException", "InvalidClientTokenId":
                return "the access key is not known there: check AWS_ACCESS_KEY_ID, whether the key was deleted, and "
                    + "that it belongs to this endpoint; temporary keys need AWS_SESSION_TOKEN too"
            case "SignatureDoesNotMatch", "InvalidSignatureException":
                return clockIsOff ?? "the secret access key is wrong: check AWS_SECRET_ACCESS_KEY for a missing "
                    + "character or a newline at its end"
            case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired":
                return clockIsOff ?? "the session has expired: get fresh credentials, or use a role, which the pod "
                    + "renews by itself"
            case "InvalidToken":
                return "the session token does not belong to the access key: set the three AWS variables together"
            case "RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture":
                return clockIsOff ?? "the clock of this machine is off: set it right, for example with chrony"
            case "OptInRequired", "NotSignedUp", "AccountProblem":
                return "the account may not use the service or the region: see its billing and its opt-in regions"
            default: return nil
            }
        }

        /// In words, where it is more than a minute.
        private var clockIsOff: String? {
            guard let date = error.headers["Date"].flatMap(httpDate) else { return nil }
            let seconds = Int(now.seconds(since: date).rounded())
            guard abs(seconds) > 60 else { return nil }
            let amount =
                abs(seconds) < 5400 ? "\(abs(seconds) / 60) minutes" : "\((abs(seconds) + 1800) / 3600) hours"
            return "the clock of this machine is off by \(amount) (it is \(seconds > 0 ? "ahead" : "behind")): set "
                + "it right, for example with chrony"
        }

        private var lackOfPermission: String {
            let action = IAMAction.name(of: error.awsOperation, service: error.service)
            let place = error.service == .s3 ? IAMAction.arn(ofS3: error.resource) : error.resource
            // The service then takes the role that it is given, which the caller has to be allowed to give it.
            let pass = error.service == .backup && error.message.contains("PassRole") ? " or iam:PassRole" : ""
            return "the role lacks \(action)\(pass)" + (place.isEmpty ? "" : " on \(place)")
                + ", or a policy of the bucket, key or organisation denies it"
        }

        // MARK: Where

        private var ofPlace: String? {
            switch error.code {
            case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed",
                "IllegalLocationConstraintException":
                if let region = error.expectedRegion { return "the bucket is in \(region): set AWS_REGION to it" }
                if let host = error.expectedHost { return "the bucket is reached at \(host): set S3_ENDPOINT to it" }
                return "the bucket is in another region: set AWS_REGION to it"
            case "NoSuchBucket":
                return "check the bucket's name and the account; 'lifeboat provision' makes a bucket"
            case "InvalidBucketName": return "check the bucket's name: 3 to 63 lower-case letters, digits and hyphens"
            default:
                guard error.status == 301, let region = error.expectedRegion else { return nil }
                return "the bucket is in \(region): set AWS_REGION to it"
            }
        }

        // MARK: Objects

        private var ofObjects: String? {
            switch error.code {
            case "NoSuchKey": "check the key with 'lifeboat list', and the store's prefix"
            case "NoSuchUpload": "the upload was aborted meanwhile, by a lifecycle rule or a sweep: run again"
            case "InvalidObjectState": "the object is archived: it has to be thawed before it can be read"
            case "SlowDown", "ServiceUnavailable", "RequestLimitExceeded", "TooManyRequestsException":
                "the service asks for fewer requests: run again later, or with fewer BACKUP_PARALLEL_JOBS"
            case "RequestTimeout":
                "the upload stood still for too long: check the network, or use fewer parallel jobs"
            case "ObjectLockConfigurationNotFoundError":
                "the bucket has no Object Lock; it is switched on with 'lifeboat provision'"
            case "InvalidStorageClass": "this server has no such storage class: take the setting away"
            case "KMS.NotFoundException", "KMS.DisabledException", "KMS.KMSInvalidStateException":
                "the key that the bucket encrypts with is missing or disabled: see it in KMS"
            case "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch":
                "the bytes were changed on the way: run again, and check memory and network where it comes back"
            case "QuotaExceeded", "EntityTooLarge": "the server's limit is reached: see its quota"
            case "ResourceNotFoundException": "check the name of the secret, and the region"
            case "ParameterNotFound": "check the name of the parameter, and the region"
            case "MalformedXML", "InvalidRequest", "NotImplemented":
                "this server does not know the request: check that it is S3-compatible, and its version"
            default: nil
            }
        }

        // MARK: Vaults

        private var ofVaults: String? {
            switch error.code {
            case "ResourceNotFoundException":
                "check the vault's name, its account, and that it is in the region of the resource"
            case "InvalidParameterValueException", "MissingParameterValueException":
                "check the resource's ARN and the role's; a vault lock may want other days of retention"
            case "InvalidRequestException":
                "the resource's type may not be opted in: see the settings of AWS Backup in this region"
            case "LimitExceededException", "ThrottlingException", "ServiceUnavailableException":
                "AWS Backup asks for fewer requests: run again later"
            default: nil
            }
        }

        // MARK: Keys

        private var ofKeys: String? {
            switch error.code {
            case "NotFoundException": "check the key's ARN, its account and its region"
            case "DisabledException": "enable the key in KMS, or name another recipient"
            case "KMSInvalidStateException":
                "the key is pending deletion or import: cancel the deletion in KMS at once if sets depend on it"
            case "KeyUnavailableException", "DependencyTimeoutException", "KMSInternalException":
                "KMS has trouble with the key; run again later"
            case "IncorrectKeyException": "the data was wrapped by another key: add that one to the identities"
            case "InvalidCiphertextException":
                "the wrapped key was changed, or it belongs to another set: verify the set's other copy"
            case "InvalidKeyUsageException": "use a symmetric key for encryption and decryption"
            case "ThrottlingException", "LimitExceededException": "KMS asks for fewer requests: run again later"
            default: nil
            }
        }
    }
}

/// What a policy calls the permission for an operation.
enum IAMAction {
    static func name(of operation: String, service: AWSService) -> String {
        if service == .s3, let action = s3[operation] { return "s3:\(action)" }
        if service == .kms, operation == "ReEncrypt" { return "kms:ReEncryptFrom and kms:ReEncryptTo" }
        return "\(service.rawValue):\(operation)"
    }

    /// `s3://bucket/key` as policies write it.
    static func arn(ofS3 resource: String) -> String {
        guard resource.hasPrefix("s3://") else { return resource }
        return "arn:aws:s3:::" + resource.dropFirst(5)
    }

    /// Where the permission has another name than the operation.
    private static let s3: [String: String] = [
        "HeadObject": "GetObject", "HeadBucket": "ListBucket", "ListObjectsV2": "ListBucket",
        "ListObjectVersions": "ListBucketVersions", "ListMultipartUploads": "ListBucketMultipartUploads",
        "ListParts": "ListMultipartUploadParts", "CreateMultipartUpload": "PutObject", "UploadPart": "PutObject",
        "UploadPartCopy": "PutObject", "CompleteMultipartUpload": "PutObject", "CopyObject": "PutObject",
        "DeleteObjects": "DeleteObject", "ListBuckets": "ListAllMyBuckets",
        "GetBucketEncryption": "GetEncryptionConfiguration", "PutBucketEncryption": "PutEncryptionConfiguration",
        "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
        "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
        "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
        "PutObjectLockConfiguration": "PutBucketObjectLockConfiguration",
        "GetPublicAccessBlock": "GetBucketPublicAccessBlock", "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
        "GetBucketReplication": "GetReplicationConfiguration", "PutBucketReplication": "PutReplicationConfiguration",
    ]
}
