import AWS
import Core
import Events
import Logging

/// AWS, as far as a run needs it: one pool of connections, and one client for each identity. Nothing is made before it
/// is asked for, so that a run without it reads none of AWS' files.
final class Cloud: Sendable {
    /// One identity with what its profile says of regions and endpoints.
    struct Account: Sendable {
        var configuration: AWSConfiguration
        var client: AWSClient
    }

    private struct State {
        var transport: PooledTransport?
        var accounts: [(access: SecondarySettings.Access, account: Account)] = []
    }

    private let environment: [String: String]
    private let clock: any WallClock
    private let logger: Logger
    private let state = Guarded(State())

    init(environment: [String: String], clock: any WallClock, logger: Logger) {
        self.environment = environment
        self.clock = clock
        self.logger = logger
    }

    /// Reads files, and may throw with exit code 4. Sends nothing.
    func account(_ access: SecondarySettings.Access = .shared) throws -> Account {
        try state.withLock { state in
            if let known = state.accounts.first(where: { $0.access == access }) { return known.account }
            let made = try make(access, &state)
            state.accounts.append((access, made))
            return made
        }
    }

    /// Closes the connections. Nothing may be asked for afterwards.
    func shutdown() async {
        guard let transport = state.withLock({ $0.transport }) else { return }
        do {
            try await transport.shutdown()
        } catch {
            logger.debug("connections were not closed in order", metadata: ["why": "\(error)"])
        }
    }

    private func make(_ access: SecondarySettings.Access, _ state: inout State) throws -> Account {
        var environment = environment
        if case .profile(let name) = access { environment["AWS_PROFILE"] = name }
        let configuration = try AWSConfiguration(environment: environment, readFile: readFile)
        let transport = try state.transport ?? PooledTransport(caBundle: configuration.caBundle)
        state.transport = transport
        if environment["AWS_WEB_IDENTITY_TOKEN_FILE"]?.isEmpty == false {
            try Self.demandTLS(try configuration.endpoint(for: .sts), of: "STS")
        }
        let client = AWSClient(
            transport: transport, credentials: credentials(access, configuration, transport),
            maxAttempts: configuration.maxAttempts, clock: clock, sleep: systemSleep, random: systemRandom,
            logger: logger)
        return Account(configuration: configuration, client: client)
    }

    private func credentials(
        _ access: SecondarySettings.Access, _ configuration: AWSConfiguration, _ transport: PooledTransport
    ) -> any CredentialSource {
        if case .keys(let id, let secret) = access {
            return FixedCredentials(
                AWSCredentials(
                    accessKeyID: id.withRevealed { $0 }, secretAccessKey: secret,
                    source: "the second store's settings"))
        }
        var profile: String?
        if case .profile(let name) = access { profile = name }
        return CredentialChain(
            configuration: configuration, profile: profile, transport: transport, readFile: readFile, clock: clock,
            sleep: systemSleep, random: systemRandom, logger: logger)
    }

    // MARK: Secrets

    /// What the references among the settings stand for.
    func secrets(_ references: [SecretReference]) async throws -> [SecretReference: Secret] {
        guard !references.isEmpty else { return [:] }
        let account = try account()
        for reference in references {
            let service: AWSService = reference.service == .parameterStore ? .ssm : .secretsManager
            let endpoint = try account.configuration.endpoint(for: service, region: reference.region)
            try Self.demandTLS(endpoint, of: "\(reference)")
        }
        return try await SecretFetcher(client: account.client, configuration: account.configuration).fetch(references)
    }

    // MARK: TLS

    /// Data keys, secrets and credentials come back in clear inside the connection: it is TLS, or does not leave the
    /// machine, whatever stores are allowed.
    static func demandTLS(_ endpoint: AWSEndpoint, of service: String) throws {
        guard !EndpointRule.isPrivate(scheme: endpoint.scheme, host: endpoint.host) else { return }
        throw JobFailure(
            .configuration, "reach AWS", object: service,
            cause: "\(endpoint.host) is a server across a network, reached without TLS",
            hint: "use an https:// endpoint, with the server's CA in AWS_CA_BUNDLE")
    }
}
