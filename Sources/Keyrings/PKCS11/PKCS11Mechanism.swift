import CPKCS11

/// How a token wraps a data key. The raw value is what the URI's attribute `lifeboat-mechanism` says.
package enum PKCS11Mechanism: String, CaseIterable, Sendable {
    /// AES in Galois/counter mode with the encryption context as associated data.
    case aesGCM = "aes-gcm"
    /// AES key wrap (RFC 3394). Binds no encryption context: the message's header does.
    case aesKeyWrap = "aes-key-wrap"
    /// RSA-OAEP with this hash, for the label and for MGF1. Binds no encryption context either.
    case rsaOAEPSHA1 = "rsa-oaep-sha1"
    case rsaOAEPSHA256 = "rsa-oaep-sha256"
    case rsaOAEPSHA384 = "rsa-oaep-sha384"
    case rsaOAEPSHA512 = "rsa-oaep-sha512"

    /// The wrapped key's provider id, from which a reader knows the mechanism again.
    package var providerID: String {
        switch self {
        case .aesGCM: "pkcs11"
        case .aesKeyWrap: "pkcs11-aes-kw"
        default: "pkcs11-\(rawValue)"
        }
    }

    package init?(providerID: String) {
        guard let mechanism = Self.allCases.first(where: { $0.providerID == providerID }) else { return nil }
        self = mechanism
    }

    var isRSA: Bool { hash != nil }

    var code: UInt {
        switch self {
        case .aesGCM: UInt(CKM_AES_GCM)
        case .aesKeyWrap: UInt(CKM_AES_KEY_WRAP)
        default: UInt(CKM_RSA_PKCS_OAEP)
        }
    }

    /// The hash and the mask generation function of RSA-OAEP.
    var hash: (mechanism: UInt, mask: UInt)? {
        switch self {
        case .aesGCM, .aesKeyWrap: nil
        case .rsaOAEPSHA1: (UInt(CKM_SHA_1), UInt(CKG_MGF1_SHA1))
        case .rsaOAEPSHA256: (UInt(CKM_SHA256), UInt(CKG_MGF1_SHA256))
        case .rsaOAEPSHA384: (UInt(CKM_SHA384), UInt(CKG_MGF1_SHA384))
        case .rsaOAEPSHA512: (UInt(CKM_SHA512), UInt(CKG_MGF1_SHA512))
        }
    }

    /// What the token's list of mechanisms has to allow.
    func flag(sealing: Bool) -> UInt {
        switch self {
        case .aesKeyWrap: UInt(sealing ? CKF_WRAP : CKF_UNWRAP)
        default: UInt(sealing ? CKF_ENCRYPT : CKF_DECRYPT)
        }
    }

    /// What the key itself has to allow.
    func permission(sealing: Bool) -> (attribute: UInt, name: String) {
        switch self {
        case .aesKeyWrap: sealing ? (UInt(CKA_WRAP), "CKA_WRAP") : (UInt(CKA_UNWRAP), "CKA_UNWRAP")
        default: sealing ? (UInt(CKA_ENCRYPT), "CKA_ENCRYPT") : (UInt(CKA_DECRYPT), "CKA_DECRYPT")
        }
    }
}
