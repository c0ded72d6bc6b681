package import Core
import Streams

/// The parts of a set of which one gives half of its bytes and then nothing more, until it is cancelled.
package final class StalledParts: PartOpener {
    private let base: MemoryParts
    private let stalled: String
    private let arrival = AsyncStream<Void>.makeStream()

    package init(parts: [String: [UInt8]], part: String) {
        base = MemoryParts(parts: parts)
        stalled = part
    }

    package var partNames: [String] { base.partNames }

    package func open(_ part: String) async throws -> any ByteSource {
        guard part == stalled, let bytes = base.parts[part] else { return try await base.open(part) }
        let queue = ChunkQueue(capacity: 1)
        _ = queue.push(Chunk(bytes.prefix(min(bytes.count / 2, Chunk.size))))
        return StalledSource(queue) { [arrival] in arrival.continuation.yield() }
    }

    /// Returns when the reader waits for what does not come.
    package func reached() async throws {
        for await _ in arrival.stream { return }
        try Task.checkCancellation()
    }
}

private final class StalledSource: ByteSource {
    private let queue: ChunkQueue
    private let onStall: @Sendable () -> Void
    private let given = Guarded(false)

    init(_ queue: ChunkQueue, onStall: @escaping @Sendable () -> Void) {
        self.queue = queue
        self.onStall = onStall
    }

    func next() throws -> Chunk? {
        let isSecond = given.withLock { given in
            defer { given = true }
            return given
        }
        if isSecond { onStall() }
        return try queue.pop()
    }

    func cancel() { queue.cancel() }
}
