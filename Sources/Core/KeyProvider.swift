/// One key that data keys are wrapped under: a recipient, an identity, or both.
///
/// The methods may be repeated. None keeps the data key.
package protocol KeyProvider: Sendable {
    var capabilities: KeyCapabilities { get }

    /// A fresh data key (32 bytes), wrapped for this key. A service or device that makes keys itself makes it;
    /// elsewhere `random` does.
    func generate(
        context: [String: String], random: RandomBytes
    ) async throws -> (dataKey: SecretBytes, wrapped: EncryptedDataKey)

    /// Wraps `dataKey` (32 bytes) so that whoever holds the key can open it, bound to `context` where the kind of key
    /// allows that.
    func wrap(_ dataKey: SecretBytes, context: [String: String]) async throws -> EncryptedDataKey

    /// Opens `wrapped`. `nil` where it is not for this key at all; throws where it is but does not open.
    func unwrap(_ wrapped: EncryptedDataKey, context: [String: String]) async throws -> SecretBytes?

    /// When the key can no longer wrap; `nil` for one that has no end, or whose kind has none. Throws where it cannot
    /// wrap any more already.
    func expiry() async throws -> Timestamp?
}

extension KeyProvider {
    package func generate(
        context: [String: String], random: RandomBytes
    ) async throws -> (dataKey: SecretBytes, wrapped: EncryptedDataKey) {
        var fresh = random(32)
        let dataKey = SecretBytes(wiping: &fresh)
        return (dataKey, try await wrap(dataKey, context: context))
    }

    package func expiry() async throws -> Timestamp? { nil }
}

/// When a key ends: a recipient's, or the first to end of those that a set holds.
package struct KeyExpiry: Equatable, Sendable {
    /// A recipient's name, as ``KeyCapabilities`` has it, or ``stored``.
    package var key: String
    package var expires: Timestamp

    package init(key: String, expires: Timestamp) {
        self.key = key
        self.expires = expires
    }

    /// Stands for the keys that a set holds: what they are called is nobody's business but its readers'. No recipient
    /// has this name, for theirs begin with their kind.
    package static let stored = "stored keys"

    /// From so many seconds before its end on a key is warned of: time enough to make another.
    package static let warning: Double = 30 * 86_400
}

package struct KeyCapabilities: Sendable {
    /// For people and logs, never secret: `aes:clinic`, `rsa:escrow`.
    package var name: String
    package var canWrap: Bool
    package var canUnwrap: Bool
    /// Whoever can wrap can also unwrap, so that a set sealed only for such keys was written by a holder of one.
    package var isSymmetric: Bool

    package init(name: String, canWrap: Bool, canUnwrap: Bool, isSymmetric: Bool) {
        self.name = name
        self.canWrap = canWrap
        self.canUnwrap = canUnwrap
        self.isSymmetric = isSymmetric
    }
}

/// A data key wrapped for one recipient, as it stands in a message's header and in the manifest.
package struct EncryptedDataKey: Hashable, Sendable {
    /// The key's namespace; `aws-kms` for KMS.
    package var providerID: String
    /// The key's name, and for AES the parameters of the wrapping.
    package var providerInfo: [UInt8]
    package var ciphertext: [UInt8]

    package init(providerID: String, providerInfo: [UInt8], ciphertext: [UInt8]) {
        self.providerID = providerID
        self.providerInfo = providerInfo
        self.ciphertext = ciphertext
    }
}
