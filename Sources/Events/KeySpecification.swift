package import Core

/// A key that is named in the configuration and read elsewhere.
package enum KeySpecification: Hashable, Sendable, CustomStringConvertible {
    /// A file with 32 bytes as hexadecimal or base64.
    case aes(path: String)
    /// A PEM file: public key or certificate for a recipient, private key for an identity.
    case rsa(path: String)
    /// In AWS KMS: the ARN of a key or an alias, or a key's id or an alias' name in the configured region.
    case kms(key: String)
    /// In an HSM: a URI of RFC 7512, which names token and object and holds no PIN.
    case pkcs11(uri: String)
    /// An OpenPGP key by its fingerprint, key id or address.
    case gpg(key: String)

    /// As in `BACKUP_RECIPIENTS`, without the colon.
    package enum Scheme: String, CaseIterable, Sendable {
        case aes, rsa, kms, pkcs11, gpg
    }

    package var scheme: Scheme {
        switch self {
        case .aes: .aes
        case .rsa: .rsa
        case .kms: .kms
        case .pkcs11: .pkcs11
        case .gpg: .gpg
        }
    }

    package var description: String {
        switch self {
        case .aes(let path): "aes:\(path)"
        case .rsa(let path): "rsa:\(path)"
        case .kms(let key): "kms:\(key)"
        case .pkcs11(let uri): uri
        case .gpg(let key): "gpg:\(key)"
        }
    }
}

/// How keys in an HSM are reached.
package struct PKCS11Settings: Equatable, Sendable {
    /// The library of the HSM's maker, by its absolute path; `nil` where each URI names its own.
    package var module: String?
    package var pin: Secret?
}

/// Where the `gpg` program finds keys.
package struct GPGSettings: Equatable, Sendable {
    /// A keyring directory by its absolute path; it is read, never written.
    package var home: String?
    /// Files with exported keys, each imported for the run.
    package var keyFiles: [String]
    package var passphrase: Secret?
}
