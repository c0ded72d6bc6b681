/// A piece of a statement: a word, a quoted name, a string, or a single other character.
struct DumpToken {
    enum Kind { case word, name, string, symbol }

    var kind: Kind
    var range: Range<Int>
    /// How many parentheses it stands in; a parenthesis itself counts with what is around it.
    var depth: Int
}

/// A statement whose pieces have been told apart. Its text is the lexer's: single spaces, no comments.
struct DumpStatement {
    let text: [UInt8]
    let tokens: [DumpToken]

    init(_ text: [UInt8], standardStrings: Bool) {
        self.text = text
        var splitter = DumpTokenSplitter(text: text, standardStrings: standardStrings)
        tokens = splitter.split()
    }

    var count: Int { tokens.count }

    func bytes(_ index: Int) -> ArraySlice<UInt8> {
        tokens.indices.contains(index) ? text[tokens[index].range] : []
    }

    /// Keywords are upper-case in a dump, and names that look like them are quoted.
    func isWord(_ index: Int, _ word: StaticString) -> Bool {
        tokens.indices.contains(index) && tokens[index].kind == .word && equals(index, word)
    }

    func isSymbol(_ index: Int, _ symbol: StaticString) -> Bool {
        tokens.indices.contains(index) && tokens[index].kind == .symbol && equals(index, symbol)
    }

    private func equals(_ index: Int, _ expected: StaticString) -> Bool {
        let range = tokens[index].range
        guard range.count == expected.utf8CodeUnitCount else { return false }
        return expected.withUTF8Buffer { wanted in
            text.withUnsafeBufferPointer { $0[range].elementsEqual(wanted) }
        }
    }

    /// Whether the statement begins with these words.
    func begins(_ words: StaticString...) -> Bool {
        words.indices.allSatisfy { isWord($0, words[$0]) }
    }

    /// Where these words stand side by side outside parentheses.
    func index(of words: StaticString..., from start: Int = 0) -> Int? {
        (start..<max(start, count)).first { index in
            tokens[index].depth == 0 && words.indices.allSatisfy { isWord(index + $0, words[$0]) }
        }
    }

    /// The index after the parenthesis that closes the one at `index`.
    func afterGroup(_ index: Int) -> Int {
        guard isSymbol(index, "(") else { return index }
        let depth = tokens[index].depth
        let close = ((index + 1)..<max(index + 1, count)).first { tokens[$0].depth <= depth }
        return close.map { $0 + 1 } ?? count
    }

    /// The name at `index`, without its quotes; `nil` where none stands there.
    func name(_ index: Int) -> String? {
        guard tokens.indices.contains(index) else { return nil }
        switch tokens[index].kind {
        case .word: return String(decoding: bytes(index), as: UTF8.self)
        case .name: return Self.unquoted(bytes(index), quote: UInt8(ascii: "\""))
        case .string, .symbol: return nil
        }
    }

    /// What the string at `index` says, where it is one without an `E`.
    func string(_ index: Int) -> String? {
        guard tokens.indices.contains(index), tokens[index].kind == .string,
            bytes(index).first == UInt8(ascii: "'")
        else { return nil }
        return Self.unquoted(bytes(index), quote: UInt8(ascii: "'"))
    }

    /// `schema.name` or `name` at `index`, and the index after it.
    func qualifiedName(_ index: Int) -> (schema: String, name: String, next: Int)? {
        guard let first = name(index) else { return nil }
        guard isSymbol(index + 1, "."), let second = name(index + 2) else { return ("", first, index + 1) }
        return (first, second, index + 3)
    }

    private static func unquoted(_ bytes: ArraySlice<UInt8>, quote: UInt8) -> String? {
        guard bytes.count >= 2, bytes.first == quote, bytes.last == quote else { return nil }
        var plain: [UInt8] = []
        var isDoubled = false
        for byte in bytes.dropFirst().dropLast() {
            if byte == quote, !isDoubled {
                isDoubled = true
                continue
            }
            isDoubled = false
            plain.append(byte)
        }
        return String(decoding: plain, as: UTF8.self)
    }
}

/// Tells the pieces of a statement apart. The lexer has seen its quotes close, so nothing here runs past the end.
private struct DumpTokenSplitter {
    let text: [UInt8]
    let standardStrings: Bool
    private var offset = 0
    private var depth = 0
    private var tokens: [DumpToken] = []

    init(text: [UInt8], standardStrings: Bool) {
        self.text = text
        self.standardStrings = standardStrings
    }

    mutating func split() -> [DumpToken] {
        tokens.reserveCapacity(text.count / 5)
        while offset < text.count {
            let start = offset
            let byte = text[offset]
            switch byte {
            case UInt8(ascii: " "):
                offset += 1
            case UInt8(ascii: "'"):
                skipString(escapes: !standardStrings)
                add(.string, from: start)
            case UInt8(ascii: "\""):
                skipName()
                add(.name, from: start)
            case UInt8(ascii: "$"):
                skipDollars(start)
            default:
                DumpWord.isPart(byte) ? readWord(start) : readSymbol(byte, start)
            }
        }
        return tokens
    }

    private mutating func add(_ kind: DumpToken.Kind, from start: Int) {
        tokens.append(DumpToken(kind: kind, range: start..<offset, depth: depth))
    }

    private mutating func readSymbol(_ byte: UInt8, _ start: Int) {
        offset += 1
        if byte == UInt8(ascii: ")"), depth > 0 { depth -= 1 }
        add(.symbol, from: start)
        if byte == UInt8(ascii: "(") { depth += 1 }
    }

    private mutating func readWord(_ start: Int) {
        while offset < text.count, DumpWord.isPart(text[offset]) { offset += 1 }
        if offset - start == 1, offset < text.count, text[offset] == UInt8(ascii: "'") {
            let letter = text[start] | 0x20
            if "ebxn".utf8.contains(letter) {
                skipString(
                    escapes: letter == UInt8(ascii: "e") || (letter == UInt8(ascii: "n") && !standardStrings))
                add(.string, from: start)
                return
            }
        }
        add(.word, from: start)
    }

    private mutating func skipString(escapes: Bool) {
        offset += 1
        while offset < text.count {
            let byte = text[offset]
            offset += 1
            if escapes, byte == UInt8(ascii: "\\") {
                offset = min(offset + 1, text.count)
            } else if byte == UInt8(ascii: "'") {
                guard offset < text.count, text[offset] == byte else { return }
                offset += 1
            }
        }
    }

    private mutating func skipName() {
        offset += 1
        while offset < text.count {
            offset += 1
            guard text[offset - 1] == UInt8(ascii: "\"") else { continue }
            guard offset < text.count, text[offset] == UInt8(ascii: "\"") else { return }
            offset += 1
        }
    }

    private mutating func skipDollars(_ start: Int) {
        var end = start + 1
        while end < text.count, DumpWord.isPart(text[end]), text[end] != UInt8(ascii: "$") { end += 1 }
        let isQuote =
            end < text.count && text[end] == UInt8(ascii: "$")
            && !(end > start + 1 && DumpWord.isDigit(text[start + 1]))
        guard isQuote else {
            offset += 1
            add(.symbol, from: start)
            return
        }
        let delimiter = text[start...end]
        offset = end + 1
        while offset < text.count {
            if text[offset] == UInt8(ascii: "$"), text[offset...].starts(with: delimiter) {
                offset += delimiter.count
                break
            }
            offset += 1
        }
        add(.string, from: start)
    }
}
