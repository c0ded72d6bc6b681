import Core
import Glibc

/// Pieces that tasks bring and a thread waits for. It holds the tasks, so that they end with it.
final class Arrivals: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    // Guarded by `mutex`.
    private var tasks: [Int: Task<Void, Never>] = [:]
    private var arrived: [Int: Result<[Chunk], any Error>] = [:]
    private var hasBeenCancelled = false

    init() {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(changed, nil)
    }

    deinit {
        pthread_cond_destroy(changed)
        pthread_mutex_destroy(mutex)
        changed.deallocate()
        mutex.deallocate()
    }

    var isCancelled: Bool { locked { hasBeenCancelled } }

    /// Begins to fetch `piece`, which has not been begun before. From any thread.
    func start(_ piece: Int, _ body: @escaping @Sendable () async throws -> [Chunk]) {
        locked {
            guard !hasBeenCancelled else { return }
            // The task ends by itself, or is cancelled with the download.
            tasks[piece] = Task { await self.run(piece, body) }
        }
    }

    private func run(_ piece: Int, _ body: @Sendable () async throws -> [Chunk]) async {
        do {
            arrive(piece, .success(try await body()))
        } catch {
            arrive(piece, .failure(error))
        }
    }

    private func arrive(_ piece: Int, _ result: Result<[Chunk], any Error>) {
        locked {
            tasks[piece] = nil
            if !hasBeenCancelled { arrived[piece] = result }
            pthread_cond_broadcast(changed)
        }
    }

    /// Blocks until `piece` is there, and gives it away. `CancellationError` after ``cancel()``.
    func wait(for piece: Int) throws -> [Chunk] {
        try locked {
            while true {
                if hasBeenCancelled { throw CancellationError() }
                if let result = arrived.removeValue(forKey: piece) { return try result.get() }
                pthread_cond_wait(changed, mutex)
            }
        }
    }

    func cancel() {
        let running = locked {
            hasBeenCancelled = true
            arrived = [:]
            defer { tasks = [:] }
            pthread_cond_broadcast(changed)
            return Array(tasks.values)
        }
        for task in running { task.cancel() }
    }

    private func locked<Result>(_ body: () throws -> Result) rethrows -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body()
    }
}
