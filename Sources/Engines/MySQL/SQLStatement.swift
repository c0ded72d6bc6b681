import Core

/// A statement of a dump, taken apart. What the server runs only under a condition (`/*!50003 … */`) counts as if it
/// stood there plainly, because it does run.
struct SQLStatement {
    enum TokenKind { case word, name, text, number, symbol }

    struct Token {
        var kind: TokenKind
        var range: Range<Int>
        /// Parentheses around it.
        var depth: Int
    }

    /// Without delimiter and the white space before it.
    let bytes: [UInt8]
    let delimiter: [UInt8]
    let tokens: [Token]
    /// All of it stands in a conditional comment: what the dump does for views, never for tables.
    let isConditional: Bool

    init(_ text: [UInt8], delimiter: [UInt8], plainBackslashes: Bool) {
        var end = text.count
        while end > 0, Self.isSpace(text[end - 1]) { end -= 1 }
        bytes = Array(text[..<end])
        self.delimiter = delimiter
        isConditional = bytes.starts(with: "/*!".utf8) || bytes.starts(with: "/*M!".utf8)
        var scanner = Scanner(bytes: bytes, plainBackslashes: plainBackslashes)
        scanner.run()
        tokens = scanner.tokens
    }

    var count: Int { tokens.count }

    /// Whether token `index` is this word, in any case.
    func isWord(_ index: Int, _ word: StaticString) -> Bool {
        guard tokens.indices.contains(index), tokens[index].kind == .word else { return false }
        let range = tokens[index].range
        return word.withUTF8Buffer { wanted in
            range.count == wanted.count && zip(bytes[range], wanted).allSatisfy { Self.upper($0) == Self.upper($1) }
        }
    }

    func begins(_ words: StaticString...) -> Bool {
        words.enumerated().allSatisfy { isWord($0.offset, $0.element) }
    }

    func isSymbol(_ index: Int, _ symbol: Character) -> Bool {
        guard tokens.indices.contains(index), tokens[index].kind == .symbol else { return false }
        return bytes[tokens[index].range].elementsEqual(String(symbol).utf8)
    }

    /// The name at `index`, quoted or not; `nil` where there is none.
    func name(_ index: Int) -> String? {
        guard tokens.indices.contains(index) else { return nil }
        let token = tokens[index]
        switch token.kind {
        case .word: return String(decoding: bytes[token.range], as: UTF8.self)
        case .name: return unquoted(token.range)
        // Under ANSI_QUOTES names stand in double quotes.
        case .text where bytes[token.range.lowerBound] == UInt8(ascii: "\""): return unquoted(token.range)
        default: return nil
        }
    }

    /// Without the quotes around it, and those inside it once.
    private func unquoted(_ range: Range<Int>) -> String {
        let quote = bytes[range.lowerBound]
        var result: [UInt8] = []
        var skips = false
        for byte in bytes[range].dropFirst().dropLast() {
            if byte == quote, !skips {
                skips = true
                continue
            }
            skips = false
            result.append(byte)
        }
        return String(decoding: result, as: UTF8.self)
    }

    func text(_ index: Int) -> String {
        tokens.indices.contains(index) ? String(decoding: bytes[tokens[index].range], as: UTF8.self) : ""
    }

    /// Where `word` stands outside parentheses, at or after `start`.
    func index(of word: StaticString, from start: Int = 0) -> Int? {
        tokens.indices.first { $0 >= start && tokens[$0].depth == 0 && isWord($0, word) }
    }

    func contains(_ word: StaticString) -> Bool { tokens.indices.contains { isWord($0, word) } }

    /// The text with the given ranges of bytes replaced; they must not overlap.
    func replacing(_ edits: [SQLEdit]) -> [UInt8] {
        var result: [UInt8] = []
        var position = 0
        for edit in edits.sorted(by: { $0.range.lowerBound < $1.range.lowerBound }) {
            result += bytes[position..<edit.range.lowerBound]
            result += edit.replacement
            position = edit.range.upperBound
        }
        return result + bytes[position...]
    }

    static func isSpace(_ byte: UInt8) -> Bool { byte == 32 || (9...13).contains(byte) }

    private static func upper(_ byte: UInt8) -> UInt8 {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) ? byte - 32 : byte
    }
}

struct SQLEdit {
    var range: Range<Int>
    var replacement: [UInt8]
}

/// Finds the tokens of a statement; comments fall away.
private struct Scanner {
    let bytes: [UInt8]
    let plainBackslashes: Bool
    var tokens: [SQLStatement.Token] = []
    private var index = 0
    private var depth = 0

    init(bytes: [UInt8], plainBackslashes: Bool) {
        self.bytes = bytes
        self.plainBackslashes = plainBackslashes
    }

    mutating func run() {
        while index < bytes.count {
            let byte = bytes[index]
            if SQLStatement.isSpace(byte) {
                index += 1
            } else if at("/*") {
                skipCommentMark()
            } else if at("*/") {
                index += 2
            } else if byte == UInt8(ascii: "#") || (at("--") && (index + 2 == bytes.count || isSpace(index + 2))) {
                while index < bytes.count, bytes[index] != UInt8(ascii: "\n") { index += 1 }
            } else {
                takeToken(byte)
            }
        }
    }

    private func at(_ text: String) -> Bool { bytes[index...].starts(with: text.utf8) }
    private func isSpace(_ index: Int) -> Bool { SQLStatement.isSpace(bytes[index]) }

    private mutating func skipCommentMark() {
        if at("/*!") || at("/*M!") {
            index += at("/*!") ? 3 : 4
            while index < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[index]) { index += 1 }
            return
        }
        index += 2
        while index < bytes.count, !at("*/") { index += 1 }
        index = min(index + 2, bytes.count)
    }

    private mutating func takeToken(_ byte: UInt8) {
        let start = index
        let kind: SQLStatement.TokenKind
        switch byte {
        case UInt8(ascii: "'"), UInt8(ascii: "\""):
            skipQuoted(byte, backslashes: !plainBackslashes)
            kind = .text
        case UInt8(ascii: "`"):
            skipQuoted(byte, backslashes: false)
            kind = .name
        case UInt8(ascii: "0")...UInt8(ascii: "9"):
            skipWord()
            kind = .number
        case _ where Self.isWordByte(byte):
            skipWord()
            kind = .word
        default:
            index += 1
            kind = .symbol
        }
        if byte == UInt8(ascii: ")") { depth = max(0, depth - 1) }
        tokens.append(SQLStatement.Token(kind: kind, range: start..<index, depth: depth))
        if byte == UInt8(ascii: "(") { depth += 1 }
    }

    private mutating func skipWord() {
        while index < bytes.count, Self.isWordByte(bytes[index]) { index += 1 }
    }

    private static func isWordByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"), UInt8(ascii: "$"), 0x80...:
            true
        default: false
        }
    }

    /// A doubled quote is part of what is quoted.
    private mutating func skipQuoted(_ quote: UInt8, backslashes: Bool) {
        index += 1
        while index < bytes.count {
            let byte = bytes[index]
            index += 1
            if byte == UInt8(ascii: "\\"), backslashes {
                index = min(index + 1, bytes.count)
            } else if byte == quote {
                guard index < bytes.count, bytes[index] == quote else { return }
                index += 1
            }
        }
    }
}
