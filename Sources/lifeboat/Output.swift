import Core
import Glibc
import Operations

/// What the process says on standard output: the result, once; as text where that is a terminal.
enum Output {
    static func write(_ result: JobResult) {
        guard isatty(STDOUT_FILENO) == 1 else { return write(result.json.canonicalText) }
        for line in ResultText(result).lines { write(line) }
    }

    static func write(_ line: String) { writeAll(STDOUT_FILENO, line + "\n") }

    static func writeError(_ line: String) { writeAll(STDERR_FILENO, line + "\n") }

    /// Nobody may be listening any more; the exit code still tells.
    private static func writeAll(_ descriptor: Int32, _ text: String) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 {
                if errno == EINTR { continue }
                return
            }
            bytes = bytes.dropFirst(count)
        }
    }
}
