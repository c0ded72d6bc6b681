package import Core
import Crypto
import FoundationEssentials

/// What a message is made with.
package struct MessageParameters: Sendable {
    /// 32 random bytes, never used for another message.
    package var messageID: [UInt8]
    package var context: [String: String]
    /// The data key as ``sealDataKey(_:for:context:)`` wrapped it, under the same context.
    package var dataKeys: [EncryptedDataKey]
    /// Plaintext bytes in every frame but the last, at most 16 MiB. Readers elsewhere like multiples of 128.
    package var frameLength: Int

    package init(
        messageID: [UInt8], context: [String: String], dataKeys: [EncryptedDataKey], frameLength: Int = 1 << 20
    ) {
        self.messageID = messageID
        self.context = context
        self.dataKeys = dataKeys
        self.frameLength = frameLength
    }
}

/// Writes one message: ``header``, then what ``seal(_:)`` gives for each full frame, then what ``finish(_:)`` gives.
///
/// Two writers with the same data key and message id would give the authentication key away: every message has an id
/// of its own, and is written once. The order of the frames is theirs alone, so a writer is not shared.
package struct MessageWriter: ~Copyable {
    /// Header and its tag, to be written first.
    package let header: [UInt8]
    private let cipher: FrameCipher
    private let frameLength: Int
    private var number: UInt32

    /// Throws ``EnvelopeError/unusableParameters(_:)``, and ``EncryptionContextTooLong`` from Core.
    package init(dataKey: SecretBytes, parameters: MessageParameters) throws {
        let keys = try MessageKeys(dataKey: dataKey, messageID: parameters.messageID)
        let body = try Self.headerBody(parameters, commitment: keys.commitment)
        let cipher = FrameCipher(key: keys.content, messageID: parameters.messageID)
        header = body + (try cipher.headerTag(body))
        self.cipher = cipher
        frameLength = parameters.frameLength
        number = 1
    }

    /// Bytes of a whole message of `length` bytes of plaintext.
    package func messageLength(plaintext length: Int64) -> Int64 {
        Int64(header.count) + length + Int64(Format.regularOverhead) * (length / Int64(frameLength))
            + Int64(Format.finalOverhead)
    }

    /// Seals the next frame, exactly `frameLength` bytes, and returns it ready to be written.
    package mutating func seal(_ frame: UnsafeRawBufferPointer) throws -> Chunk {
        guard frame.count == frameLength else {
            throw EnvelopeError.wrongFrameSize(expected: "\(frameLength)", given: frame.count)
        }
        guard number < Format.finalMark else { throw EnvelopeError.tooManyFrames }
        let box = try cipher.seal(frame, .regular, number: number)
        guard let combined = box.combined else {
            throw EnvelopeError.unusableParameters("the cipher gave no combined form")
        }
        let chunk = Chunk(capacity: frameLength + Format.regularOverhead)
        chunk.fill(bigEndianBytes(number))
        chunk.fill(combined)
        number += 1
        return chunk
    }

    /// Seals what is left, fewer than `frameLength` bytes and often none, and returns the final frame.
    ///
    /// A full final frame would be within the specification, and version 3 of the Python SDK refuses it.
    package consuming func finish(_ last: UnsafeRawBufferPointer) throws -> Chunk {
        guard last.count < frameLength else {
            throw EnvelopeError.wrongFrameSize(expected: "fewer than \(frameLength)", given: last.count)
        }
        let box = try cipher.seal(last, .final, number: number)
        let chunk = Chunk(capacity: last.count + Format.finalOverhead)
        chunk.fill(bigEndianBytes(Format.finalMark) + bigEndianBytes(number))
        chunk.fill(box.nonce)
        chunk.fill(bigEndianBytes(UInt32(last.count)))
        chunk.fill(box.ciphertext)
        chunk.fill(box.tag)
        return chunk
    }

    private static func headerBody(_ parameters: MessageParameters, commitment: SymmetricKey) throws -> [UInt8] {
        guard parameters.messageID.count == Format.messageIDLength else {
            throw EnvelopeError.unusableParameters("the message id has \(parameters.messageID.count) bytes")
        }
        guard (1...Format.largestFrame).contains(parameters.frameLength) else {
            throw EnvelopeError.unusableParameters("frames of \(parameters.frameLength) bytes")
        }
        guard (1...Int(UInt16.max)).contains(parameters.dataKeys.count) else {
            throw EnvelopeError.unusableParameters("\(parameters.dataKeys.count) wrapped data keys")
        }
        guard !parameters.context.keys.contains(where: { $0.hasPrefix(Format.reservedContextPrefix) }) else {
            throw EnvelopeError.unusableParameters("the encryption context has a key that the format reserves")
        }
        var body = [Format.version] + bigEndianBytes(Format.suite) + parameters.messageID
        try appendBlock(EncryptionContext.serialise(parameters.context), to: &body)
        body += bigEndianBytes(UInt16(parameters.dataKeys.count))
        for key in parameters.dataKeys {
            try appendBlock(Array(key.providerID.utf8), to: &body)
            try appendBlock(key.providerInfo, to: &body)
            try appendBlock(key.ciphertext, to: &body)
        }
        body.append(Format.framed)
        body += bigEndianBytes(UInt32(parameters.frameLength))
        commitment.withUnsafeBytes { body += $0 }
        guard body.count + Format.tagLength <= MessageHeader.largest else {
            throw EnvelopeError.unusableParameters("a header of \(body.count) bytes")
        }
        return body
    }

    private static func appendBlock(_ block: [UInt8], to body: inout [UInt8]) throws(EnvelopeError) {
        guard let length = UInt16(exactly: block.count) else {
            throw .unusableParameters("a wrapped data key of \(block.count) bytes")
        }
        body += bigEndianBytes(length)
        body += block
    }
}

extension Chunk {
    /// Appends all of `bytes`, for which the chunk was made large enough.
    fileprivate func fill(_ bytes: some ContiguousBytes) {
        bytes.withUnsafeBytes { source in
            let taken = append(source)
            precondition(taken == source.count, "a frame was made larger than its chunk")
        }
    }
}
