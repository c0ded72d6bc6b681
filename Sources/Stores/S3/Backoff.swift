import AWS
import Core

/// Waits between our own attempts, which begin where the client's have ended: a piece of an upload or of a download is
/// worth more patience than a call that nothing is lost with.
struct Backoff: Sendable {
    /// Attempts in all, 1 at least.
    var attempts: Int
    /// Seconds; the wait before attempt n is a random part of `first` * 2^(n - 2), `longest` at most.
    var first: Double
    var longest: Double
    var random: RandomBytes
    var sleep: @Sendable (Double) async throws -> Void

    init(
        attempts: Int = 5, first: Double = 1, longest: Double = 8, random: @escaping RandomBytes,
        sleep: @escaping @Sendable (Double) async throws -> Void
    ) {
        self.attempts = attempts
        self.first = first
        self.longest = longest
        self.random = random
        self.sleep = sleep
    }

    /// Waits after failure number `failures`, 1 being the first. Half the wait is certain, so that attempts stay apart.
    func wait(after failures: Int) async throws {
        var longest = first
        for _ in 1..<max(failures, 1) { longest = min(longest * 2, self.longest) }
        let chance = random(2).reduce(0) { $0 * 256 + Double($1) } / 65536
        try await sleep(longest * (0.5 + chance / 2))
    }

    /// Runs `body` again after a passing error, `attempts` times in all.
    func repeating<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
        var failures = 0
        while true {
            do {
                return try await body()
            } catch {
                failures += 1
                try Task.checkCancellation()
                guard failures < attempts, let passing = error as? AWSError, passing.isTransient else { throw error }
            }
            try await wait(after: failures)
        }
    }
}

/// So many at once and no more; the others wait in the order in which they came.
final class Slots: Sendable {
    private struct Waiter {
        let id: Int
        let continuation: CheckedContinuation<Void, any Error>
    }

    private struct State {
        var free: Int
        var nextID = 0
        var waiters: [Waiter] = []
        /// Cancelled before they could wait.
        var cancelled: Set<Int> = []
    }

    private let state: Guarded<State>

    init(_ count: Int) { state = Guarded(State(free: count)) }

    /// Takes a slot, waiting for one. `CancellationError` in a cancelled task, which then holds none.
    func acquire() async throws {
        try Task.checkCancellation()
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let outcome: Result<Void, any Error>? = state.withLock { state in
                    if state.cancelled.remove(id) != nil { return .failure(CancellationError()) }
                    if state.free > 0 {
                        state.free -= 1
                        return .success(())
                    }
                    state.waiters.append(Waiter(id: id, continuation: continuation))
                    return nil
                }
                if let outcome { continuation.resume(with: outcome) }
            }
        } onCancel: {
            let waiter: Waiter? = state.withLock { state in
                guard let index = state.waiters.firstIndex(where: { $0.id == id }) else {
                    // It may hold a slot already, and gives it back in its own time.
                    state.cancelled.insert(id)
                    return nil
                }
                return state.waiters.remove(at: index)
            }
            waiter?.continuation.resume(throwing: CancellationError())
        }
        state.withLock { _ = $0.cancelled.remove(id) }
    }

    func release() {
        let next: Waiter? = state.withLock { state in
            guard !state.waiters.isEmpty else {
                state.free += 1
                return nil
            }
            return state.waiters.removeFirst()
        }
        next?.continuation.resume()
    }
}
