import Core
import Streams

/// The plaintext of a part: its segments opened one after another, each to its end.
///
/// Opening a segment is asynchronous and pulling it is not, so a task of its own does both and a queue stands between.
final class PartSource: ByteSource {
    private let queue = ChunkQueue(capacity: 4)
    private let task: Task<Void, Never>

    init(_ part: StoredPart, of manifest: Manifest, dataKey: SecretBytes, in store: any Store) {
        let queue = queue
        task = Task {
            do {
                for segment in part.segments {
                    try await Self.open(segment, of: manifest, dataKey: dataKey, in: store, into: queue)
                }
                queue.finish(.success(()))
            } catch {
                queue.finish(.failure(error))
            }
        }
    }

    deinit { cancel() }

    func next() throws -> Chunk? { try queue.pop() }

    func cancel() {
        queue.cancel()
        task.cancel()
    }

    private static func open(
        _ segment: Segment, of manifest: Manifest, dataKey: SecretBytes, in store: any Store, into queue: ChunkQueue
    ) async throws {
        let bytes = try await StoredSegment(segment, of: manifest, in: store)
        let opened = OpenedSegment(
            try PrefetchedSource(bytes.source, depth: 4, name: "fetch"),
            expecting: OpenedSegment.Expectation(
                key: manifest.key.description, path: segment.path, messageID: segment.messageID,
                context: manifest.encryption.context, dataKey: dataKey),
            decompressor: try manifest.compression.makeDecompressor())
        let plainSize = Guarded<Int64>(0)
        try await pull(opened, named: "open") { chunk in
            plainSize.withLock { $0 += Int64(chunk.count) }
            guard queue.push(chunk) else { throw CancellationError() }
        }
        try bytes.check()
        guard plainSize.value == segment.plainSize else {
            throw SetError.damagedSegment(
                key: manifest.key.description, path: segment.path, problem: "it holds another number of bytes")
        }
    }
}

/// The bytes of a segment as the store has them, with the digest that the manifest promises.
struct StoredSegment: Sendable {
    let source: DigestingSource
    private let segment: Segment
    private let key: String

    init(_ segment: Segment, of manifest: Manifest, in store: any Store) async throws {
        self.segment = segment
        key = manifest.key.description
        source = DigestingSource(try await store.get("\(key)/\(segment.path)", range: nil))
    }

    /// After the source has ended: that it was all of it, and unchanged.
    func check() throws(SetError) {
        guard source.count == segment.storedSize else {
            throw .wrongSize(key: key, path: segment.path, recorded: segment.storedSize, found: source.count)
        }
        guard source.sha256 == segment.storedSHA256 else {
            throw .damagedSegment(key: key, path: segment.path, problem: "its bytes are not those that were stored")
        }
    }
}
