import Core
import FoundationEssentials

/// The requests and replies of AWS KMS, as bytes.
///
/// A reply that holds a data key is read where it lies and wiped, for text and the decoder's copies of it could not
/// be. What the HTTP client and TLS had of it on the way is theirs and goes with their buffers.
enum KMSMessages {
    /// A request's JSON object. `secret` is a further member, as bytes in base64; the chunk is then to be wiped after
    /// its use.
    static func request(
        _ members: [String: JSON], context: [String: String]? = nil,
        secret: (name: String, bytes: SecretBytes)? = nil
    ) -> Chunk {
        var members = members
        if let context, !context.isEmpty {
            members["EncryptionContext"] = .object(context.mapValues { .string($0) })
        }
        let open = JSON.object(members).canonicalBytes
        guard let secret else { return Chunk(open) }
        var body: [UInt8] = []
        defer { body.withUnsafeMutableBytes { wipe($0) } }
        // Room for all of it: growing would leave a copy of the secret behind.
        body.reserveCapacity(open.count + secret.name.utf8.count + secret.bytes.count * 2 + 16)
        body += "{\"\(secret.name)\":\"".utf8
        secret.bytes.withBytes { appendBase64($0, to: &body) }
        body.append(UInt8(ascii: "\""))
        if !members.isEmpty { body.append(UInt8(ascii: ",")) }
        body += open.dropFirst()
        return Chunk(body)
    }

    static func base64(_ bytes: [UInt8]) -> JSON {
        var text: [UInt8] = []
        bytes.withUnsafeBytes { appendBase64($0, to: &text) }
        return .string(String(decoding: text, as: UTF8.self))
    }

    /// The bytes of the member `name`, which is a string in base64; `nil` where it is missing or none.
    static func bytes(_ name: String, in reply: [UInt8]) -> SecretBytes? {
        guard let range = string(name, in: reply), !range.isEmpty else { return nil }
        return reply.withUnsafeBytes { decodeBase64(UnsafeRawBufferPointer(rebasing: $0[range])) }
    }

    /// The member `name` as text; `nil` where it is missing, or has escapes, which neither ARNs nor base64 need.
    static func text(_ name: String, in reply: [UInt8]) -> String? {
        string(name, in: reply).flatMap { String(validating: reply[$0], as: UTF8.self) }
    }

    /// The ARN in a reply to DescribeKey, which holds no secret.
    static func describedKey(in reply: [UInt8]) -> KMSKeyName? {
        struct Reply: Decodable {
            struct Metadata: Decodable {
                let arn: String
                enum CodingKeys: String, CodingKey { case arn = "Arn" }
            }
            let metadata: Metadata
            enum CodingKeys: String, CodingKey { case metadata = "KeyMetadata" }
        }
        guard let decoded = try? JSONDecoder().decode(Reply.self, from: Data(reply)),
            let name = KMSKeyName(decoded.metadata.arn), name.isKeyARN
        else { return nil }
        return name
    }

    /// Where the content of the string stands that is the member `name` of the object. Only the outermost object's
    /// members count: a name inside a string or a deeper object is none.
    private static func string(_ name: String, in reply: [UInt8]) -> Range<Int>? {
        let name = Array(name.utf8)
        var depth = 0
        var isKey = false
        var found = false
        var index = 0
        while index < reply.count {
            switch reply[index] {
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                isKey = reply[index] == UInt8(ascii: "{")
            case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
            case UInt8(ascii: ","):
                isKey = true
                found = false
            case UInt8(ascii: ":"): isKey = false
            case UInt8(ascii: "\""):
                let start = index + 1
                guard let end = endOfString(from: start, in: reply) else { return nil }
                if depth == 1, isKey {
                    found = reply[start..<end].elementsEqual(name)
                } else if depth == 1, found {
                    return reply[start..<end].contains(UInt8(ascii: "\\")) ? nil : start..<end
                }
                index = end
            default: break
            }
            index += 1
        }
        return nil
    }

    private static func endOfString(from start: Int, in reply: [UInt8]) -> Int? {
        var index = start
        while index < reply.count {
            if reply[index] == UInt8(ascii: "\"") { return index }
            index += reply[index] == UInt8(ascii: "\\") ? 2 : 1
        }
        return nil
    }
}
