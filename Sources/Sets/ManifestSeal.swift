package import Core
import Crypto
import Envelope

/// The authentication of manifests and records: an HMAC under keys derived from the set's data key, and where a
/// signing key is configured an Ed25519 signature.
package enum ManifestSeal {
    package static let manifestPurpose = "lifeboat manifest mac v1"
    package static let recordPurpose = "lifeboat record mac v1"

    package static func mac(_ document: JSON, purpose: String, dataKey: SecretBytes) -> [UInt8] {
        Array(
            HMAC<SHA256>.authenticationCode(
                for: document.canonicalBytes, using: deriveKey(from: dataKey, info: purpose)))
    }

    package static func isMAC(
        _ code: [UInt8], of document: JSON, purpose: String, dataKey: SecretBytes
    ) -> Bool {
        HMAC<SHA256>.isValidAuthenticationCode(
            code, authenticating: document.canonicalBytes, using: deriveKey(from: dataKey, info: purpose))
    }

    static func seal(_ manifest: inout Manifest, dataKey: SecretBytes, signer: Curve25519.Signing.PrivateKey?) throws
    {
        manifest.mac = mac(
            manifest.json(includingMAC: false, includingSignature: false), purpose: manifestPurpose, dataKey: dataKey)
        manifest.signature = try signer.map { try sign(manifest.json(includingSignature: false), with: $0) }
    }

    static func sign(_ document: JSON, with signer: Curve25519.Signing.PrivateKey) throws -> Signature {
        Signature(
            publicKey: Array(signer.publicKey.rawRepresentation),
            value: Array(try signer.signature(for: document.canonicalBytes)))
    }

    /// Whether the holder of the key that `signature` names made it over `document`. Whom to trust is another question.
    static func isSignature(_ signature: Signature, of document: JSON) -> Bool {
        guard let signer = try? Curve25519.Signing.PublicKey(rawRepresentation: signature.publicKey) else {
            return false
        }
        return signer.isValidSignature(signature.value, for: document.canonicalBytes)
    }

    static func checkMAC(_ manifest: Manifest, dataKey: SecretBytes) throws(SetError) {
        let document = manifest.json(includingMAC: false, includingSignature: false)
        guard isMAC(manifest.mac, of: document, purpose: manifestPurpose, dataKey: dataKey) else {
            throw .macMismatch(key: manifest.key.description)
        }
    }

    /// Who wrote the manifest, as far as it can be known; throws where signers are demanded and none of them did.
    ///
    /// Its MAC must have been checked before: that is what shows the origin where only holders of a symmetric key could
    /// have made the set. `opensItself`: one of the manifest's own wrapped data keys was opened. Where only a record
    /// beside it was, those that the manifest names may be anything, and show nothing.
    package static func origin(
        of manifest: Manifest, opensItself: Bool, trustedSigners: [[UInt8]], symmetricProviders: Set<String>
    ) throws(SetError) -> Origin {
        let key = manifest.key.description
        if let signature = manifest.signature {
            guard isSignature(signature, of: manifest.json(includingSignature: false)) else {
                throw .untrusted(key: key, problem: "its signature is wrong")
            }
            if trustedSigners.contains(signature.publicKey) { return .authenticated }
        }
        guard trustedSigners.isEmpty else {
            throw .untrusted(
                key: key, problem: manifest.signature == nil ? "it is not signed" : "its signer is not trusted")
        }
        return opensItself && isClosed(manifest, symmetricProviders) ? .authenticated : .unauthenticated
    }

    /// Whether the manifest names only recipients under whose keys nobody but their holders can wrap.
    static func isClosed(_ manifest: Manifest, _ symmetricProviders: Set<String>) -> Bool {
        manifest.encryption.dataKeys.allSatisfy {
            symmetricProviders.contains($0.providerID)
                && ($0.providerID == "aws-kms" || $0.ciphertext.count == symmetricWrapLength)
        }
    }

    /// A data key of 32 bytes under AES-GCM with its tag. An RSA wrap, which raw keys have the same provider for, is
    /// never shorter than 256 bytes. What KMS has wrapped has no fixed length, and only KMS opens it.
    private static let symmetricWrapLength = 48
}
