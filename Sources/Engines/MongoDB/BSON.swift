import Core

/// A document as bytes (bsonspec.org, version 1.1). Nothing is decoded before it is asked for, so what only passes
/// through stays as it is to the last byte.
struct BSONDocument: Hashable, Sendable {
    /// The largest that a server stores is 16 MiB; its own (oplog entries) may be 16 KiB more.
    static let largest = (16 << 20) + (16 << 10)
    /// The length and the closing zero.
    static let smallest = 5

    let bytes: [UInt8]

    /// Throws where the bytes are no document, looking at the outermost level only.
    init(_ bytes: [UInt8]) throws(BSONError) {
        self.bytes = bytes
        _ = try elements()
    }

    fileprivate init(trusting bytes: [UInt8]) { self.bytes = bytes }

    init(_ elements: [(String, BSON)]) {
        var body: [UInt8] = []
        for (name, value) in elements { value.write(name, to: &body) }
        var bytes: [UInt8] = []
        bytes.append(little: Int32(truncatingIfNeeded: body.count + Self.smallest))
        bytes += body
        bytes.append(0)
        self.bytes = bytes
    }

    /// In their order. Throws where one reaches past the end or has a type that does not exist.
    func elements() throws(BSONError) -> [BSONElement] {
        var reader = BSONReader(bytes: bytes[...])
        return try reader.document()
    }

    /// The first element of this name; `nil` where there is none, or the document is damaged.
    subscript(name: String) -> BSON? {
        var reader = BSONReader(bytes: bytes[...])
        do {
            return try reader.document().first { $0.name == name }?.value
        } catch {
            return nil
        }
    }

    /// Along names of nested documents: `cursor.firstBatch`.
    func value(at path: String...) -> BSON? {
        var value: BSON = .document(self)
        for name in path {
            guard let next = value.document?[name] else { return nil }
            value = next
        }
        return value
    }
}

extension BSONDocument: ExpressibleByDictionaryLiteral {
    init(dictionaryLiteral elements: (String, BSON)...) { self.init(elements) }
}

struct BSONElement: Hashable, Sendable {
    var name: String
    var type: UInt8
    /// The value without type and name.
    var bytes: ArraySlice<UInt8>

    var value: BSON { BSON(type: type, bytes: bytes) }
}

/// Bytes that are no document, or a value that is cut short.
struct BSONError: Error, CustomStringConvertible {
    var problem: String
    var description: String { problem }
}

/// A value. Types that this program has no use for keep their bytes.
enum BSON: Hashable, Sendable {
    case double(Double)
    case string(String)
    case document(BSONDocument)
    /// Its elements' names are numbers.
    case array(BSONDocument)
    case objectID([UInt8])
    case bool(Bool)
    /// Milliseconds since 1970.
    case date(Int64)
    case null
    case int32(Int32)
    /// Seconds since 1970 in the upper half, a counter in the lower.
    case timestamp(UInt64)
    case int64(Int64)
    case other(type: UInt8, bytes: [UInt8])

    static func array(of values: [BSON]) -> BSON {
        .array(BSONDocument(values.enumerated().map { (String($0.offset), $0.element) }))
    }

    init(type: UInt8, bytes: ArraySlice<UInt8>) {
        switch type {
        case 0x01: self = .double(Double(bitPattern: bytes.little(UInt64.self)))
        case 0x02: self = .string(String(decoding: bytes.dropFirst(4).dropLast(), as: UTF8.self))
        case 0x03: self = .document(BSONDocument(trusting: Array(bytes)))
        case 0x04: self = .array(BSONDocument(trusting: Array(bytes)))
        case 0x07: self = .objectID(Array(bytes))
        case 0x08: self = .bool(bytes.first == 1)
        case 0x09: self = .date(bytes.little(Int64.self))
        case 0x0A: self = .null
        case 0x10: self = .int32(bytes.little(Int32.self))
        case 0x11: self = .timestamp(bytes.little(UInt64.self))
        case 0x12: self = .int64(bytes.little(Int64.self))
        default: self = .other(type: type, bytes: Array(bytes))
        }
    }

    var document: BSONDocument? {
        switch self {
        case .document(let document), .array(let document): document
        default: nil
        }
    }

    var documents: [BSONDocument] { values.compactMap(\.document) }

    /// Of an array; none where it is damaged.
    var values: [BSON] {
        guard case .array(let document) = self else { return [] }
        do {
            return try document.elements().map(\.value)
        } catch {
            return []
        }
    }

    var string: String? { if case .string(let text) = self { text } else { nil } }

    /// Whole numbers of every type, as the server may choose any.
    var integer: Int64? {
        switch self {
        case .int32(let number): Int64(number)
        case .int64(let number): number
        case .double(let number): Int64(exactly: number.rounded())
        default: nil
        }
    }

    var bool: Bool {
        switch self {
        case .bool(let value): value
        default: (integer ?? 0) != 0
        }
    }

    fileprivate func write(_ name: String, to output: inout [UInt8]) {
        let start = output.count
        output.append(0)
        output += name.utf8
        output.append(0)
        output[start] = writeValue(to: &output)
    }

    /// Returns the type.
    private func writeValue(to output: inout [UInt8]) -> UInt8 {
        switch self {
        case .double(let number):
            output.append(little: number.bitPattern)
            return 0x01
        case .string(let text):
            output.append(little: Int32(truncatingIfNeeded: text.utf8.count + 1))
            output += text.utf8
            output.append(0)
            return 0x02
        case .document(let document):
            output += document.bytes
            return 0x03
        case .array(let document):
            output += document.bytes
            return 0x04
        case .objectID(let bytes):
            output += bytes
            return 0x07
        case .bool(let value):
            output.append(value ? 1 : 0)
            return 0x08
        case .date(let milliseconds):
            output.append(little: milliseconds)
            return 0x09
        case .null: return 0x0A
        case .int32(let number):
            output.append(little: number)
            return 0x10
        case .timestamp(let value):
            output.append(little: value)
            return 0x11
        case .int64(let number):
            output.append(little: number)
            return 0x12
        case .other(let type, let bytes):
            output += bytes
            return type
        }
    }
}

extension BSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral {
    init(stringLiteral value: String) { self = .string(value) }
    init(integerLiteral value: Int32) { self = .int32(value) }
    init(booleanLiteral value: Bool) { self = .bool(value) }
}

private struct BSONReader {
    let bytes: ArraySlice<UInt8>

    mutating func document() throws(BSONError) -> [BSONElement] {
        guard bytes.count >= BSONDocument.smallest, bytes.last == 0,
            Int(bytes.little(Int32.self)) == bytes.count
        else { throw BSONError(problem: "a document's length is not its own") }
        var elements: [BSONElement] = []
        var offset = bytes.startIndex + 4
        let end = bytes.endIndex - 1
        while offset < end {
            let type = bytes[offset]
            offset += 1
            let name = try text(from: &offset, before: end)
            let size = try size(of: type, at: offset, before: end)
            elements.append(BSONElement(name: name, type: type, bytes: bytes[offset..<offset + size]))
            offset += size
        }
        return elements
    }

    private func text(from offset: inout Int, before end: Int) throws(BSONError) -> String {
        guard let zero = bytes[offset..<end].firstIndex(of: 0) else {
            throw BSONError(problem: "a name without its end")
        }
        defer { offset = zero + 1 }
        return String(decoding: bytes[offset..<zero], as: UTF8.self)
    }

    private func size(of type: UInt8, at offset: Int, before end: Int) throws(BSONError) -> Int {
        let room = end - offset
        let size: Int
        switch type {
        case 0x06, 0x0A, 0x7F, 0xFF: size = 0
        case 0x08: size = 1
        case 0x10: size = 4
        case 0x01, 0x09, 0x11, 0x12: size = 8
        case 0x07: size = 12
        case 0x13: size = 16
        case 0x02, 0x0D, 0x0E: size = try prefixed(at: offset, room: room, adding: 4)
        case 0x03, 0x04, 0x0F: size = try prefixed(at: offset, room: room, adding: 0)
        case 0x05: size = try prefixed(at: offset, room: room, adding: 5)
        case 0x0C: size = try prefixed(at: offset, room: room, adding: 16)
        case 0x0B:
            var after = offset
            _ = try text(from: &after, before: end)
            _ = try text(from: &after, before: end)
            size = after - offset
        default: throw BSONError(problem: "a type that does not exist")
        }
        guard size <= room else { throw BSONError(problem: "a value reaches past its document's end") }
        return size
    }

    private func prefixed(at offset: Int, room: Int, adding: Int) throws(BSONError) -> Int {
        guard room >= 4 else { throw BSONError(problem: "a value without its length") }
        let length = Int(bytes[offset...].little(Int32.self))
        let smallest = adding == 0 ? BSONDocument.smallest : adding == 5 ? 0 : 1
        guard length >= smallest else { throw BSONError(problem: "a value's length is impossible") }
        return length + adding
    }
}

extension ArraySlice<UInt8> {
    /// The number that the first bytes are, least significant first. There have to be as many.
    func little<Number: FixedWidthInteger>(_: Number.Type) -> Number {
        withUnsafeBytes { Number(littleEndian: $0.loadUnaligned(as: Number.self)) }
    }
}

extension [UInt8] {
    mutating func append(little number: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: number.littleEndian) { append(contentsOf: $0) }
    }
}
