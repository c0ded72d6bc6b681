import Core
import Crypto
import CryptoExtras

/// What the content of a key file is, and whether it works: whatever is known how to use is used, once, on random data.
///
/// The libraries take keys as bytes of their own, which they wipe.
enum KeyMaterial {
    case aes(SecretBytes)
    case rsaPrivate(_RSA.Encryption.PrivateKey)
    case rsaPublic(_RSA.Encryption.PublicKey)
    case ecPrivate(ECPrivate)
    case ecPublic(bits: Int)
    case ed25519(Curve25519.Signing.PrivateKey)
    /// Something that holds a key and is not looked into: behind a passphrase, or in another form.
    case container
    /// Nothing that is known.
    case opaque

    enum ECPrivate {
        case p256(P256.Signing.PrivateKey)
        case p384(P384.Signing.PrivateKey)
        case p521(P521.Signing.PrivateKey)
    }

    init(_ content: SecretBytes) {
        self = content.withBytes { Self.recognise($0) }
    }

    /// What the algorithm is called where nobody has said.
    var algorithm: String {
        switch self {
        case .aes(let key): "AES-\(key.count * 8)"
        case .rsaPrivate(let key): "RSA-\(key.keySizeInBits)"
        case .rsaPublic(let key): "RSA-\(key.keySizeInBits)"
        case .ecPrivate(.p256): "P-256"
        case .ecPrivate(.p384): "P-384"
        case .ecPrivate(.p521): "P-521"
        case .ecPublic(let bits): "P-\(bits)"
        case .ed25519: "Ed25519"
        case .container, .opaque: "opaque"
        }
    }

    // MARK: Recognising

    private static func recognise(_ bytes: UnsafeRawBufferPointer) -> KeyMaterial {
        if let block = PEMBlock(bytes) { return recognise(block) }
        var text = bytes[...]
        while let last = text.last, last == 0x0A || last == 0x0D { text.removeLast() }
        let trimmed = UnsafeRawBufferPointer(rebasing: text)
        if let key = decodeHexKey(trimmed) ?? decodeBase64(trimmed), isAESLength(key.count) { return .aes(key) }
        if trimmed.first == UInt8(ascii: "{") { return .container }
        // Text that is no number in hexadecimal or base64 is a password or the like, whatever its length.
        let isText = bytes.allSatisfy { (0x20..<0x7F).contains($0) || $0 == 0x0A || $0 == 0x0D || $0 == 0x09 }
        if !isText, isAESLength(bytes.count) { return .aes(SecretBytes(bytes)) }
        return isText ? .opaque : recogniseDER(bytes) ?? .opaque
    }

    private static func isAESLength(_ count: Int) -> Bool { [16, 24, 32].contains(count) }

    private static func decodeHexKey(_ text: UnsafeRawBufferPointer) -> SecretBytes? {
        guard isAESLength(text.count / 2), text.count.isMultiple(of: 2),
            text.allSatisfy({ hexDigit($0) != nil })
        else { return nil }
        var key = stride(from: 0, to: text.count, by: 2).map { index in
            (hexDigit(text[index]) ?? 0) << 4 | (hexDigit(text[index + 1]) ?? 0)
        }
        return SecretBytes(wiping: &key)
    }

    private static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    private static func recognise(_ block: PEMBlock) -> KeyMaterial {
        guard let content = block.content else { return .container }
        switch block.label {
        case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "PUBLIC KEY", "RSA PUBLIC KEY":
            return content.withBytes { recogniseDER($0) } ?? .opaque
        // A key for X25519 or DSA, a certificate, an OpenSSH or OpenPGP key.
        default: return .container
        }
    }

    private static func recogniseDER(_ der: UnsafeRawBufferPointer) -> KeyMaterial? {
        if let key = attempt({ try _RSA.Encryption.PrivateKey(unsafeDERRepresentation: der) }) {
            return .rsaPrivate(key)
        }
        if let key = attempt({ try P256.Signing.PrivateKey(derRepresentation: der) }) {
            return .ecPrivate(.p256(key))
        }
        if let key = attempt({ try P384.Signing.PrivateKey(derRepresentation: der) }) {
            return .ecPrivate(.p384(key))
        }
        if let key = attempt({ try P521.Signing.PrivateKey(derRepresentation: der) }) {
            return .ecPrivate(.p521(key))
        }
        if let key = ed25519(der) { return .ed25519(key) }
        if let key = attempt({ try _RSA.Encryption.PublicKey(unsafeDERRepresentation: der) }) {
            return .rsaPublic(key)
        }
        if attempt({ try P256.Signing.PublicKey(derRepresentation: der) }) != nil { return .ecPublic(bits: 256) }
        if attempt({ try P384.Signing.PublicKey(derRepresentation: der) }) != nil { return .ecPublic(bits: 384) }
        if attempt({ try P521.Signing.PublicKey(derRepresentation: der) }) != nil { return .ecPublic(bits: 521) }
        return nil
    }

    /// `nil` where the library takes it for something else: that is what is asked, and why is of no use to anybody.
    private static func attempt<Key>(_ make: () throws -> Key) -> Key? {
        do { return try make() } catch { return nil }
    }

    /// PKCS #8 (RFC 8410, section 7), which has one form for a key without attributes.
    private static func ed25519(_ der: UnsafeRawBufferPointer) -> Curve25519.Signing.PrivateKey? {
        let head: [UInt8] = [
            0x30, 0x2E, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
        ]
        guard der.count == head.count + 32, der.starts(with: head) else { return nil }
        return attempt { try Curve25519.Signing.PrivateKey(rawRepresentation: der[head.count...]) }
    }

    // MARK: Checking

    /// What keeps it from being a key of the `declared` algorithm; `nil` where nothing does, or that is not known.
    func contradiction(to declared: String) -> String? {
        if case .container = self { return nil }
        let name = declared.uppercased()
        let digits = name.split(whereSeparator: { !$0.isNumber }).compactMap { Int($0) }
        if name.hasPrefix("AES") {
            guard case .aes(let key) = self else { return "is no AES key" }
            guard let bits = digits.first(where: { [128, 192, 256].contains($0) }), bits != key.count * 8 else {
                return nil
            }
            return "is an AES key of \(key.count * 8) bits"
        }
        if name.hasPrefix("RSA") {
            guard let bits = rsaBits else { return "is no RSA key" }
            guard let declared = digits.first(where: { $0 >= 1024 }), declared != bits else { return nil }
            return "is an RSA key of \(bits) bits"
        }
        if name.hasPrefix("ED25519") {
            if case .ed25519 = self { return nil }
            return "is no Ed25519 private key"
        }
        if name.hasPrefix("P-") || name.hasPrefix("EC") {
            guard let bits = curveBits else { return "is no key of a NIST curve" }
            guard let declared = digits.first(where: { [256, 384, 521].contains($0) }), declared != bits else {
                return nil
            }
            return "is a key of the curve P-\(bits)"
        }
        return nil
    }

    private var rsaBits: Int? {
        switch self {
        case .rsaPrivate(let key): key.keySizeInBits
        case .rsaPublic(let key): key.keySizeInBits
        default: nil
        }
    }

    private var curveBits: Int? {
        switch self {
        case .ecPrivate(.p256): 256
        case .ecPrivate(.p384): 384
        case .ecPrivate(.p521): 521
        case .ecPublic(let bits): bits
        default: nil
        }
    }

    /// Uses the key: encrypts random data and decrypts it again, or signs it and checks the signature. Of what cannot
    /// be used here, having been decrypted itself is all there is to check. Throws, or returns what is wrong.
    func roundTrip(random: RandomBytes) throws -> String? {
        let data = random(32)
        let isSame =
            switch self {
            case .aes(let key): try Self.roundTrip(data, key)
            case .rsaPrivate(let key):
                try key.decrypt(
                    key.publicKey.encrypt(data, padding: .PKCS1_OAEP_SHA256), padding: .PKCS1_OAEP_SHA256
                ).elementsEqual(data)
            case .rsaPublic(let key): try !key.encrypt(data, padding: .PKCS1_OAEP_SHA256).isEmpty
            case .ecPrivate(.p256(let key)):
                key.publicKey.isValidSignature(try key.signature(for: data), for: data)
            case .ecPrivate(.p384(let key)):
                key.publicKey.isValidSignature(try key.signature(for: data), for: data)
            case .ecPrivate(.p521(let key)):
                key.publicKey.isValidSignature(try key.signature(for: data), for: data)
            case .ed25519(let key): key.publicKey.isValidSignature(try key.signature(for: data), for: data)
            case .ecPublic, .container, .opaque: true
            }
        return isSame ? nil : "what it encrypted or signed does not come back"
    }

    private static func roundTrip(_ data: [UInt8], _ key: SecretBytes) throws -> Bool {
        let symmetric = key.withBytes { SymmetricKey(data: $0) }
        return try AES.GCM.open(AES.GCM.seal(data, using: symmetric), using: symmetric).elementsEqual(data)
    }
}

/// The first block of a PEM text (RFC 7468).
private struct PEMBlock {
    let label: String
    /// `nil` where it is behind a passphrase, or does not decode.
    let content: SecretBytes?

    init?(_ text: UnsafeRawBufferPointer) {
        let lines = text.split(whereSeparator: { $0 == 0x0A || $0 == 0x0D })
        let (begin, dashes) = (Array("-----BEGIN ".utf8), Array("-----".utf8))
        guard let first = lines.firstIndex(where: { $0.starts(with: begin) }) else { return nil }
        let rest = lines[first].dropFirst(begin.count)
        guard rest.count > dashes.count, rest.suffix(dashes.count).elementsEqual(dashes) else { return nil }
        let label = String(decoding: rest.dropLast(dashes.count), as: UTF8.self)
        // OpenSSL writes the parameters of a curve before the key itself.
        if label == "EC PARAMETERS", let next = lines[(first + 1)...].first(where: { $0.starts(with: begin) }),
            let inner = PEMBlock(UnsafeRawBufferPointer(rebasing: text[next.startIndex...]))
        {
            self = inner
            return
        }
        self.label = label
        let end = Array("-----END \(label)-----".utf8)
        let body = lines[(first + 1)...]
        guard let last = body.firstIndex(where: { $0.elementsEqual(end) }) else { return nil }
        let isEncrypted = label.hasPrefix("ENCRYPTED") || body[..<last].contains { $0.contains(UInt8(ascii: ":")) }
        guard !isEncrypted, let from = body[..<last].first?.startIndex, let to = body[..<last].last?.endIndex else {
            content = nil
            return
        }
        content = decodeBase64(UnsafeRawBufferPointer(rebasing: text[from..<to]))
    }
}
