import Core
import Crypto
import LocalKeyring

/// Ed25519 private keys as OpenSSL writes them (RFC 8410): PKCS #8 in PEM.
enum Ed25519Key {
    struct NotAKey: Error {}

    /// What stands before the key's 32 bytes in every such file: version 0, the algorithm's identifier, and the two
    /// lengths of the octet strings.
    private static let header: [UInt8] = [
        0x30, 0x2E, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
    ]

    static func privateKey(pem: String) throws -> Curve25519.Signing.PrivateKey {
        let lines = pem.split(whereSeparator: \.isNewline).map { String($0) }
        guard let begin = lines.firstIndex(of: "-----BEGIN PRIVATE KEY-----"),
            let end = lines.firstIndex(of: "-----END PRIVATE KEY-----"), begin < end
        else { throw NotAKey() }
        var text = Array(lines[(begin + 1)..<end].joined().utf8)
        defer { text.withUnsafeMutableBytes { wipe($0) } }
        guard let document = text.withUnsafeBytes({ decodeBase64($0) }) else { throw NotAKey() }
        return try document.withBytes { bytes in
            guard bytes.count == header.count + 32, bytes.starts(with: header) else { throw NotAKey() }
            return try Curve25519.Signing.PrivateKey(
                rawRepresentation: UnsafeRawBufferPointer(rebasing: bytes[header.count...]))
        }
    }
}
