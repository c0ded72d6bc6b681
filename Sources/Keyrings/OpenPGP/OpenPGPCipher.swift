package import Core
import Crypto
import Streams

/// Segments and files as OpenPGP messages (RFC 4880, AES-256 with modification detection, or as newer versions of gpg
/// do it): `gpg -d` opens them with the private key of any recipient.
///
/// Where a key is given they are sealed with a passphrase as well, made of it, so that whoever has opened the set's data
/// key needs no private key for its segments; and a set whose data key is wrapped anew opens for its new recipients.
package struct OpenPGPCipher: SegmentCipher {
    package let algorithm = "OpenPGP (RFC 4880) messages by gpg, AES-256"

    private let keyring: OpenPGPKeyring

    package init(_ keyring: OpenPGPKeyring) { self.keyring = keyring }

    /// A packet's first byte has its highest bit set, and a message begins with a session key for a recipient (tag 1)
    /// or for a passphrase (tag 3), in the old or the new form.
    package func recognises(_ bytes: [UInt8]) -> Bool {
        guard let first = bytes.first, first & 0x80 != 0 else { return false }
        let tag = first & 0x40 == 0 ? (first >> 2) & 15 : first & 63
        return tag == 1 || tag == 3
    }

    /// The settings of every message.
    static let sealing = [
        "--no-autostart", "--no-encrypt-to", "--no-armor", "--compress-algo", "none", "--cipher-algo", "AES256",
    ]
    private static let sealOperation = "seal with gpg"
    private static let openOperation = "open with gpg"

    package func seal(
        _ plaintext: any ByteSource, for dataKeys: [EncryptedDataKey], key: SecretBytes?
    ) async throws -> any ByteSource {
        let fingerprints = dataKeys.compactMap { OpenPGPKeyProvider.fingerprint(of: $0) }
        guard !fingerprints.isEmpty else { throw OpenPGPError(.notForGPG, Self.sealOperation) }
        var arguments = Self.sealing + fingerprints.flatMap { ["--recipient", $0 + "!"] } + ["--encrypt"]
        let passphrase = try key.map(Self.passphraseFile)
        if passphrase != nil {
            // The passphrase has 256 bits of its own: stretching it would only cost time.
            arguments += ["--symmetric", "--s2k-mode", "3", "--s2k-count", "65536", "--s2k-digest-algo", "SHA256"]
        }
        arguments += OpenPGPKeyring.argument(passphrase)
        let home = try await keyring.directory()
        return OpenPGPStream(
            try ChildFilter(OpenPGPKeyring.command(keyring.settings.program, home, arguments), reading: plaintext),
            holding: [home] + (passphrase.map { [$0] } ?? []), operation: Self.sealOperation
        ) { status in status.isEncrypted ? nil : .programFailed("gpg did not say that it has encrypted everything") }
    }

    package func open(_ sealed: any ByteSource, key: SecretBytes?) async throws -> any ByteSource {
        let passphrase = try key.map(Self.passphraseFile) ?? keyring.passphraseFile()
        // With the set's key no keyring is needed, and none is looked into: a directory without keys serves.
        let home: OpenPGPHome
        if key == nil {
            home = try await keyring.directory()
        } else {
            let scratch = keyring.settings.scratch
            home = try await onThread("gpg home") { try OpenPGPHome(in: scratch) }
        }
        let arguments =
            (key == nil ? [] : ["--no-autostart"]) + OpenPGPKeyring.argument(passphrase) + ["--decrypt"]
        return OpenPGPStream(
            try ChildFilter(OpenPGPKeyring.command(keyring.settings.program, home, arguments), reading: sealed),
            holding: [home] + (passphrase.map { [$0] } ?? []), operation: Self.openOperation
        ) { status in
            if status.isDecrypted { return nil }
            if key == nil, let problem = status.keyProblem { return problem }
            return .damaged("it is damaged, cut short, or sealed with another key")
        }
    }

    /// The passphrase that `key` makes: its 64 hexadecimal digits.
    private static func passphraseFile(_ key: SecretBytes) throws -> MemoryFile {
        let digits = Array("0123456789abcdef".utf8)
        var text = key.withBytes { bytes in bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] } }
        defer { text.withUnsafeMutableBytes { wipe($0) } }
        return try text.withUnsafeBytes { buffer in try MemoryFile(buffer, name: "passphrase") }
    }
}

/// What gpg writes. Its end is only reported where gpg's status lines say that all is well.
private final class OpenPGPStream: ByteSource {
    private let filter: ChildFilter
    /// What gpg reads beside its input.
    private let held: [any AnyObject & Sendable]
    private let operation: String
    private let judge: @Sendable (OpenPGPStatus) -> OpenPGPError.Problem?

    init(
        _ filter: ChildFilter, holding held: [any AnyObject & Sendable], operation: String,
        judge: @escaping @Sendable (OpenPGPStatus) -> OpenPGPError.Problem?
    ) {
        self.filter = filter
        self.held = held
        self.operation = operation
        self.judge = judge
    }

    func next() throws -> Chunk? {
        do {
            if let chunk = try filter.next() { return chunk }
        } catch let failure as ChildFailure {
            let status = OpenPGPStatus(failure.errorTail)
            if let problem = status.recipientProblem { throw OpenPGPError(problem, operation) }
            // Other endings than its own verdict, a signal for one, say nothing about the message.
            guard failure.ending == .exited(2) || failure.ending == .exited(1), let problem = judge(status) else {
                throw OpenPGPKeyring.error(failure, operation, key: "")
            }
            throw OpenPGPError(problem, operation)
        }
        if let problem = judge(OpenPGPStatus(filter.errorTail)) { throw OpenPGPError(problem, operation) }
        return nil
    }

    func cancel() { filter.cancel() }
}
