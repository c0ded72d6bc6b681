import CSHA256
import Core
import Crypto
import TestSupport
import Testing

@testable import PostgresEngine

/// The rows' own SHA-256 against swift-crypto's: it must be the same function, only cheaper for short rows.
@Suite("The digest of rows")
struct DumpHashTests {
    @Test("is SHA-256 for every length up to 300 and for 3,000 random ones, in any pieces, portable or not")
    func equalsCrypto() {
        var random = SeededRandom(seed: 1)
        let lengths = Array(0...300) + (0..<3000).map { _ in Int.random(in: 0...5000, using: &random) }
        for length in lengths {
            let message = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
            let expected = Array(SHA256.hash(data: message))
            var hash = DumpHash()
            var start = 0
            while start < length {
                let end = min(length, start + Int.random(in: 0...150, using: &random))
                hash.update(Array(message[start..<end]))
                start = end
            }
            #expect(hash.finish().bytes == expected, "length \(length)")
            var portable = [UInt8](repeating: 0, count: 32)
            message.withUnsafeBytes { csha256_portable($0.baseAddress, length, &portable) }
            #expect(portable == expected, "portable, length \(length)")
        }
    }

    @Test("sums the same over lines of every mixture of lengths, whatever the chunks")
    func sumsLines() {
        var random = SeededRandom(seed: 2)
        for round in 0..<60 {
            let longest = [3, 60, 70, 200, 4000][round % 5]
            let lines = (0..<Int.random(in: 0...80, using: &random)).map { _ in
                (0..<Int.random(in: 0...longest, using: &random)).map { _ in
                    UInt8.random(in: 32...126, using: &random)
                }
            }
            var expected = RowSum()
            for line in lines { SHA256.hash(data: line).withUnsafeBytes { expected.add(digest: $0) } }
            let bytes = lines.flatMap { $0 + [10] } + Array("\\.\nrest".utf8)
            var rows = DumpRows()
            var start = 0
            var ended: Int?
            while ended == nil, start < bytes.count {
                let end = min(bytes.count, start + Int.random(in: 1...(round % 2 == 0 ? 50 : 5000), using: &random))
                Array(bytes[start..<end]).withUnsafeBytes { piece in
                    if case .ended(let consumed) = rows.update(piece) { ended = start + consumed }
                }
                start = end
            }
            #expect(ended == bytes.count - 4)
            #expect(rows.rows == Int64(lines.count))
            #expect(rows.sum == expected)
        }
    }
}
