/// A JSON value as this project writes and reads them: integers only, no key twice.
package enum JSON: Hashable, Sendable {
    case null
    case bool(Bool)
    /// Only integers up to 2^53 either way (larger ones are written as strings): all that RFC 8785 can write
    /// without knowing how a double is printed, and all that a manifest needs.
    case integer(Int64)
    case string(String)
    case array([JSON])
    case object([String: JSON])

    package static let largestInteger: Int64 = 1 << 53

    /// An integer of any size: as a number where that is exact in every reader, else as a string.
    package static func exact(_ value: Int64) -> JSON {
        value.magnitude <= UInt64(largestInteger) ? .integer(value) : .string(String(value))
    }

    /// The value without the members that are `nil`.
    package static func object(present members: [String: JSON?]) -> JSON {
        .object(members.compactMapValues { $0 })
    }
}

// MARK: Writing

extension JSON {
    /// Canonical form (RFC 8785): members sorted by their UTF-16 code units, no white space.
    package var canonicalBytes: [UInt8] {
        var output: [UInt8] = []
        write(to: &output)
        return output
    }

    package var canonicalText: String { String(decoding: canonicalBytes, as: UTF8.self) }

    private func write(to output: inout [UInt8]) {
        switch self {
        case .null: output += "null".utf8
        case .bool(let value): output += (value ? "true" : "false").utf8
        case .integer(let value): output += String(value).utf8
        case .string(let value): Self.write(value, to: &output)
        case .array(let elements):
            output.append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                if index > 0 { output.append(UInt8(ascii: ",")) }
                element.write(to: &output)
            }
            output.append(UInt8(ascii: "]"))
        case .object(let members):
            output.append(UInt8(ascii: "{"))
            let sorted = members.sorted { $0.key.utf16.lexicographicallyPrecedes($1.key.utf16) }
            for (index, member) in sorted.enumerated() {
                if index > 0 { output.append(UInt8(ascii: ",")) }
                Self.write(member.key, to: &output)
                output.append(UInt8(ascii: ":"))
                member.value.write(to: &output)
            }
            output.append(UInt8(ascii: "}"))
        }
    }

    private static func write(_ text: String, to output: inout [UInt8]) {
        output.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""): output += "\\\"".utf8
            case UInt8(ascii: "\\"): output += "\\\\".utf8
            case 0x08: output += "\\b".utf8
            case 0x09: output += "\\t".utf8
            case 0x0A: output += "\\n".utf8
            case 0x0C: output += "\\f".utf8
            case 0x0D: output += "\\r".utf8
            case 0..<0x20: output += ("\\u00" + hexText([byte])).utf8
            default: output.append(byte)
            }
        }
        output.append(UInt8(ascii: "\""))
    }
}

// MARK: Reading

/// Text that is not JSON as this project reads it. The message names the place and never the content.
package struct JSONError: Error, Equatable, CustomStringConvertible {
    package var offset: Int
    package var problem: String

    package var description: String { "\(problem) at byte \(offset)" }
}

extension JSON {
    /// Reads one value and nothing after it but white space. Refuses what other readers let pass: a key twice in an
    /// object, numbers that are no integers, invalid UTF-8, lone surrogates, nesting deeper than 64.
    package init(parsing bytes: some Sequence<UInt8>) throws(JSONError) {
        var reader = JSONReader(bytes: Array(bytes))
        self = try reader.document()
    }
}

private struct JSONReader {
    let bytes: [UInt8]
    var offset = 0
    static let deepest = 64

    init(bytes: [UInt8]) { self.bytes = bytes }

    var peek: UInt8? { offset < bytes.count ? bytes[offset] : nil }

    func fail(_ problem: String) -> JSONError { JSONError(offset: offset, problem: problem) }

    mutating func document() throws(JSONError) -> JSON {
        let value = try value(depth: 0)
        skipSpace()
        guard peek == nil else { throw fail("something follows the value") }
        return value
    }

    mutating func skipSpace() {
        while let byte = peek, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { offset += 1 }
    }

    mutating func expect(_ text: String) throws(JSONError) {
        guard bytes[offset...].starts(with: text.utf8) else { throw fail("expected '\(text)'") }
        offset += text.utf8.count
    }

    mutating func value(depth: Int) throws(JSONError) -> JSON {
        guard depth <= Self.deepest else { throw fail("nested deeper than \(Self.deepest)") }
        skipSpace()
        switch peek {
        case nil: throw fail("the text ends where a value should stand")
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"):
            try expect("true")
            return .bool(true)
        case UInt8(ascii: "f"):
            try expect("false")
            return .bool(false)
        case UInt8(ascii: "n"):
            try expect("null")
            return .null
        case let byte? where byte == UInt8(ascii: "-") || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte):
            return try integer()
        default: throw fail("no JSON value begins like this")
        }
    }

    mutating func object(depth: Int) throws(JSONError) -> JSON {
        offset += 1
        var members: [String: JSON] = [:]
        skipSpace()
        if peek == UInt8(ascii: "}") {
            offset += 1
            return .object(members)
        }
        while true {
            skipSpace()
            guard peek == UInt8(ascii: "\"") else { throw fail("expected a member's name in quotes") }
            let start = offset
            let name = try string()
            skipSpace()
            try expect(":")
            let value = try value(depth: depth + 1)
            guard members.updateValue(value, forKey: name) == nil else {
                throw JSONError(offset: start, problem: "the member stands twice")
            }
            skipSpace()
            switch peek {
            case UInt8(ascii: ","): offset += 1
            case UInt8(ascii: "}"):
                offset += 1
                return .object(members)
            default: throw fail("expected ',' or '}'")
            }
        }
    }

    mutating func array(depth: Int) throws(JSONError) -> JSON {
        offset += 1
        var elements: [JSON] = []
        skipSpace()
        if peek == UInt8(ascii: "]") {
            offset += 1
            return .array(elements)
        }
        while true {
            elements.append(try value(depth: depth + 1))
            skipSpace()
            switch peek {
            case UInt8(ascii: ","): offset += 1
            case UInt8(ascii: "]"):
                offset += 1
                return .array(elements)
            default: throw fail("expected ',' or ']'")
            }
        }
    }

    mutating func integer() throws(JSONError) -> JSON {
        let start = offset
        if peek == UInt8(ascii: "-") { offset += 1 }
        let digits = offset
        while let byte = peek, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { offset += 1 }
        guard offset > digits, offset - digits == 1 || bytes[digits] != UInt8(ascii: "0") else {
            throw JSONError(offset: start, problem: "not a number")
        }
        if let byte = peek, byte == UInt8(ascii: ".") || byte | 0x20 == UInt8(ascii: "e") {
            throw JSONError(offset: start, problem: "only whole numbers are read here")
        }
        guard let value = Int64(String(decoding: bytes[start..<offset], as: UTF8.self)),
            value.magnitude <= UInt64(JSON.largestInteger)
        else { throw JSONError(offset: start, problem: "a number past 2^53 has to be a string") }
        return .integer(value)
    }

    mutating func string() throws(JSONError) -> String {
        let start = offset
        offset += 1
        var content: [UInt8] = []
        while true {
            guard let byte = peek else { throw JSONError(offset: start, problem: "a string without its end") }
            offset += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let text = String(validating: content, as: UTF8.self) else {
                    throw JSONError(offset: start, problem: "a string that is not UTF-8")
                }
                return text
            case UInt8(ascii: "\\"): content += try escape()
            case 0..<0x20: throw fail("a control character inside a string")
            default: content.append(byte)
            }
        }
    }

    mutating func escape() throws(JSONError) -> [UInt8] {
        guard let byte = peek else { throw fail("a string without its end") }
        offset += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0C]
        case UInt8(ascii: "n"): return [0x0A]
        case UInt8(ascii: "r"): return [0x0D]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "u"):
            var unit = UInt32(try hexUnit())
            if (0xD800..<0xDC00).contains(unit) {
                try expect("\\u")
                let low = UInt32(try hexUnit())
                guard (0xDC00..<0xE000).contains(low) else { throw fail("half a surrogate pair") }
                unit = 0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(unit) else { throw fail("half a surrogate pair") }
            return Array(String(Character(scalar)).utf8)
        default: throw fail("no such escape")
        }
    }

    mutating func hexUnit() throws(JSONError) -> UInt16 {
        guard offset + 4 <= bytes.count,
            let pair = Core.bytes(hexText: String(decoding: bytes[offset..<offset + 4], as: UTF8.self))
        else { throw fail("expected four hexadecimal digits") }
        offset += 4
        return UInt16(pair[0]) << 8 | UInt16(pair[1])
    }
}
