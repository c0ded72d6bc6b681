package import AWS
package import Core

/// One key in AWS KMS: `kms:ARN`.
package struct KMSKeyProvider: KeyProvider {
    package let capabilities: KeyCapabilities
    private let client: AWSClient

    /// `key` is the ARN of a key or an alias, or an alias' or a key's bare name in the configured region.
    package init(key: String, client: AWSClient, configuration: AWSConfiguration) throws {
        self.client = client
        capabilities = KeyCapabilities(name: "kms:\(key)", canWrap: true, canUnwrap: true, isSymmetric: true)
    }

    package func wrap(_ dataKey: SecretBytes, context: [String: String]) async throws -> EncryptedDataKey {
        throw AWSError(.configuration, .kms, "Encrypt", message: "not built yet", hint: "")
    }

    package func unwrap(_ wrapped: EncryptedDataKey, context: [String: String]) async throws -> SecretBytes? { nil }
}
