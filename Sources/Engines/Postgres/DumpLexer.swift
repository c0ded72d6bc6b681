import Glibc

/// Splits what stands outside COPY data into statements, comments and psql commands exactly where psql does
/// (`psqlscan.l`, versions 13 to 17), so that nothing is a quoted string here and a command there. Where those
/// versions differ among themselves, and where psql reads something that no dump contains, the text is refused.
///
/// It works byte by byte over any split of the input and keeps at most ``textLimit`` bytes of a statement.
struct DumpLexer {
    enum Event {
        /// A `--` comment that stands alone on its line, outside any statement: ``comment``.
        case comment
        /// A whole statement: ``text``, ``digest()``, ``isLong``.
        case statement
        /// A psql command alone on its line: ``comment`` holds it without the backslash.
        case command
    }

    struct Refusal: Error {
        var isCommand = false
        var reason = ""
    }

    enum State {
        case normal, lineComment, blockComment, string, stringEnd, identifier, dollarTag, dollarBody, command
    }

    /// Of a longer statement only the digest is known, and its first bytes.
    static let textLimit = 4 << 20
    private static let commentLimit = 64 << 10

    /// The statement without comments, white space outside quotes as single spaces, without its semicolon.
    private(set) var text: [UInt8] = []
    private(set) var comment: [UInt8] = []
    private var spilled: DumpHash?
    private var head: [UInt8] = []
    /// As the dump's own `SET standard_conforming_strings` says.
    var standardStrings = true

    private var state = State.normal
    private var isAtLineStart = true
    private var pendingSpace = false
    // A `-`, `/` or `:` whose meaning the next byte decides.
    private var held: UInt8 = 0
    private var heldAtLineStart = false
    private var commentStandsAlone = false
    private var blockDepth = 0
    private var blockPrevious: UInt8 = 0
    private var escapes = false
    private var escapePending = false
    private var closedString = false
    private var delimiter: [UInt8] = []
    private var delimiterMatch = 0
    private var word = DumpWord()
    private var afterUAmpersand = false
    private var colonName: [UInt8]?
    private var blocks = DumpBlocks()

    var isLong: Bool { spilled != nil }
    /// The whole statement, or of a long one its beginning.
    var knownText: [UInt8] { isLong ? head : text }
    /// Nothing has begun that is not finished.
    var isBetweenStatements: Bool { state == .normal && text.isEmpty && !isLong && held == 0 && word.length == 0 }

    /// The digest of ``text``, whole also where the statement is long.
    func digest() -> DumpHash {
        var hash = spilled ?? DumpHash()
        hash.update(text)
        return hash
    }

    /// Forgets the statement after its event.
    mutating func startStatement() {
        text.removeAll(keepingCapacity: true)
        head = []
        spilled = nil
        pendingSpace = false
        closedString = false
        blocks = DumpBlocks()
    }

    /// Goes on after the rows of a COPY, at the beginning of a line.
    mutating func resumeAtLineStart() { isAtLineStart = true }

    /// Reads `bytes` from `offset` to the next event, which is left after it; `nil` where they end first.
    mutating func next(_ bytes: UnsafeRawBufferPointer, _ offset: inout Int) throws(Refusal) -> Event? {
        while offset < bytes.count {
            switch state {
            case .normal:
                if let event = try readNormal(bytes, &offset) { return event }
            case .lineComment, .command:
                if let event = try readLine(bytes, &offset) { return event }
            case .blockComment:
                readBlockComment(bytes[offset])
                offset += 1
            case .string:
                readString(bytes, &offset)
            case .stringEnd:
                try readStringEnd(bytes[offset], &offset)
            case .identifier:
                try readIdentifier(bytes, &offset)
            case .dollarTag:
                try readDollarTag(bytes[offset], &offset)
            case .dollarBody:
                readDollarBody(bytes, &offset)
            }
        }
        return nil
    }
}

// MARK: Outside quotes

extension DumpLexer {
    private mutating func readNormal(
        _ bytes: UnsafeRawBufferPointer, _ offset: inout Int
    ) throws(Refusal) -> Event? {
        let byte = bytes[offset]
        if held != 0, try resolveHeld(byte, &offset) { return nil }
        let wasAtLineStart = isAtLineStart
        isAtLineStart = byte == UInt8(ascii: "\n")
        if DumpWord.isPart(byte) {
            guard byte != UInt8(ascii: "$") || word.length > 0 else {
                startToken()
                delimiter = [byte]
                state = .dollarTag
                offset += 1
                return nil
            }
            try readWord(bytes, &offset)
            return nil
        }
        offset += 1
        switch byte {
        case UInt8(ascii: "'"):
            try openString()
            return nil
        case UInt8(ascii: "\""):
            try endWord()
            guard !afterUAmpersand else { throw Refusal(reason: "it contains a U& identifier, which dumps do not") }
            startToken()
            append(byte)
            state = .identifier
            return nil
        default:
            let endedU = word.isU
            try endWord()
            afterUAmpersand = endedU && byte == UInt8(ascii: "&")
            return try readSymbol(byte, wasAtLineStart: wasAtLineStart)
        }
    }

    private mutating func readSymbol(_ byte: UInt8, wasAtLineStart: Bool) throws(Refusal) -> Event? {
        switch byte {
        case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\n"), UInt8(ascii: "\r"), 11, 12:
            pendingSpace = true
        case UInt8(ascii: "-"), UInt8(ascii: "/"), UInt8(ascii: ":"):
            held = byte
            heldAtLineStart = wasAtLineStart
        case UInt8(ascii: "\\"):
            guard wasAtLineStart, isBetweenStatements else { throw Refusal(isCommand: true) }
            comment.removeAll(keepingCapacity: true)
            state = .command
        case UInt8(ascii: ";") where blocks.isTopLevel:
            guard !text.isEmpty || isLong else { return nil }
            return .statement
        default:
            startToken()
            blocks.symbol(byte)
            append(byte)
        }
        return nil
    }

    /// Decides what the held byte was, now that `byte` follows it; `true` where `byte` is used up by that.
    private mutating func resolveHeld(_ byte: UInt8, _ offset: inout Int) throws(Refusal) -> Bool {
        let first = held
        held = 0
        switch (first, byte) {
        case (UInt8(ascii: "-"), UInt8(ascii: "-")):
            commentStandsAlone = heldAtLineStart && isBetweenStatements
            comment.removeAll(keepingCapacity: true)
            state = .lineComment
        case (UInt8(ascii: "/"), UInt8(ascii: "*")):
            blockDepth = 1
            blockPrevious = 0
            state = .blockComment
        case (UInt8(ascii: ":"), UInt8(ascii: ":")):
            startToken()
            append(first)
            append(byte)
        default:
            startToken()
            append(first)
            guard first == UInt8(ascii: ":") else { return false }
            if byte == UInt8(ascii: "{") { throw Refusal(isCommand: true) }
            let begins =
                byte == UInt8(ascii: "'") || byte == UInt8(ascii: "\"")
                || (byte != UInt8(ascii: "$") && DumpWord.isPart(byte))
            colonName = begins ? [] : nil
            return false
        }
        isAtLineStart = false
        offset += 1
        return true
    }

    private mutating func readWord(_ bytes: UnsafeRawBufferPointer, _ offset: inout Int) throws(Refusal) {
        if word.length == 0 {
            let follows = pendingSpace ? nil : text.last
            startToken()
            word.begin(after: follows)
        }
        let start = offset
        while offset < bytes.count, DumpWord.isPart(bytes[offset]) {
            // After a colon psql's own names end at a dollar sign, and a quote could begin there.
            guard word.add(bytes[offset]), colonName == nil || bytes[offset] != UInt8(ascii: "$") else {
                throw Refusal(reason: "it contains a number run together with a word, which dumps do not")
            }
            offset += 1
        }
        append(UnsafeRawBufferPointer(rebasing: bytes[start..<offset]))
    }

    private mutating func endWord() throws(Refusal) {
        afterUAmpersand = false
        guard word.length > 0 else { return }
        if colonName != nil {
            colonName = nil
            try refuseVariable(word.bytes)
        } else if !word.isNumber {
            blocks.word(word)
        }
        word.clear()
    }

    /// psql puts the value of a variable of its own in the place of `:NAME`, `:'NAME'` and `:"NAME"`, so the server
    /// would be told something else than what stands here. Other names, as in array slices, it leaves alone.
    private func refuseVariable(_ name: [UInt8]) throws(Refusal) {
        if DumpWord.psqlVariables.contains(String(decoding: name, as: UTF8.self)) {
            throw Refusal(isCommand: true)
        }
    }

    /// A token begins: what stood between it and the one before becomes one space.
    private mutating func startToken() {
        closedString = false
        if pendingSpace, !text.isEmpty || isLong { append(UInt8(ascii: " ")) }
        pendingSpace = false
    }

    @inline(__always)
    private mutating func append(_ byte: UInt8) {
        text.append(byte)
        if text.count >= Self.textLimit { spill() }
    }

    private mutating func append(_ bytes: UnsafeRawBufferPointer) {
        text.append(contentsOf: bytes)
        if text.count >= Self.textLimit { spill() }
    }

    private mutating func spill() {
        if spilled == nil { head = Array(text.prefix(64 << 10)) }
        var hash = spilled.take() ?? DumpHash()
        hash.update(text)
        spilled = hash
        text.removeAll(keepingCapacity: true)
    }
}

// MARK: Comments and commands

extension DumpLexer {
    private mutating func readLine(_ bytes: UnsafeRawBufferPointer, _ offset: inout Int) throws(Refusal) -> Event? {
        let newline = dumpIndex(of: UInt8(ascii: "\n"), in: bytes, from: offset)
        let piece = bytes[offset..<(newline ?? bytes.count)]
        // psql ends a comment there too, and pg_dump never writes one.
        guard !piece.contains(13) else {
            throw Refusal(reason: "a carriage return stands in a comment, where dumps have none")
        }
        comment.append(contentsOf: piece.prefix(Self.commentLimit - comment.count))
        offset = newline ?? bytes.count
        guard newline != nil else { return nil }
        let isCommand = state == .command
        state = .normal
        pendingSpace = true
        if isCommand { return .command }
        return commentStandsAlone ? .comment : nil
    }

    private mutating func readBlockComment(_ byte: UInt8) {
        switch (blockPrevious, byte) {
        case (UInt8(ascii: "/"), UInt8(ascii: "*")):
            blockDepth += 1
            blockPrevious = 0
        case (UInt8(ascii: "*"), UInt8(ascii: "/")):
            blockDepth -= 1
            blockPrevious = 0
        default:
            blockPrevious = byte
        }
        isAtLineStart = byte == UInt8(ascii: "\n")
        if blockDepth == 0 {
            state = .normal
            pendingSpace = true
        }
    }
}

// MARK: Quotes

extension DumpLexer {
    private mutating func openString() throws(Refusal) {
        let prefix = word.stringPrefix
        guard word.length == 0 || (prefix != nil && colonName == nil) else {
            throw Refusal(reason: "a string follows a word without a space, which no dump contains")
        }
        guard !afterUAmpersand else { throw Refusal(reason: "it contains a U& string, which dumps do not") }
        guard !closedString else {
            throw Refusal(reason: "one string goes on in another, which no dump contains")
        }
        switch prefix {
        case UInt8(ascii: "e"): escapes = true
        case UInt8(ascii: "b"), UInt8(ascii: "x"): escapes = false
        default: escapes = !standardStrings
        }
        if prefix == nil { startToken() }
        word.clear()
        append(UInt8(ascii: "'"))
        state = .string
    }

    private mutating func readString(_ bytes: UnsafeRawBufferPointer, _ offset: inout Int) {
        let start = offset
        if escapes {
            while offset < bytes.count {
                let byte = bytes[offset]
                offset += 1
                if escapePending {
                    escapePending = false
                } else if byte == UInt8(ascii: "\\") {
                    escapePending = true
                } else if byte == UInt8(ascii: "'") {
                    state = .stringEnd
                    break
                }
            }
        } else if let quote = dumpIndex(of: UInt8(ascii: "'"), in: bytes, from: offset) {
            offset = quote + 1
            state = .stringEnd
        } else {
            offset = bytes.count
        }
        take(bytes, start..<offset)
    }

    /// After a quote: another one means a quote inside the string.
    private mutating func readStringEnd(_ byte: UInt8, _ offset: inout Int) throws(Refusal) {
        if byte == UInt8(ascii: "'") {
            append(byte)
            offset += 1
            state = .string
            return
        }
        if let name = colonName { try refuseVariable(Array(name.dropLast())) }
        colonName = nil
        closedString = true
        state = .normal
    }

    private mutating func readIdentifier(_ bytes: UnsafeRawBufferPointer, _ offset: inout Int) throws(Refusal) {
        let start = offset
        let quote = dumpIndex(of: UInt8(ascii: "\""), in: bytes, from: offset)
        offset = quote.map { $0 + 1 } ?? bytes.count
        take(bytes, start..<offset)
        guard quote != nil else { return }
        // A doubled quote inside the name reads as two names side by side, with the same text.
        state = .normal
        if let name = colonName { try refuseVariable(Array(name.dropLast())) }
        colonName = nil
    }

    private mutating func take(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) {
        let piece = UnsafeRawBufferPointer(rebasing: bytes[range])
        append(piece)
        if let name = colonName { colonName = name + piece.prefix(64 - min(64, name.count)) }
        isAtLineStart = false
    }

    private mutating func readDollarTag(_ byte: UInt8, _ offset: inout Int) throws(Refusal) {
        let isFirst = delimiter.count == 1
        if byte == UInt8(ascii: "$") {
            delimiter.append(byte)
            offset += 1
            delimiterMatch = 0
            state = .dollarBody
            delimiter.withUnsafeBytes { append($0) }
        } else if DumpWord.isPart(byte), !(isFirst && DumpWord.isDigit(byte)) {
            guard delimiter.count < 1000 else { throw Refusal(reason: "a dollar quote has an endless tag") }
            delimiter.append(byte)
            offset += 1
        } else {
            // No quote but a parameter, or a dollar sign before a word.
            state = .normal
            append(UInt8(ascii: "$"))
            word.begin(after: UInt8(ascii: "$"))
            for part in delimiter.dropFirst() where !word.add(part) {
                throw Refusal(reason: "it contains a number run together with a word, which dumps do not")
            }
            Array(delimiter.dropFirst()).withUnsafeBytes { append($0) }
        }
    }

    private mutating func readDollarBody(_ bytes: UnsafeRawBufferPointer, _ offset: inout Int) {
        let start = offset
        scan: while offset < bytes.count {
            if delimiterMatch == 0 {
                offset = dumpIndex(of: UInt8(ascii: "$"), in: bytes, from: offset) ?? bytes.count
                guard offset < bytes.count else { break }
            }
            let byte = bytes[offset]
            offset += 1
            // The tag holds no dollar sign, so a match that fails can only begin anew at this byte.
            if byte == delimiter[delimiterMatch] {
                delimiterMatch += 1
                if delimiterMatch == delimiter.count {
                    state = .normal
                    break scan
                }
            } else {
                delimiterMatch = byte == UInt8(ascii: "$") ? 1 : 0
            }
        }
        take(bytes, start..<offset)
    }
}
