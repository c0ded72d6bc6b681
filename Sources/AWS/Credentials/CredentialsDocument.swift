import Core

/// The JSON in which the container endpoint, the instance metadata service and a credential process give credentials.
/// They differ in the token's name only: `Token`, and `SessionToken` for a process.
struct CredentialsDocument {
    private var fields: JSONFields

    /// Throws what is wrong with it, in words without content.
    init(_ bytes: [UInt8]) throws(CredentialsDocumentError) {
        do {
            fields = try JSONFields(try JSON(parsing: bytes), path: "")
        } catch {
            throw CredentialsDocumentError(description: "it is not a JSON object")
        }
    }

    mutating func text(_ name: String) -> String? { (try? fields.optionalString(name)) ?? nil }

    mutating func integer(_ name: String) -> Int64? { (try? fields.optionalInteger(name)) ?? nil }

    /// `needsToken`: credentials of a role are of no use without.
    mutating func credentials(
        token tokenName: String, needsToken: Bool, source: String
    ) throws(CredentialsDocumentError) -> AWSCredentials {
        guard let id = text("AccessKeyId"), !id.isEmpty else {
            throw CredentialsDocumentError(description: "it has no 'AccessKeyId'")
        }
        guard let secret = text("SecretAccessKey"), !secret.isEmpty else {
            throw CredentialsDocumentError(description: "it has no 'SecretAccessKey'")
        }
        let token = text(tokenName).flatMap { $0.isEmpty ? nil : $0 }
        guard token != nil || !needsToken else {
            throw CredentialsDocumentError(description: "it has no '\(tokenName)'")
        }
        let expiration = text("Expiration")
        let expires = expiration.flatMap { Timestamp($0) }
        guard expires != nil || expiration == nil else {
            throw CredentialsDocumentError(description: "its 'Expiration' is no time")
        }
        guard expires != nil || !needsToken else {
            throw CredentialsDocumentError(description: "it has no 'Expiration'")
        }
        return AWSCredentials(
            accessKeyID: id, secretAccessKey: Secret(secret), sessionToken: token.map { Secret($0) },
            expires: expires, source: source)
    }
}

struct CredentialsDocumentError: Error, CustomStringConvertible {
    let description: String
}
