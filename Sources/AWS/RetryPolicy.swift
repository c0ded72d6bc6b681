import Core

/// Which failures are worth another attempt, and how long to wait before it.
enum RetryPolicy {
    enum Remedy: Equatable {
        case none
        /// Wait, and take `cost` from the budget.
        case backOff(cost: Int)
        /// Sign with the service's time.
        case correctClock
        case renewCredentials
    }

    /// Seconds before the first retry, doubled with every further one.
    static let base = 0.5
    /// Seconds that the back-off grows to.
    static let cap = 20.0
    /// Seconds of `Retry-After` that are respected; a service that asks for more has to be asked again.
    static let longestRetryAfter = 60.0

    /// Full jitter: many clients that failed together come back spread over the whole time. `retry` counts from 1,
    /// `chance` is from 0 up to 1.
    static func wait(retry: Int, chance: Double, retryAfter: Double?) -> Double {
        let ceiling = retry > 10 ? cap : min(cap, base * Double(1 << (retry - 1)))
        return max(ceiling * chance, min(retryAfter ?? 0, longestRetryAfter))
    }

    /// Seconds, from a number of them or a date.
    static func seconds(retryAfter text: String, now: Timestamp) -> Double? {
        if let seconds = Double(text) { return seconds.isFinite ? max(seconds, 0) : nil }
        return httpDate(text).map { max($0.seconds(since: now), 0) }
    }

    static func remedy(for error: TransportError, request: AWSRequest) -> Remedy {
        guard !error.isPermanent else { return .none }
        switch error.kind {
        case .connect, .tls: return .backOff(cost: 5)
        case .broken: return request.isIdempotent ? .backOff(cost: 5) : .none
        case .timeout: return request.isIdempotent ? .backOff(cost: 10) : .none
        }
    }

    /// `skew`: seconds that the service's clock was ahead of the signature's; `nil` where it gave none. `isTemporary`:
    /// signed with credentials that expire.
    static func remedy(for error: AWSError, request: AWSRequest, isTemporary: Bool, skew: Double?) -> Remedy {
        // An answer to HEAD has no body and so no code.
        let isMute = error.code.isEmpty && request.method == "HEAD"
        if let skew, abs(skew) > 60, clockCodes.contains(error.code) { return .correctClock }
        if let skew, abs(skew) > 240, signatureCodes.contains(error.code) || (isMute && error.status == 403) {
            return .correctClock
        }
        if credentialCodes.contains(error.code) || (isMute && error.status == 400 && isTemporary) {
            return .renewCredentials
        }
        // These say that nothing was done, so that even what must not be done twice can be sent again.
        if error.status == 429 || refusalCodes.contains(error.code) { return .backOff(cost: 5) }
        let isServersFault = error.status >= 500 && error.status != 501 && error.status != 505
        guard isServersFault || troubleCodes.contains(error.code) else { return .none }
        return request.isIdempotent ? .backOff(cost: 5) : .none
    }

    private static let clockCodes: Set = ["RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"]

    /// Codes that a wrong clock is one cause of.
    private static let signatureCodes: Set = [
        "InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure", "AccessDenied",
    ]

    private static let credentialCodes: Set = [
        "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken",
        "UnrecognizedClientException",
        "InvalidClientTokenId", "InvalidAccessKeyId",
    ]

    private static let refusalCodes: Set = [
        "SlowDown", "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled",
        "RequestThrottledException", "RequestLimitExceeded", "BandwidthLimitExceeded", "TooManyRequestsException",
        "PriorRequestNotComplete", "RequestTimeout", "RequestTimeoutException", "IDPCommunicationError",
        // Two writers met, and neither has written.
        "OperationAborted", "ConditionalRequestConflict",
        // The bytes did not arrive as they were sent.
        "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody",
    ]

    /// The service's own trouble, also where it comes with status 200 or 400.
    private static let troubleCodes: Set = [
        "InternalError", "InternalFailure", "InternalServiceError", "ServiceUnavailable", "KMSInternalException",
        "DependencyTimeoutException", "KeyUnavailableException",
    ]
}

/// Keeps retries from outnumbering requests while a service is down: each retry costs, each success gives back (the
/// standard retry mode of the AWS SDKs).
final class RetryBudget: Sendable {
    private static let full = 500
    private let tokens = Guarded(RetryBudget.full)

    /// False, and nothing taken, where too little is left.
    func spend(_ cost: Int) -> Bool {
        tokens.withLock { tokens in
            guard tokens >= cost else { return false }
            tokens -= cost
            return true
        }
    }

    /// After a success: what its last retry has cost, or one for a request that needed none.
    func refund(_ cost: Int?) {
        tokens.withLock { $0 = min(Self.full, $0 + (cost ?? 1)) }
    }
}
