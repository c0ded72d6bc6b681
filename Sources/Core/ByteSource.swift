/// A buffer of at most one mebibyte that travels the byte path.
///
/// A chunk is filled by the stage that makes it and read by those after it; nobody changes it once it has been
/// handed on, so several threads may read it at once. Its memory goes back when the last of them lets go.
package final class Chunk: @unchecked Sendable {
    /// Bytes in a full chunk: what one read of the dump tool's pipe returns, and one frame of a message holds.
    package static let size = 1 << 20

    private let storage: UnsafeMutableRawBufferPointer
    /// How many bytes are filled, from the beginning.
    package private(set) var count: Int

    /// An empty chunk with room for `capacity` bytes.
    package init(capacity: Int = Chunk.size) {
        storage = ChunkMemory.take(max(capacity, 1))
        count = 0
    }

    package convenience init(_ bytes: some Collection<UInt8>) {
        self.init(capacity: bytes.count)
        append { room in
            room.copyBytes(from: bytes)
            return bytes.count
        }
    }

    deinit { ChunkMemory.give(storage) }

    package var capacity: Int { storage.count }
    package var remaining: Int { storage.count - count }

    /// The filled bytes. Valid for as long as the chunk is held.
    package var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: storage[..<count]) }

    /// Gives the unfilled room to `fill`, which returns how many bytes it wrote there; returns the same. Only for the
    /// chunk's maker.
    @discardableResult
    package func append<E: Error>(_ fill: (UnsafeMutableRawBufferPointer) throws(E) -> Int) throws(E) -> Int {
        let written = try fill(UnsafeMutableRawBufferPointer(rebasing: storage[count...]))
        precondition(written >= 0 && written <= remaining, "a chunk was filled past its end")
        count += written
        return written
    }

    /// Copies as much of `source` as fits, and returns how much that was.
    package func append(_ source: UnsafeRawBufferPointer) -> Int {
        let amount = min(source.count, remaining)
        if amount > 0 {
            append { room in
                room.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[..<amount]))
                return amount
            }
        }
        return amount
    }
}

/// A stream of bytes that one thread pulls.
///
/// The byte path is a chain of these, each pulling from the one before it, so the slowest stage holds back the
/// source without a word being exchanged. `next` blocks; it is called from a thread of its own (``onThread``), never
/// from the cooperative pool.
package protocol ByteSource: AnyObject, Sendable {
    /// The next bytes, never an empty chunk; `nil` at the end.
    ///
    /// The end is only reported once everything that has to hold does: the child has exited 0, the last frame has
    /// authenticated, the digest is the expected one. A source that has thrown or ended is not asked again.
    /// Throws `CancellationError` after ``cancel()``.
    func next() throws -> Chunk?

    /// Makes a `next` that waits, and every later one, throw. From any thread, any number of times.
    func cancel()
}

/// A source of bytes that are already in memory.
package final class MemorySource: ByteSource {
    private let bytes: [UInt8]
    private let chunkSize: Int
    private let offset = Guarded(0)

    package init(_ bytes: [UInt8], chunkSize: Int = Chunk.size) {
        self.bytes = bytes
        self.chunkSize = chunkSize
    }

    package func next() throws -> Chunk? {
        try offset.withLock { offset in
            guard offset >= 0 else { throw CancellationError() }
            guard offset < bytes.count else { return nil }
            let end = min(offset + chunkSize, bytes.count)
            defer { offset = end }
            return Chunk(bytes[offset..<end])
        }
    }

    package func cancel() { offset.withLock { $0 = -1 } }
}

extension ByteSource {
    /// Everything the source has, for small objects: throws ``ObjectTooLarge`` past `limit` bytes.
    package func collect(limit: Int) throws -> [UInt8] {
        var all: [UInt8] = []
        while let chunk = try next() {
            guard all.count + chunk.count <= limit else {
                cancel()
                throw ObjectTooLarge(limit: limit)
            }
            all.append(contentsOf: chunk.bytes)
        }
        return all
    }
}

/// More bytes than a small object may have.
package struct ObjectTooLarge: Error, CustomStringConvertible {
    package let limit: Int
    package var description: String { "it is larger than the \(limit) bytes such an object may have" }
}
