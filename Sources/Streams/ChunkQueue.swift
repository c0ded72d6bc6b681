package import Core

/// A bounded queue between two threads: the writer waits where it is full, the reader where it is empty.
///
/// Only this holds the byte path's stages apart, so how many chunks are in flight, and with them the memory of a run, is
/// the sum of the queues' capacities.
package final class ChunkQueue: @unchecked Sendable {
    private let capacity: Int
    private let monitor = Monitor()
    // Guarded by `monitor`.
    private var chunks: [Chunk] = []
    private var end: Result<Void, any Error>?
    private var isCancelled = false

    package init(capacity: Int) {
        precondition(capacity > 0)
        self.capacity = capacity
    }

    /// Adds a chunk, waiting for room. `false` once the reader has given up, or the end has been set.
    package func push(_ chunk: Chunk) -> Bool {
        monitor.locked {
            while chunks.count >= capacity, !isCancelled, end == nil { monitor.wait() }
            guard !isCancelled, end == nil else { return false }
            chunks.append(chunk)
            monitor.changed()
            return true
        }
    }

    /// Says that nothing follows, and whether that is well. Only the first call counts.
    package func finish(_ result: Result<Void, any Error>) {
        monitor.locked {
            if end == nil { end = result }
            monitor.changed()
        }
    }

    /// The next chunk, waiting for one; `nil` at a good end, the writer's error at a bad one: an error overtakes chunks
    /// that still wait, for they lead nowhere.
    package func pop() throws -> Chunk? {
        try monitor.locked {
            while true {
                if isCancelled { throw CancellationError() }
                if case .failure(let error)? = end { throw error }
                if !chunks.isEmpty {
                    let chunk = chunks.removeFirst()
                    monitor.changed()
                    return chunk
                }
                if end != nil { return nil }
                monitor.wait()
            }
        }
    }

    /// Waits for the end, for a reader that wants nothing but it.
    package func waitForEnd() throws {
        try monitor.locked {
            while end == nil, !isCancelled { monitor.wait() }
            try end?.get()
            if end == nil { throw CancellationError() }
        }
    }

    /// The reader gives up: `pop` throws and `push` refuses from now on.
    package func cancel() {
        monitor.locked {
            isCancelled = true
            chunks.removeAll()
            monitor.changed()
        }
    }
}
