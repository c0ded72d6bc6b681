import Core

/// Where the log lies in a target's store: `docs/wal.md` states the same.
///
///     wal/<system identifier>/<timeline>/<segment>.zst.encrypted
///     wal/<system identifier>/<timeline>/<segment>.<end>.partial.zst.encrypted
///     wal/<system identifier>/<timeline>/<timeline>.history.zst.encrypted
///     wal/<system identifier>/<timeline>/index/<day>.json
package enum WALLayout {
    package static let directory = "wal/"
    static let suffix = ".zst.encrypted"

    package static func directory(of systemID: String) -> String { "\(directory)\(systemID)/" }

    package static func directory(of systemID: String, _ timeline: UInt32) -> String {
        "\(directory(of: systemID))\(digits(UInt64(timeline), 8))/"
    }

    static func indexDirectory(of systemID: String, _ timeline: UInt32) -> String {
        directory(of: systemID, timeline) + "index/"
    }

    static func index(of systemID: String, _ timeline: UInt32, day: String) -> String {
        indexDirectory(of: systemID, timeline) + "\(day).json"
    }

    static func object(_ file: StoredFileName, of systemID: String) -> String {
        "\(directory(of: systemID, file.timeline))\(file)\(suffix)"
    }

    /// A number in upper-case hexadecimal, with zeros before it.
    static func digits(_ value: UInt64, _ count: Int) -> String {
        let text = String(value, radix: 16, uppercase: true)
        return String(repeating: "0", count: max(0, count - text.count)) + text
    }
}

/// The name of a file of the log as it is stored, readable without knowing how long segments are.
enum StoredFileName: Hashable, Sendable, CustomStringConvertible {
    case segment(String)
    /// The beginning of a segment, up to before `end`.
    case partial(String, end: LSN)
    case history(timeline: UInt32)
    /// What the server notes of a base backup: `<segment>.<offset>.backup`.
    case backupNote(String)

    var description: String {
        switch self {
        case .segment(let name), .backupNote(let name): name
        case .partial(let name, let end): "\(name).\(WALLayout.digits(end.value, 16)).partial"
        case .history(let timeline): WALFile.history(timeline: timeline).description
        }
    }

    var timeline: UInt32 {
        switch self {
        case .history(let timeline): timeline
        case .segment(let name), .partial(let name, _), .backupNote(let name):
            UInt32(name.prefix(8), radix: 16) ?? 0
        }
    }

    /// From what ``description`` gives; `nil` for anything else.
    init?(_ text: String) {
        let pieces = text.split(separator: ".", omittingEmptySubsequences: false).map { String($0) }
        guard let first = pieces.first, Self.isUpperHex(first) else { return nil }
        switch (first.utf8.count, pieces.count, pieces[pieces.count - 1]) {
        case (24, 1, _): self = .segment(first)
        case (8, 2, "history"):
            guard let timeline = UInt32(first, radix: 16) else { return nil }
            self = .history(timeline: timeline)
        case (24, 3, "partial"):
            guard pieces[1].utf8.count == 16, Self.isUpperHex(pieces[1]), let end = UInt64(pieces[1], radix: 16)
            else { return nil }
            self = .partial(first, end: LSN(end))
        case (24, 3, "backup"):
            guard pieces[1].utf8.count == 8, Self.isUpperHex(pieces[1]) else { return nil }
            self = .backupNote(text)
        default: return nil
        }
        guard timeline > 0 else { return nil }
    }

    /// The segment that it is of, and where what it holds ends; `nil` for what is no segment of that size.
    func stretch(segmentSize size: UInt64) -> (segment: WALSegment, end: LSN)? {
        switch self {
        case .segment(let text): WALSegment(name: text, size: size).map { ($0, $0.end) }
        case .partial(let text, let end):
            WALSegment(name: text, size: size).flatMap { end > $0.begin && end <= $0.end ? ($0, end) : nil }
        case .history, .backupNote: nil
        }
    }

    private static func isUpperHex(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy {
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                    || (UInt8(ascii: "A")...UInt8(ascii: "F")).contains($0)
            }
    }
}

/// What a key of the store is, below ``WALLayout/directory``.
enum WALKey: Equatable {
    case file(systemID: String, StoredFileName)
    case index(systemID: String, timeline: UInt32, day: String)

    /// `nil` for what nothing here has written.
    init?(_ key: String) {
        let pieces = key.split(separator: "/", omittingEmptySubsequences: false)
        guard pieces.count >= 4, pieces[0] == "wal", !pieces[1].isEmpty, pieces[2].utf8.count == 8,
            let timeline = UInt32(pieces[2], radix: 16)
        else { return nil }
        let systemID = String(pieces[1])
        if pieces.count == 5, pieces[3] == "index", pieces[4].hasSuffix(".json") {
            self = .index(systemID: systemID, timeline: timeline, day: String(pieces[4].dropLast(5)))
            return
        }
        guard pieces.count == 4, pieces[3].hasSuffix(WALLayout.suffix),
            let file = StoredFileName(String(pieces[3].dropLast(WALLayout.suffix.utf8.count))),
            file.timeline == timeline
        else { return nil }
        self = .file(systemID: systemID, file)
    }
}
