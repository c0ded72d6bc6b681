import Core
import Glibc
import Subprocess
import SystemPackage

/// A server that a shell script makes, starts and removes for a test.
///
/// The script says `ready` on its standard output when the server may be used, then reads its standard input to the end
/// and cleans up. That end comes when the test asks for it and also when the test process dies, so that even a crashed
/// test leaves no server behind.
package final class ServerGuardian: Sendable {
    private let stopRequest: AsyncStream<Never>.Continuation
    private let task: Task<Void, any Error>

    private init(stopRequest: AsyncStream<Never>.Continuation, task: Task<Void, any Error>) {
        self.stopRequest = stopRequest
        self.task = task
    }

    deinit { stopRequest.finish() }

    /// Runs `script` with `arguments` and returns when it says that it is ready.
    package static func start(_ script: String, _ arguments: [String]) async throws -> ServerGuardian {
        let (stopRequested, stopRequest) = AsyncStream<Never>.makeStream()
        let (readiness, ready) = AsyncThrowingStream<Void, any Error>.makeStream()
        let task = Task<Void, any Error> {
            do {
                try await run(["-c", script, "guardian"] + arguments, until: stopRequested) { ready.finish() }
            } catch {
                ready.finish(throwing: error)
                throw error
            }
        }
        for try await _ in readiness {}
        return ServerGuardian(stopRequest: stopRequest, task: task)
    }

    /// Waits until the server has gone and its directory with it. Harmless twice.
    package func stop() async throws {
        stopRequest.finish()
        try await task.value
    }

    private static func run(
        _ arguments: [String], until stopRequested: AsyncStream<Never>, whenReady: @escaping @Sendable () -> Void
    ) async throws {
        var options = PlatformOptions()
        // A Ctrl-C at the terminal ends the tests, and through them the guardian; it must not end it directly.
        options.createSession = true
        let result = try await Subprocess.run(
            .path("/bin/sh"), arguments: Arguments(arguments), platformOptions: options, input: .inputWriter,
            output: .sequence, error: .string(limit: 1 << 16)
        ) { execution in
            for try await line in execution.standardOutput.strings() where line.hasPrefix("ready") {
                whenReady()
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
