import Core
import Glibc
import Synchronization

/// The bytes of an open file, or of a range of it, read a mebibyte at a time on the caller's thread.
///
/// The file stays the one that was opened: a replacement under the same name does not mix in.
final class FileSource: ByteSource {
    private struct Position: ~Copyable {
        var file: OpenFile?
        var offset: Int64
    }

    private let position: Mutex<Position>
    private let path: String
    private let end: Int64
    // Beside the lock, so that cancelling does not wait for a read that hangs.
    private let isCancelled = Atomic(false)

    /// `range` lies within the file.
    init(_ file: consuming OpenFile, path: String, range: Range<Int64>) {
        file.willReadSequentially()
        position = Mutex(Position(file: consume file, offset: range.lowerBound))
        self.path = path
        end = range.upperBound
    }

    func next() throws -> Chunk? {
        try position.withLock { position in
            guard !isCancelled.load(ordering: .relaxed) else {
                position.file = nil
                throw CancellationError()
            }
            let wanted = end - position.offset
            guard wanted > 0 else {
                position.file = nil
                return nil
            }
            let chunk = try read(Int(min(wanted, Int64(Chunk.size))), at: position.offset, of: &position)
            position.offset += Int64(chunk.count)
            return chunk
        }
    }

    private func read(_ count: Int, at offset: Int64, of position: inout Position) throws(FileStoreError) -> Chunk {
        let chunk = Chunk(capacity: count)
        do {
            switch position.file {
            case .none: break
            case .some(let file):
                try chunk.append { room throws(SystemError) in try file.read(into: room, at: offset) }
            }
        } catch {
            throw .system(operation: "read the object", path: path, code: error.code)
        }
        guard chunk.count > 0 else { throw .shrank(path: path, expected: end, found: offset) }
        return chunk
    }

    func cancel() { isCancelled.store(true, ordering: .relaxed) }
}
