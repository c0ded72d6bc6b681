package import Core
package import Envelope
package import Streams

/// The plaintext of a part on its way into segments: remembers where one ended and the next goes on.
///
/// Only the thread that seals touches it, and only one segment is sealed at a time.
package final class PlainCursor: @unchecked Sendable {
    private let source: any ByteSource
    private var chunk: Chunk?
    private var offset = 0
    /// Bytes taken so far.
    private(set) var consumed: Int64 = 0
    private(set) var isAtEnd = false
    let leavesCoresIdle: Bool

    package init(_ source: any ByteSource, leavesCoresIdle: Bool = false) {
        self.source = source
        self.leavesCoresIdle = leavesCoresIdle
    }

    /// What is there to be compressed, waiting for more where nothing is left; empty at the end.
    func available() throws -> UnsafeRawBufferPointer {
        if chunk.map({ offset == $0.count }) ?? true {
            chunk = isAtEnd ? nil : try source.next()
            offset = 0
            isAtEnd = chunk == nil
        }
        guard let chunk else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        return UnsafeRawBufferPointer(rebasing: chunk.bytes[offset...])
    }

    func consume(_ count: Int) {
        offset += count
        consumed += Int64(count)
    }

    func cancel() { source.cancel() }
}

/// One segment being made: compression and encryption in the thread that pulls, which is the one that reads the dump
/// tool's pipe. On two cores that leaves the other to the server and the tool.
///
/// One thread pulls it; `cancel` only reaches the part's source, which is safe from any.
package final class SealedSegment: ByteSource, @unchecked Sendable {
    private let cursor: PlainCursor
    private let compressor: any Compressor
    private let limit: Int64
    private var writer: MessageWriter?
    private var header: Chunk?
    private var frame = Chunk()
    private var stored: Int64
    private let beginning: Int64

    /// `limit`: where another segment begins, in stored bytes.
    package init(_ cursor: PlainCursor, compressor: any Compressor, writer: consuming MessageWriter, limit: Int64) {
        self.cursor = cursor
        self.compressor = compressor
        self.limit = limit
        beginning = cursor.consumed
        let header = Chunk(writer.header)
        self.header = header
        stored = Int64(header.count)
        self.writer = consume writer
    }

    package func next() throws -> Chunk? {
        if let header {
            self.header = nil
            return header
        }
        guard writer != nil else { return nil }
        while true {
            var input = try cursor.available()
            let isLast = cursor.isAtEnd || isFull
            if isLast { input = UnsafeRawBufferPointer(rebasing: input[..<0]) }
            let before = input.count
            let isDone = try compressor.step(&input, end: isLast, into: frame)
            cursor.consume(before - input.count)
            if frame.remaining == 0 { return try seal() }
            if isLast, isDone { return try finish() }
        }
    }

    package func cancel() { cursor.cancel() }

    /// A frame more, and what the compressor still holds, must fit as well. Never before something has been taken, so
    /// that every segment brings the part further.
    private var isFull: Bool {
        cursor.consumed > beginning && stored + 2 * Int64(Chunk.size) + compressor.mostHeld > limit
    }

    private func seal() throws -> Chunk? {
        let sealed = try writer?.seal(frame.bytes)
        frame = Chunk()
        stored += Int64(sealed?.count ?? 0)
        return sealed
    }

    private func finish() throws -> Chunk? {
        guard let last = writer.take() else { return nil }
        return try last.finish(frame.bytes)
    }
}
