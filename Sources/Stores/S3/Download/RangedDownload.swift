import AWS
import Core

/// An object, or a range of one, fetched by several requests beside each other and handed over in order.
///
/// It holds the piece that is being handed over, and at most `ahead` further ones that have come or are on their way.
/// Nothing but the first piece is fetched before it is asked for.
final class RangedDownload: ByteSource, @unchecked Sendable {
    private let fetch: RangeFetch
    private let version: ObjectVersion
    /// What the pieces after the first have to cover.
    private let rest: Range<Int64>
    private let pieceSize: Int64
    private let ahead: Int
    private let arrivals = Arrivals()
    // Of the one thread that pulls.
    private var chunks: ArraySlice<Chunk>
    private var nextPiece = 0
    private var startedPieces = 0

    /// `first` begins the object or range; `rest` is what has still to be fetched, in bytes of the object.
    init(first: Fetched, rest: Range<Int64>, fetch: RangeFetch, pieceSize: Int, ahead: Int) {
        chunks = first.chunks[...]
        version = first.version
        self.rest = rest
        self.fetch = fetch
        self.pieceSize = Int64(pieceSize)
        self.ahead = ahead
    }

    deinit { arrivals.cancel() }

    func next() throws -> Chunk? {
        while true {
            if arrivals.isCancelled { throw CancellationError() }
            startPieces()
            if let chunk = chunks.popFirst() { return chunk }
            guard nextPiece < pieceCount else { return nil }
            chunks = try arrivals.wait(for: nextPiece)[...]
            nextPiece += 1
        }
    }

    func cancel() { arrivals.cancel() }

    private var pieceCount: Int { Int((Int64(rest.count) + pieceSize - 1) / pieceSize) }

    private func startPieces() {
        while startedPieces < min(nextPiece + ahead, pieceCount) {
            let begin = rest.lowerBound + Int64(startedPieces) * pieceSize
            let range = begin..<min(begin + pieceSize, rest.upperBound)
            arrivals.start(startedPieces) { [fetch, version] in try await fetch.fetch(range, of: version).chunks }
            startedPieces += 1
        }
    }
}
