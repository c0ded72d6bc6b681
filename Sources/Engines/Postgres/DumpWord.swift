/// The word the lexer is in: an identifier, a keyword or a number.
struct DumpWord {
    /// Its first bytes, enough to know a keyword by.
    private(set) var bytes: [UInt8] = []
    private(set) var length = 0
    private(set) var isNumber = false
    private var hasExponent = false
    private var follows: UInt8?

    /// Letters, digits, `_`, `$` and every byte above 127 (`ident_cont` of the server's grammar).
    @inline(__always)
    static func isPart(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "$"), 128...255:
            true
        default: false
        }
    }

    static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    mutating func begin(after previous: UInt8?) {
        clear()
        follows = previous
    }

    /// `false` where a number goes over into a word: versions of psql do not agree on what that is.
    mutating func add(_ byte: UInt8) -> Bool {
        if length == 0 { isNumber = Self.isDigit(byte) }
        if isNumber, !Self.isDigit(byte) {
            guard !hasExponent, byte == UInt8(ascii: "e") || byte == UInt8(ascii: "E") else { return false }
            hasExponent = true
        }
        if length < 64 { bytes.append(byte) }
        length += 1
        return true
    }

    mutating func clear() {
        bytes.removeAll(keepingCapacity: true)
        length = 0
        isNumber = false
        hasExponent = false
        follows = nil
    }

    var isU: Bool { length == 1 && (bytes[0] | 0x20) == UInt8(ascii: "u") }

    /// `e`, `b`, `x` or `n` where a quote after this word begins a string of that kind.
    var stringPrefix: UInt8? {
        guard length == 1, follows != UInt8(ascii: "."), follows != UInt8(ascii: "$") else { return nil }
        let letter = bytes[0] | 0x20
        return "ebxn".utf8.contains(letter) ? letter : nil
    }

    func matches(_ keyword: StaticString) -> Bool {
        guard length == keyword.utf8CodeUnitCount else { return false }
        return keyword.withUTF8Buffer { expected in
            zip(bytes, expected).allSatisfy { byte, letter in
                byte == letter || (byte | 0x20 == letter && (65...90).contains(byte))
            }
        }
    }

    /// What psql sets by itself (its manual, "Variables").
    static let psqlVariables: Set<String> = [
        "AUTOCOMMIT", "COMP_KEYWORD_CASE", "DBNAME", "ECHO", "ECHO_HIDDEN", "ENCODING", "ERROR", "FETCH_COUNT",
        "HIDE_TABLEAM", "HIDE_TOAST_COMPRESSION", "HISTCONTROL", "HISTFILE", "HISTSIZE", "HOST", "IGNOREEOF",
        "LASTOID", "LAST_ERROR_MESSAGE", "LAST_ERROR_SQLSTATE", "ON_ERROR_ROLLBACK", "ON_ERROR_STOP", "PORT",
        "PROMPT1", "PROMPT2", "PROMPT3", "QUIET", "ROW_COUNT", "SERVER_VERSION_NAME", "SERVER_VERSION_NUM",
        "SERVICE", "SHELL_ERROR", "SHELL_EXIT_CODE", "SHOW_ALL_RESULTS", "SHOW_CONTEXT", "SINGLELINE",
        "SINGLESTEP", "SQLSTATE", "USER", "VERBOSITY", "VERSION", "VERSION_NAME", "VERSION_NUM",
        "WATCH_INTERVAL",
    ]
}

/// Whether a semicolon ends the statement: not inside parentheses, and not inside the `BEGIN ATOMIC … END` of a
/// function, which psql follows by the same few words.
struct DumpBlocks {
    private var parentheses = 0
    private var depth = 0
    private var count = 0
    private var first: [UInt8] = [0, 0, 0, 0]

    var isTopLevel: Bool { parentheses == 0 && depth == 0 }

    mutating func symbol(_ byte: UInt8) {
        if byte == UInt8(ascii: "(") { parentheses += 1 }
        if byte == UInt8(ascii: ")"), parentheses > 0 { parentheses -= 1 }
    }

    mutating func word(_ word: DumpWord) {
        if count < 4 {
            let isHead =
                word.matches("create") || word.matches("function") || word.matches("procedure")
                || word.matches("or") || word.matches("replace")
            first[count] = isHead ? word.bytes[0] | 0x20 : 0
        }
        count += 1
        guard parentheses == 0, isRoutine else { return }
        if word.matches("begin") || (word.matches("case") && depth > 0) {
            depth += 1
        } else if word.matches("end"), depth > 0 {
            depth -= 1
        }
    }

    private var isRoutine: Bool {
        func isKind(_ letter: UInt8) -> Bool { letter == UInt8(ascii: "f") || letter == UInt8(ascii: "p") }
        guard first[0] == UInt8(ascii: "c") else { return false }
        return isKind(first[1])
            || (first[1] == UInt8(ascii: "o") && first[2] == UInt8(ascii: "r") && isKind(first[3]))
    }
}
