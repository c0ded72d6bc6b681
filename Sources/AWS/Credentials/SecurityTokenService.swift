import Core

/// The two calls of AWS STS that give credentials (API version 2011-06-15).
struct SecurityTokenService: Sendable {
    /// Seconds until an answer's head has to be there.
    private static let deadline = 10.0
    private static let attempts = 3

    let surroundings: CredentialSurroundings
    /// A profile's own, where nothing else says one.
    let region: String?

    /// `token` is sent in the body, unsigned: it is the proof. A session without a name gets one by the time.
    func assume(
        _ role: String, withWebIdentity token: String, sessionName: String?
    ) async throws -> AWSCredentials {
        let endpoint = try endpoint()
        let form = Self.form([
            ("Action", "AssumeRoleWithWebIdentity"), ("Version", "2011-06-15"), ("RoleArn", role),
            ("RoleSessionName", sessionName ?? defaultSessionName), ("WebIdentityToken", token),
        ])
        var headers = Self.formHeaders
        headers["Accept"] = "application/xml"
        let call = HTTPCall(
            method: "POST", url: "\(endpoint.scheme)://\(endpoint.host)/", headers: headers, body: .bytes(form),
            deadline: Self.deadline)
        let answer: HTTPAnswer
        do {
            // STS asks the identity provider for its keys, and says so where that does not answer.
            answer = try await surroundings.send(call, attempts: Self.attempts) { answer in
                XMLScanner(answer.body).text(of: "Code") == "IDPCommunicationError"
            }
        } catch let error as TransportError {
            throw AWSError.credentials(
                "AssumeRoleWithWebIdentity", resource: role, "\(endpoint.host) does not answer: \(error.description)",
                hint: "check that the pod may reach \(endpoint.host), or set AWS_ENDPOINT_URL_STS to an endpoint in "
                    + "its network")
        }
        guard answer.isSuccess else { throw Self.refusal(answer, "AssumeRoleWithWebIdentity", role) }
        return try Self.credentials(in: answer, "AssumeRoleWithWebIdentity", role, source: "web identity \(role)")
    }

    /// Takes `role` with other credentials. `duration` is in seconds.
    func assume(
        _ role: String, with base: AWSCredentials, sessionName: String?, externalID: String?, duration: String?
    ) async throws -> AWSCredentials {
        var fields = [
            ("Action", "AssumeRole"), ("Version", "2011-06-15"), ("RoleArn", role),
            ("RoleSessionName", sessionName ?? defaultSessionName),
        ]
        if let externalID { fields.append(("ExternalId", externalID)) }
        if let duration { fields.append(("DurationSeconds", duration)) }
        let client = AWSClient(
            transport: surroundings.transport, credentials: FixedCredentials(base), maxAttempts: Self.attempts,
            clock: surroundings.clock, sleep: surroundings.sleep, random: surroundings.random,
            logger: surroundings.logger)
        let request = AWSRequest(
            .sts, "AssumeRole", on: role, at: try endpoint(), method: "POST", headers: Self.formHeaders,
            body: .bytes(Self.form(fields)), deadline: Self.deadline)
        do {
            let answer = try await client.send(request)
            return try Self.credentials(in: answer, "AssumeRole", role, source: "role \(role) by \(base.source)")
        } catch var error as AWSError {
            error.kind = .credentials
            error.exitCode = .configuration
            if error.code == "AccessDenied" {
                error.hint =
                    "the role's trust policy has to allow sts:AssumeRole to the identity of \(base.source), "
                    + "and so does that identity's own policy"
            }
            throw error
        }
    }

    private func endpoint() throws -> AWSEndpoint {
        let configuration = surroundings.configuration
        return try configuration.endpoint(for: .sts, region: configuration.region ?? region)
    }

    private var defaultSessionName: String { "lifeboat-\(surroundings.clock.now().milliseconds / 1000)" }

    private static let formHeaders = HTTPFields([
        (name: "Content-Type", value: "application/x-www-form-urlencoded; charset=utf-8")
    ])

    /// As a form is encoded, with `%20` for a space.
    private static func form(_ fields: [(String, String)]) -> [UInt8] {
        var text: [UInt8] = []
        for (name, value) in fields {
            if !text.isEmpty { text.append(UInt8(ascii: "&")) }
            text += name.utf8
            text.append(UInt8(ascii: "="))
            for byte in value.utf8 {
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
                    UInt8(ascii: "~"):
                    text.append(byte)
                default: text += "%\(hexText([byte]).uppercased())".utf8
                }
            }
        }
        return text
    }

    private static func credentials(
        in answer: HTTPAnswer, _ operation: String, _ role: String, source: String
    ) throws -> AWSCredentials {
        let reply = XMLScanner(answer.body)
        guard let id = reply.text(of: "AccessKeyId"), !id.isEmpty,
            let secret = reply.text(of: "SecretAccessKey"), !secret.isEmpty,
            let token = reply.text(of: "SessionToken"), !token.isEmpty,
            let expires = reply.text(of: "Expiration").flatMap({ Timestamp($0) })
        else {
            throw AWSError.credentials(
                operation, resource: role, status: answer.status, "the answer holds no credentials",
                hint: "check what AWS_ENDPOINT_URL_STS or AWS_ENDPOINT_URL names")
        }
        return AWSCredentials(
            accessKeyID: id, secretAccessKey: Secret(secret), sessionToken: Secret(token), expires: expires,
            source: source)
    }

    /// The codes and their meanings: AWS STS API reference, AssumeRoleWithWebIdentity, "Errors".
    private static func refusal(_ answer: HTTPAnswer, _ operation: String, _ role: String) -> AWSError {
        let reply = XMLScanner(answer.body)
        let code = reply.text(of: "Code") ?? ""
        let hint =
            switch code {
            case "ExpiredTokenException", "ExpiredToken":
                "the mounted token is out of date: the kubelet renews it, so check the mount and this machine's clock"
            case "InvalidIdentityToken":
                "IAM needs an OpenID Connect provider for this cluster's issuer, with the audience sts.amazonaws.com"
            case "AccessDenied":
                "the role's trust policy has to allow sts:AssumeRoleWithWebIdentity to this service account: compare "
                    + "its condition on 'sub' with system:serviceaccount:NAMESPACE:NAME"
            case "IDPRejectedClaim": "the identity provider rejects the token: make a new pod"
            case "IDPCommunicationError": "AWS does not reach the cluster's issuer: run again later"
            case "ValidationError": "check AWS_ROLE_ARN and AWS_ROLE_SESSION_NAME"
            default: "run again later; where it stays, look the request up in CloudTrail"
            }
        return .credentials(
            operation, resource: role, status: answer.status, code: code,
            // Of AWS' words only those that cannot hold a token are repeated.
            code.isEmpty ? "STS answered with status \(answer.status)" : "STS refuses to give the role",
            requestID: reply.text(of: "RequestId") ?? "", hint: hint)
    }
}
