package import AWS
package import Core
package import Logging
package import S3Store

/// What stands between a store in a test and the server that it talks to.
package struct S3Wiring: Sendable {
    /// As a client's environment would be: ``CephCluster/environment(tls:)``.
    package var environment: [String: String]
    /// Puts a transport of the test's own before the real one.
    package var wrap: @Sendable (any HTTPTransport) -> any HTTPTransport
    package var clock: any WallClock
    /// Waits between attempts pass at once unless the test says otherwise.
    package var sleep: @Sendable (Double) async throws -> Void
    package var logger: Logger
    package var maxAttempts: Int

    package init(
        environment: [String: String],
        wrap: @escaping @Sendable (any HTTPTransport) -> any HTTPTransport = { $0 },
        clock: any WallClock = RealClock(),
        sleep: @escaping @Sendable (Double) async throws -> Void = { _ in
            try Task.checkCancellation()
            await Task.yield()
        },
        logger: Logger = Logger(label: "tests", factory: { _ in SwiftLogNoOpLogHandler() }), maxAttempts: Int = 3
    ) {
        self.environment = environment
        self.wrap = wrap
        self.clock = clock
        self.sleep = sleep
        self.logger = logger
        self.maxAttempts = maxAttempts
    }
}

/// Gives `body` a store in a bucket, and closes its connections afterwards.
package func withS3Store<Result>(
    _ settings: S3Settings, _ wiring: S3Wiring, _ body: (S3Store) async throws -> Result
) async throws -> Result {
    let configuration = try AWSConfiguration(
        environment: wiring.environment,
        readFile: { _ in throw TestFailure("no shared configuration in tests") })
    let transport = try PooledTransport(caBundle: configuration.caBundle)
    let credentials = AWSCredentials(
        accessKeyID: wiring.environment["AWS_ACCESS_KEY_ID"] ?? "",
        secretAccessKey: Secret(wiring.environment["AWS_SECRET_ACCESS_KEY"] ?? ""), source: "tests")
    let random: RandomBytes = { count in (0..<count).map { _ in UInt8.random(in: 0...255) } }
    let client = AWSClient(
        transport: wiring.wrap(transport), credentials: FixedCredentials(credentials),
        maxAttempts: wiring.maxAttempts, clock: wiring.clock, sleep: wiring.sleep, random: random,
        logger: wiring.logger)
    do {
        let store = try S3Store(
            settings: settings, client: client, configuration: configuration, random: random, clock: wiring.clock,
            sleep: wiring.sleep, logger: wiring.logger)
        let result = try await body(store)
        try await transport.shutdown()
        return result
    } catch {
        try await transport.shutdown()
        throw error
    }
}
