package import Core
package import Logging

/// Signs and sends requests, and sends again what may be and should be.
///
/// A request goes out again, after a wait, where the service asks for that (throttling, 5xx), where the clock or the
/// credentials were wrong and have been put right, and where the connection failed; never where the first may have
/// been carried out and a second would do harm (``AWSRequest/isIdempotent``). All requests of a client share a budget
/// of retries, so that a service that is down is not kept down.
///
/// Everything is safe from any task. Cancelling the task ends a request, or the wait before the next one, at once with
/// `CancellationError`.
package final class AWSClient: Sendable {
    private let transport: any HTTPTransport
    private let credentials: any CredentialSource
    private let clock: any WallClock
    private let sleep: @Sendable (Double) async throws -> Void
    private let random: RandomBytes
    private let logger: Logger
    private let maxAttempts: Int
    private let budget = RetryBudget()
    /// Milliseconds that the services' clock is ahead of this machine's; corrected when a service complains.
    private let clockOffset = Guarded<Int64>(0)

    /// `sleep` takes seconds. `maxAttempts` counts the first (`AWS_MAX_ATTEMPTS`).
    package init(
        transport: any HTTPTransport, credentials: any CredentialSource, maxAttempts: Int, clock: any WallClock,
        sleep: @escaping @Sendable (Double) async throws -> Void, random: @escaping RandomBytes, logger: Logger
    ) {
        self.transport = transport
        self.credentials = credentials
        self.maxAttempts = max(maxAttempts, 1)
        self.clock = clock
        self.sleep = sleep
        self.random = random
        self.logger = logger
    }

    /// The time by the services' clock, as far as it is known.
    package var now: Timestamp {
        Timestamp(milliseconds: clock.now().milliseconds + clockOffset.value)
    }

    /// The answer of a call that succeeded, its body collected. Throws ``AWSError`` for every other one.
    package func send(_ request: AWSRequest) async throws -> HTTPAnswer { try await receive(request, take: nil) }

    /// The same, with a successful answer's body given to `take` as it comes. Nothing is sent again once `take` has
    /// been called: the caller knows what it has and asks for the rest. What `take` throws comes out as it is.
    package func receive(
        _ request: AWSRequest, take: (@Sendable (UnsafeRawBufferPointer) throws -> Void)?
    ) async throws -> HTTPAnswer {
        let taking = take.map(BodyTaker.init)
        var attempt = Attempt(request: request, payloadHash: request.payloadHash())
        while true {
            attempt.number += 1
            attempt.credentials = request.isSigned ? try await credentials.credentials() : nil
            attempt.time = now
            let failure: AttemptFailure
            do throws(AttemptFailure) {
                let answer = try await exchange(attempt, taking)
                budget.refund(attempt.lastCost)
                return answer
            } catch {
                failure = error
            }
            try await prepareNext(&attempt, after: failure, isTaken: taking?.hasTaken ?? false)
        }
    }

    // MARK: One attempt

    private func exchange(_ attempt: Attempt, _ taking: BodyTaker?) async throws(AttemptFailure) -> HTTPAnswer {
        let request = attempt.request
        let call = request.call(
            credentials: attempt.credentials, time: attempt.time, payloadHash: attempt.payloadHash)
        do {
            let answer = try await transport.exchange(call, take: taking?.take)
            let isError =
                !answer.isSuccess
                || (request.mayFailWithStatus200 && taking == nil && ErrorBody.isError(answer.body))
            log(attempt, answer)
            if isError { throw AttemptFailure.refused(answer) }
            return answer
        } catch let error as AttemptFailure {
            throw error
        } catch let error as TransportError {
            log(attempt, error)
            throw .unreachable(error)
        } catch {
            throw .other(error)
        }
    }

    /// Puts right what can be, waits as long as it takes, and returns where the request is to be sent again; throws
    /// where it is not.
    private func prepareNext(
        _ attempt: inout Attempt, after failure: AttemptFailure, isTaken: Bool
    ) async throws {
        try Task.checkCancellation()
        switch failure {
        case .other(let error): throw error
        case .unreachable(let error):
            let failed = AWSError(error, to: attempt.request, attempts: attempt.number)
            guard !isTaken else { throw failed }
            try await wait(
                RetryPolicy.remedy(for: error, request: attempt.request), retryAfter: nil, &attempt, failed)
        case .refused(let answer):
            let failed = AWSError(
                answer, to: attempt.request, attempts: attempt.number, now: clock.now(), hiding: attempt.secrets)
            let date = answer.headers["Date"].flatMap(httpDate)
            let remedy = RetryPolicy.remedy(
                for: failed, request: attempt.request, isTemporary: attempt.credentials?.sessionToken != nil,
                skew: date.map { $0.seconds(since: attempt.time) })
            try await wait(remedy, retryAfter: answer.headers["Retry-After"], &attempt, failed)
        }
    }

    private func wait(
        _ remedy: RetryPolicy.Remedy, retryAfter: String?, _ attempt: inout Attempt, _ failed: AWSError
    ) async throws {
        switch remedy {
        case .none: throw failed
        case .correctClock:
            guard !attempt.hasCorrectedClock, let date = failed.headers["Date"].flatMap(httpDate) else {
                throw failed
            }
            attempt.hasCorrectedClock = true
            let offset = date.milliseconds - clock.now().milliseconds
            clockOffset.withLock { $0 = offset }
            logger.debug("clock corrected", metadata: ["seconds": "\(offset / 1000)"])
        case .renewCredentials:
            guard !attempt.hasRenewed, let used = attempt.credentials else { throw failed }
            attempt.hasRenewed = true
            await credentials.discard(used)
            // The same ones again would be refused again.
            guard try await credentials.credentials() != used else { throw failed }
        case .backOff(let cost):
            guard attempt.number < maxAttempts else { throw failed }
            guard budget.spend(cost) else {
                var failed = failed
                failed.message += "; too many requests have failed for this one to be sent again"
                throw failed
            }
            attempt.lastCost = cost
            let seconds = RetryPolicy.wait(
                retry: attempt.number, chance: chance(),
                retryAfter: retryAfter.flatMap { RetryPolicy.seconds(retryAfter: $0, now: now) })
            logger.debug(
                "request will be sent again",
                metadata: [
                    "operation": "\(attempt.request.operation)", "attempt": "\(attempt.number)",
                    "wait_seconds": "\(Double(Int(seconds * 1000)) / 1000)",
                ])
            try await sleep(seconds)
        }
    }

    /// From 0 up to 1.
    private func chance() -> Double {
        let bits = random(4).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return Double(bits) / Double(UInt64(1) << 32)
    }

    // MARK: Logs

    private func log(_ attempt: Attempt, _ answer: HTTPAnswer) {
        let requestID = answer.headers["x-amz-request-id"] ?? answer.headers["x-amzn-requestid"] ?? ""
        logger.debug(
            "request answered",
            metadata: [
                "service": "\(attempt.request.service.rawValue)", "operation": "\(attempt.request.operation)",
                "status": "\(answer.status)", "attempt": "\(attempt.number)", "request_id": "\(requestID)",
            ])
    }

    private func log(_ attempt: Attempt, _ error: TransportError) {
        logger.debug(
            "request not answered",
            metadata: [
                "service": "\(attempt.request.service.rawValue)", "operation": "\(attempt.request.operation)",
                "cause": "\(error.description)", "attempt": "\(attempt.number)",
            ])
    }
}

/// What is known of a request from one attempt to the next.
private struct Attempt {
    var request: AWSRequest
    var payloadHash: String
    /// From 1.
    var number = 0
    var credentials: AWSCredentials?
    /// What the request was signed with.
    var time = Timestamp(milliseconds: 0)
    var hasCorrectedClock = false
    var hasRenewed = false
    /// Taken from the budget for the attempt that is under way.
    var lastCost: Int?

    init(request: AWSRequest, payloadHash: String) {
        self.request = request
        self.payloadHash = payloadHash
    }

    var secrets: [Secret] {
        guard let credentials else { return [] }
        return [credentials.secretAccessKey, Secret(credentials.accessKeyID)]
            + [credentials.sessionToken].compactMap { $0 }
    }
}

private enum AttemptFailure: Error {
    case refused(HTTPAnswer)
    case unreachable(TransportError)
    /// Cancellation, and what `take` has thrown.
    case other(any Error)
}

/// Remembers whether anything of a body has been handed on.
private final class BodyTaker: Sendable {
    private let handOn: @Sendable (UnsafeRawBufferPointer) throws -> Void
    private let isUsed = Guarded(false)

    init(_ handOn: @escaping @Sendable (UnsafeRawBufferPointer) throws -> Void) { self.handOn = handOn }

    var hasTaken: Bool { isUsed.value }

    var take: @Sendable (UnsafeRawBufferPointer) throws -> Void {
        { bytes in
            self.isUsed.withLock { $0 = true }
            try self.handOn(bytes)
        }
    }
}
