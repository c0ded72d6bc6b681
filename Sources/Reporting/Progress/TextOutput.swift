import Core
import Glibc

/// Where lines for people and log collectors go: standard error, or a test's array.
///
/// On a terminal one line at the bottom may be a status that is rewritten in place; other lines push it down
/// instead of running into it. From any thread.
package final class TextOutput: Sendable {
    private let write: @Sendable ([UInt8]) -> Void
    private let status = Guarded("")

    /// `write` takes bytes in order, one call at a time.
    package init(_ write: @escaping @Sendable ([UInt8]) -> Void) { self.write = write }

    /// Writes to a file descriptor. Whoever closed the other end does not want to know, so nothing is thrown.
    package convenience init(descriptor: Int32) {
        self.init { bytes in
            var rest = bytes[...]
            while !rest.isEmpty {
                let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
                if count >= 0 {
                    rest = rest.dropFirst(count)
                } else if errno == EAGAIN {
                    // A terminal that somebody made non-blocking: wait until it takes more.
                    var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                    guard poll(&ready, 1, 1000) > 0 else { return }
                } else if errno != EINTR {
                    return
                }
            }
        }
    }

    private static let clear = "\r\u{1B}[K"

    /// Writes a line; `text` comes without its newline.
    package func line(_ text: String) {
        status.withLock { status in
            let output = status.isEmpty ? text + "\n" : Self.clear + text + "\n" + status
            write(Array(output.utf8))
        }
    }

    /// Replaces the status line; an empty one removes it. Only for terminals.
    package func setStatus(_ text: String) {
        status.withLock { status in
            guard text != status else { return }
            status = text
            write(Array((Self.clear + text).utf8))
        }
    }
}

/// `text` with what would move a terminal's cursor or forge a line written as `\x1b`.
func printable(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
        switch scalar.value {
        case 0..<0x20, 0x7F..<0xA0, 0x2028, 0x2029, 0x200E, 0x200F, 0x202A...0x202E, 0x2066...0x2069:
            result += "\\x" + String(scalar.value, radix: 16)
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result
}
