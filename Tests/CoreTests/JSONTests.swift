import Core
import TestSupport
import Testing

@Suite("JSON, strict and canonical")
struct JSONTests {
    /// Shows the sorting example of RFC 8785, section 3.2.3: members stand in the order of their UTF-16 code units,
    /// which is not that of their scalars.
    @Test func membersAreSortedByUTF16() throws {
        let json = JSON.object([
            "\u{20ac}": .string("Euro Sign"), "\r": .string("Carriage Return"),
            "\u{fb33}": .string("Hebrew Letter Dalet With Dagesh"), "1": .string("One"),
            "\u{1f600}": .string("Emoji: Grinning Face"), "\u{80}": .string("Control"),
            "\u{f6}": .string("Latin Small Letter O With Diaeresis"),
        ])
        let expected =
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\","
            + "\"\u{f6}\":\"Latin Small Letter O With Diaeresis\",\"\u{20ac}\":\"Euro Sign\","
            + "\"\u{1f600}\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
        #expect(Array(json.canonicalText.utf8) == Array(expected.utf8))
    }

    /// Shows the escapes of RFC 8785, section 3.2.2.2: short ones where there are, \u00xx in small letters for the
    /// other control characters, and nothing else escaped.
    @Test func stringsAreEscapedAsLittleAsPossible() throws {
        let text = "\u{20ac}$\u{0f}\n'A'\u{42}\"\\/\u{8}\t\u{c}\r\u{1f}\u{7f}é😀"
        #expect(
            JSON.string(text).canonicalText
                == "\"\u{20ac}$\\u000f\\n'A'B\\\"\\\\/\\b\\t\\f\\r\\u001f\u{7f}é😀\"")
    }

    /// Shows that what is written is read back as it was, and written again byte for byte, over random values.
    @Test(arguments: 1...UInt64(20))
    func roundTrip(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        for _ in 0..<50 {
            let json = Self.value(&random, depth: 0)
            let read = try JSON(parsing: json.canonicalBytes)
            #expect(read == json)
            #expect(read.canonicalBytes == json.canonicalBytes)
        }
    }

    private static func value(_ random: inout SeededRandom, depth: Int) -> JSON {
        switch Int.random(in: 0..<(depth < 4 ? 6 : 4), using: &random) {
        case 0: return .null
        case 1: return .bool(Bool.random(using: &random))
        case 2: return .integer(Int64.random(in: -JSON.largestInteger...JSON.largestInteger, using: &random))
        case 3: return .string(text(&random))
        case 4:
            return .array((0..<Int.random(in: 0..<4, using: &random)).map { _ in value(&random, depth: depth + 1) })
        default:
            var members: [String: JSON] = [:]
            for _ in 0..<Int.random(in: 0..<4, using: &random) {
                members[text(&random)] = value(&random, depth: depth + 1)
            }
            return .object(members)
        }
    }

    private static func text(_ random: inout SeededRandom) -> String {
        var text = ""
        for _ in 0..<Int.random(in: 0..<8, using: &random) {
            let value = UInt32.random(in: 0...0x10FFFF, using: &random) >> UInt32.random(in: 0..<20, using: &random)
            if let scalar = Unicode.Scalar(value) {
                text.unicodeScalars.append(scalar)
            }
        }
        return text
    }

    /// Shows what other readers let pass and this one does not.
    @Test(arguments: [
        "", " ", "nul", "truee", "01", "-", "-01", "+1", "1.0", "1e3", "9007199254740993", "-9007199254740993",
        "99999999999999999999", "\"", "\"\u{1}\"", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"",
        "\"\\udc00\"", "\"\\ud800\\u0041\"", "[1,]", "[1 2]", "[", "{\"a\"}", "{\"a\":1,}", "{a:1}", "{'a':1}",
        "{\"a\":1,\"a\":1}", "{\"a\":1,\"\\u0061\":2}", "1 2", "{}x", "/**/1", "NaN", "\u{feff}1",
    ])
    func refused(text: String) {
        #expect(throws: JSONError.self) { try JSON(parsing: text.utf8) }
    }

    /// Shows that invalid UTF-8 and nesting past 64 are refused, and 64 is not.
    @Test func bounds() throws {
        for bytes: [UInt8] in [[0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x82]] {
            #expect(throws: JSONError.self) { try JSON(parsing: [0x22] + bytes + [0x22]) }
        }
        let nested = { (depth: Int) in
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        _ = try JSON(parsing: nested(64).utf8)
        #expect(throws: JSONError.self) { try JSON(parsing: nested(66).utf8) }
        #expect(throws: JSONError.self) { try JSON(parsing: nested(100_000).utf8) }
    }

    /// Shows that escapes are read as what they stand for.
    @Test func escapes() throws {
        #expect(
            try JSON(parsing: #" "\u0041\ud83d\ude00\/\b\f\n\r\t\"\\" "#.utf8)
                == .string("A😀/\u{8}\u{c}\n\r\t\"\\"))
    }

    /// Shows that integers past 2^53 are strings, and come back whole.
    @Test(arguments: [
        0, 1, -1, JSON.largestInteger, -JSON.largestInteger, JSON.largestInteger + 1, Int64.max, Int64.min,
    ])
    func exactIntegers(value: Int64) throws {
        let json = JSON.object(["n": .exact(value)])
        var fields = try JSONFields(try JSON(parsing: json.canonicalBytes), path: "")
        #expect(try fields.integer("n") == value)
    }

    /// Shows that a number as a string is only read where it had to be one, so that no value has two forms.
    @Test(arguments: ["1", "9007199254740992", "09007199254740993", "+9007199254740993", "x", ""])
    func needlessStrings(text: String) throws {
        var fields = try JSONFields(.object(["n": .string(text)]), path: "")
        #expect(throws: JSONFieldError.self) { try fields.integer("n") }
    }

    /// Shows that what nothing asked for is an error that names it with its path.
    @Test func leftOvers() throws {
        var fields = try JSONFields(.object(["a": .integer(1), "z": .null]), path: "parts[2]")
        _ = try fields.integer("a")
        let error = #expect(throws: JSONFieldError.self) { try fields.finish() }
        #expect(error?.field == "parts[2].z")
    }
}
