import Core

/// A piece of an object on its way up: held until the server has it, so that it alone can be sent again.
struct Piece: Sendable {
    var chunks: [Chunk] = []
    /// Bytes.
    var count = 0
    /// Nothing follows.
    var isLast = false
}

/// Cuts a source into pieces of an exact size, of the source's own chunks where those are well filled.
///
/// Every piece but the last is as long as asked, because some servers demand it and because the number of pieces is
/// limited. For one thread at a time; it blocks.
final class PieceReader: @unchecked Sendable {
    private let source: any ByteSource
    /// Read and not in a piece yet.
    private var pending: Chunk?
    private var hasEnded = false
    /// The beginning of the first piece, which was too long for an object of one request.
    private var begun = Piece()
    /// The piece's last chunk is one of ours, with room.
    private var collecting: Chunk?

    init(_ source: any ByteSource) { self.source = source }

    /// All there is, where that is `size` bytes at most; `nil` where there is more, which ``next(size:)`` then gives from
    /// the beginning. Throws what the source throws.
    func whole(upTo size: Int) throws -> Piece? {
        let piece = try fill(Piece(), to: size)
        if piece.isLast { return piece }
        begun = piece
        return nil
    }

    /// The next `size` bytes, or those up to the end. Nothing of them is kept here.
    func next(size: Int) throws -> Piece {
        let piece = begun
        begun = Piece()
        if piece.count == 0 { collecting = nil }
        return try fill(piece, to: size)
    }

    private func fill(_ piece: Piece, to size: Int) throws -> Piece {
        var piece = piece
        while piece.count < size {
            guard let chunk = try take() else { break }
            add(chunk, to: &piece, size: size)
        }
        // One chunk ahead, because only the next answer of the source says whether this piece is the last.
        if pending == nil { pending = try take() }
        piece.isLast = pending == nil
        return piece
    }

    private func take() throws -> Chunk? {
        if let chunk = pending {
            pending = nil
            return chunk
        }
        if hasEnded { return nil }
        let chunk = try source.next()
        hasEnded = chunk == nil
        return chunk
    }

    private func add(_ chunk: Chunk, to piece: inout Piece, size: Int) {
        let amount = min(chunk.count, size - piece.count)
        // A chunk with little in it holds its whole memory: many of them would be many times a piece's size.
        if amount == chunk.count && chunk.count >= chunk.capacity / 2 && chunk.count >= Chunk.size / 16 {
            piece.chunks.append(chunk)
            collecting = nil
        } else {
            collect(UnsafeRawBufferPointer(rebasing: chunk.bytes[..<amount]), in: &piece)
            if amount < chunk.count { pending = Self.rest(of: chunk, from: amount) }
        }
        piece.count += amount
    }

    private func collect(_ bytes: UnsafeRawBufferPointer, in piece: inout Piece) {
        var rest = bytes
        while !rest.isEmpty {
            let chunk: Chunk
            if let collecting, collecting.remaining > 0 {
                chunk = collecting
            } else {
                chunk = Chunk()
                collecting = chunk
                piece.chunks.append(chunk)
            }
            rest = UnsafeRawBufferPointer(rebasing: rest[chunk.append(rest)...])
        }
    }

    private static func rest(of chunk: Chunk, from offset: Int) -> Chunk {
        let rest = Chunk(capacity: chunk.count - offset)
        _ = rest.append(UnsafeRawBufferPointer(rebasing: chunk.bytes[offset...]))
        return rest
    }
}
