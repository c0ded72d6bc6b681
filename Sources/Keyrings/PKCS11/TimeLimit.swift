import Core

/// Runs `body`, which may block for ever, on a thread of its own and waits for it, but no longer than `seconds`: then
/// throws `late`. A thread that cannot be called back is left to itself, and what it gives in the end is dropped.
/// Cancelling the task ends the waiting, too.
func withTimeLimit<Value: Sendable>(
    seconds: Double, sleep: @escaping @Sendable (Double) async throws -> Void,
    late: @escaping @Sendable () -> any Error, _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
    let race = Race<Value>()
    let timer = Task {
        do {
            try await sleep(seconds)
        } catch {
            return
        }
        race.settle(.failure(late()))
    }
    defer { timer.cancel() }
    return try await withTaskCancellationHandler {
        try await withCheckedThrowingContinuation { continuation in
            race.begin(continuation)
            do {
                try startThread("pkcs11") { race.settle(Result(catching: body)) }
            } catch {
                race.settle(.failure(error))
            }
        }
    } onCancel: {
        race.settle(.failure(CancellationError()))
    }
}

/// The first of several results, handed to who waits for it.
private final class Race<Value: Sendable>: Sendable {
    private enum State {
        case idle
        case waiting(CheckedContinuation<Value, any Error>)
        case settled(Result<Value, any Error>)
        case done
    }

    private let state = Guarded(State.idle)

    func begin(_ continuation: CheckedContinuation<Value, any Error>) {
        let settled: Result<Value, any Error>? = state.withLock { state in
            if case .settled(let result) = state {
                state = .done
                return result
            }
            state = .waiting(continuation)
            return nil
        }
        if let settled { continuation.resume(with: settled) }
    }

    func settle(_ result: Result<Value, any Error>) {
        let waiting: CheckedContinuation<Value, any Error>? = state.withLock { state in
            switch state {
            case .idle:
                state = .settled(result)
                return nil
            case .waiting(let continuation):
                state = .done
                return continuation
            case .settled, .done: return nil
            }
        }
        waiting?.resume(with: result)
    }
}
