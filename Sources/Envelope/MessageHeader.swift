package import Core

/// What stands before a message's frames: whom it is for and how to read it.
///
/// Reading one proves nothing yet: ``MessageReader`` checks it with the data key.
package struct MessageHeader: Equatable, Sendable {
    /// Bytes of the longest header that is read. One with recipients of every kind has about one thousand.
    package static let largest = 1 << 20

    /// 32 bytes, this message's alone.
    package let messageID: [UInt8]
    package let context: [String: String]
    /// The data key, wrapped for each recipient.
    package let dataKeys: [EncryptedDataKey]
    /// Plaintext bytes in every frame but the last.
    package let frameLength: Int
    /// All that the tag is over, as it was read.
    let body: [UInt8]
    let commitment: [UInt8]
    let tag: [UInt8]

    /// Bytes of the header with its tag: the first frame begins here.
    package var length: Int { body.count + tag.count }

    /// Reads the header that `bytes` begin with; more may follow it. `nil` where more bytes are needed.
    ///
    /// Throws ``EnvelopeError/malformedHeader(_:)`` and ``EnvelopeError/unsupported(_:)``, as soon as the first
    /// wrong byte is there.
    package static func parse(_ bytes: UnsafeRawBufferPointer) throws(EnvelopeError) -> MessageHeader? {
        var cursor = Cursor(bytes: bytes.slice(0..<min(bytes.count, largest)))
        if let header = try parse(&cursor) { return header }
        guard bytes.count < largest else {
            throw .malformedHeader("the header is longer than \(largest) bytes")
        }
        return nil
    }

    package static func parse(_ bytes: [UInt8]) throws(EnvelopeError) -> MessageHeader? {
        let result = bytes.withUnsafeBytes { buffer in
            Result { () throws(EnvelopeError) in try parse(buffer) }
        }
        return try result.get()
    }

    private static func parse(_ cursor: inout Cursor) throws(EnvelopeError) -> MessageHeader? {
        guard try checkKind(&cursor), let messageID = cursor.take(Format.messageIDLength),
            let contextBytes = cursor.block()
        else { return nil }
        let context = try parseContext(contextBytes)
        guard let count = cursor.number(UInt16.self) else { return nil }
        guard count > 0 else { throw .malformedHeader("the header names no recipient") }
        var dataKeys: [EncryptedDataKey] = []
        for _ in 0..<count {
            guard let provider = cursor.block(), let info = cursor.block(), let ciphertext = cursor.block()
            else { return nil }
            guard let providerID = String(validating: provider, as: UTF8.self) else {
                throw .malformedHeader("a recipient's name is not text")
            }
            dataKeys.append(
                EncryptedDataKey(
                    providerID: providerID, providerInfo: Array(info), ciphertext: Array(ciphertext)))
        }
        guard let frameLength = try parseFrameLength(&cursor),
            let commitment = cursor.take(Format.commitmentLength)
        else { return nil }
        let body = cursor.bytes.slice(0..<cursor.offset)
        guard let tag = cursor.take(Format.tagLength) else { return nil }
        return MessageHeader(
            messageID: Array(messageID), context: context, dataKeys: dataKeys, frameLength: frameLength,
            body: Array(body), commitment: Array(commitment), tag: Array(tag))
    }

    /// Version and suite. `false` where more bytes are needed.
    private static func checkKind(_ cursor: inout Cursor) throws(EnvelopeError) -> Bool {
        guard let version = cursor.number(UInt8.self) else { return false }
        guard version == Format.version else {
            if version == 1 { throw .unsupported("version 1 of the message format") }
            throw .malformedHeader("it does not begin as a message of the AWS Encryption SDK does")
        }
        guard let suite = cursor.number(UInt16.self) else { return false }
        switch suite {
        case Format.suite: return true
        case Format.signedSuite: throw .unsupported("algorithm suite 0x0578 (signed messages)")
        default: throw .unsupported("algorithm suite 0x" + hexText(bigEndianBytes(suite)))
        }
    }

    /// Content type and frame length. `nil` where more bytes are needed.
    private static func parseFrameLength(_ cursor: inout Cursor) throws(EnvelopeError) -> Int? {
        guard let type = cursor.number(UInt8.self) else { return nil }
        guard type == Format.framed else {
            if type == 1 { throw .unsupported("a body without frames") }
            throw .malformedHeader("the header names content type \(type), which there is not")
        }
        guard let length = cursor.number(UInt32.self) else { return nil }
        guard length > 0 else { throw .malformedHeader("the header says that frames are empty") }
        guard length <= Format.largestFrame else {
            throw .unsupported("frames of \(length) bytes (\(Format.largestFrame) at most)")
        }
        return Int(length)
    }

    private static func parseContext(_ bytes: UnsafeRawBufferPointer) throws(EnvelopeError) -> [String: String] {
        guard !bytes.isEmpty else { return [:] }
        let broken = EnvelopeError.malformedHeader("the encryption context is not well formed")
        var cursor = Cursor(bytes: bytes)
        guard let count = cursor.number(UInt16.self), count > 0 else { throw broken }
        var context: [String: String] = [:]
        for _ in 0..<count {
            guard let keyBytes = cursor.block(), let valueBytes = cursor.block(),
                let key = String(validating: keyBytes, as: UTF8.self),
                let value = String(validating: valueBytes, as: UTF8.self)
            else { throw broken }
            // Swift holds two spellings of one accented letter for the same text. Such a pair of keys is refused
            // here rather than one of them lost.
            guard context.updateValue(value, forKey: key) == nil else {
                throw .malformedHeader("the encryption context has a key twice")
            }
        }
        guard cursor.offset == bytes.count else { throw broken }
        guard context[Format.signatureContextKey] == nil else {
            throw .malformedHeader("the encryption context holds a signature's key, and the suite has no signature")
        }
        return context
    }
}

extension EncryptedDataKey {
    /// For people: `lifeboat/clinic`, `aws-kms/arn:…`. Taken from the message, so held to one short printable line.
    package var recipientName: String {
        let name = providerID + "/" + String(decoding: keyName, as: UTF8.self)
        let printable = name.unicodeScalars.prefix(200).map { scalar -> Character in
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned, .privateUse: "?"
            default: Character(scalar)
            }
        }
        return String(printable)
    }

    /// The provider info without the parameters of one wrapping.
    private var keyName: ArraySlice<UInt8> {
        // An OpenPGP key's fingerprint, and after a colon the digest of what was wrapped.
        if providerID == "openpgp" { return providerInfo.prefix { $0 != UInt8(ascii: ":") } }
        let wrapping = bigEndianBytes(UInt32(Format.tagLength * 8)) + bigEndianBytes(UInt32(Format.nonceLength))
        let added = wrapping.count + Format.nonceLength
        guard providerInfo.count > added,
            providerInfo.dropFirst(providerInfo.count - added).starts(with: wrapping)
        else { return providerInfo[...] }
        return providerInfo.dropLast(added)
    }

    /// For which key this is, as far as that shows: the same whatever data key was wrapped for it, and however often.
    package var addressee: Addressee {
        Addressee(
            providerID: providerID, keyName: Array(keyName),
            // What a key service or gpg has wrapped may have any length.
            length: ["aws-kms", "openpgp"].contains(providerID) ? nil : ciphertext.count)
    }
}

/// The key that a data key was wrapped for, by its name and by what every wrapping under it has in common: an AES key
/// and RSA keys of two lengths are three, also where all are called `clinic`.
package struct Addressee: Hashable, Sendable {
    private let providerID: String
    private let keyName: [UInt8]
    /// Bytes of a wrapped data key; `nil` where that may vary.
    private let length: Int?

    init(providerID: String, keyName: [UInt8], length: Int?) {
        self.providerID = providerID
        self.keyName = keyName
        self.length = length
    }
}

/// Reads from the left; `nil` where the bytes end too soon.
private struct Cursor {
    let bytes: UnsafeRawBufferPointer
    var offset = 0

    init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    mutating func take(_ count: Int) -> UnsafeRawBufferPointer? {
        guard bytes.count - offset >= count else { return nil }
        defer { offset += count }
        return bytes.slice(offset..<(offset + count))
    }

    mutating func number<Value: FixedWidthInteger>(_ type: Value.Type) -> Value? {
        take(Value.bitWidth / 8)?.bigEndian(at: 0, as: type)
    }

    /// A length of two bytes and as many bytes.
    mutating func block() -> UnsafeRawBufferPointer? {
        guard let length = number(UInt16.self) else { return nil }
        return take(Int(length))
    }
}
