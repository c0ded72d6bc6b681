import Core
import Events
import KeysEngine
import LocalKeyring
import OpenPGPKeyring
import RSAKeyring
import Streams

extension Composition {
    /// What a key file may be read as, for the engine that backs keys up and has to know whether a recipient is among
    /// them. Keys of services and devices lie in no file.
    static func keyCandidates(of target: TargetSettings, _ holders: KeyHolders) -> KeyCandidates {
        let (program, passphrase) = (holders.gpgProgram, target.gpg.passphrase)
        return { material, recipient in
            let parts = recipient.split(separator: ":", maxSplits: 1).map(String.init)
            guard parts.count == 2 else { return [] }
            switch parts[0] {
            case "aes": return [AESKeyProvider(name: parts[1], content: material)].compactMap { $0 }
            case "rsa": return rsaCandidates(material, name: parts[1])
            case "gpg":
                return [
                    OpenPGPCandidate(material, recipient: parts[1], program: program, passphrase: passphrase)
                ].compactMap { $0 }
            default: return []
            }
        }
    }

    /// Each PEM block of the file that holds such a key: it may stand behind its certificate.
    private static func rsaCandidates(_ material: SecretBytes, name: String) -> [any KeyProvider] {
        let mark = Array("-----BEGIN ".utf8)
        let blocks = material.withBytes { bytes in
            bytes.indices.filter { bytes[$0...].starts(with: mark) }
                .map { SecretBytes(UnsafeRawBufferPointer(rebasing: bytes[$0...])) }
        }
        return blocks.compactMap { block in
            do {
                return try RSAKeyProvider(name: name, content: block)
            } catch {
                // What holds no RSA key is none that this recipient could be.
                return nil
            }
        }
    }
}

/// An exported OpenPGP private key, tried in a keyring that holds nothing else and is gone afterwards.
private struct OpenPGPCandidate: KeyProvider {
    private let material: SecretBytes
    private let id: OpenPGPKeyID
    private let program: String
    private let passphrase: Secret?

    /// `nil` for what is no private key by its first bytes, or where `recipient` is no key's id: starting gpg for each
    /// file of a directory would take minutes.
    init?(_ material: SecretBytes, recipient: String, program: String, passphrase: Secret?) {
        guard material.withBytes(Self.isPrivateKey) else { return nil }
        do {
            id = try OpenPGPKeyID(parsing: recipient)
        } catch {
            return nil
        }
        self.material = material
        self.program = program
        self.passphrase = passphrase
    }

    /// Armoured, or a packet of a secret key (RFC 9580, section 4.2: the tag 5 in its old and new form).
    private static func isPrivateKey(_ bytes: UnsafeRawBufferPointer) -> Bool {
        if let first = bytes.first, [0x94, 0x95, 0x96, 0xC5].contains(first) { return true }
        let label = Array("-----BEGIN PGP PRIVATE KEY BLOCK-----".utf8)
        return bytes.indices.contains { bytes[$0...].starts(with: label) }
    }

    var capabilities: KeyCapabilities {
        KeyCapabilities(name: id.description, canWrap: true, canUnwrap: true, isSymmetric: false)
    }

    func wrap(_ dataKey: SecretBytes, context: [String: String]) async throws -> EncryptedDataKey {
        try await withKeyring { try await $0.wrap(dataKey, context: context) }
    }

    func unwrap(_ wrapped: EncryptedDataKey, context: [String: String]) async throws -> SecretBytes? {
        try await withKeyring { try await $0.unwrap(wrapped, context: context) }
    }

    private func withKeyring<Value>(_ body: (OpenPGPKeyProvider) async throws -> Value) async throws -> Value {
        let file = try material.withBytes { try MemoryFile($0, name: "candidate") }
        let keyring = OpenPGPKeyring(
            OpenPGPSettings(keyFiles: [file.path], passphrase: passphrase, program: program), sleep: systemSleep,
            now: { SystemClock().now() })
        do {
            let value = try await body(OpenPGPKeyProvider(key: id, in: keyring))
            await keyring.close()
            return value
        } catch {
            await uncancelled { await keyring.close() }
            throw error
        }
    }
}
