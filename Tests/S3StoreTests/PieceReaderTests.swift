import CCRC32C
import Core
import TestSupport
import Testing

@testable import S3Store

/// How a source becomes pieces, and what is computed of them.
@Suite struct PieceReaderTests {
    /// For many sizes of pieces and chunks: the bytes come back, every piece but the last is exactly as long as asked,
    /// the last one says so, and no piece holds much more memory than it has bytes.
    @Test func cutting() throws {
        var random = SeededRandom(seed: 3)
        for _ in 0..<60 {
            let size = Int.random(in: 1...300_000, using: &random)
            let pieceSize = Int.random(in: 1...200_000, using: &random)
            let chunkSize = Int.random(in: 1...150_000, using: &random)
            let bytes = patternBytes(size)
            let reader = PieceReader(MemorySource(bytes, chunkSize: chunkSize))
            let threshold = Int.random(in: 1...pieceSize, using: &random)
            if let whole = try reader.whole(upTo: threshold) {
                #expect(size <= threshold)
                #expect(all(whole) == bytes)
                continue
            }
            var found: [UInt8] = []
            while true {
                let piece = try reader.next(size: pieceSize)
                found += all(piece)
                #expect(piece.count == piece.chunks.reduce(0) { $0 + $1.count })
                #expect(piece.count == pieceSize || piece.isLast)
                #expect(piece.chunks.reduce(0) { $0 + $1.capacity } <= 2 * piece.count + 2 * Chunk.size)
                if piece.isLast { break }
            }
            #expect(found == bytes)
        }
    }

    /// Chunks that are well filled are not copied.
    @Test func noCopies() throws {
        let chunks = (0..<4).map { seed in Chunk(patternBytes(Chunk.size, seed: UInt8(seed))) }
        let reader = PieceReader(ChunkSource(chunks))
        #expect(try reader.whole(upTo: Chunk.size) == nil)
        let first = try reader.next(size: 3 * Chunk.size)
        #expect(first.chunks.map(ObjectIdentifier.init) == chunks[..<3].map(ObjectIdentifier.init))
        #expect(!first.isLast)
        let last = try reader.next(size: 3 * Chunk.size)
        #expect(last.chunks.map(ObjectIdentifier.init) == [ObjectIdentifier(chunks[3])])
        #expect(last.isLast)
    }

    @Test func emptySource() throws {
        let whole = try PieceReader(MemorySource([])).whole(upTo: 10)
        #expect(whole?.count == 0)
        #expect(whole?.isLast == true)
    }

    /// RFC 3720, appendix B.4, and the check value of the catalogue of CRCs; the tables give what the processor does.
    @Test func checksums() {
        let vectors: [([UInt8], UInt32)] = [
            ([UInt8](repeating: 0, count: 32), 0x8A91_36AA), ([UInt8](repeating: 255, count: 32), 0x62A8_AB43),
            (Array(0..<32), 0x46DD_794E), (Array((0..<32).reversed()), 0x113F_DB5C),
            (Array("123456789".utf8), 0xE306_9283), ([], 0),
        ]
        for (bytes, expected) in vectors {
            #expect(ccrc32c(0, bytes, bytes.count) == expected)
            #expect(ccrc32c_portable(0, bytes, bytes.count) == expected)
        }
        let long = patternBytes(100_003)
        let whole = ccrc32c(0, long, long.count)
        #expect(ccrc32c_portable(0, long, long.count) == whole)
        #expect(ccrc32c(ccrc32c(0, long, 777), Array(long[777...]), long.count - 777) == whole)
        #expect(Checksum(Array("123456789".utf8)).text == "4waSgw==")
        #expect(Checksum([Chunk(Array("1234".utf8)), Chunk(Array("56789".utf8))]).text == "4waSgw==")
    }

    @Test func sameBytes() {
        let bytes = patternBytes(1000)
        let a = [Chunk(bytes[..<300]), Chunk(bytes[300...])]
        let b = [Chunk(bytes[..<1]), Chunk(bytes[1..<999]), Chunk(bytes[999...])]
        #expect(haveSameBytes(a, b))
        #expect(haveSameBytes([], []))
        #expect(!haveSameBytes(a, [Chunk(bytes.dropLast())]))
        #expect(!haveSameBytes(a, [Chunk(bytes.dropLast() + [bytes[999] ^ 1])]))
    }

    private func all(_ piece: Piece) -> [UInt8] { piece.chunks.flatMap { Array($0.bytes) } }
}

private final class ChunkSource: ByteSource {
    private let rest: Guarded<[Chunk]>

    init(_ chunks: [Chunk]) { rest = Guarded(chunks) }

    func next() throws -> Chunk? { rest.withLock { $0.isEmpty ? nil : $0.removeFirst() } }
    func cancel() {}
}

/// So many at once: the third waits for the first to end, and one that is cancelled while it waits takes none.
@Suite struct SlotTests {
    @Test func waiting() async throws {
        let slots = Slots(2)
        try await slots.acquire()
        try await slots.acquire()
        let third = Task { try await slots.acquire() }
        let fourth = Task { try await slots.acquire() }
        third.cancel()
        await #expect(throws: CancellationError.self) { try await third.value }
        slots.release()
        try await fourth.value
        slots.release()
        slots.release()
        // Both are free again.
        try await slots.acquire()
        try await slots.acquire()
    }

    @Test func manyTasks() async throws {
        let slots = Slots(3)
        let counts = Guarded((now: 0, most: 0))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<200 {
                group.addTask {
                    try await slots.acquire()
                    counts.withLock { counts in
                        counts.now += 1
                        counts.most = max(counts.most, counts.now)
                    }
                    await Task.yield()
                    counts.withLock { $0.now -= 1 }
                    slots.release()
                }
            }
            try await group.waitForAll()
        }
        #expect(counts.withLock { $0.most } <= 3)
    }
}
