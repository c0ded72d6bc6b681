import AWS
import AWSKMSKeyring
import Core
import Crypto
import Events
import LocalKeyring
import RSAKeyring

extension Composition {
    /// The providers of keys that data keys are wrapped under by a secret of theirs, so that only who holds the key can
    /// have made a set.
    static let symmetricProviders: Set<String> = ["lifeboat", KMSKeyProvider.providerID]

    /// Recipients and identities. The same file may serve as both; a public key among the identities opens nothing and
    /// says so when asked. Reads files; sends nothing.
    @inline(never)
    static func providers(_ keys: [KeySpecification], cloud: Cloud) throws -> [any KeyProvider] {
        try keys.map { try provider($0, cloud: cloud) }
    }

    private static func provider(_ key: KeySpecification, cloud: Cloud) throws -> any KeyProvider {
        switch key {
        case .aes(let path): return try AESKeyProvider(path: path)
        case .rsa(let path): return try RSAKeyProvider(path: path)
        case .kms(let key):
            let account = try cloud.account()
            try Cloud.demandTLS(try endpoint(ofKMSKey: key, account), of: "kms:\(key)")
            return try KMSKeyProvider(key: key, client: account.client, configuration: account.configuration)
        }
    }

    /// Where the key's region is asked.
    static func endpoint(ofKMSKey key: String, _ account: Cloud.Account) throws -> AWSEndpoint {
        let parts = key.split(separator: ":", omittingEmptySubsequences: false)
        let region = parts.count >= 6 ? String(parts[3]) : nil
        return try account.configuration.endpoint(for: .kms, region: region)
    }

    static func signer(_ pem: Secret) throws -> Curve25519.Signing.PrivateKey {
        try pem.withRevealed { text in
            do {
                return try Ed25519Key.privateKey(pem: text)
            } catch {
                throw JobFailure(
                    .configuration, "read the signing key", object: "BACKUP_SIGNING_KEY",
                    cause: "it is no Ed25519 private key in PEM form (PKCS #8)",
                    hint: "make one with 'openssl genpkey -algorithm ed25519'")
            }
        }
    }
}
