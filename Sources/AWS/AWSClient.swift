package import Core
package import Logging

/// Signs and sends requests, and sends again what may be and should be.
package final class AWSClient: Sendable {
    private let transport: any HTTPTransport
    private let credentials: any CredentialSource
    private let clock: any WallClock
    private let sleep: @Sendable (Double) async throws -> Void
    private let random: RandomBytes
    private let logger: Logger
    private let maxAttempts: Int

    /// `sleep` takes seconds. `maxAttempts` counts the first (`AWS_MAX_ATTEMPTS`).
    package init(
        transport: any HTTPTransport, credentials: any CredentialSource, maxAttempts: Int, clock: any WallClock,
        sleep: @escaping @Sendable (Double) async throws -> Void, random: @escaping RandomBytes, logger: Logger
    ) {
        self.transport = transport
        self.credentials = credentials
        self.maxAttempts = maxAttempts
        self.clock = clock
        self.sleep = sleep
        self.random = random
        self.logger = logger
    }

    /// The answer of a call that succeeded, its body collected. Throws ``AWSError`` for every other one.
    package func send(_ request: AWSRequest) async throws -> HTTPAnswer { try await receive(request, take: nil) }

    /// The same, with a successful answer's body given to `take` as it comes. Nothing is sent again once `take` has
    /// been called: the caller knows what it has and asks for the rest.
    package func receive(
        _ request: AWSRequest, take: (@Sendable (UnsafeRawBufferPointer) throws -> Void)?
    ) async throws -> HTTPAnswer {
        throw AWSError(.unreachable, request.service, request.operation, message: "not built yet", hint: "")
    }
}
