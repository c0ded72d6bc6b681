package import Core
import Glibc

/// A bounded queue between two threads: the writer waits where it is full, the reader where it is empty.
///
/// Only this holds the byte path's stages apart, so how many chunks are in flight, and with them the memory of a run, is
/// the sum of the queues' capacities.
package final class ChunkQueue: @unchecked Sendable {
    private let capacity: Int
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    // Guarded by `mutex`.
    private var chunks: [Chunk] = []
    private var end: Result<Void, any Error>?
    private var isCancelled = false

    package init(capacity: Int) {
        precondition(capacity > 0)
        self.capacity = capacity
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(changed, nil)
    }

    deinit {
        pthread_cond_destroy(changed)
        pthread_mutex_destroy(mutex)
        changed.deallocate()
        mutex.deallocate()
    }

    /// Adds a chunk, waiting for room. `false` once the reader has given up, or the end has been set.
    package func push(_ chunk: Chunk) -> Bool {
        locked {
            while chunks.count >= capacity, !isCancelled, end == nil { pthread_cond_wait(changed, mutex) }
            guard !isCancelled, end == nil else { return false }
            chunks.append(chunk)
            pthread_cond_broadcast(changed)
            return true
        }
    }

    /// Says that nothing follows, and whether that is well. Only the first call counts.
    package func finish(_ result: Result<Void, any Error>) {
        locked {
            if end == nil { end = result }
            pthread_cond_broadcast(changed)
        }
    }

    /// The next chunk, waiting for one; `nil` at a good end, the writer's error at a bad one: an error overtakes chunks
    /// that still wait, for they lead nowhere.
    package func pop() throws -> Chunk? {
        try locked {
            while true {
                if isCancelled { throw CancellationError() }
                if case .failure(let error)? = end { throw error }
                if !chunks.isEmpty {
                    let chunk = chunks.removeFirst()
                    pthread_cond_broadcast(changed)
                    return chunk
                }
                if end != nil { return nil }
                pthread_cond_wait(changed, mutex)
            }
        }
    }

    /// Waits for the end, for a reader that wants nothing but it.
    package func waitForEnd() throws {
        try locked {
            while end == nil, !isCancelled { pthread_cond_wait(changed, mutex) }
            try end?.get()
            if end == nil { throw CancellationError() }
        }
    }

    /// The reader gives up: `pop` throws and `push` refuses from now on.
    package func cancel() {
        locked {
            isCancelled = true
            chunks.removeAll()
            pthread_cond_broadcast(changed)
        }
    }

    private func locked<Result>(_ body: () throws -> Result) rethrows -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body()
    }
}
