import Core
import Glibc
import Subprocess
import SystemPackage

/// A server that a program, mostly a shell script, makes, starts and removes for a test.
///
/// The program says `ready` on its standard output when the server may be used, then reads its standard input to the end
/// and cleans up. That end comes when the test asks for it and also when the test process dies, so that even a crashed
/// test leaves no server behind.
package final class ServerGuardian: Sendable {
    /// The lines that the program said before it was ready.
    package let said: [String]
    /// What followed `ready` in its line.
    package let announcement: String
    private let stopRequest: AsyncStream<Never>.Continuation
    private let task: Task<Void, any Error>

    private init(said: [String], stopRequest: AsyncStream<Never>.Continuation, task: Task<Void, any Error>) {
        self.said = Array(said.dropLast())
        announcement = String((said.last ?? "").dropFirst(Self.ready.count + 1))
        self.stopRequest = stopRequest
        self.task = task
    }

    deinit { stopRequest.finish() }

    private static let ready = "ready"

    /// Runs the shell script `script` with `arguments` and returns when it says that it is ready.
    package static func start(_ script: String, _ arguments: [String]) async throws -> ServerGuardian {
        try await start(program: "/bin/sh", ["-c", script, "guardian"] + arguments)
    }

    /// The same for a program.
    package static func start(program: String, _ arguments: [String]) async throws -> ServerGuardian {
        let (stopRequested, stopRequest) = AsyncStream<Never>.makeStream()
        let (readiness, ready) = AsyncThrowingStream<[String], any Error>.makeStream()
        let task = Task<Void, any Error> {
            do {
                try await run(program, arguments, until: stopRequested) { ready.yield($0) }
                ready.finish(throwing: TestFailure("\(program) ended before its server was ready"))
            } catch {
                ready.finish(throwing: error)
                throw error
            }
        }
        for try await said in readiness {
            return ServerGuardian(said: said, stopRequest: stopRequest, task: task)
        }
        throw TestFailure("nobody waits any more for the server of \(program)")
    }

    /// Waits until the server has gone and its directory with it. Harmless twice.
    package func stop() async throws {
        stopRequest.finish()
        try await task.value
    }

    private static func run(
        _ program: String, _ arguments: [String], until stopRequested: AsyncStream<Never>,
        whenReady: @escaping @Sendable ([String]) -> Void
    ) async throws {
        var options = PlatformOptions()
        // A Ctrl-C at the terminal ends the tests, and through them the guardian; it must not end it directly.
        options.createSession = true
        let result = try await Subprocess.run(
            .path(FilePath(program)), arguments: Arguments(arguments), platformOptions: options, input: .inputWriter,
            output: .sequence, error: .string(limit: 1 << 16)
        ) { execution in
            var said: [String] = []
            for try await line in execution.standardOutput.strings() {
                said.append(String(line.prefix { !$0.isNewline }))
                guard said.last == ready || said.last?.hasPrefix(ready + " ") == true else { continue }
                whenReady(said)
                for await _ in stopRequested {}
                try await execution.standardInputWriter.finish()
            }
        }
        guard result.terminationStatus.isSuccess else {
            throw TestFailure("the throwaway server failed: \(result.standardError)")
        }
    }

    /// A new directory under `/tmp` whose name begins with `prefix`.
    package static func makeDirectory(_ prefix: String) throws -> String {
        var template = Array("/tmp/\(prefix)-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress, mkdtemp(base) != nil else { return "" }
            return String(cString: base)
        }
        guard !made.isEmpty else { throw TestFailure("no directory under /tmp for a server: error \(errno)") }
        return made
    }

    /// A port of the loopback that nobody listens on now.
    package static func freePort() throws -> Int {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw TestFailure("no socket: error \(errno)") }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                bind(descriptor, generic, length) == 0 ? getsockname(descriptor, generic, &length) : -1
            }
        }
        guard status == 0 else { throw TestFailure("no free port on the loopback: error \(errno)") }
        return Int(UInt16(bigEndian: address.sin_port))
    }
}

/// Runs a server's client at `path` with `variables` added to the tests' own, and returns its standard output, at most
/// 1 GiB. Throws ``TestFailure`` with its standard error where it does not exit 0.
func runClient(
    _ path: String, _ arguments: [String], adding variables: [String: String], input: [UInt8]
) async throws -> [UInt8] {
    var added: [Environment.Key: String?] = [:]
    for (name, value) in variables {
        guard let key = Environment.Key(rawValue: name) else { throw TestFailure("\(name) names no variable") }
        added[key] = value
    }
    let result = try await Subprocess.run(
        .path(FilePath(path)), arguments: Arguments(arguments), environment: .inherit.updating(added),
        input: .array(input), output: .bytes(limit: 1 << 30), error: .string(limit: 1 << 20))
    guard result.terminationStatus.isSuccess else {
        throw TestFailure("\(path) ended with \(result.terminationStatus): \(result.standardError)")
    }
    return result.standardOutput
}
