import Core

/// Cuts a dump into statements as the client does: by its delimiter, outside quotes and comments.
///
/// The text of a statement is kept up to ``longest``; rows of an INSERT are not the lexer's, see ``InsertedRows``.
struct SQLLexer {
    enum Event: Equatable {
        /// A line of comment, without its break.
        case comment
        /// The line `DELIMITER …`.
        case delimiter
        /// A statement, without its delimiter.
        case statement
        /// An INSERT up to and with the word VALUES: rows follow.
        case insert
    }

    /// The lexer's own refusals, told apart because the one is an attack.
    enum Refusal: Error {
        case command
        case malformed(String)
    }

    private enum State: Equatable {
        case between, statement
        case lineComment, delimiterLine
        case text(UInt8), afterBackslash(UInt8)
        /// After `/*` within a statement; how many bytes of a mark that makes it conditional have come.
        case commentMark(Int)
        case blockComment, blockCommentStar, commentLine
        case plainBackslash
    }

    /// Bytes of a statement at most: far more than any view or routine.
    static let longest = 16 << 20

    private var state = State.between
    /// What has come of the present statement, comment or command.
    private(set) var text: [UInt8] = []
    private(set) var delimiter: [UInt8] = [UInt8(ascii: ";")]
    /// The sessions's mode has NO_BACKSLASH_ESCAPES.
    var plainBackslashes = false
    private var isFirst = true

    /// Between statements, where a dump may end.
    var isBetween: Bool { state == .between }

    /// What newer dumps begin with, so that a client that knows it shuts its commands off.
    private static let sandbox = Array("/*M!999999\\- enable the sandbox mode */".utf8)

    /// Reads on from `offset` to the next event, or to the end.
    mutating func next(_ bytes: UnsafeRawBufferPointer, _ offset: inout Int) throws(Refusal) -> Event? {
        while offset < bytes.count {
            let byte = bytes[offset]
            offset += 1
            guard byte != 0 else { throw .malformed("it contains a byte of zero") }
            if let event = try take(byte) { return event }
        }
        return nil
    }

    /// After an event was used.
    mutating func reset() {
        text.removeAll(keepingCapacity: text.capacity < 1 << 20)
        state = .between
    }

    private mutating func take(_ byte: UInt8) throws(Refusal) -> Event? {
        switch state {
        case .between: return try begin(byte)
        case .lineComment, .delimiterLine: return try takeLine(byte)
        case .statement: return try takePlain(byte)
        case .text(let quote):
            append(byte)
            if byte == quote {
                state = .statement
            } else if byte == UInt8(ascii: "\\"), quote != UInt8(ascii: "`"), !plainBackslashes {
                state = .afterBackslash(quote)
            }
        case .afterBackslash(let quote):
            append(byte)
            state = .text(quote)
        case .commentMark, .blockComment, .blockCommentStar, .commentLine: takeComment(byte)
        case .plainBackslash:
            // `\N` is a NULL in a routine's text; anything else is the client's.
            guard byte == UInt8(ascii: "N") else { throw .command }
            append(byte)
            state = .statement
        }
        guard text.count <= Self.longest else { throw .malformed("a statement is longer than any dump's") }
        return nil
    }

    private mutating func append(_ byte: UInt8) { text.append(byte) }

    private mutating func begin(_ byte: UInt8) throws(Refusal) -> Event? {
        switch byte {
        case UInt8(ascii: " "), UInt8(ascii: "\n"), UInt8(ascii: "\t"): return nil
        case UInt8(ascii: "\\"): throw .command
        case UInt8(ascii: "-"): state = .lineComment
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "/"):
            state = .statement
        default: throw .malformed("something stands between statements that no dump has there")
        }
        append(byte)
        return nil
    }

    private mutating func takeLine(_ byte: UInt8) throws(Refusal) -> Event? {
        guard byte == UInt8(ascii: "\n") else {
            append(byte)
            guard text.count <= 1 << 16 else { throw .malformed("a line of comment is longer than any dump's") }
            return nil
        }
        defer { state = .between }
        if state == .delimiterLine {
            let word = text.dropFirst("DELIMITER ".utf8.count)
            guard word.elementsEqual(";".utf8) || word.elementsEqual(";;".utf8) else { throw .command }
            delimiter = Array(word)
            return .delimiter
        }
        guard text.starts(with: "-- ".utf8) || text.elementsEqual("--".utf8) else {
            throw .malformed("a line begins as a comment and is none")
        }
        return .comment
    }

    private mutating func takePlain(_ byte: UInt8) throws(Refusal) -> Event? {
        append(byte)
        switch byte {
        case UInt8(ascii: "'"), UInt8(ascii: "\""), UInt8(ascii: "`"): state = .text(byte)
        case UInt8(ascii: "\\"):
            // The one command that dumps begin with stands in a comment of its own.
            if isFirst, Self.sandbox.starts(with: text) { return nil }
            state = .plainBackslash
        case UInt8(ascii: "#"): state = .commentLine
        case UInt8(ascii: " "), UInt8(ascii: "\t"):
            if text.dropLast().hasSuffix("--") { state = .commentLine }
            if text.count == 10, isWord("DELIMITER ") { state = .delimiterLine }
        case UInt8(ascii: "\n"):
            if isFirst, Self.isSandbox(text) {
                isFirst = false
                reset()
            }
        case UInt8(ascii: "*"): if text.dropLast().hasSuffix("/") { state = .commentMark(0) }
        case UInt8(ascii: "S"):
            if text.starts(with: "INSERT INTO `".utf8), text.hasSuffix(" VALUES") {
                guard delimiter.count == 1 else { throw .malformed("rows stand among routines") }
                isFirst = false
                return .insert
            }
        case UInt8(ascii: ";"):
            if text.hasSuffix(delimiter) {
                text.removeLast(delimiter.count)
                isFirst = false
                return .statement
            }
        default: break
        }
        return nil
    }

    private func isWord(_ word: StaticString) -> Bool {
        word.withUTF8Buffer { wanted in
            text.count == wanted.count && zip(text, wanted).allSatisfy { $0 & 0xDF == $1 & 0xDF }
        }
    }

    private static func isSandbox(_ text: [UInt8]) -> Bool {
        var end = text.count
        while end > 0, text[end - 1] == UInt8(ascii: " ") || text[end - 1] == UInt8(ascii: "\n") { end -= 1 }
        return text[..<end].elementsEqual(sandbox)
    }

    private mutating func takeComment(_ byte: UInt8) {
        append(byte)
        switch state {
        case .commentMark(let count):
            if byte == UInt8(ascii: "!") {
                // Conditional: what is in it is read as it stands.
                state = .statement
            } else if count == 0, byte == UInt8(ascii: "M") {
                state = .commentMark(1)
            } else {
                state = byte == UInt8(ascii: "*") ? .blockCommentStar : .blockComment
            }
        case .blockComment: if byte == UInt8(ascii: "*") { state = .blockCommentStar }
        case .blockCommentStar:
            if byte == UInt8(ascii: "/") {
                state = .statement
            } else if byte != UInt8(ascii: "*") {
                state = .blockComment
            }
        default: if byte == UInt8(ascii: "\n") { state = .statement }
        }
    }
}

extension BidirectionalCollection<UInt8> {
    fileprivate func hasSuffix(_ suffix: String) -> Bool { hasSuffix(Array(suffix.utf8)) }

    fileprivate func hasSuffix(_ suffix: [UInt8]) -> Bool {
        self.suffix(suffix.count).elementsEqual(suffix)
    }
}
