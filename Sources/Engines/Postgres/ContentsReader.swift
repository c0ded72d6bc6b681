import Core

/// The reader of dumps, shared between the thread that feeds it and whoever wants what it found.
final class ContentsReader: Sendable {
    private let reader = Guarded<DumpReader?>(DumpReader())

    /// Reads on. Refuses what no dump contains.
    func read(_ chunk: Chunk) throws {
        try reader.withLock { try $0?.update(chunk.bytes) }
    }

    /// What was in the dump. Once.
    func finish() throws -> Contents {
        let reader = reader.withLock { reader in
            defer { reader = nil }
            return reader
        }
        guard let reader else { throw CancellationError() }
        return try reader.finish().contents
    }
}
