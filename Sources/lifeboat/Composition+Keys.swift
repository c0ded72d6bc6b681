import AWS
import AWSKMSKeyring
import Core
import Crypto
import Events
import LocalKeyring
import OpenPGPKeyring
import PKCS11Keyring
import RSAKeyring

extension Composition {
    /// The providers of keys that data keys are wrapped under by a secret of theirs, so that only who holds the key can
    /// have made a set.
    static let symmetricProviders: Set<String> = [
        "lifeboat", KMSKeyProvider.providerID, PKCS11Mechanism.aesGCM.providerID,
    ]

    /// Recipients and identities of `target`. The same file may serve as both; a public key among the identities opens
    /// nothing and says so when asked. Reads files; sends nothing, and asks no token.
    @inline(never)
    static func providers(
        _ keys: [KeySpecification], of target: TargetSettings, _ holders: KeyHolders
    ) throws -> [any KeyProvider] {
        try keys.map { try provider($0, of: target, holders) }
    }

    private static func provider(
        _ key: KeySpecification, of target: TargetSettings, _ holders: KeyHolders
    ) throws -> any KeyProvider {
        switch key {
        case .aes(let path): return try AESKeyProvider(path: path)
        case .rsa(let path): return try RSAKeyProvider(path: path)
        case .kms(let key):
            let account = try holders.cloud.account()
            try Cloud.demandTLS(try endpoint(ofKMSKey: key, account), of: "kms:\(key)")
            return try KMSKeyProvider(key: key, client: account.client, configuration: account.configuration)
        case .pkcs11(let uri):
            return PKCS11KeyProvider(
                uri: try PKCS11URI(parsing: uri), pin: target.pkcs11.pin, module: target.pkcs11.module,
                modules: holders.modules, sleep: systemSleep, now: { SystemClock().now() })
        case .gpg(let key):
            return OpenPGPKeyProvider(key: try OpenPGPKeyID(parsing: key), in: holders.keyring(target.gpg))
        }
    }

    /// How segments and files are sealed where it is not as our messages; `nil` for those.
    static func sealingCipher(of target: TargetSettings, _ holders: KeyHolders) -> (any SegmentCipher)? {
        target.recipients.contains { $0.scheme == .gpg } ? openPGP(of: target, holders) : nil
    }

    /// Sets that were sealed so earlier may open by another kind of key today, so every target can read them.
    static func openPGP(of target: TargetSettings, _ holders: KeyHolders) -> any SegmentCipher {
        OpenPGPCipher(holders.keyring(target.gpg))
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
