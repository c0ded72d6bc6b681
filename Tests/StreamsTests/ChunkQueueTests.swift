import Core
import Streams
import Testing

struct ChunkQueueTests {
    @Test("What one thread pushes another pops, in order, however small the queue")
    func order() async throws {
        let queue = ChunkQueue(capacity: 2)
        async let written: Void = onThread("writer") {
            for number in 0..<1000 { _ = queue.push(Chunk([UInt8(number % 251)])) }
            queue.finish(.success(()))
        }
        let read = try await onThread("reader") {
            var bytes: [UInt8] = []
            while let chunk = try queue.pop() { bytes.append(contentsOf: chunk.bytes) }
            return bytes
        }
        try await written
        #expect(read == (0..<1000).map { UInt8($0 % 251) })
    }

    @Test("A writer that waits for room is turned away when the reader gives up")
    func cancelledReader() async throws {
        let queue = ChunkQueue(capacity: 1)
        async let refused = onThread("writer") {
            var pushed = 0
            while queue.push(Chunk([1])) { pushed += 1 }
            return pushed
        }
        _ = try await onThread("reader") { try queue.pop() }
        queue.cancel()
        #expect(try await refused >= 1)
        #expect(throws: CancellationError.self) { try queue.pop() }
    }

    @Test("An error at the end overtakes chunks that wait, for nothing may be made of them")
    func errorOvertakes() throws {
        let queue = ChunkQueue(capacity: 4)
        _ = queue.push(Chunk([1]))
        queue.finish(.failure(JobFailure(.source, "read", cause: "it broke", hint: "mend it")))
        #expect(throws: JobFailure.self) { try queue.pop() }
        #expect(!queue.push(Chunk([2])))
    }
}
