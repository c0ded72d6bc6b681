import Core
import Streams

/// Turns what one thread reads from the server into the parts of a set, which others pull: each part appears when its
/// first byte is due, and the server is held back while nobody pulls.
///
/// Nothing of it is on a disk; at most ``depth`` chunks are in memory.
final class BackupParts: Sendable {
    private static let depth = 8

    /// The parts; ends after the manifest, throws where the server fails.
    let stream: AsyncThrowingStream<Part, any Error>
    private let announcement: AsyncThrowingStream<Part, any Error>.Continuation
    private let inspection: ClusterInspection

    private struct State {
        var queue: ChunkQueue?
        var isCancelled = false
    }

    private let state = Guarded(State())

    init(inspection: ClusterInspection) {
        self.inspection = inspection
        (stream, announcement) = AsyncThrowingStream<Part, any Error>.makeStream()
    }

    /// Reads `backup` to its end, in the calling thread. `whenEnded` is called before the last part's end is reported,
    /// and its error is that part's.
    func read(
        _ backup: BaseBackup, roots: [String], whenEnded: (BackupEnd) throws -> Void,
        explain: (any Error) -> any Error
    ) {
        var output = Output(parts: self)
        do {
            try whenEnded(try backup.stream(roots, to: &output))
            try output.end()
            announcement.finish()
        } catch {
            let failure = explain(error)
            output.fail(failure)
            announcement.finish(throwing: failure)
        }
    }

    /// Makes whoever waits here give up: the reading thread, and those who pull.
    func cancel() {
        let queue = state.withLock { state in
            state.isCancelled = true
            return state.queue
        }
        queue?.cancel()
        announcement.finish(throwing: CancellationError())
    }

    fileprivate func announce(_ root: String?) throws -> ChunkQueue {
        let queue = ChunkQueue(capacity: Self.depth)
        let source = QueueSource(queue)
        let part =
            if let root {
                Part(
                    name: ClusterArchive.part(of: root), source: try inspection.archive(source, root: root),
                    leavesCoresIdle: true)
            } else {
                Part(name: ClusterArchive.manifest, source: try inspection.manifest(source))
            }
        let isCancelled = state.withLock { state in
            state.queue = queue
            return state.isCancelled
        }
        guard !isCancelled else { throw CancellationError() }
        announcement.yield(part)
        return queue
    }
}

/// Fills chunks with what comes, and queues them for whoever pulls the part.
private struct Output: BackupOutput {
    let parts: BackupParts
    private var queue: ChunkQueue?
    private var chunk = Chunk()

    init(parts: BackupParts) { self.parts = parts }

    mutating func begin(_ root: String?) throws { queue = try parts.announce(root) }

    mutating func write(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes
        while !rest.isEmpty {
            let count = chunk.append(rest)
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            if chunk.remaining == 0 { try push() }
        }
    }

    mutating func end() throws {
        if chunk.count > 0 { try push() }
        queue?.finish(.success(()))
        queue = nil
    }

    func fail(_ error: any Error) { queue?.finish(.failure(error)) }

    private mutating func push() throws {
        guard let queue, queue.push(chunk) else { throw CancellationError() }
        chunk = Chunk()
    }
}

/// The reading end of a queue. Let go before its end, it tells the writer.
private final class QueueSource: ByteSource {
    private let queue: ChunkQueue

    init(_ queue: ChunkQueue) { self.queue = queue }

    deinit { queue.cancel() }

    func next() throws -> Chunk? { try queue.pop() }
    func cancel() { queue.cancel() }
}
