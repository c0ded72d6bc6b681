import Core
import LocalKeyring
import RSAKeyring

extension Composition {
    /// What a key file may be read as, for the engine that backs keys up and has to know whether a recipient is among
    /// them. Keys of services and devices lie in no file.
    @Sendable
    static func keyCandidates(_ material: SecretBytes, recipient: String) -> [any KeyProvider] {
        let parts = recipient.split(separator: ":", maxSplits: 1).map(String.init)
        guard parts.count == 2 else { return [] }
        switch parts[0] {
        case "aes": return [AESKeyProvider(name: parts[1], content: material)].compactMap { $0 }
        case "rsa":
            return blocks(of: material).compactMap { block in
                do {
                    return try RSAKeyProvider(name: parts[1], content: block)
                } catch {
                    // What holds no RSA key is none that this recipient could be.
                    return nil
                }
            }
        default: return []
        }
    }

    /// Each PEM block of a file: a key may stand behind its certificate.
    private static func blocks(of material: SecretBytes) -> [SecretBytes] {
        let mark = Array("-----BEGIN ".utf8)
        return material.withBytes { bytes in
            bytes.indices.filter { bytes[$0...].starts(with: mark) }
                .map { SecretBytes(UnsafeRawBufferPointer(rebasing: bytes[$0...])) }
        }
    }
}
