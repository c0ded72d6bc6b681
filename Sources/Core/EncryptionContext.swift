/// The facts about a message that stand beside it in clear and are bound to it: whoever changes one finds that the
/// message no longer opens. Nothing in it may be secret; key services log it.
package enum EncryptionContext {
    /// Bytes that a serialised context may have; its length is written in two bytes.
    package static let largest = 65_535

    /// The one spelling of `context` that everything is bound to (AWS Encryption SDK specification, "Encryption
    /// context serialization"): nothing for an empty one, else the number of pairs and each key and value with its
    /// length, sorted by the bytes of the keys.
    package static func serialise(_ context: [String: String]) throws(EncryptionContextTooLong) -> [UInt8] {
        guard !context.isEmpty else { return [] }
        let pairs = context.map { (key: Array($0.key.utf8), value: Array($0.value.utf8)) }
            .sorted { $0.key.lexicographicallyPrecedes($1.key) }
        let length = pairs.reduce(2) { $0 + 4 + $1.key.count + $1.value.count }
        guard length <= largest else { throw EncryptionContextTooLong(length: length) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(length)
        // The limit on the whole keeps every count and length within its two bytes.
        let append = { (text: [UInt8]) in
            bytes += [UInt8(text.count >> 8), UInt8(text.count & 255)]
            bytes += text
        }
        bytes += [UInt8(pairs.count >> 8), UInt8(pairs.count & 255)]
        for pair in pairs {
            append(pair.key)
            append(pair.value)
        }
        return bytes
    }
}

/// An encryption context that no message can carry.
package struct EncryptionContextTooLong: Failure, Equatable {
    /// Bytes, serialised.
    package let length: Int

    package var exitCode: ExitCode { .configuration }
    package var operation: String { "bind the encryption context" }
    package var object: String { "" }
    package var cause: String {
        "it is \(length) bytes long, and a message carries at most \(EncryptionContext.largest)"
    }
    package var hint: String { "shorten the target's name; it is the only part of the context that can be long" }
}
