import Foundation

extension UInt8 {
    var isXMLSpace: Bool { self == 0x20 || (0x09...0x0D).contains(self) }
}

/// Finds single elements of the few small documents that errors come in, which nest nothing of the same name. The
/// documents that carry data are decoded by those who know them.
struct XMLScanner {
    private let text: String

    init(_ body: [UInt8]) { text = String(decoding: body, as: UTF8.self) }

    /// The outermost element's name, past the declaration and the white space in front of it: S3 sends spaces while
    /// it works.
    var rootName: String {
        var rest = text[...]
        while let start = rest.firstIndex(of: "<") {
            let name = rest[rest.index(after: start)...]
            if name.hasPrefix("?") || name.hasPrefix("!") {
                guard let end = name.firstIndex(of: ">") else { return "" }
                rest = name[end...]
            } else {
                return String(name.prefix { !$0.isWhitespace && $0 != ">" && $0 != "/" })
            }
        }
        return ""
    }

    /// The text of the first element `name` without attributes.
    func text(of name: String) -> String? {
        guard let start = text.firstRange(of: "<\(name)>"),
            let end = text[start.upperBound...].firstRange(of: "</\(name)>")
        else { return nil }
        return Self.unescaped(text[start.upperBound..<end.lowerBound])
    }

    private static func unescaped(_ text: Substring) -> String {
        guard text.contains("&") else { return String(text) }
        var result = String(text)
        // The ampersand last, so that an escaped escape is not read twice.
        for (entity, character) in [
            ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&apos;", "'"), ("&#39;", "'"),
            ("&#xD;", " "), ("&#xA;", "\n"), ("&#10;", "\n"), ("&amp;", "&"),
        ] {
            result = result.replacing(entity, with: character)
        }
        return result
    }
}

/// What the JSON protocols say of an error.
struct JSONErrorFields: Decodable {
    var type: String
    var message: String

    private enum Key: String, CodingKey { case type = "__type", code, message, capitalMessage = "Message" }

    init?(_ body: [UInt8]) {
        do {
            self = try JSONDecoder().decode(JSONErrorFields.self, from: Data(body))
        } catch {
            // Not in the form of an error: whoever asked has the status.
            return nil
        }
    }

    init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Key.self)
        type =
            try fields.decodeIfPresent(String.self, forKey: .type)
            ?? fields.decodeIfPresent(String.self, forKey: .code) ?? ""
        message =
            try fields.decodeIfPresent(String.self, forKey: .message)
            ?? fields.decodeIfPresent(String.self, forKey: .capitalMessage) ?? ""
    }
}
