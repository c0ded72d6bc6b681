import CLinux
import Glibc
import Synchronization

/// A value that several threads share, reached one at a time.
package final class Guarded<Value>: Sendable {
    private let mutex: Mutex<Value>

    package init(_ value: sending Value) { mutex = Mutex(value) }

    package func withLock<Result, E: Error>(
        _ body: (inout sending Value) throws(E) -> sending Result
    ) throws(E) -> sending Result {
        try mutex.withLock(body)
    }
}

extension Guarded where Value: Sendable {
    package var value: Value { withLock { $0 } }
}

/// Runs `body` on a thread of its own and waits for it without blocking the cooperative pool.
///
/// For everything that blocks: pipes, files, compression. `name` (15 bytes at most are kept) shows in `top -H`.
package func onThread<Value: Sendable>(
    _ name: String, _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        do {
            try startThread(name) { continuation.resume(with: Result(catching: body)) }
        } catch {
            continuation.resume(throwing: error)
        }
    }
}

/// Runs `body` on a thread of its own and does not wait for it. `body` has to hand on its own result.
///
/// It lets others go before it, unless `yields` is false: for a thread that starts a server, which would inherit that
/// and, without privileges, could never have it taken back.
package func startThread(
    _ name: String, yields: Bool = true, _ body: @escaping @Sendable () -> Void
) throws(ThreadUnavailable) {
    try ThreadStart(name: name, yields: yields, body: body).launch()
}

/// The system would not give another thread.
package struct ThreadUnavailable: Error, CustomStringConvertible {
    package let errno: Int32
    package var description: String {
        "no further thread could be started (error \(errno)); the pod's process limit (pids) is too low"
    }
}

private final class ThreadStart: Sendable {
    private let name: String
    private let yields: Bool
    private let body: @Sendable () -> Void

    init(name: String, yields: Bool, body: @escaping @Sendable () -> Void) {
        self.name = name
        self.yields = yields
        self.body = body
    }

    func launch() throws(ThreadUnavailable) {
        var thread = pthread_t()
        let retained = Unmanaged.passRetained(self)
        let status = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                let start = Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue()
                linux_enter_thread(start.name, start.yields ? 1 : 0)
                start.body()
                return nil
            }, retained.toOpaque())
        guard status == 0 else {
            retained.release()
            throw ThreadUnavailable(errno: status)
        }
        pthread_detach(thread)
    }
}
