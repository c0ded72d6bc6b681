import Core
import Streams

/// The lines that gpg writes for programs (GnuPG, doc/DETAILS, "Format of the --status-fd output"), from among its other
/// words on standard error.
struct OpenPGPStatus {
    private static let mark = "[GNUPG:] "
    private let lines: [[Substring]]

    init(_ errors: [UInt8]) {
        lines = String(decoding: errors, as: UTF8.self).split(separator: "\n")
            .filter { $0.hasPrefix(Self.mark) }
            .map { $0.dropFirst(Self.mark.count).split(separator: " ") }
    }

    func has(_ keyword: String) -> Bool { lines.contains { $0.first == keyword[...] } }

    /// The words after `keyword` in the first line that begins with it.
    func words(_ keyword: String) -> [Substring]? {
        lines.first { $0.first == keyword[...] }.map { Array($0.dropFirst()) }
    }

    /// Everything was decrypted and its integrity was checked.
    var isDecrypted: Bool { has("DECRYPTION_OKAY") && has("GOODMDC") && !has("DECRYPTION_FAILED") && !has("BADMDC") }

    var isEncrypted: Bool { has("END_ENCRYPTION") && !has("FAILURE") && !has("INV_RECP") }

    /// Why decrypting with a private key failed, as far as gpg says it.
    var keyProblem: OpenPGPError.Problem? {
        for line in lines where line.first == "ERROR" && line.count >= 3 && line[1] == "pkdecrypt_failed" {
            // The low 16 bits are libgpg-error's code: 11 is a wrong passphrase, 177 none.
            guard let number = UInt32(line[2].prefix { $0.isNumber }) else { continue }
            switch number & 0xFFFF {
            case 11: return .wrongPassphrase
            case 177: return .passphraseNeeded
            default: break
            }
        }
        if has("NEED_PASSPHRASE"), !has("DECRYPTION_KEY") { return .passphraseNeeded }
        if has("NO_SECKEY"), !has("DECRYPTION_KEY") { return .noPrivateKey }
        return nil
    }

    /// Why a recipient was not taken: INV_RECP has a number for it.
    var recipientProblem: OpenPGPError.Problem? {
        guard let reason = words("INV_RECP")?.first else { return nil }
        let reasons: [Substring: String] = [
            "1": "not found", "2": "ambiguous", "3": "wrong usage", "4": "revoked", "5": "expired",
            "10": "not trusted",
            "12": "its policy does not match",
        ]
        return .unusable(reasons[reason] ?? "reason \(reason.prefix(8))")
    }
}
