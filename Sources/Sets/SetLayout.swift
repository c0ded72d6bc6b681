package import Core

/// Where the objects of a set lie, relative to the target's prefix. The one place that knows; `docs/format.md` states
/// the same.
package enum SetLayout {
    package static func directory(_ key: BackupKey) -> String { "\(key)/" }

    package static func manifest(_ key: BackupKey) -> String { "\(key)/manifest.json" }

    package static func record(_ key: BackupKey, number: Int, kind: String) -> String {
        "\(key)/records/\(padded(Int64(number), to: 6))-\(kind).json"
    }

    /// The number in a record's name; `nil` for any other key.
    package static func recordNumber(_ path: String) -> Int? {
        guard let name = path.split(separator: "/").last, let digits = name.split(separator: "-").first,
            digits.count >= 6
        else { return nil }
        return Int(digits)
    }

    package static func attemptDirectory(_ key: BackupKey, attempt: String) -> String { "\(key)/\(attempt)/" }

    /// Relative to the set: as the manifest names it.
    package static func segment(
        attempt: String, part: String, number: Int, compression: Compression.Algorithm
    ) -> String {
        let further = number == 1 ? "" : ".\(padded(Int64(number), to: 4))"
        return "\(attempt)/\(part)\(compression.suffix)\(further).encrypted"
    }

    /// The name of one attempt at making a set. It carries the number in the chain that the attempt goes for and a
    /// digest of its request, so that a listing alone finds the newest set and a replay's; the random rest keeps any
    /// two attempts apart.
    package static func attempt(sequence: Int64, requestDigest: [UInt8], random: [UInt8]) -> String {
        "\(padded(sequence, to: 10))-\(hexText(requestDigest.prefix(8)))-\(hexText(random.prefix(8)))"
    }

    /// What ``attempt(sequence:requestDigest:random:)`` put into a name; `nil` for any other.
    package static func reading(attempt: some StringProtocol) -> (sequence: Int64, requestDigest: String)? {
        let pieces = attempt.split(separator: "-", omittingEmptySubsequences: false)
        guard pieces.count == 3, pieces[0].count == 10, let sequence = Int64(pieces[0]), sequence > 0,
            pieces[1].count == 16, pieces[2].count == 16
        else { return nil }
        return (sequence, String(pieces[1]))
    }

    static func padded(_ number: Int64, to width: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, width - text.count)) + text
    }
}

/// What binds every message and every wrapped data key of a set to it.
func setContext(_ key: BackupKey, target: String) -> [String: String] {
    [
        "lifeboat-set": key.description, "lifeboat-target": target,
        "lifeboat-format": String(Manifest.formatVersion),
    ]
}

extension EncryptionInfo {
    /// What the manifest says of how its segments are encrypted.
    package static let messageAlgorithm =
        "AWS Encryption SDK message format 2.0, suite 0x0478 (AES-256-GCM, HKDF-SHA512, key commitment)"
}
