package import Core
import Crypto
import Streams

/// One OpenPGP key: `gpg:FINGERPRINT`. What it wraps is an OpenPGP message of its own, which `gpg -d` opens.
///
/// Provider id `openpgp`; provider info is, as text, the fingerprint of the subkey it was sealed for, a colon, and the
/// SHA-256 of the message, so that one that was changed is known without asking gpg. The encryption context is not
/// bound; what authenticates the set under the data key does that.
package struct OpenPGPKeyProvider: KeyProvider {
    package static let providerID = "openpgp"
    private static let dataKeyLength = 32
    /// Bytes of the longest wrapped key that is opened.
    private static let largest = 16 << 10

    private let id: OpenPGPKeyID
    private let keyring: OpenPGPKeyring

    /// Nothing is read or run before the key is used.
    package init(key: OpenPGPKeyID, in keyring: OpenPGPKeyring) {
        id = key
        self.keyring = keyring
    }

    package var capabilities: KeyCapabilities {
        KeyCapabilities(name: id.description, canWrap: true, canUnwrap: true, isSymmetric: false)
    }

    /// Throws ``OpenPGPError`` where the key has expired or been revoked, or has no subkey to encrypt for.
    package func wrap(_ dataKey: SecretBytes, context: [String: String]) async throws -> EncryptedDataKey {
        let operation = "seal the data key for the OpenPGP key"
        let fingerprint = try await encryptionKey(operation).fingerprint
        let file = try dataKey.withBytes { bytes in try MemoryFile(bytes, name: "data-key") }
        let (message, status) = try await call(
            OpenPGPCipher.sealing + [
                "--recipient", fingerprint + "!", "--output", "-", "--encrypt", "--", file.path,
            ], operation)
        withExtendedLifetime(file) {}
        guard status.isEncrypted, !message.isEmpty else {
            throw OpenPGPError(
                status.recipientProblem ?? .programFailed("gpg did not say that it has encrypted"), operation,
                key: id.description)
        }
        return EncryptedDataKey(
            providerID: Self.providerID, providerInfo: Self.info(fingerprint, message), ciphertext: message)
    }

    package func unwrap(_ wrapped: EncryptedDataKey, context: [String: String]) async throws -> SecretBytes? {
        guard let fingerprint = Self.fingerprint(of: wrapped) else { return nil }
        let operation = "open the data key with the OpenPGP key"
        let key = try await keyring.key(id, operation)
        guard key.members.contains(where: { $0.fingerprint == fingerprint }) else { return nil }
        let name = id.description
        guard wrapped.providerInfo == Self.info(fingerprint, wrapped.ciphertext),
            wrapped.ciphertext.count <= Self.largest
        else { throw OpenPGPError(.doesNotOpen, operation, key: name) }
        let file = try wrapped.ciphertext.withUnsafeBytes { bytes in try MemoryFile(bytes, name: "wrapped-key") }
        let passphrase = try keyring.passphraseFile()
        let ending = try await keyring.ending(
            of: OpenPGPKeyring.argument(passphrase) + ["--decrypt", "--", file.path],
            in: try await keyring.directory(), operation, key: name, outputLimit: Self.largest)
        withExtendedLifetime((file, passphrase)) {}
        switch ending {
        case .done(var plaintext, let status):
            // Another private key may have opened what says that it is for this one.
            guard status.isDecrypted, status.words("DECRYPTION_KEY")?.first == fingerprint[...],
                plaintext.count == Self.dataKeyLength
            else {
                plaintext.withUnsafeMutableBytes { wipe($0) }
                throw OpenPGPError(.doesNotOpen, operation, key: name)
            }
            return SecretBytes(wiping: &plaintext)
        case .failed(let status, let failure):
            if let problem = status.keyProblem { throw OpenPGPError(problem, operation, key: name) }
            guard failure.ending == .exited(2) else {
                throw OpenPGPKeyring.error(failure, operation, key: name)
            }
            throw OpenPGPError(.doesNotOpen, operation, key: name)
        }
    }

    package func expiry() async throws -> Timestamp? {
        try await encryptionKey("look up the OpenPGP key").expires
    }

    private func encryptionKey(_ operation: String) async throws -> (fingerprint: String, expires: Timestamp?) {
        let key = try await keyring.key(id, operation)
        do throws(OpenPGPKeyRefusal) {
            return try key.encryptionKey(id, at: keyring.now())
        } catch {
            throw OpenPGPError(error.problem, operation, key: id.description)
        }
    }

    private func call(
        _ arguments: [String], _ operation: String
    ) async throws -> (output: [UInt8], status: OpenPGPStatus) {
        let ending = try await keyring.ending(
            of: arguments, in: try await keyring.directory(), operation, key: id.description,
            outputLimit: Self.largest)
        if case .failed(let status, _) = ending, let problem = status.recipientProblem {
            throw OpenPGPError(problem, operation, key: id.description)
        }
        return try ending.get(operation, id.description)
    }

    private static func info(_ fingerprint: String, _ message: [UInt8]) -> [UInt8] {
        Array("\(fingerprint):\(hexText(SHA256.hash(data: message)))".utf8)
    }

    /// The fingerprint in the provider info; `nil` where `wrapped` is none of ours.
    static func fingerprint(of wrapped: EncryptedDataKey) -> String? {
        guard wrapped.providerID == providerID, let info = String(validating: wrapped.providerInfo, as: UTF8.self)
        else {
            return nil
        }
        let pieces = info.split(separator: ":", omittingEmptySubsequences: false)
        guard pieces.count == 2, [40, 64].contains(pieces[0].utf8.count), pieces[1].utf8.count == 64,
            pieces.allSatisfy({ bytes(hexText: String($0)) != nil })
        else { return nil }
        return String(pieces[0])
    }
}

extension OpenPGPKeyring {
    /// The private keys' passphrase as a file for gpg; an empty one where there is none, which says so.
    func passphraseFile() throws -> MemoryFile? {
        guard let passphrase = settings.passphrase else { return nil }
        return try passphrase.withRevealed { text in
            var bytes = Array(text.utf8)
            defer { bytes.withUnsafeMutableBytes { wipe($0) } }
            return try bytes.withUnsafeBytes { buffer in try MemoryFile(buffer, name: "passphrase") }
        }
    }

    static func argument(_ passphrase: MemoryFile?) -> [String] {
        passphrase.map { ["--passphrase-file", $0.path] } ?? []
    }
}
