import CSHA256
import Core
import Glibc

/// SHA-256 in steps, without an allocation: a dump has a digest per row, and rows are short.
struct RowHash {
    private var state = csha256()

    init() { csha256_init(&state) }

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        csha256_update(&state, base, bytes.count)
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
        var hash = RowHash()
        bytes.withUnsafeBytes { hash.update($0) }
        return hash.finish()
    }
}
