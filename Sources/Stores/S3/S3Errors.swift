import AWS
package import Core

/// What a bucket could not do, beyond what the service itself refuses (`AWSError`). Names the bucket and the key,
/// never a byte of what is stored there.
package enum S3StoreError: Failure, Equatable {
    /// The settings cannot be meant: `S3Settings`.
    case settings(bucket: String, problem: String)
    case invalidKey(key: String, problem: String)
    /// More bytes were asked for than the object has.
    case pastEnd(key: String, size: Int64, wanted: Int64)
    /// It was another object when the reading began.
    case changed(key: String)
    /// Fewer bytes came than were announced, again and again.
    case short(key: String, expected: Int64, found: Int64)
    /// The bytes are not those that the store's own checksum was made of.
    case checksum(key: String)
    case tooLarge(key: String, limit: Int64)
    /// A lock or a hold keeps it.
    case locked(key: String, protection: Protection)
    /// A lock was asked for, and the bucket was made without.
    case noObjectLock(bucket: String)
    /// The answer was understood by nobody.
    case answer(operation: String, key: String, problem: String)

    package var exitCode: ExitCode {
        switch self {
        case .settings, .noObjectLock: .configuration
        default: .store
        }
    }

    package var operation: String {
        switch self {
        case .settings: "use the bucket"
        case .invalidKey: "use the key"
        case .pastEnd, .changed, .short, .checksum: "read the object"
        case .tooLarge: "write the object"
        case .locked: "delete the object"
        case .noObjectLock: "lock an object of the bucket"
        case .answer(let operation, _, _): "call s3 \(operation)"
        }
    }

    package var object: String {
        switch self {
        case .settings(let bucket, _), .noObjectLock(let bucket): bucket
        case .invalidKey(let key, _), .pastEnd(let key, _, _), .changed(let key), .short(let key, _, _),
            .checksum(let key), .tooLarge(let key, _), .locked(let key, _), .answer(_, let key, _):
            key
        }
    }

    package var cause: String {
        switch self {
        case .settings(_, let problem), .invalidKey(_, let problem), .answer(_, _, let problem): problem
        case .pastEnd(_, let size, let wanted): "bytes up to \(wanted) were asked for, and it has \(size)"
        case .changed: "it was replaced while it was read"
        case .short(_, let expected, let found): "it has \(expected) bytes, and \(found) came"
        case .checksum: "its bytes do not match the checksum that the store keeps of them"
        case .tooLarge(_, let limit): "it is longer than the \(limit) bytes that one object may have"
        case .locked(_, let protection):
            if protection.legalHold {
                "it is under legal hold"
            } else if let lock = protection.lock {
                "it is locked (\(lock.mode.rawValue)) until \(lock.until)"
            } else {
                "it is locked"
            }
        case .noObjectLock: "the bucket has no Object Lock"
        }
    }

    package var hint: String {
        switch self {
        case .settings: "correct the setting; docs/configuration.md lists what it may be"
        case .invalidKey: "check the key, and the key prefix in the configuration"
        case .pastEnd, .changed: "it was changed by something else: run 'lifeboat verify' on the set, and use another"
        case .short: "check the network and the store, then run again"
        case .checksum:
            "run again; if it stays so the store has damaged it: run 'lifeboat verify', and use another set"
        case .tooLarge: "this is a fault of the program: longer parts go on in further segments; report it"
        case .locked(_, let protection):
            protection.legalHold
                ? "a person has to lift the hold first"
                : "wait until the lock has ended; that it cannot be deleted before is what it is for"
        case .noObjectLock:
            "enable Object Lock on the bucket ('lifeboat provision' does), or take the setting that asks for it away"
        case .answer: "check that S3_ENDPOINT names an S3 service, and look at what stands between it and here"
        }
    }
}

extension AWSError {
    /// The same call may succeed a little later: nobody answers, or the service is busy or took other bytes than were
    /// sent.
    var isTransient: Bool {
        switch kind {
        case .unreachable: transport != .tls
        case .refused:
            status >= 500 && status != 501 || status == 429 || Self.passing.contains(code)
        case .credentials, .configuration: false
        }
    }

    private static let passing: Set<String> = [
        "SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling", "OperationAborted",
        "ConditionalRequestConflict", "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch",
        "IncompleteBody",
    ]

    /// Whether the service may have done what was asked although no good answer came.
    var mayHaveArrived: Bool { kind == .unreachable || status >= 500 || status == 200 }

    var isNotFound: Bool { status == 404 && code != "NoSuchBucket" }
}
