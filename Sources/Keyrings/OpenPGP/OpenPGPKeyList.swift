import Core

/// A key of a keyring with its subkeys, as `gpg --with-colons` lists it (GnuPG, doc/DETAILS).
struct OpenPGPKey: Equatable, Sendable {
    /// The key itself or one of its subkeys.
    struct Member: Equatable, Sendable {
        /// Upper-case hexadecimal digits.
        var fingerprint = ""
        var isRevoked = false
        var isExpired = false
        var isInvalid = false
        var canEncrypt = false
        /// Seconds since 1970.
        var created: Int64 = 0
        /// `nil` for one that never expires.
        var expires: Timestamp?

        func isUsable(at now: Timestamp) -> Bool {
            !isRevoked && !isExpired && !isInvalid && expires.map { $0 > now } ?? true
        }
    }

    var primary: Member
    var isDisabled: Bool
    var subkeys: [Member]

    var members: [Member] { [primary] + subkeys }

    /// Reads a listing. Lines of other kinds (user ids, trust) are passed over.
    static func parse(_ listing: [UInt8]) -> [OpenPGPKey] {
        var keys: [OpenPGPKey] = []
        var isFingerprintNext = false
        for line in String(decoding: listing, as: UTF8.self).split(separator: "\n") {
            let fields = line.split(separator: ":", omittingEmptySubsequences: false)
            switch fields[0] {
            case "pub", "sec":
                guard let member = member(fields) else { continue }
                keys.append(OpenPGPKey(primary: member, isDisabled: field(fields, 11).contains("D"), subkeys: []))
                isFingerprintNext = true
            case "sub", "ssb":
                guard let member = member(fields), !keys.isEmpty else { continue }
                keys[keys.count - 1].subkeys.append(member)
                isFingerprintNext = true
            case "fpr" where isFingerprintNext && !keys.isEmpty:
                let fingerprint = field(fields, 9).uppercased()
                if keys[keys.count - 1].subkeys.isEmpty {
                    keys[keys.count - 1].primary.fingerprint = fingerprint
                } else {
                    keys[keys.count - 1].subkeys[keys[keys.count - 1].subkeys.count - 1].fingerprint = fingerprint
                }
                isFingerprintNext = false
            default: break
            }
        }
        return keys
    }

    private static func member(_ fields: [Substring]) -> Member? {
        guard fields.count >= 12 else { return nil }
        var member = Member()
        switch fields[1] {
        case "r": member.isRevoked = true
        case "e": member.isExpired = true
        case "i", "d": member.isInvalid = true
        default: break
        }
        // Lower-case letters are the key's own abilities, capital ones those of the key with all its subkeys.
        member.canEncrypt = fields[11].contains("e")
        member.created = Int64(fields[5]) ?? 0
        member.expires = Int64(fields[6]).map { Timestamp(milliseconds: $0 * 1000) }
        return member
    }

    private static func field(_ fields: [Substring], _ index: Int) -> String {
        index < fields.count ? String(fields[index]) : ""
    }
}

extension OpenPGPKey {
    /// The one that new messages are sealed for, and when it can no longer be: the earlier of its own end and its
    /// key's. Throws the reason why there is none.
    func encryptionKey(
        _ id: OpenPGPKeyID, at now: Timestamp
    ) throws(OpenPGPKeyRefusal) -> (fingerprint: String, expires: Timestamp?) {
        if primary.isRevoked { throw OpenPGPKeyRefusal(.revoked) }
        if isDisabled { throw OpenPGPKeyRefusal(.disabled) }
        if primary.isExpired || primary.expires.map({ $0 <= now }) ?? false {
            throw OpenPGPKeyRefusal(.expired(primary.expires ?? now))
        }
        guard primary.isUsable(at: now) else { throw OpenPGPKeyRefusal(.unusable("it is not valid")) }
        let named = subkeys.first { id.names($0.fingerprint) }
        let candidates = (named.map { [$0] } ?? members).filter(\.canEncrypt)
        let usable = candidates.filter { $0.isUsable(at: now) }.max { $0.created < $1.created }
        guard let usable else {
            // The one that lasted longest says best what happened.
            let last = candidates.filter { !$0.isRevoked }.max { ($0.expires ?? now) < ($1.expires ?? now) }
            if let end = last?.expires, end <= now { throw OpenPGPKeyRefusal(.expired(end)) }
            if named?.isRevoked == true { throw OpenPGPKeyRefusal(.revoked) }
            throw OpenPGPKeyRefusal(.noEncryptionKey)
        }
        let ends = [usable.expires, primary.expires].compactMap { $0 }
        return (usable.fingerprint, ends.min())
    }
}

/// Why nothing can be sealed for a key.
struct OpenPGPKeyRefusal: Error {
    let problem: OpenPGPError.Problem

    init(_ problem: OpenPGPError.Problem) { self.problem = problem }
}
