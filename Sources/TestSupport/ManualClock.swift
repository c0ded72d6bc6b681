package import Core
import Synchronization

/// A clock that stands still until a test moves it: wall time, elapsed time and sleeping in one.
package final class ManualClock: WallClock {
    private struct Sleeper {
        let id: Int
        /// In seconds since the clock was made.
        let wake: Double
        let continuation: CheckedContinuation<Void, any Error>
    }

    private struct Watcher {
        let count: Int
        let continuation: CheckedContinuation<Void, Never>
    }

    private struct State {
        var elapsed = 0.0
        var nextID = 0
        var sleepers: [Sleeper] = []
        /// Cancelled before they could lie down.
        var cancelled: Set<Int> = []
        var watchers: [Watcher] = []
    }

    private let start: Timestamp
    private let state = Mutex(State())

    /// Stands at 2025-01-15T07:00:00.000Z where nothing else is given.
    package init(_ start: Timestamp = Timestamp(milliseconds: 1_736_924_400_000)) { self.start = start }

    package func now() -> Timestamp {
        Timestamp(milliseconds: start.milliseconds + Int64((elapsed() * 1000).rounded()))
    }

    /// Seconds since the clock was made.
    package func elapsed() -> Double { state.withLock { $0.elapsed } }

    /// Moves the clock and wakes whoever has slept long enough, in the order of their time.
    package func advance(seconds: Double) {
        let due = state.withLock { state in
            state.elapsed += seconds
            let due = state.sleepers.filter { $0.wake <= state.elapsed }.sorted { $0.wake < $1.wake }
            state.sleepers.removeAll { $0.wake <= state.elapsed }
            return due
        }
        for sleeper in due { sleeper.continuation.resume() }
    }

    /// Suspends until the clock has been moved by `seconds`; throws `CancellationError` where the task is cancelled.
    package func sleep(_ seconds: Double) async throws {
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let (wasCancelled, watchers) = state.withLock { state in
                    if state.cancelled.remove(id) != nil { return (true, [Watcher]()) }
                    state.sleepers.append(
                        Sleeper(id: id, wake: state.elapsed + seconds, continuation: continuation))
                    let count = state.sleepers.count
                    let content = state.watchers.filter { $0.count <= count }
                    state.watchers.removeAll { $0.count <= count }
                    return (false, content)
                }
                if wasCancelled { continuation.resume(throwing: CancellationError()) }
                for watcher in watchers { watcher.continuation.resume() }
            }
        } onCancel: {
            let sleeper: Sleeper? = state.withLock { state in
                guard let index = state.sleepers.firstIndex(where: { $0.id == id }) else {
                    state.cancelled.insert(id)
                    return nil
                }
                return state.sleepers.remove(at: index)
            }
            sleeper?.continuation.resume(throwing: CancellationError())
        }
    }

    /// Suspends until `count` tasks sleep on this clock: then nothing happens until it is moved.
    package func waitForSleepers(_ count: Int) async {
        await withCheckedContinuation { continuation in
            let isReached = state.withLock { state in
                if state.sleepers.count >= count { return true }
                state.watchers.append(Watcher(count: count, continuation: continuation))
                return false
            }
            if isReached { continuation.resume() }
        }
    }
}
