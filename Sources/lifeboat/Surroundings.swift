import CLinux
import Core
import Glibc
import Streams

/// The machine's clock: the only reader of it.
struct SystemClock: WallClock {
    func now() -> Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
    }
}

/// The system's random bytes, fit for keys.
@Sendable func systemRandom(_ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var generator = SystemRandomNumberGenerator()
    for index in bytes.indices { bytes[index] = generator.next() }
    return bytes
}

let systemSleep: @Sendable (Double) async throws -> Void = { seconds in
    try await Task.sleep(for: .seconds(seconds))
}

/// Never goes back, and counts on while the machine is suspended.
let secondsSinceBoot: @Sendable () -> Double = {
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

let blockingClock = BlockingClock(
    seconds: secondsSinceBoot,
    pause: { seconds in
        var time = timespec(tv_sec: Int(seconds), tv_nsec: Int((seconds - seconds.rounded(.down)) * 1e9))
        nanosleep(&time, nil)
    })

/// Reads a small file: keys, configuration, an event.
func readFile(_ path: String) throws -> [UInt8] {
    let descriptor = linux_open(path, O_RDONLY | O_CLOEXEC, 0)
    guard descriptor >= 0 else { throw FileProblem(path: path, errno: errno) }
    defer { close(descriptor) }
    return try readAll(descriptor, path: path, limit: 16 << 20)
}

/// Reads standard input to its end, `limit` bytes and one at most, so that more can be told from exactly that much.
func readStandardInput(limit: Int) throws -> [UInt8] {
    try readAll(STDIN_FILENO, path: "standard input", limit: limit + 1, truncating: true)
}

private func readAll(_ descriptor: Int32, path: String, limit: Int, truncating: Bool = false) throws -> [UInt8] {
    var all: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        let count = read(descriptor, &buffer, buffer.count)
        if count < 0 {
            if errno == EINTR { continue }
            throw FileProblem(path: path, errno: errno)
        }
        if count == 0 { break }
        all.append(contentsOf: buffer[..<count])
        if all.count >= limit {
            guard truncating else { throw FileProblem(path: path, errno: EFBIG) }
            return Array(all.prefix(limit))
        }
    }
    return all
}

/// A small file that could not be read.
struct FileProblem: Failure {
    var path: String
    var errno: Int32

    var exitCode: ExitCode { .configuration }
    var operation: String { "read the file" }
    var object: String { path }
    var cause: String { String(cString: strerror(errno)) }
    var hint: String { "check the path, and that user \(getuid()) may read it" }
}

/// The environment as a dictionary.
func processEnvironment() -> [String: String] {
    var result: [String: String] = [:]
    var entry = environ
    while let pointer = entry.pointee {
        let text = String(cString: pointer)
        if let equals = text.firstIndex(of: "=") {
            result[String(text[..<equals])] = String(text[text.index(after: equals)...])
        }
        entry += 1
    }
    return result
}

/// `path`, from the root on: people name what lies where they are.
func absolutePath(_ path: String) -> String {
    guard !path.hasPrefix("/"), !path.isEmpty, let here = getcwd(nil, 0) else { return path }
    defer { free(here) }
    let steps = path.split(separator: "/").filter { $0 != "." }
    return ([String(cString: here)] + steps.map(String.init)).joined(separator: "/")
}
