import Core

/// What the server says while its log is followed ("Streaming Replication Protocol", START_REPLICATION), in network byte
/// order.
enum LogMessage {
    /// A stretch of the log that begins at a place.
    case data(at: LSN, UnsafeRawBufferPointer)
    /// A sign of life; it may want one of ours.
    case keepalive(wantsReply: Bool)

    /// `nil` for what the protocol does not know. The bytes are those given, valid for as long as they are.
    init?(_ bytes: UnsafeRawBufferPointer) {
        switch bytes.first {
        case UInt8(ascii: "w"):
            guard bytes.count >= 25 else { return nil }
            let at = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 1, as: UInt64.self))
            self = .data(at: LSN(at), UnsafeRawBufferPointer(rebasing: bytes[25...]))
        case UInt8(ascii: "k"):
            guard bytes.count == 18 else { return nil }
            self = .keepalive(wantsReply: bytes[17] == 1)
        default: return nil
        }
    }

    /// A standby's status: what has come, and what is safe and may be forgotten; `nil` says nothing of that.
    static func status(received: LSN, safe: LSN?) -> [UInt8] {
        var message = [UInt8(ascii: "r")]
        // The last is our clock, which the server only shows in its list of sessions; nothing here reads one.
        for value in [received.value, safe?.value ?? 0, 0, 0] {
            withUnsafeBytes(of: value.bigEndian) { message += $0 }
        }
        message.append(0)
        return message
    }
}
