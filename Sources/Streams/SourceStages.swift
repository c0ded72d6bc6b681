package import Core
import Crypto

/// Pulls its base ahead of time on a thread of its own, so that the stages before and after it overlap.
package final class PrefetchedSource: ByteSource {
    private let base: any ByteSource
    private let queue: ChunkQueue
    private let isAtEnd = Guarded(false)

    /// Begins to pull at once. `depth` chunks are kept ready.
    package init(_ base: any ByteSource, depth: Int, name: String) throws {
        let queue = ChunkQueue(capacity: depth)
        self.base = base
        self.queue = queue
        try startThread(name) {
            queue.finish(
                Result {
                    while let chunk = try base.next() {
                        guard queue.push(chunk) else { throw CancellationError() }
                    }
                })
        }
    }

    /// Given up midway the base is told. At its end it is left alone: it may be one of several over one source.
    deinit { if !isAtEnd.value { cancel() } }

    package func next() throws -> Chunk? {
        let chunk = try queue.pop()
        if chunk == nil { isAtEnd.withLock { $0 = true } }
        return chunk
    }

    package func cancel() {
        queue.cancel()
        base.cancel()
    }
}

/// Hands every chunk also to an observer on a thread of its own. The end is only reported after the observer has seen
/// everything, and its error is this source's.
package final class ObservedSource: ByteSource {
    private let base: any ByteSource
    private let queue: ChunkQueue
    private let observed: ChunkQueue

    /// `observe` is called for every chunk, in order, from one thread; up to `depth` chunks behind.
    package init(
        _ base: any ByteSource, depth: Int = 4, name: String, observe: @escaping @Sendable (Chunk) throws -> Void
    ) throws {
        let queue = ChunkQueue(capacity: depth)
        let observed = ChunkQueue(capacity: 1)
        self.base = base
        self.queue = queue
        self.observed = observed
        try startThread(name) {
            let result = Result {
                while let chunk = try queue.pop() { try observe(chunk) }
            }
            // First the verdict, then the refusal: whoever is turned away below finds out why.
            observed.finish(result)
            queue.cancel()
        }
    }

    deinit { queue.cancel() }

    package func next() throws -> Chunk? {
        guard let chunk = try base.next() else {
            queue.finish(.success(()))
            try observed.waitForEnd()
            return nil
        }
        guard queue.push(chunk) else {
            base.cancel()
            try observed.waitForEnd()
            throw CancellationError()
        }
        return chunk
    }

    package func cancel() {
        queue.cancel()
        base.cancel()
    }
}

/// Counts and digests what passes.
package final class DigestingSource: ByteSource {
    private struct State {
        var digest = SHA256()
        var count: Int64 = 0
    }

    private let base: any ByteSource
    private let state = Guarded(State())

    package init(_ base: any ByteSource) { self.base = base }

    package func next() throws -> Chunk? {
        guard let chunk = try base.next() else { return nil }
        state.withLock {
            $0.digest.update(bufferPointer: chunk.bytes)
            $0.count += Int64(chunk.count)
        }
        return chunk
    }

    package func cancel() { base.cancel() }

    /// Bytes that have passed so far.
    package var count: Int64 { state.withLock { $0.count } }
    /// SHA-256 of them.
    package var sha256: [UInt8] { state.withLock { Array($0.digest.finalize()) } }
}

/// Tells the meter what passes.
package final class MeteredSource: ByteSource {
    private let base: any ByteSource
    private let meter: ProgressMeter

    package init(_ base: any ByteSource, meter: ProgressMeter) {
        self.base = base
        self.meter = meter
    }

    package func next() throws -> Chunk? {
        guard let chunk = try base.next() else { return nil }
        meter.add(chunk.count)
        return chunk
    }

    package func cancel() { base.cancel() }
}

/// Holds its base back to so many bytes a second, to spare a busy server.
package final class RateLimitedSource: ByteSource {
    private struct Pace {
        var began: Double?
        var bytes: Double = 0
    }

    private let base: any ByteSource
    private let bytesPerSecond: Double
    private let clock: BlockingClock
    private let pace = Guarded(Pace())

    package init(_ base: any ByteSource, bytesPerSecond: Int64, clock: BlockingClock) {
        self.base = base
        self.bytesPerSecond = Double(bytesPerSecond)
        self.clock = clock
    }

    package func next() throws -> Chunk? {
        guard let chunk = try base.next() else { return nil }
        let now = clock.seconds()
        let wait = pace.withLock { pace in
            let began = pace.began ?? now
            pace.began = began
            pace.bytes += Double(chunk.count)
            return began + pace.bytes / bytesPerSecond - now
        }
        if wait > 0 { clock.pause(wait) }
        return chunk
    }

    package func cancel() { base.cancel() }
}

/// A monotonic clock for threads that may block.
package struct BlockingClock: Sendable {
    /// Seconds since some beginning.
    package var seconds: @Sendable () -> Double
    /// Blocks for so many seconds.
    package var pause: @Sendable (Double) -> Void

    package init(seconds: @escaping @Sendable () -> Double, pause: @escaping @Sendable (Double) -> Void) {
        self.seconds = seconds
        self.pause = pause
    }
}

/// Pulls `source` to its end on a thread of its own and drops what it gives, for the checks on the way.
package func drain(_ source: any ByteSource) async throws {
    try await pull(source, named: "drain") { _ in }
}

/// Pulls `source` to its end on a thread of its own, giving each chunk to `use`. Cancelling the task cancels the source.
package func pull(
    _ source: any ByteSource, named name: String, _ use: @escaping @Sendable (Chunk) throws -> Void
) async throws {
    try await withTaskCancellationHandler {
        try await onThread(name) {
            do {
                while let chunk = try source.next() { try use(chunk) }
            } catch {
                source.cancel()
                throw error
            }
        }
    } onCancel: {
        source.cancel()
    }
}
