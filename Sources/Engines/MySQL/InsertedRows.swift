import CScan
import Core

/// The rows of one INSERT statement as they stream by, from behind the word VALUES up to and with the `;`. A row is
/// hashed where it lies, from `(` to `)`; of a row that a piece cuts only a state is kept, so one of a gigabyte costs
/// no memory.
///
/// Nothing but literals is let through: what a function or a subselect would do while it is loaded, no reader knows.
struct InsertedRows {
    enum Outcome: Equatable {
        case more
        /// The statement's `;` was consumed, and with it this many bytes.
        case ended(Int)
        /// Something no dump has among its rows.
        case foreign
    }

    private enum Position {
        case beforeRow, inRow, inText, afterBackslash, afterRow
    }

    private(set) var rows: Int64 = 0
    private(set) var sum = RowSum()
    private var position = Position.beforeRow
    /// The server of this dump reads backslashes in texts as themselves.
    private let plainBackslashes: Bool
    private var cut: RowHash?
    // Two dashes begin a comment, which the server would read over and this reader would not.
    private var wasDash = false

    init(plainBackslashes: Bool) { self.plainBackslashes = plainBackslashes }

    mutating func update(_ bytes: UnsafeRawBufferPointer) -> Outcome {
        var index = 0
        // Where the part of the row that lies in this piece begins.
        var start = 0
        while index < bytes.count {
            let byte = bytes[index]
            switch position {
            case .inText:
                index = Self.endOfPlainText(bytes, index)
                guard index < bytes.count else { break }
                if bytes[index] == UInt8(ascii: "'") {
                    position = .inRow
                } else if !plainBackslashes {
                    position = .afterBackslash
                }
                index += 1
            case .afterBackslash:
                position = .inText
                index += 1
            case .inRow:
                let end = Self.endOfLettersAndDigits(bytes, index)
                if end > index {
                    wasDash = false
                    index = end
                    continue
                }
                index += 1
                if byte == UInt8(ascii: "'") {
                    position = .inText
                } else if byte == UInt8(ascii: ")") {
                    take(UnsafeRawBufferPointer(rebasing: bytes[start..<index]))
                    position = .afterRow
                } else if !Self.isLiteral(byte) || (wasDash && byte == UInt8(ascii: "-")) {
                    return .foreign
                }
                wasDash = byte == UInt8(ascii: "-")
            case .beforeRow:
                if byte == UInt8(ascii: "(") {
                    start = index
                    position = .inRow
                } else if !Self.isSpace(byte) {
                    return .foreign
                }
                index += 1
            case .afterRow:
                index += 1
                if byte == UInt8(ascii: ",") {
                    position = .beforeRow
                } else if byte == UInt8(ascii: ";") {
                    return .ended(index)
                } else if !Self.isSpace(byte) {
                    return .foreign
                }
            }
        }
        if position != .beforeRow, position != .afterRow {
            // Taken out and put back, so that the state is not copied.
            var hash = cut.take() ?? RowHash()
            hash.update(UnsafeRawBufferPointer(rebasing: bytes[start...]))
            cut = hash
        }
        return .more
    }

    private mutating func take(_ bytes: UnsafeRawBufferPointer) {
        var hash = cut.take() ?? RowHash()
        hash.update(bytes)
        sum.add(hash.finish())
        rows += 1
    }

    /// The first quote or backslash at or after `start`.
    @inline(__always)
    private static func endOfPlainText(_ bytes: UnsafeRawBufferPointer, _ start: Int) -> Int {
        guard let base = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return start }
        return start + cscan_plain_text(base + start, bytes.count - start)
    }

    /// The first byte at or after `start` that is neither letter nor digit: blobs are long hexadecimals.
    @inline(__always)
    private static func endOfLettersAndDigits(_ bytes: UnsafeRawBufferPointer, _ start: Int) -> Int {
        guard let base = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return start }
        return start + cscan_alphanumeric(base + start, bytes.count - start)
    }

    @inline(__always)
    private static func isSpace(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\n") }

    /// What stands between the letters and digits of numbers, `NULL`, hexadecimals and `_binary`: no parenthesis, no
    /// other quote, no comment.
    @inline(__always)
    private static func isLiteral(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: ","), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "_"),
            UInt8(ascii: " "):
            true
        default: false
        }
    }
}
