package import Core

/// What names an OpenPGP key: its fingerprint (40 or 64 hexadecimal digits), or its long key id (16). Shorter ids and
/// names of people are refused, for anybody can make a key that has them too.
///
/// A fingerprint of a subkey names that subkey; that of a key names the newest of its subkeys that can encrypt.
package struct OpenPGPKeyID: Hashable, Sendable, CustomStringConvertible {
    /// Upper-case hexadecimal digits.
    package let digits: String

    /// Takes `KEYID` or `gpg:KEYID`, with `0x` before the digits or blanks between them as gpg prints fingerprints.
    /// Throws ``OpenPGPKeyIDError``.
    package init(parsing text: String) throws(OpenPGPKeyIDError) {
        var digits = text[...]
        if digits.hasPrefix("gpg:") { digits = digits.dropFirst(4) }
        if digits.hasPrefix("0x") || digits.hasPrefix("0X") { digits = digits.dropFirst(2) }
        let joined = digits.filter { $0 != " " }.uppercased()
        guard [16, 40, 64].contains(joined.utf8.count), bytes(hexText: joined) != nil else {
            throw OpenPGPKeyIDError(text: text)
        }
        self.digits = joined
    }

    package var description: String { "gpg:\(digits)" }

    func names(_ fingerprint: String) -> Bool {
        // A long key id is the end of a fingerprint (version 4) or its beginning (version 5).
        digits.utf8.count > 16
            ? fingerprint == digits
            : fingerprint.utf8.count == 40 ? fingerprint.hasSuffix(digits) : fingerprint.hasPrefix(digits)
    }
}

/// Text that names no key for certain.
package struct OpenPGPKeyIDError: Failure, Equatable {
    package let text: String

    package var exitCode: ExitCode { .configuration }
    package var operation: String { "name the OpenPGP key" }
    package var object: String { text }
    package var cause: String { "it is neither a fingerprint nor a long key id" }
    package var hint: String { "write gpg: and the 40 digits that 'gpg --list-keys --with-colons' gives after 'fpr'" }
}
