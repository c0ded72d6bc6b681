import Core
import Crypto

/// SHA-256 of every piece of 4 MiB (the last one shorter) of the sealed segments of a set, which is a part of its own.
///
/// Messages authenticate each frame before it is given on. A cipher of another form may give everything on first and say
/// at the end that it was forged; so each piece of what is fetched is compared before the cipher has it.
struct PieceList: Equatable, Sendable {
    static let pieceSize = 4 << 20
    /// Bytes of the longest list that is read: that of some eight terabytes.
    static let largest = 64 << 20
    private static let mark = Array("lifeboat pieces 1\n".utf8)
    private static let digestLength = 32

    /// By the segment's path, one digest after the other.
    var digests: [String: [UInt8]] = [:]

    init() {}

    /// The mark; then for each segment, in the order of the paths' bytes: the path's length in 2 bytes, the path, the
    /// number of pieces in 4 bytes, the digests. Numbers are big-endian.
    var bytes: [UInt8] {
        var bytes = Self.mark
        for (path, digests) in digests.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
            bytes += Self.bigEndian(UInt16(truncatingIfNeeded: path.utf8.count))
            bytes += path.utf8
            bytes += Self.bigEndian(UInt32(truncatingIfNeeded: digests.count / Self.digestLength))
            bytes += digests
        }
        return bytes
    }

    /// `nil` for what ``bytes`` did not make.
    init?(parsing bytes: [UInt8]) {
        guard bytes.starts(with: Self.mark) else { return nil }
        var rest = bytes.dropFirst(Self.mark.count)
        let take = { (count: Int) -> ArraySlice<UInt8>? in
            guard rest.count >= count else { return nil }
            defer { rest = rest.dropFirst(count) }
            return rest.prefix(count)
        }
        while !rest.isEmpty {
            guard let length = take(2).map(Self.number), let text = take(length),
                let path = String(validating: text, as: UTF8.self), let count = take(4).map(Self.number),
                let list = take(count * Self.digestLength), digests.updateValue(Array(list), forKey: path) == nil
            else { return nil }
        }
        guard self.bytes == bytes else { return nil }
    }

    private static func bigEndian(_ number: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { Array($0) }
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> Int { bytes.reduce(0) { $0 << 8 | Int($1) } }
}

/// Digests what passes, piece by piece.
final class PieceDigestingSource: ByteSource {
    private struct State {
        var digest = SHA256()
        var count = 0
        var digests: [UInt8] = []
    }

    private let base: any ByteSource
    private let state = Guarded(State())

    init(_ base: any ByteSource) { self.base = base }

    func next() throws -> Chunk? {
        guard let chunk = try base.next() else {
            state.withLock { if $0.count > 0 { Self.close(&$0) } }
            return nil
        }
        state.withLock { state in
            var rest = chunk.bytes
            while !rest.isEmpty {
                let count = min(rest.count, PieceList.pieceSize - state.count)
                state.digest.update(bufferPointer: UnsafeRawBufferPointer(rebasing: rest[..<count]))
                state.count += count
                if state.count == PieceList.pieceSize { Self.close(&state) }
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            }
        }
        return chunk
    }

    func cancel() { base.cancel() }

    /// One after the other; whole once the source has ended.
    var digests: [UInt8] { state.withLock { $0.digests } }

    private static func close(_ state: inout State) {
        state.digests += Array(state.digest.finalize())
        state.digest = SHA256()
        state.count = 0
    }
}

/// Gives a piece on once it is the one that was written, and holds it until then.
///
/// One thread pulls it; `cancel` only reaches the base.
final class PieceCheckingSource: ByteSource, @unchecked Sendable {
    private let base: any ByteSource
    private var expected: ArraySlice<UInt8>
    private let damaged: SetError
    private var digest = SHA256()
    private var count = 0
    /// Of a piece that has not come whole.
    private var pending: [Chunk] = []
    private var checked: [Chunk] = []
    /// The beginning of the next piece.
    private var carried: Chunk?

    init(_ base: any ByteSource, digests: [UInt8], damaged: SetError) {
        self.base = base
        expected = digests[...]
        self.damaged = damaged
    }

    func next() throws -> Chunk? {
        while checked.isEmpty {
            guard let chunk = try carried.take() ?? base.next() else {
                guard count == 0 else {
                    try check()
                    continue
                }
                guard expected.isEmpty else { throw damaged }
                return nil
            }
            let room = PieceList.pieceSize - count
            if chunk.count <= room {
                add(chunk)
            } else {
                let bytes = chunk.bytes
                add(Chunk(bytes[..<room]))
                carried = Chunk(bytes[room...])
            }
            if count == PieceList.pieceSize { try check() }
        }
        return checked.removeFirst()
    }

    func cancel() { base.cancel() }

    private func add(_ chunk: Chunk) {
        digest.update(bufferPointer: chunk.bytes)
        count += chunk.count
        pending.append(chunk)
    }

    private func check() throws {
        guard digest.finalize().elementsEqual(expected.prefix(SHA256.byteCount)) else { throw damaged }
        expected = expected.dropFirst(SHA256.byteCount)
        digest = SHA256()
        count = 0
        checked = pending
        pending = []
    }
}
