package import Core
import Crypto
import FoundationEssentials

/// A raw AES-256 wrapping key, held in a file (AWS Encryption SDK specification, "Raw AES keyring").
///
/// Recipient and identity at once: whoever can seal with it can open. The IV of each wrapping is drawn by the cipher
/// itself, as OAEP draws its seed, and not handed in: one used twice would give the key away.
package struct AESKeyProvider: KeyProvider {
    /// Bytes of a key.
    package static let keyLength = 32
    private static let dataKeyLength = 32
    private static let nonceLength = 12
    private static let tagLength = 16
    private static let largestFile = 4096

    private let name: String
    private let key: SecretBytes

    /// Reads `path`: 32 bytes as 64 hexadecimal digits or in base64, and at most a newline after them. The key's name
    /// is the file's base name without extension.
    ///
    /// Throws ``KeyFileError``, which never shows what the file holds.
    package init(path: String) throws(KeyFileError) {
        name = try KeyFile.name(ofPath: path)
        let content = try KeyFile.read(path, limit: Self.largestFile)
        guard let key = content.withBytes(Self.parse) else { throw KeyFileError(.notAKey, path: path) }
        self.key = key
    }

    /// The same from the content of such a file, or from the 32 bytes of a key themselves, under any name; `nil` where
    /// it is neither.
    package init?(name: String, content: SecretBytes) {
        guard let key = content.count == Self.keyLength ? content : content.withBytes(Self.parse) else { return nil }
        self.name = name
        self.key = key
    }

    package var capabilities: KeyCapabilities {
        KeyCapabilities(name: "aes:\(name)", canWrap: true, canUnwrap: true, isSymmetric: true)
    }

    package func wrap(_ dataKey: SecretBytes, context: [String: String]) async throws -> EncryptedDataKey {
        let associatedData = try EncryptionContext.serialise(context)
        let box = try dataKey.withBytes { bytes in
            try AES.GCM.seal(bytes, using: wrappingKey, authenticating: associatedData)
        }
        return EncryptedDataKey(
            providerID: KeyFile.namespace, providerInfo: infoPrefix + Array(box.nonce),
            ciphertext: Array(box.ciphertext) + Array(box.tag))
    }

    package func unwrap(_ wrapped: EncryptedDataKey, context: [String: String]) async throws -> SecretBytes? {
        // The length is compared as well as the beginning, so that a key whose name begins with this one's, or an
        // RSA key of that name, is not taken for it.
        let prefix = infoPrefix
        guard wrapped.providerID == KeyFile.namespace, wrapped.providerInfo.starts(with: prefix),
            wrapped.providerInfo.count == prefix.count + Self.nonceLength
        else { return nil }
        guard wrapped.ciphertext.count == Self.dataKeyLength + Self.tagLength else {
            throw WrappedKeyError(name: capabilities.name)
        }
        let associatedData = try EncryptionContext.serialise(context)
        var dataKey: Data
        do {
            let box = try AES.GCM.SealedBox(
                nonce: AES.GCM.Nonce(data: wrapped.providerInfo.suffix(Self.nonceLength)),
                ciphertext: wrapped.ciphertext.prefix(Self.dataKeyLength),
                tag: wrapped.ciphertext.suffix(Self.tagLength))
            dataKey = try AES.GCM.open(box, using: wrappingKey, authenticating: associatedData)
        } catch {
            throw WrappedKeyError(name: capabilities.name)
        }
        defer { dataKey.withUnsafeMutableBytes { wipe($0) } }
        return dataKey.withUnsafeBytes { SecretBytes($0) }
    }

    private var wrappingKey: SymmetricKey { key.withBytes { SymmetricKey(data: $0) } }

    /// The provider info before the IV: name, bits of the tag, bytes of the IV.
    private var infoPrefix: [UInt8] {
        Array(name.utf8) + [0, 0, 0, UInt8(Self.tagLength * 8), 0, 0, 0, UInt8(Self.nonceLength)]
    }

    private static func parse(_ file: UnsafeRawBufferPointer) -> SecretBytes? {
        var text = file[...]
        if text.last == UInt8(ascii: "\n") { text.removeLast() }
        if text.last == UInt8(ascii: "\r") { text.removeLast() }
        switch text.count {
        case keyLength * 2: return decodeHex(UnsafeRawBufferPointer(rebasing: text))
        case 43, 44:
            let key = decodeBase64(UnsafeRawBufferPointer(rebasing: text))
            return key?.count == keyLength ? key : nil
        default: return nil
        }
    }

    private static func decodeHex(_ text: UnsafeRawBufferPointer) -> SecretBytes? {
        var bytes = [UInt8](repeating: 0, count: text.count / 2)
        defer { bytes.withUnsafeMutableBytes { wipe($0) } }
        for (index, character) in text.enumerated() {
            let value: UInt8
            switch character {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = character - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): value = character - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): value = character - UInt8(ascii: "A") + 10
            default: return nil
            }
            bytes[index / 2] = bytes[index / 2] << 4 | value
        }
        return SecretBytes(wiping: &bytes)
    }
}

/// A data key that is wrapped for this key by its name, and does not open.
package struct WrappedKeyError: Failure, Equatable {
    /// The identity's: `aes:clinic`.
    package let name: String

    package init(name: String) { self.name = name }

    package var exitCode: ExitCode { .keys }
    package var operation: String { "open the data key" }
    package var object: String { name }
    package var cause: String {
        "the data key wrapped under this name does not open: it was wrapped under another key of the same name, or "
            + "it or the encryption context was changed"
    }
    package var hint: String { "make sure that the key file is the one the backup was sealed with" }
}
