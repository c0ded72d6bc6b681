import Core

/// The role of an EC2 instance, from its metadata service in version 2: a token by PUT first, whose answer goes only
/// as many hops as the instance allows. Version 1, which has no token, is never asked.
///
/// `AWS_EC2_METADATA_DISABLED`, `AWS_EC2_METADATA_SERVICE_ENDPOINT`, `…_ENDPOINT_MODE`,
/// `AWS_METADATA_SERVICE_TIMEOUT` (seconds), `AWS_METADATA_SERVICE_NUM_ATTEMPTS`.
struct InstanceCredentials: CredentialProvider {
    /// The most that the service gives, in seconds.
    private static let tokenLifetime = 21_600
    private static let path = "latest/meta-data/iam/security-credentials/"

    let surroundings: CredentialSurroundings

    func fetch() async throws -> CredentialFinding {
        guard surroundings.variable("AWS_EC2_METADATA_DISABLED")?.lowercased() != "true" else {
            return .absent("the instance metadata service (AWS_EC2_METADATA_DISABLED is true)")
        }
        let base = try base()
        var headers = HTTPFields([
            (name: "X-aws-ec2-metadata-token-ttl-seconds", value: String(Self.tokenLifetime))
        ])
        let granted: HTTPAnswer
        do {
            granted = try await send("PUT", "\(base)latest/api/token", headers)
        } catch let error as TransportError {
            // Most machines have none, so that silence is no error. A container on an instance whose hop limit is 1
            // looks the same.
            return .absent("the instance metadata service (\(base) does not answer: \(error.description))")
        }
        let token = String(validating: granted.body, as: UTF8.self)?.trimmed
        guard granted.isSuccess, let token, !token.isEmpty else {
            return .absent("the instance metadata service (status \(granted.status) to the request for a token)")
        }
        headers = HTTPFields([(name: "X-aws-ec2-metadata-token", value: token)])
        let list = try await get("\(base)\(Self.path)", headers)
        guard list.status != 404 else {
            return .absent("the instance metadata service (the instance has no role)")
        }
        guard list.isSuccess,
            let role = String(validating: list.body, as: UTF8.self)?.split(separator: "\n").first.map({
                String($0).trimmed
            }), Self.isName(role)
        else {
            throw AWSError.credentials(
                "instance", resource: base, status: list.status, "the service names no role (status \(list.status))",
                hint: "check the instance profile, or set AWS_EC2_METADATA_DISABLED=true to leave it out")
        }
        return .found(try await credentials(of: role, base: base, headers))
    }

    private func credentials(of role: String, base: String, _ headers: HTTPFields) async throws -> AWSCredentials {
        let answer = try await get("\(base)\(Self.path)\(role)", headers)
        let cause: String
        do {
            guard answer.isSuccess else {
                throw CredentialsDocumentError(description: "it has the status \(answer.status)")
            }
            var document = try CredentialsDocument(answer.body)
            let code = document.text("Code") ?? "Success"
            // Words such as AssumeRoleUnauthorizedAccess, which are safe to show once they are one word.
            guard code == "Success" else {
                throw CredentialsDocumentError(
                    description: Self.isName(code) ? "its code is \(code)" : "its code is not 'Success'")
            }
            return try document.credentials(token: "Token", needsToken: true, source: "instance role \(role)")
        } catch let error as CredentialsDocumentError {
            cause = error.description
        }
        throw AWSError.credentials(
            "instance", resource: role, status: answer.status, "the answer holds no credentials: \(cause)",
            hint: "check the instance profile and the trust policy of its role (ec2.amazonaws.com)")
    }

    private func get(_ url: String, _ headers: HTTPFields) async throws -> HTTPAnswer {
        do {
            return try await send("GET", url, headers)
        } catch let error as TransportError {
            throw AWSError.credentials(
                "instance", resource: url, "the service gave a token and no more: \(error.description)",
                hint: "run again later")
        }
    }

    private func send(_ method: String, _ url: String, _ headers: HTTPFields) async throws -> HTTPAnswer {
        let deadline =
            surroundings.variable("AWS_METADATA_SERVICE_TIMEOUT").flatMap { Double($0) }.flatMap {
                $0.isFinite ? $0 : nil
            } ?? 1
        let attempts = surroundings.variable("AWS_METADATA_SERVICE_NUM_ATTEMPTS").flatMap { Int($0) } ?? 2
        return try await surroundings.send(
            HTTPCall(method: method, url: url, headers: headers, deadline: min(max(deadline, 0.1), 30)),
            attempts: min(max(attempts, 1), 10))
    }

    /// Ends with a slash.
    private func base() throws -> String {
        if let endpoint = surroundings.variable("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
            guard endpoint.hasPrefix("http://") || endpoint.hasPrefix("https://") else {
                throw AWSError.credentials(
                    "instance", "AWS_EC2_METADATA_SERVICE_ENDPOINT is no http:// or https:// URL",
                    hint: "correct it, or set AWS_EC2_METADATA_DISABLED=true to leave the service out")
            }
            return endpoint.hasSuffix("/") ? endpoint : endpoint + "/"
        }
        let mode = surroundings.variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")?.lowercased()
        return mode == "ipv6" ? "http://[fd00:ec2::254]/" : "http://169.254.169.254/"
    }

    /// What IAM lets stand in a role's name.
    private static func isName(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= 128
            && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "_+=,.@-".contains($0)) }
    }
}
