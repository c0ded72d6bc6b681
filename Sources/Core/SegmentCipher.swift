/// Another form for what is stored than the messages of the AWS Encryption SDK: seals and opens whole streams, for
/// those who want to open their sets with a program that they have already.
///
/// What it gives while it opens may not have authenticated yet: a reader has to know by other means, digests, that the
/// sealed bytes are those that were stored, before it hands them in. Nothing is retried; each call may be repeated with
/// a new source.
package protocol SegmentCipher: Sendable {
    /// As `encryption_info` names it.
    var algorithm: String { get }

    /// Whether an object that begins with `bytes` (at least one) looks like one of this form.
    func recognises(_ bytes: [UInt8]) -> Bool

    /// `plaintext`, sealed so that each of the keys that `dataKeys` were wrapped for opens it by itself, and so does
    /// whoever has `key` (32 bytes; `nil` for the keys alone). Its end is only reported when all of it has been sealed.
    ///
    /// Throws a ``Failure`` with ``ExitCode/keys`` where none of `dataKeys` is of this form.
    func seal(
        _ plaintext: any ByteSource, for dataKeys: [EncryptedDataKey], key: SecretBytes?
    ) async throws -> any ByteSource

    /// The plaintext of `sealed`, opened with `key`, or where that is `nil` with a private key at hand. Its end is only
    /// reported once the whole has authenticated.
    func open(_ sealed: any ByteSource, key: SecretBytes?) async throws -> any ByteSource
}
