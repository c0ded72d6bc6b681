package import Core
package import Logging

/// The credentials that the usual places give, in the order of every AWS SDK: environment, web identity token, shared
/// configuration files, container endpoint, instance metadata service.
///
/// The first place that is in use is kept to. What it gives is kept until five minutes before it expires; then, or
/// after ``discard(_:)``, the next caller starts one fetch that all callers wait for. Where that fails and the old
/// credentials still count, they serve.
package actor CredentialChain: CredentialSource {
    /// Seconds before the end at which new ones are fetched (the SDKs' mandatory refresh).
    private static let refreshAhead: Int64 = 300
    /// Seconds between two fetches that nobody was refused in between: for a service that is down, for credentials
    /// that come with less than five minutes left, and for a clock so far ahead that all look expired.
    private static let leastInterval: Int64 = 30

    private struct Kept {
        var credentials: AWSCredentials
        /// `nil` for never.
        var refresh: Timestamp?
    }

    private let surroundings: CredentialSurroundings
    private let providers: [any CredentialProvider]
    private var chosen: (any CredentialProvider)?
    private var kept: Kept?
    private var fetching: Task<Void, Never>?
    private var waiting: [Int: CheckedContinuation<AWSCredentials, any Error>] = [:]
    private var nextWaiter = 0

    /// `profile` names one of the shared configuration files and is then the only place that is looked at: for a
    /// store with an identity of its own. Without it the profile is `AWS_PROFILE`'s or `default`.
    ///
    /// `readFile` gives a small file's content; it may block. `sleep` takes seconds. Nothing is fetched yet.
    package init(
        configuration: AWSConfiguration, profile: String? = nil, transport: any HTTPTransport,
        readFile: @escaping @Sendable (String) throws -> [UInt8], clock: any WallClock,
        sleep: @escaping @Sendable (Double) async throws -> Void, random: @escaping RandomBytes, logger: Logger
    ) {
        let surroundings = CredentialSurroundings(
            configuration: configuration, transport: transport, readFile: readFile, clock: clock, sleep: sleep,
            random: random, logger: logger)
        self.surroundings = surroundings
        if let profile {
            providers = [ProfileCredentials(surroundings: surroundings, wanted: profile)]
        } else {
            providers = [
                EnvironmentCredentials(surroundings: surroundings),
                WebIdentityCredentials(surroundings: surroundings),
                ProfileCredentials(surroundings: surroundings, wanted: nil),
                ContainerCredentials(surroundings: surroundings), InstanceCredentials(surroundings: surroundings),
            ]
        }
    }

    package func credentials() async throws -> AWSCredentials {
        if let kept, kept.refresh.map({ surroundings.clock.now() < $0 }) ?? true { return kept.credentials }
        let waiter = nextWaiter
        nextWaiter += 1
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                waiting[waiter] = continuation
                startFetching()
            }
        } onCancel: {
            Task { await self.leave(waiter) }
        }
    }

    package func discard(_ credentials: AWSCredentials) {
        if kept?.credentials == credentials { kept = nil }
    }

    private func startFetching() {
        if fetching == nil { fetching = Task { await self.fetch() } }
    }

    private func leave(_ waiter: Int) {
        waiting.removeValue(forKey: waiter)?.resume(throwing: CancellationError())
        if waiting.isEmpty { fetching?.cancel() }
    }

    /// The one fetch. It belongs to no caller, so that one who leaves takes nothing from the others.
    private func fetch() async {
        let result: Result<AWSCredentials, any Error>
        do {
            let credentials = try await search()
            kept = Kept(credentials: credentials, refresh: refreshTime(of: credentials))
            result = .success(credentials)
        } catch {
            result = fallBack(after: error)
        }
        fetching = nil
        if case .failure(let error) = result, error is CancellationError, !waiting.isEmpty {
            // Everybody had left, and somebody has come since.
            startFetching()
            return
        }
        let waiting = waiting
        self.waiting = [:]
        for continuation in waiting.values { continuation.resume(with: result) }
    }

    private func fallBack(after error: any Error) -> Result<AWSCredentials, any Error> {
        let now = surroundings.clock.now()
        guard var kept, let expires = kept.credentials.expires, now < expires else { return .failure(error) }
        surroundings.logger.warning(
            "the credentials could not be refreshed; the old ones serve until they expire",
            metadata: [
                "source": .string(kept.credentials.source), "expires": .string(expires.description),
                "cause": .string((error as? any Failure)?.description ?? "\(type(of: error))"),
            ])
        kept.refresh = min(now.adding(seconds: Self.leastInterval), expires)
        self.kept = kept
        return .success(kept.credentials)
    }

    private func refreshTime(of credentials: AWSCredentials) -> Timestamp? {
        guard let expires = credentials.expires else { return nil }
        let soonest = surroundings.clock.now().adding(seconds: Self.leastInterval)
        return max(expires.adding(seconds: -Self.refreshAhead), soonest)
    }

    private func search() async throws -> AWSCredentials {
        var places: [String] = []
        for provider in chosen.map({ [$0] }) ?? providers {
            switch try await provider.fetch() {
            case .found(let credentials):
                if chosen == nil {
                    surroundings.logger.debug(
                        "AWS credentials found", metadata: ["source": .string(credentials.source)])
                }
                chosen = provider
                return credentials
            case .absent(let place): places.append(place)
            }
        }
        throw AWSError.credentials(
            "", "there are none; looked at \(places.joined(separator: ", "))",
            hint: "give the pod's service account a role (IRSA or EKS Pod Identity), or set AWS_ACCESS_KEY_ID and "
                + "AWS_SECRET_ACCESS_KEY, or mount a profile and set AWS_SHARED_CREDENTIALS_FILE and AWS_PROFILE")
    }
}
