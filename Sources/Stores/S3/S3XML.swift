/// An element of an answer, with what it holds. S3's answers have no mixed content and no attributes that matter.
struct XMLTree: Sendable, Equatable {
    /// Without a namespace's prefix.
    var name: String
    /// Decoded; empty where there are elements within.
    var text = ""
    var children: [XMLTree] = []

    func first(_ name: String) -> XMLTree? { children.first { $0.name == name } }
    func all(_ name: String) -> [XMLTree] { children.filter { $0.name == name } }
    /// What the first element `name` within holds.
    func text(_ name: String) -> String? { first(name)?.text }

    /// Throws ``XMLError`` for what is not one whole document. A document type is refused: none of S3's has one, and
    /// entities of its own could make a short answer endless.
    static func parse(_ bytes: [UInt8]) throws(XMLError) -> XMLTree {
        var reader = XMLReader(bytes: bytes)
        return try reader.document()
    }

    /// `text` as it may stand between tags.
    static func escape(_ text: String) -> String {
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            case "\r": escaped += "&#13;"
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }
}

struct XMLError: Error, Equatable, CustomStringConvertible {
    let problem: String
    let offset: Int
    var description: String { "it is not the XML that was expected: \(problem) at byte \(offset)" }
}

private struct XMLReader {
    private static let deepest = 32

    let bytes: [UInt8]
    private var at = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func document() throws(XMLError) -> XMLTree {
        if starts(with: "\u{FEFF}") { at += 3 }
        try skipBetween()
        guard !isAtEnd else { throw error("nothing is there") }
        let root = try element(depth: 0)
        try skipBetween()
        guard isAtEnd else { throw error("something follows the end") }
        return root
    }

    private mutating func element(depth: Int) throws(XMLError) -> XMLTree {
        guard depth < Self.deepest else { throw error("too many levels") }
        guard take("<") else { throw error("no tag") }
        let name = try self.name()
        var tree = XMLTree(name: String(name.split(separator: ":").last ?? ""))
        if try skipAttributes() { return tree }
        var text: [UInt8] = []
        while true {
            if take("</") {
                guard try self.name() == name else { throw error("the end of '\(name.prefix(40))' is missing") }
                skipSpace()
                guard take(">") else { throw error("an unfinished tag") }
                break
            } else if take("<!--") {
                try skip(past: "-->")
            } else if take("<![CDATA[") {
                let start = at
                try skip(past: "]]>")
                text += bytes[start..<(at - 3)]
            } else if starts(with: "<") {
                tree.children.append(try element(depth: depth + 1))
            } else if isAtEnd {
                throw error("it ends too early")
            } else {
                try appendCharacters(to: &text)
            }
        }
        if tree.children.isEmpty { tree.text = String(decoding: text, as: UTF8.self) }
        return tree
    }

    /// What lies before the next tag.
    private mutating func appendCharacters(to text: inout [UInt8]) throws(XMLError) {
        while at < bytes.count, bytes[at] != UInt8(ascii: "<") {
            if bytes[at] == UInt8(ascii: "&") {
                text += Array(try entity().utf8)
            } else {
                text.append(bytes[at])
                at += 1
            }
        }
    }

    private mutating func entity() throws(XMLError) -> String {
        at += 1
        guard let end = bytes[at...].prefix(12).firstIndex(of: UInt8(ascii: ";")) else {
            throw error("an unfinished entity")
        }
        let name = String(decoding: bytes[at..<end], as: UTF8.self)
        defer { at = end + 1 }
        switch name {
        case "lt": return "<"
        case "gt": return ">"
        case "amp": return "&"
        case "quot": return "\""
        case "apos": return "'"
        default:
            let number =
                name.hasPrefix("#x")
                ? UInt32(name.dropFirst(2), radix: 16)
                : name.hasPrefix("#") ? UInt32(name.dropFirst()) : nil
            guard let number, let scalar = Unicode.Scalar(number) else { throw error("an unknown entity") }
            return String(Character(scalar))
        }
    }

    private mutating func name() throws(XMLError) -> String {
        let start = at
        while at < bytes.count, !isSpace(bytes[at]), !"<>/=&\"'".utf8.contains(bytes[at]) { at += 1 }
        guard at > start else { throw error("a tag without a name") }
        return String(decoding: bytes[start..<at], as: UTF8.self)
    }

    /// To the end of a tag that begins an element; whether it also ends it.
    private mutating func skipAttributes() throws(XMLError) -> Bool {
        while true {
            skipSpace()
            if take("/>") { return true }
            if take(">") { return false }
            _ = try name()
            skipSpace()
            guard take("=") else { throw error("an attribute without a value") }
            skipSpace()
            if take("\"") {
                try skip(past: "\"")
            } else if take("'") {
                try skip(past: "'")
            } else {
                throw error("an attribute without quotes")
            }
        }
    }

    /// Space, declarations and comments.
    private mutating func skipBetween() throws(XMLError) {
        while true {
            skipSpace()
            if take("<?") {
                try skip(past: "?>")
            } else if take("<!--") {
                try skip(past: "-->")
            } else if starts(with: "<!") {
                throw error("a document type")
            } else {
                return
            }
        }
    }

    private var isAtEnd: Bool { at == bytes.count }
    private func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
    private func starts(with text: String) -> Bool { bytes[at...].starts(with: text.utf8) }
    private func error(_ problem: String) -> XMLError { XMLError(problem: problem, offset: at) }

    private mutating func skipSpace() {
        while at < bytes.count, isSpace(bytes[at]) { at += 1 }
    }

    private mutating func take(_ text: String) -> Bool {
        guard starts(with: text) else { return false }
        at += text.utf8.count
        return true
    }

    private mutating func skip(past text: String) throws(XMLError) {
        while !take(text) {
            guard at < bytes.count else { throw error("it ends too early") }
            at += 1
        }
    }
}
