import Core

/// The endpoint that EKS Pod Identity and ECS give a container: `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or
/// `…_FULL_URI`, with `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` or `…_TOKEN`
/// (AWS SDKs and Tools reference guide, "Container credential provider").
struct ContainerCredentials: CredentialProvider {
    /// Seconds until an answer's head has to be there.
    private static let deadline = 2.0
    private static let attempts = 3
    private static let variable = "AWS_CONTAINER_CREDENTIALS_FULL_URI"

    let surroundings: CredentialSurroundings

    func fetch() async throws -> CredentialFinding {
        let url: String
        if let relative = surroundings.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            url = "http://169.254.170.2" + (relative.hasPrefix("/") ? relative : "/\(relative)")
        } else if let full = surroundings.variable(Self.variable) {
            guard Self.isAllowed(full) else {
                throw AWSError.credentials(
                    "container", "\(Self.variable) names a host that a token must not be sent to",
                    hint:
                        "it has to be https, or http to the loopback, 169.254.170.2, 169.254.170.23 or [fd00:ec2::23]"
                )
            }
            url = full
        } else {
            return .absent("the container endpoint (\(Self.variable) is not set)")
        }
        return .found(try await ask(url))
    }

    private func ask(_ url: String) async throws -> AWSCredentials {
        var headers = HTTPFields([(name: "Accept", value: "application/json")])
        headers["Authorization"] = try await authorization()
        let call = HTTPCall(method: "GET", url: url, headers: headers, deadline: Self.deadline)
        let answer: HTTPAnswer
        do {
            answer = try await surroundings.send(call, attempts: Self.attempts)
        } catch let error as TransportError {
            throw AWSError.credentials(
                "container", resource: url, "the endpoint does not answer: \(error.description)",
                hint: "check that the EKS Pod Identity Agent runs on this node, and the pod's network policy")
        }
        guard answer.isSuccess else {
            throw AWSError.credentials(
                "container", resource: url, status: answer.status,
                "the endpoint answered with status \(answer.status)",
                hint: "check the service account's pod identity association and the role's trust policy "
                    + "(pods.eks.amazonaws.com), and the agent's log on this node")
        }
        do {
            var document = try CredentialsDocument(answer.body)
            return try document.credentials(token: "Token", needsToken: true, source: "container")
        } catch {
            throw AWSError.credentials(
                "container", resource: url, status: answer.status,
                "the answer holds no credentials: \(error.description)", hint: "check what \(Self.variable) names")
        }
    }

    /// The file wins, and is read anew: it is renewed where it lies.
    private func authorization() async throws -> String? {
        if let file = surroundings.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            return try await surroundings.token(
                in: file, source: "container", variable: "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        }
        guard let token = surroundings.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN") else { return nil }
        guard !token.unicodeScalars.contains(where: { $0.value < 0x20 }) else {
            throw AWSError.credentials(
                "container", "AWS_CONTAINER_AUTHORIZATION_TOKEN holds a line break",
                hint: "set it to the token alone, or name its file in AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        }
        return token
    }

    /// Whether the token may go there: whoever sets one variable shall not learn what stands in another.
    static func isAllowed(_ url: String) -> Bool {
        let lowered = url.lowercased()
        if lowered.hasPrefix("https://") { return lowered.count > 8 }
        guard lowered.hasPrefix("http://") else { return false }
        let authority = lowered.dropFirst(7).prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        guard !authority.contains("@"), !authority.contains("\\") else { return false }
        if authority.hasPrefix("[") {
            let host = authority.dropFirst().prefix { $0 != "]" }
            let rest = authority.dropFirst(host.count + 1)
            return (rest == "]" || rest.hasPrefix("]:")) && (host == "::1" || host == "fd00:ec2::23")
        }
        let host = authority.prefix { $0 != ":" }
        if ["localhost", "169.254.170.2", "169.254.170.23"].contains(host) { return true }
        let numbers = host.split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
        return numbers.count == 4 && numbers[0] == 127 && numbers.allSatisfy { $0 != nil }
    }
}
