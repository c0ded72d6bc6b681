/// An element of a bucket's configuration, with everything below it, so that what others have put there can be sent
/// back as it came. Comments and white space between elements are left out.
struct XMLNode: Equatable, Sendable {
    var name: String
    /// As they stand in the start tag, without the blanks around them.
    var attributes = ""
    var children: [XMLNode] = []
    /// Only where there are no children.
    var text = ""

    init(_ name: String, _ text: String) {
        self.name = name
        self.text = text
    }

    init(_ name: String, attributes: String = "", _ children: [XMLNode] = []) {
        self.name = name
        self.attributes = attributes
        self.children = children
    }

    /// The root of a configuration that is sent to S3.
    static func root(_ name: String, _ children: [XMLNode]) -> XMLNode {
        XMLNode(name, attributes: #"xmlns="http://s3.amazonaws.com/doc/2006-03-01/""#, children)
    }

    func child(_ name: String) -> XMLNode? { children.first { $0.name == name } }
    func all(_ name: String) -> [XMLNode] { children.filter { $0.name == name } }

    /// The text of the element that is reached through `path`.
    func text(_ path: String...) -> String? {
        var node = self
        for name in path {
            guard let next = node.child(name) else { return nil }
            node = next
        }
        return node.text
    }

    var serialized: String {
        let start = attributes.isEmpty ? name : "\(name) \(attributes)"
        if children.isEmpty { return text.isEmpty ? "<\(start)/>" : "<\(start)>\(Self.escaped(text))</\(name)>" }
        return "<\(start)>" + children.map(\.serialized).joined() + "</\(name)>"
    }

    private static func escaped(_ text: String) -> String {
        var result = ""
        for character in text.unicodeScalars {
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\r": result += "&#13;"
            default: result.unicodeScalars.append(character)
            }
        }
        return result
    }
}

/// Text that is not XML as S3 writes it.
struct XMLProblem: Error, CustomStringConvertible {
    var offset: Int
    var problem: String
    var description: String { "\(problem) at byte \(offset)" }
}

extension XMLNode {
    /// Reads one document. Refuses document types, and so entities of their own, and nesting deeper than 32.
    init(parsing bytes: [UInt8]) throws(XMLProblem) {
        var reader = XMLReader(bytes: bytes)
        self = try reader.document()
    }
}

private struct XMLReader {
    let bytes: [UInt8]
    var offset = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    func fail(_ problem: String) -> XMLProblem { XMLProblem(offset: offset, problem: problem) }
    func stands(_ text: StaticString) -> Bool { bytes[offset...].starts(with: "\(text)".utf8) }

    mutating func document() throws(XMLProblem) -> XMLNode {
        try skipProlog()
        let root = try element(depth: 0)
        try skipProlog()
        guard offset == bytes.count else { throw fail("something follows the document") }
        return root
    }

    /// White space, declarations and comments.
    mutating func skipProlog() throws(XMLProblem) {
        while offset < bytes.count {
            if stands("<?") {
                try skip(past: "?>")
            } else if stands("<!--") {
                try skip(past: "-->")
            } else if Self.isBlank(bytes[offset]) {
                offset += 1
            } else {
                return
            }
        }
    }

    mutating func skip(past end: StaticString) throws(XMLProblem) {
        while offset < bytes.count {
            if stands(end) {
                offset += end.utf8CodeUnitCount
                return
            }
            offset += 1
        }
        throw fail("'\(end)' is missing")
    }

    mutating func element(depth: Int) throws(XMLProblem) -> XMLNode {
        guard depth < 32 else { throw fail("nested deeper than 32") }
        guard stands("<"), !stands("</"), !stands("<!") else { throw fail("an element was expected") }
        offset += 1
        let name = text { !Self.isBlank($0) && $0 != UInt8(ascii: ">") && $0 != UInt8(ascii: "/") }
        guard !name.isEmpty else { throw fail("an element without a name") }
        var attributes = try startTagRest()
        let isEmpty = attributes.last == "/"
        if isEmpty { attributes.removeLast() }
        while attributes.last == " " { attributes.removeLast() }
        var node = XMLNode(name, attributes: attributes)
        if !isEmpty { try content(of: &node, depth: depth) }
        return node
    }

    /// From behind the name up to and with the `>`.
    mutating func startTagRest() throws(XMLProblem) -> String {
        let start = offset
        var quote: UInt8?
        while offset < bytes.count {
            let byte = bytes[offset]
            if let open = quote {
                if byte == open { quote = nil }
            } else if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") {
                quote = byte
            } else if byte == UInt8(ascii: ">") {
                let rest = bytes[start..<offset].drop(while: Self.isBlank)
                offset += 1
                return String(decoding: rest, as: UTF8.self)
            }
            offset += 1
        }
        throw fail("a tag without its end")
    }

    mutating func content(of node: inout XMLNode, depth: Int) throws(XMLProblem) {
        var characters = ""
        while true {
            guard offset < bytes.count else { throw fail("'\(node.name)' is not closed") }
            if stands("</") {
                offset += 2
                let name = text { !Self.isBlank($0) && $0 != UInt8(ascii: ">") }
                guard name == node.name else { throw fail("'\(node.name)' is closed by '\(name)'") }
                try skip(past: ">")
                if node.children.isEmpty { node.text = characters }
                return
            } else if stands("<!--") {
                try skip(past: "-->")
            } else if stands("<![CDATA[") {
                let start = offset + 9
                try skip(past: "]]>")
                characters += String(decoding: bytes[start..<(offset - 3)], as: UTF8.self)
            } else if stands("<") {
                node.children.append(try element(depth: depth + 1))
            } else {
                characters += try unescaped(text { $0 != UInt8(ascii: "<") })
            }
        }
    }

    mutating func text(while belongs: (UInt8) -> Bool) -> String {
        let start = offset
        while offset < bytes.count, belongs(bytes[offset]) { offset += 1 }
        return String(decoding: bytes[start..<offset], as: UTF8.self)
    }

    func unescaped(_ text: String) throws(XMLProblem) -> String {
        guard text.contains("&") else { return text }
        var result = ""
        var rest = text[...]
        while let start = rest.firstIndex(of: "&") {
            guard let end = rest[start...].firstIndex(of: ";") else { throw fail("an entity without its end") }
            result += rest[..<start]
            result.unicodeScalars.append(try scalar(rest[rest.index(after: start)..<end]))
            rest = rest[rest.index(after: end)...]
        }
        return result + rest
    }

    func scalar(_ entity: Substring) throws(XMLProblem) -> Unicode.Scalar {
        switch entity {
        case "amp": return "&"
        case "lt": return "<"
        case "gt": return ">"
        case "quot": return "\""
        case "apos": return "'"
        default:
            let isHex = entity.hasPrefix("#x")
            let digits = entity.dropFirst(isHex ? 2 : 1)
            guard entity.hasPrefix("#"), let value = UInt32(digits, radix: isHex ? 16 : 10),
                let scalar = Unicode.Scalar(value)
            else { throw fail("an unknown entity") }
            return scalar
        }
    }

    static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
}
