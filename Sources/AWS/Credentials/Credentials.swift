package import Core

/// What a request is signed with.
package struct AWSCredentials: Sendable, Equatable {
    package var accessKeyID: String
    package var secretAccessKey: Secret
    package var sessionToken: Secret?
    /// By the clock of whoever gave them; `nil` for those that do not expire.
    package var expires: Timestamp?
    /// Where they came from, for messages: `environment`, `web identity arn:aws:iam::…`, `profile clinic`.
    package var source: String

    package init(
        accessKeyID: String, secretAccessKey: Secret, sessionToken: Secret? = nil, expires: Timestamp? = nil,
        source: String
    ) {
        self.accessKeyID = accessKeyID
        self.secretAccessKey = secretAccessKey
        self.sessionToken = sessionToken
        self.expires = expires
        self.source = source
    }
}

/// Gives the credentials that count now. Many tasks ask at once; at most one of them fetches.
package protocol CredentialSource: Sendable {
    /// Fresh enough for a request that is sent now.
    func credentials() async throws -> AWSCredentials

    /// The service has refused `credentials` as expired or unknown: the next call fetches, where these are still the
    /// ones that are kept.
    func discard(_ credentials: AWSCredentials) async
}

/// Credentials that are simply there.
package struct FixedCredentials: CredentialSource {
    private let fixed: AWSCredentials

    package init(_ credentials: AWSCredentials) { fixed = credentials }

    package func credentials() async throws -> AWSCredentials { fixed }
    package func discard(_ credentials: AWSCredentials) async {}
}
