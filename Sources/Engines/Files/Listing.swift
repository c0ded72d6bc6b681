import Core
import Streams

/// The listing of a set: a line for each entry, made while the archive streams by and stored beside it.
final class Listing: Sendable {
    private static let chunkSize = 256 << 10

    private let queue = ChunkQueue(capacity: 4)
    private let chunk = Guarded(Chunk(capacity: chunkSize))

    /// Waits where the reader is behind. Throws where it has given up.
    func add(_ line: [UInt8]) throws {
        try add(bytes: line)
        try add(bytes: [UInt8(ascii: "\n")])
    }

    private func add(bytes: [UInt8]) throws {
        var start = 0
        while start < bytes.count {
            let full = chunk.withLock { chunk in
                start += bytes.withUnsafeBytes { chunk.append(UnsafeRawBufferPointer(rebasing: $0[start...])) }
                return chunk.remaining == 0
            }
            if full { try flush() }
        }
    }

    private func flush() throws {
        let filled = chunk.withLock { chunk in
            let filled = chunk
            chunk = Chunk(capacity: Self.chunkSize)
            return filled
        }
        guard filled.count == 0 || queue.push(filled) else { throw CancellationError() }
    }

    /// Nothing follows.
    func finish() throws {
        try flush()
        queue.finish(.success(()))
    }

    func fail(_ error: any Error) { queue.finish(.failure(error)) }

    /// For the one who reads it.
    var source: any ByteSource { Reader(queue: queue) }

    private final class Reader: ByteSource {
        private let queue: ChunkQueue

        init(queue: ChunkQueue) { self.queue = queue }

        func next() throws -> Chunk? { try queue.pop() }
        func cancel() { queue.cancel() }
    }
}

/// Splits a listing into its lines, whatever chunks it comes in.
struct ListingLines {
    /// Bytes: a path of any length that a file system has, escaped, and the rest.
    private static let longest = 1 << 20

    private var cut: [UInt8] = []

    mutating func update(_ bytes: UnsafeRawBufferPointer, _ use: ([UInt8]) throws -> Void) throws {
        var rest = bytes[...]
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            cut.append(contentsOf: rest[..<end])
            try use(cut)
            cut.removeAll(keepingCapacity: true)
            rest = rest[(end + 1)...]
        }
        cut.append(contentsOf: rest)
        guard cut.count <= Self.longest else { throw damaged("a line has no end") }
    }

    func finish() throws {
        guard cut.isEmpty else { throw damaged("it ends within a line") }
    }

    private func damaged(_ problem: String) -> FilesError {
        .damagedPart(FileTrees.PartName.listing, problem)
    }
}
