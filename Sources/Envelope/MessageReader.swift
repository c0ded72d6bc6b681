package import Core
import Crypto
import FoundationEssentials

/// Opens the frames of one message, in whatever pieces they come.
///
/// Nothing is given on before it has authenticated, in its place. Whether the message is whole is known only when
/// ``finish()`` has returned: what came before may not be committed to until then.
package struct MessageReader: ~Copyable {
    private let cipher: FrameCipher
    private let frameLength: Int
    /// Number of the frame that comes next.
    private var number: UInt32
    /// The beginning of a frame of which the rest has not come. Never more than one frame.
    private var pending: [UInt8]
    private var isComplete: Bool
    private var hasFailed: Bool

    /// Checks that `dataKey` is the one the message commits to, and only then the header's tag.
    ///
    /// Throws ``EnvelopeError/wrongDataKey`` and ``EnvelopeError/headerAltered``.
    package init(header: MessageHeader, dataKey: SecretBytes) throws {
        let keys = try MessageKeys(dataKey: dataKey, messageID: header.messageID)
        guard keys.commitment == SymmetricKey(data: header.commitment) else { throw EnvelopeError.wrongDataKey }
        do {
            let box = try AES.GCM.SealedBox(
                nonce: FrameCipher.nonce(0), ciphertext: [UInt8](), tag: header.tag)
            _ = try AES.GCM.open(box, using: keys.content, authenticating: header.body)
        } catch {
            throw EnvelopeError.headerAltered
        }
        cipher = FrameCipher(key: keys.content, messageID: header.messageID)
        frameLength = header.frameLength
        number = 1
        pending = []
        isComplete = false
        hasFailed = false
    }

    /// Takes the next bytes after the header, split anywhere, and gives `emit` the plaintext of each frame that they
    /// complete: one chunk a frame of up to 1 MiB, several for a longer one, none for an empty one.
    ///
    /// Throws ``EnvelopeError/damaged(frame:_:)``, ``EnvelopeError/trailingBytes`` and whatever `emit` throws; the
    /// reader is of no use after that.
    package mutating func update(_ bytes: UnsafeRawBufferPointer, _ emit: (Chunk) throws -> Void) throws {
        guard !hasFailed else { throw EnvelopeError.usedAfterError }
        hasFailed = true
        var rest = bytes
        while !rest.isEmpty {
            guard !isComplete else { throw EnvelopeError.trailingBytes }
            // A frame that lies whole in what was given is opened where it lies.
            if pending.isEmpty, case .frame(let kind, let length) = try shape(of: rest), length <= rest.count {
                try open(rest.slice(0..<length), kind, emit)
                rest = rest.slice(length..<rest.count)
            } else {
                rest = try collect(rest, emit)
            }
        }
        hasFailed = false
    }

    /// The end of the stream. Throws ``EnvelopeError/truncated(frames:)`` where it is not the end of the message.
    package consuming func finish() throws {
        guard !hasFailed else { throw EnvelopeError.usedAfterError }
        guard isComplete else { throw EnvelopeError.truncated(frames: number - 1) }
    }

    /// Adds to the frame that is pending, opens it once it is whole, and returns what is left of `bytes`.
    private mutating func collect(
        _ bytes: UnsafeRawBufferPointer, _ emit: (Chunk) throws -> Void
    ) throws -> UnsafeRawBufferPointer {
        let wanted = try pending.withUnsafeBytes { try shape(of: $0) }.length
        let taken = min(wanted - pending.count, bytes.count)
        pending.reserveCapacity(wanted)
        pending.append(contentsOf: bytes.slice(0..<taken))
        if pending.count == wanted, case .frame(let kind, wanted) = try pending.withUnsafeBytes({ try shape(of: $0) })
        {
            let frame = pending
            pending = []
            try frame.withUnsafeBytes { try open($0, kind, emit) }
            // The same memory serves for the next frame.
            pending = consume frame
            pending.removeAll(keepingCapacity: true)
        }
        return bytes.slice(taken..<bytes.count)
    }

    /// What the first bytes of a frame say about it.
    private enum Shape {
        /// That many are needed to know more.
        case prefix(Int)
        /// It is of this kind and has this many bytes in all.
        case frame(FrameKind, Int)

        var length: Int {
            switch self {
            case .prefix(let length), .frame(_, let length): length
            }
        }
    }

    /// Refuses a frame by its first bytes where these are wrong already, before the rest is waited for.
    private func shape(of bytes: UnsafeRawBufferPointer) throws(EnvelopeError) -> Shape {
        guard bytes.count >= 4 else { return .prefix(4) }
        let mark = bytes.bigEndian(at: 0, as: UInt32.self)
        if mark != Format.finalMark {
            guard mark == number else { throw .damaged(frame: number, .order) }
            return .frame(.regular, frameLength + Format.regularOverhead)
        }
        guard bytes.count >= Format.finalPrefix else { return .prefix(Format.finalPrefix) }
        guard bytes.bigEndian(at: 4, as: UInt32.self) == number else { throw .damaged(frame: number, .order) }
        let length = Int(bytes.bigEndian(at: Format.finalPrefix - 4, as: UInt32.self))
        guard length <= frameLength else { throw .damaged(frame: number, .length) }
        return .frame(.final, length + Format.finalOverhead)
    }

    /// Authenticates and decrypts one whole frame, and gives its plaintext on.
    private mutating func open(
        _ frame: UnsafeRawBufferPointer, _ kind: FrameKind, _ emit: (Chunk) throws -> Void
    ) throws {
        let nonce = try FrameCipher.nonce(number)
        let nonceOffset = kind == .regular ? 4 : 8
        guard nonce.elementsEqual(frame.slice(nonceOffset..<(nonceOffset + Format.nonceLength))) else {
            throw EnvelopeError.damaged(frame: number, .order)
        }
        let plaintext: Data
        do {
            let box: AES.GCM.SealedBox
            switch kind {
            case .regular:
                // What follows the number is IV, ciphertext and tag in a row: the cipher's combined form.
                box = try AES.GCM.SealedBox(combined: frame.slice(4..<frame.count))
            case .final:
                let tagOffset = frame.count - Format.tagLength
                box = try AES.GCM.SealedBox(
                    nonce: nonce, ciphertext: frame.slice(Format.finalPrefix..<tagOffset),
                    tag: frame.slice(tagOffset..<frame.count))
            }
            let length = box.ciphertext.count
            plaintext = try AES.GCM.open(
                box, using: cipher.key,
                authenticating: cipher.associatedData(kind, number: number, length: length))
        } catch {
            throw EnvelopeError.damaged(frame: number, .tag)
        }
        if kind == .final { isComplete = true } else { number += 1 }
        try plaintext.withUnsafeBytes { bytes in
            var offset = 0
            while offset < bytes.count {
                let chunk = Chunk(capacity: min(bytes.count - offset, Chunk.size))
                offset += chunk.append(bytes.slice(offset..<bytes.count))
                try emit(chunk)
            }
        }
    }
}
