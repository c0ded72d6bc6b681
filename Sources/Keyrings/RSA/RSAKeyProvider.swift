package import Core
import Crypto
import CryptoExtras
import FoundationEssentials
import LocalKeyring

/// A raw RSA key with OAEP, SHA-256 and MGF1 with SHA-256 (AWS Encryption SDK specification, "Raw RSA keyring").
///
/// From a public key a recipient, from a private one also an identity. The wrapping does not bind the encryption
/// context; the message's header does.
package struct RSAKeyProvider: KeyProvider {
    /// Bits of the shortest key that is taken.
    package static let leastBits = 2048
    private static let largestFile = 64 << 10

    private let name: String
    private let modulusLength: Int
    // The library declares its signing keys Sendable and not the equal ones for encryption, so one thread at a time
    // has them.
    private let key: Guarded<Key>
    private let hasPrivate: Bool

    private enum Key {
        case publicOnly(_RSA.Encryption.PublicKey)
        case pair(_RSA.Encryption.PrivateKey)
    }

    /// Reads a PEM file with a public key (`PUBLIC KEY`, `RSA PUBLIC KEY`) or a private one (`PRIVATE KEY`,
    /// `RSA PRIVATE KEY`) without a passphrase. The key's name is the file's base name without extension; the two
    /// halves of a pair need the same.
    ///
    /// Throws ``RSAKeyError``, and ``KeyFileError`` where the file cannot be read; neither shows what it holds.
    package init(path: String) throws {
        try self.init(
            name: try KeyFile.name(ofPath: path), content: try KeyFile.read(path, limit: Self.largestFile),
            object: path)
    }

    /// The same from the content of such a file, under any name.
    package init(name: String, content: SecretBytes) throws {
        try self.init(name: name, content: content, object: name)
    }

    /// `path` is what errors are about.
    private init(name: String, content file: SecretBytes, object path: String) throws {
        self.name = name
        guard let pem = file.withBytes({ PEM($0) }) else { throw RSAKeyError(.notPEM, object: path) }
        guard !pem.isEncrypted else { throw RSAKeyError(.hasPassphrase, object: path) }
        do {
            switch pem.label {
            case "PUBLIC KEY", "RSA PUBLIC KEY":
                let key = try pem.content.withBytes { try _RSA.Encryption.PublicKey(derRepresentation: $0) }
                modulusLength = key.keySizeInBits / 8
                self.key = Guarded(.publicOnly(key))
                hasPrivate = false
            case "PRIVATE KEY", "RSA PRIVATE KEY":
                let key = try pem.content.withBytes { try _RSA.Encryption.PrivateKey(derRepresentation: $0) }
                modulusLength = key.keySizeInBits / 8
                self.key = Guarded(.pair(key))
                hasPrivate = true
            default: throw RSAKeyError(.otherLabel, object: path)
            }
        } catch let error as RSAKeyError {
            throw error
        } catch CryptoKitError.incorrectParameterSize {
            throw RSAKeyError(.wrongSize, object: path)
        } catch {
            throw RSAKeyError(.notRSA, object: path)
        }
    }

    package var capabilities: KeyCapabilities {
        KeyCapabilities(name: "rsa:\(name)", canWrap: true, canUnwrap: hasPrivate, isSymmetric: false)
    }

    package func wrap(_ dataKey: SecretBytes, context: [String: String]) async throws -> EncryptedDataKey {
        let ciphertext = try key.withLock { key in
            let publicKey =
                switch key {
                case .publicOnly(let key): key
                case .pair(let key): key.publicKey
                }
            return try dataKey.withBytes { Array(try publicKey.encrypt($0, padding: .PKCS1_OAEP_SHA256)) }
        }
        return EncryptedDataKey(
            providerID: KeyFile.namespace, providerInfo: Array(name.utf8), ciphertext: ciphertext)
    }

    package func unwrap(_ wrapped: EncryptedDataKey, context: [String: String]) async throws -> SecretBytes? {
        guard wrapped.providerID == KeyFile.namespace, wrapped.providerInfo.elementsEqual(name.utf8) else {
            return nil
        }
        guard hasPrivate else { throw RSAKeyError(.publicOnly, object: capabilities.name) }
        guard wrapped.ciphertext.count == modulusLength else {
            throw WrappedKeyError(name: capabilities.name)
        }
        do {
            return try key.withLock { key in
                guard case .pair(let privateKey) = key else { return nil }
                var dataKey = try privateKey.decrypt(wrapped.ciphertext, padding: .PKCS1_OAEP_SHA256)
                defer { dataKey.withUnsafeMutableBytes { wipe($0) } }
                return dataKey.withUnsafeBytes { SecretBytes($0) }
            }
        } catch {
            throw WrappedKeyError(name: capabilities.name)
        }
    }
}

/// A file that gives no RSA key, or half a key asked for what the other half does.
package struct RSAKeyError: Failure, Equatable {
    package enum Problem: Equatable, Sendable {
        case notPEM
        case hasPassphrase
        case otherLabel
        case notRSA
        case wrongSize
        case publicOnly
    }

    package let problem: Problem
    /// The file's path or the key's name.
    package let object: String

    package init(_ problem: Problem, object: String) {
        self.problem = problem
        self.object = object
    }

    package var exitCode: ExitCode { .keys }
    package var operation: String { problem == .publicOnly ? "open the data key" : "read the RSA key" }

    package var cause: String {
        switch problem {
        case .notPEM: "it is not a PEM file"
        case .hasPassphrase: "the key is protected by a passphrase"
        case .otherLabel: "the PEM file holds something else than an RSA key"
        case .notRSA: "the key in it is not an RSA key, or damaged"
        case .wrongSize:
            "the key has fewer than \(RSAKeyProvider.leastBits) bits, or a number that is not divisible by 8"
        case .publicOnly: "this is a public key, and only the private one opens"
        }
    }

    package var hint: String {
        switch problem {
        case .notPEM, .otherLabel, .notRSA:
            "give a file that begins with '-----BEGIN PUBLIC KEY-----' or '-----BEGIN PRIVATE KEY-----'; a "
                + "certificate's key comes by 'openssl x509 -pubkey -noout', an OpenSSH key's by "
                + "'ssh-keygen -e -m pkcs8'"
        case .hasPassphrase:
            "take the passphrase off with 'openssl pkey -in KEY -out NEW' and mount the new file as a secret"
        case .wrongSize: "make one with 'openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072'"
        case .publicOnly: "name the private key's file in BACKUP_IDENTITIES"
        }
    }
}
