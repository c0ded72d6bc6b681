package import Core
package import Crypto

/// Numbers and texts of the message format (AWS Encryption SDK specification, message format version 2).
enum Format {
    static let version: UInt8 = 2
    /// AES-256-GCM, HKDF-SHA512, key commitment, no signature.
    static let suite: UInt16 = 0x0478
    /// The same with an ECDSA P-384 signature in a footer.
    static let signedSuite: UInt16 = 0x0578
    static let signatureContextKey = "aws-crypto-public-key"
    static let reservedContextPrefix = "aws-crypto-"

    static let framed: UInt8 = 2
    static let dataKeyLength = 32
    static let messageIDLength = 32
    static let commitmentLength = 32
    static let nonceLength = 12
    static let tagLength = 16

    /// Bytes of a regular frame beside its ciphertext: number, IV, tag.
    static let regularOverhead = 4 + nonceLength + tagLength
    /// Bytes of the final frame before its ciphertext: mark, number, IV, length.
    static let finalPrefix = 4 + 4 + nonceLength + 4
    static let finalOverhead = finalPrefix + tagLength
    /// Stands where a regular frame has its number.
    static let finalMark: UInt32 = 0xFFFF_FFFF

    /// Plaintext bytes of the longest frame read or written. A frame is held whole, three times over for a moment,
    /// before a byte of it is given on, so this bounds the memory that a stranger's header can ask for.
    static let largestFrame = 16 << 20
}

enum FrameKind {
    case regular, final

    /// What the specification calls the body AAD content.
    var label: StaticString {
        switch self {
        case .regular: "AWSKMSEncryptionClient Frame"
        case .final: "AWSKMSEncryptionClient Final Frame"
        }
    }
}

/// A key for a use beside the messages, from the data key of a set: the manifest's MAC.
///
/// HKDF with SHA-512 (RFC 5869), 32 bytes: salt is the ASCII text
/// `lifeboat: a key for the set as a whole, not for one message`, info the UTF-8 bytes of `info`. A message's own
/// keys come from the same data key with the 32 bytes of its message id as salt. This salt is longer and does not end
/// in zeros, so no message id is the same salt.
package func deriveKey(from dataKey: SecretBytes, info: String) -> SymmetricKey {
    let salt = "lifeboat: a key for the set as a whole, not for one message"
    return dataKey.withBytes { bytes in
        HKDF<SHA512>.deriveKey(
            inputKeyMaterial: SymmetricKey(data: bytes), salt: Array(salt.utf8), info: Array(info.utf8),
            outputByteCount: 32)
    }
}

/// What one message's data key is stretched into.
struct MessageKeys {
    let content: SymmetricKey
    /// Stands in the header, so that a message opens under one data key only. Compared as keys are: in constant time.
    let commitment: SymmetricKey

    init(dataKey: SecretBytes, messageID: [UInt8]) throws(EnvelopeError) {
        guard dataKey.count == Format.dataKeyLength else {
            throw .unusableParameters("the data key has \(dataKey.count) bytes in place of \(Format.dataKeyLength)")
        }
        let pseudoRandom = dataKey.withBytes { bytes in
            HKDF<SHA512>.extract(inputKeyMaterial: SymmetricKey(data: bytes), salt: messageID)
        }
        content = HKDF<SHA512>.expand(
            pseudoRandomKey: pseudoRandom, info: bigEndianBytes(Format.suite) + Array("DERIVEKEY".utf8),
            outputByteCount: 32)
        commitment = HKDF<SHA512>.expand(
            pseudoRandomKey: pseudoRandom, info: Array("COMMITKEY".utf8), outputByteCount: Format.commitmentLength)
    }
}

/// Seals and opens the frames of one message.
struct FrameCipher {
    let key: SymmetricKey
    let messageID: [UInt8]

    /// IV 0 is the header's, n that of frame n.
    static func nonce(_ number: UInt32) throws -> AES.GCM.Nonce {
        try AES.GCM.Nonce(data: [0, 0, 0, 0, 0, 0, 0, 0] + bigEndianBytes(number))
    }

    func associatedData(_ kind: FrameKind, number: UInt32, length: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(96)
        bytes += messageID
        kind.label.withUTF8Buffer { bytes += $0 }
        bytes += bigEndianBytes(number)
        bytes += bigEndianBytes(UInt64(length))
        return bytes
    }

    func seal(_ plaintext: UnsafeRawBufferPointer, _ kind: FrameKind, number: UInt32) throws -> AES.GCM.SealedBox {
        try AES.GCM.seal(
            plaintext, using: key, nonce: Self.nonce(number),
            authenticating: associatedData(kind, number: number, length: plaintext.count))
    }

    /// The tag over a header: nothing is encrypted, everything authenticated.
    func headerTag(_ body: [UInt8]) throws -> [UInt8] {
        Array(try AES.GCM.seal([UInt8](), using: key, nonce: Self.nonce(0), authenticating: body).tag)
    }
}

func bigEndianBytes<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0) }
}

extension UnsafeRawBufferPointer {
    /// The big-endian number at `offset`; the caller has made sure that it is there.
    func bigEndian<Value: FixedWidthInteger>(at offset: Int, as type: Value.Type) -> Value {
        Value(bigEndian: loadUnaligned(fromByteOffset: offset, as: type))
    }

    func slice(_ range: Range<Int>) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: self[range]) }
}
