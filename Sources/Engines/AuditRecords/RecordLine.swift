import Core

/// Finds the id in a line that is one JSON object, and makes sure that the line is just that.
///
/// The lines of files come from programs that may have been killed while writing, so the whole syntax is checked (RFC
/// 8259; no member of the object itself twice where that is the id). Numbers may be of any kind: nothing is changed, and
/// only the id is understood.
struct RecordLine {
    /// Bytes that a record may have.
    static let largest = 16 << 20
    private static let deepest = 64

    private let bytes: UnsafeRawBufferPointer
    private let member: [UInt8]
    private var offset = 0
    private var id: RecordID?

    /// What is wrong with a line. Never holds a word of it.
    enum Problem: Error, Equatable {
        case notJSON(offset: Int)
        case notText
        case notAnObject
        case noID
        case twoIDs
        /// It is null, a fraction, an object or the like, or empty text.
        case unusableID
    }

    /// The id of the record in `line`, which has no newline. `member` is the name of the id's member, as it stands in
    /// the text: without escapes.
    static func id(in line: UnsafeRawBufferPointer, member: [UInt8]) throws(Problem) -> RecordID {
        guard isUTF8(line) else { throw .notText }
        var reader = RecordLine(bytes: line, member: member)
        reader.skipSpace()
        guard reader.peek == UInt8(ascii: "{") else { throw .notAnObject }
        try reader.object(depth: 0)
        reader.skipSpace()
        guard reader.offset == line.count else { throw .notJSON(offset: reader.offset) }
        guard let id = reader.id else { throw .noID }
        return id
    }

    private init(bytes: UnsafeRawBufferPointer, member: [UInt8]) {
        self.bytes = bytes
        self.member = member
    }

    private static func isUTF8(_ line: UnsafeRawBufferPointer) -> Bool {
        // Nearly all lines are ASCII, which is quickly seen.
        if !line.contains(where: { $0 >= 0x80 }) { return true }
        return String(validating: line, as: UTF8.self) != nil
    }

    private var peek: UInt8? { offset < bytes.count ? bytes[offset] : nil }
    private var failure: Problem { .notJSON(offset: offset) }

    private mutating func skipSpace() {
        while let byte = peek, byte == 0x20 || byte == 0x09 || byte == 0x0D { offset += 1 }
    }

    private mutating func expect(_ text: StaticString) throws(Problem) {
        let expected = UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
        guard bytes.count - offset >= expected.count,
            UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + expected.count]).elementsEqual(expected)
        else { throw failure }
        offset += expected.count
    }

    private mutating func value(depth: Int) throws(Problem) {
        guard depth <= Self.deepest else { throw failure }
        skipSpace()
        switch peek {
        case UInt8(ascii: "{"): try object(depth: depth)
        case UInt8(ascii: "["): try array(depth: depth)
        case UInt8(ascii: "\""): _ = try string()
        case UInt8(ascii: "t"): try expect("true")
        case UInt8(ascii: "f"): try expect("false")
        case UInt8(ascii: "n"): try expect("null")
        default: _ = try number()
        }
    }

    private mutating func object(depth: Int) throws(Problem) {
        try expect("{")
        skipSpace()
        if peek == UInt8(ascii: "}") {
            offset += 1
            return
        }
        while true {
            skipSpace()
            let name = try string()
            skipSpace()
            try expect(":")
            if depth == 0, bytes[name].elementsEqual(member) {
                try readID()
            } else {
                try value(depth: depth + 1)
            }
            skipSpace()
            if peek == UInt8(ascii: ",") {
                offset += 1
            } else {
                return try expect("}")
            }
        }
    }

    private mutating func array(depth: Int) throws(Problem) {
        try expect("[")
        skipSpace()
        if peek == UInt8(ascii: "]") {
            offset += 1
            return
        }
        while true {
            try value(depth: depth + 1)
            skipSpace()
            if peek == UInt8(ascii: ",") {
                offset += 1
            } else {
                return try expect("]")
            }
        }
    }

    private mutating func readID() throws(Problem) {
        guard id == nil else { throw .twoIDs }
        skipSpace()
        let start = offset
        if peek == UInt8(ascii: "\"") {
            let content = bytes[try string()]
            guard !content.isEmpty, !content.contains(UInt8(ascii: "\\")) else { throw .unusableID }
            id = .text(String(decoding: content, as: UTF8.self))
        } else if peek == UInt8(ascii: "-") || peek.map(Self.isDigit) == true {
            let isWhole = try number()
            guard isWhole, let number = Int64(String(decoding: bytes[start..<offset], as: UTF8.self)) else {
                throw .unusableID
            }
            id = .number(number)
        } else {
            throw .unusableID
        }
    }

    /// The content's place, between the quotes.
    private mutating func string() throws(Problem) -> Range<Int> {
        try expect("\"")
        let start = offset
        while let byte = peek {
            switch byte {
            case UInt8(ascii: "\""):
                offset += 1
                return start..<offset - 1
            case UInt8(ascii: "\\"): try escape()
            case 0..<0x20: throw failure
            default: offset += 1
            }
        }
        throw failure
    }

    private mutating func escape() throws(Problem) {
        offset += 1
        switch peek {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
            UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            offset += 1
        case UInt8(ascii: "u"):
            offset += 1
            for _ in 0..<4 {
                guard let digit = peek, Self.isHex(digit) else { throw failure }
                offset += 1
            }
        default: throw failure
        }
    }

    /// Whether it is a whole one.
    private mutating func number() throws(Problem) -> Bool {
        if peek == UInt8(ascii: "-") { offset += 1 }
        let start = offset
        try digits()
        guard offset - start == 1 || bytes[start] != UInt8(ascii: "0") else { throw failure }
        var isWhole = true
        if peek == UInt8(ascii: ".") {
            offset += 1
            try digits()
            isWhole = false
        }
        if let byte = peek, byte | 0x20 == UInt8(ascii: "e") {
            offset += 1
            if peek == UInt8(ascii: "+") || peek == UInt8(ascii: "-") { offset += 1 }
            try digits()
            isWhole = false
        }
        return isWhole
    }

    private mutating func digits() throws(Problem) {
        let start = offset
        while let byte = peek, Self.isDigit(byte) { offset += 1 }
        guard offset > start else { throw failure }
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    private static func isHex(_ byte: UInt8) -> Bool {
        isDigit(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte | 0x20)
    }
}

extension RecordLine.Problem {
    var text: String {
        switch self {
        case .notJSON(let offset): "it is not JSON at its byte \(offset)"
        case .notText: "it is not UTF-8"
        case .notAnObject: "it is not a JSON object"
        case .noID: "it has no id"
        case .twoIDs: "it has two ids"
        case .unusableID: "its id is neither a whole number nor plain text"
        }
    }
}
