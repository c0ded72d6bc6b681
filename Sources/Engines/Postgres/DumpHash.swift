import CSHA256
import Core
import Glibc

/// SHA-256 in steps, without an allocation: a dump has a digest per row, and rows are short.
struct DumpHash {
    private var state = csha256()

    init() { csha256_init(&state) }

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        csha256_update(&state, base, bytes.count)
    }

    mutating func update(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { update($0) }
    }

    /// The digest as a sum of one.
    consuming func finish() -> RowSum {
        var sum = RowSum()
        withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { digest in
            guard let base = digest.baseAddress else { return }
            csha256_final(&state, base.assumingMemoryBound(to: UInt8.self))
            sum.add(digest: UnsafeRawBufferPointer(digest))
        }
        return sum
    }

    static func sum(of bytes: [UInt8]) -> RowSum {
        var hash = DumpHash()
        hash.update(bytes)
        return hash.finish()
    }
}

/// The rows of one COPY block as they stream by: whole lines are hashed where they are, and only of a line that a
/// chunk cuts is a state kept, so a row of a gigabyte costs no memory.
struct DumpRows {
    enum Outcome {
        /// Everything was consumed and the block goes on.
        case more
        /// The line `\.` was consumed, and with it this many bytes.
        case ended(Int)
        /// A line that psql takes for the end of the block and that COPY never writes.
        case foreignEnd
    }

    private var whole = csha256_total()
    private var cut: DumpHash?
    // The first four bytes of the cut line, to know the end of the block by.
    private var cutStart: [UInt8] = []
    private var cutRows: Int64 = 0
    private var cutSum = RowSum()

    var rows: Int64 { Int64(whole.rows) + cutRows }

    var sum: RowSum {
        let limbs = [whole.sum.3, whole.sum.2, whole.sum.1, whole.sum.0]
        let bytes = limbs.flatMap { limb in withUnsafeBytes(of: limb.bigEndian) { Array($0) } }
        var sum = cutSum
        bytes.withUnsafeBytes { sum.add(digest: $0) }
        return sum
    }

    mutating func update(_ bytes: UnsafeRawBufferPointer) -> Outcome {
        var offset = 0
        if cut != nil {
            let newline = dumpIndex(of: UInt8(ascii: "\n"), in: bytes, from: 0)
            extendCut(UnsafeRawBufferPointer(rebasing: bytes[..<(newline ?? bytes.count)]))
            guard let newline else { return .more }
            offset = newline + 1
            if let stop = finishCut(consumed: offset) { return stop }
        }
        guard offset < bytes.count, let base = bytes.baseAddress else { return .more }
        var stop: Int32 = 0
        offset += csha256_rows(
            (base + offset).assumingMemoryBound(to: UInt8.self), bytes.count - offset, &whole, &stop)
        switch Int(stop) {
        case Int(CSHA256_END): return .ended(offset)
        case Int(CSHA256_FOREIGN_END): return .foreignEnd
        default:
            if offset < bytes.count { extendCut(UnsafeRawBufferPointer(rebasing: bytes[offset...])) }
            return .more
        }
    }

    private mutating func extendCut(_ bytes: UnsafeRawBufferPointer) {
        cutStart.append(contentsOf: bytes.prefix(4 - cutStart.count))
        // Taken out and put back, so that the state is not copied.
        var hash = cut.take() ?? DumpHash()
        hash.update(bytes)
        cut = hash
    }

    private mutating func finishCut(consumed: Int) -> Outcome? {
        let start = cutStart
        cutStart.removeAll(keepingCapacity: true)
        guard let hash = cut.take() else { return nil }
        if start == Array("\\.".utf8) { return .ended(consumed) }
        if start == Array("\\.\r".utf8) { return .foreignEnd }
        cutSum.add(hash.finish())
        cutRows += 1
        return nil
    }
}

/// Where `byte` stands in `bytes` at or after `start`.
@inline(__always)
func dumpIndex(of byte: UInt8, in bytes: UnsafeRawBufferPointer, from start: Int) -> Int? {
    guard start < bytes.count, let base = bytes.baseAddress,
        let found = memchr(base + start, Int32(byte), bytes.count - start)
    else { return nil }
    return UnsafeRawPointer(found) - base
}
