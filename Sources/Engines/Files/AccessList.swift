/// An ACL as the kernel keeps it in an extended attribute, and as text in a tar archive (POSIX.1e, `user:1000:r-x`), in
/// which GNU tar and bsdtar read it. Users and groups are numbers.
enum AccessList {
    private static let version: UInt32 = 2
    private static let entrySize = 8
    /// More entries than any file system keeps.
    private static let mostEntries = 8192

    private static let tags: [(tag: UInt16, word: String, hasID: Bool)] = [
        (0x01, "user", false), (0x02, "user", true), (0x04, "group", false), (0x08, "group", true),
        (0x10, "mask", false), (0x20, "other", false),
    ]

    /// `nil` for bytes that are no ACL of the known version.
    static func text(_ value: [UInt8]) -> [UInt8]? {
        guard value.count >= 4, number32(value[0..<4]) == version, (value.count - 4).isMultiple(of: entrySize) else {
            return nil
        }
        var text = ""
        for start in stride(from: 4, to: value.count, by: entrySize) {
            let tag = UInt16(truncatingIfNeeded: number32(value[start..<start + 2]))
            let permissions = number32(value[start + 2..<start + 4])
            guard let known = tags.first(where: { $0.tag == tag }), permissions <= 7 else { return nil }
            let id = known.hasID ? String(number32(value[start + 4..<start + 8])) : ""
            let bits = [(4, "r"), (2, "w"), (1, "x")].map { UInt32($0.0) & permissions != 0 ? $0.1 : "-" }
            text += "\(known.word):\(id):\(bits.joined())\n"
        }
        return Array(text.utf8)
    }

    /// `nil` for what ``text(_:)`` does not write.
    static func value(_ text: [UInt8]) -> [UInt8]? {
        guard let text = String(validating: text, as: UTF8.self) else { return nil }
        let lines = text.split(whereSeparator: { $0 == "\n" || $0 == "," })
        guard lines.count <= mostEntries else { return nil }
        var value = bytes(version, 4)
        for line in lines {
            let fields = line.split(separator: ":", omittingEmptySubsequences: false)
            guard fields.count == 3, fields[2].utf8.count == 3,
                let known = tags.first(where: { $0.word == fields[0] && $0.hasID != fields[1].isEmpty })
            else { return nil }
            var permissions: UInt32 = 0
            for (character, (letter, bit)) in zip(fields[2], [("r", 4), ("w", 2), ("x", 1)] as [(Character, UInt32)])
            {
                if character == letter { permissions |= bit } else if character != "-" { return nil }
            }
            guard let id = known.hasID ? UInt32(fields[1]) : UInt32.max else { return nil }
            value += bytes(UInt32(known.tag), 2) + bytes(permissions, 2) + bytes(id, 4)
        }
        return value
    }

    // Little-endian, on every machine.
    private static func number32(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }

    private static func bytes(_ number: UInt32, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: number >> (8 * UInt32($0))) }
    }
}
