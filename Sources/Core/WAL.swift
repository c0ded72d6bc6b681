/// A place in a PostgreSQL server's write-ahead log: bytes since its beginning. `16/B374D848` in the server's text.
package struct LSN: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var value: UInt64

    package init(_ value: UInt64) { self.value = value }

    /// From the server's text: two hexadecimal numbers of at most eight digits.
    package init?(_ text: String) {
        let halves = text.split(separator: "/", omittingEmptySubsequences: false)
        guard halves.count == 2, let high = Self.half(halves[0]), let low = Self.half(halves[1]) else { return nil }
        value = high << 32 | low
    }

    private static func half(_ text: Substring) -> UInt64? {
        guard (1...8).contains(text.utf8.count), text.utf8.allSatisfy({ hexDigit($0) != nil }) else { return nil }
        return UInt64(text, radix: 16)
    }

    private static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
            UInt8(ascii: "A")...UInt8(ascii: "F"):
            byte
        default: nil
        }
    }

    package var description: String {
        String(value >> 32, radix: 16, uppercase: true) + "/"
            + String(value & 0xFFFF_FFFF, radix: 16, uppercase: true)
    }

    package static func < (a: LSN, b: LSN) -> Bool { a.value < b.value }
}

/// One file of the log: a stretch of `size` bytes on one timeline.
package struct WALSegment: Hashable, Sendable {
    package var timeline: UInt32
    /// Its place among the segments: its first byte's LSN divided by `size`.
    package var number: UInt64
    /// Bytes: 16 MiB, unless the cluster was made with another.
    package var size: UInt64

    package init(timeline: UInt32, number: UInt64, size: UInt64) {
        self.timeline = timeline
        self.number = number
        self.size = size
    }

    /// The one that holds the byte at `lsn`.
    package init(timeline: UInt32, holding lsn: LSN, size: UInt64) {
        self.init(timeline: timeline, number: lsn.value / size, size: size)
    }

    package var begin: LSN { Self.place(number, size) }
    /// The first byte after it.
    package var end: LSN { next.begin }
    package var next: WALSegment {
        WALSegment(timeline: timeline, number: number == .max ? .max : number + 1, size: size)
    }

    /// The last place that there is where a number leads beyond it: some come from files that anybody may have written.
    private static func place(_ number: UInt64, _ size: UInt64) -> LSN {
        let (value, isBeyond) = number.multipliedReportingOverflow(by: size)
        return LSN(isBeyond ? .max : value)
    }

    /// `000000010000001600000002`: timeline, and the number in two halves, as the server names its files.
    package var name: String {
        let perHigh = max(1, 0x1_0000_0000 / max(size, 1))
        return Self.hex(UInt64(timeline)) + Self.hex(number / perHigh) + Self.hex(number % perHigh)
    }

    /// From the server's name of the file; `nil` for what is none, as one whose last number `size` does not allow, or
    /// the very last that there could be, which has no end.
    package init?(name: String, size: UInt64) {
        let digits = Array(name.utf8)
        guard digits.count == 24, size > 0, digits.allSatisfy(Self.isDigit),
            let timeline = UInt32(name.prefix(8), radix: 16), timeline > 0,
            let high = UInt64(name.dropFirst(8).prefix(8), radix: 16),
            let low = UInt64(name.suffix(8), radix: 16), low < 0x1_0000_0000 / size
        else { return nil }
        self.init(timeline: timeline, number: high * (0x1_0000_0000 / size) + low, size: size)
        guard number < .max, !(number + 1).multipliedReportingOverflow(by: size).overflow else { return nil }
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
            || (UInt8(ascii: "A")...UInt8(ascii: "F")).contains(byte)
    }

    private static func hex(_ value: UInt64) -> String {
        let text = String(value, radix: 16, uppercase: true)
        return String(repeating: "0", count: max(0, 8 - text.count)) + text
    }
}

/// What the log is made of: segments, and at each promotion the history of how the new timeline came to be.
package enum WALFile: Hashable, Sendable, CustomStringConvertible {
    case segment(WALSegment)
    case history(timeline: UInt32)

    package var timeline: UInt32 {
        switch self {
        case .segment(let segment): segment.timeline
        case .history(let timeline): timeline
        }
    }

    /// As the server names it: `00000002.history`.
    package var description: String {
        switch self {
        case .segment(let segment): segment.name
        case .history(let timeline):
            WALSegment(timeline: timeline, number: 0, size: 1 << 24).name.prefix(8) + ".history"
        }
    }
}

/// A stretch of one timeline's log that is stored without a gap: from the first byte to before `end`.
package struct WALRange: Hashable, Sendable {
    package var timeline: UInt32
    package var begin: LSN
    package var end: LSN
    /// When its end was stored, by the store's clock and rounded up: nothing that happened later is in it. `nil` where
    /// that is not known.
    package var stored: Timestamp?

    package init(timeline: UInt32, begin: LSN, end: LSN, stored: Timestamp? = nil) {
        self.timeline = timeline
        self.begin = begin
        self.end = end
        self.stored = stored
    }
}
