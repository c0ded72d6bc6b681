import Core
import TestSupport
import Testing

struct ManifestFuzzTests {
    @Test(
        "Manifests that were cut, spliced, doubled and overwritten are refused, or are the very bytes that were read")
    func mutations() throws {
        let original = try ManifestTests.manifest().json().canonicalBytes
        var random = SeededRandom(seed: 77)
        for _ in 0..<(runsSoak ? 200_000 : 3_000) {
            var bytes = original
            for _ in 0...Int.random(in: 0...3, using: &random) { Self.mutate(&bytes, &random) }
            do {
                let manifest = try Manifest(storedBytes: bytes)
                #expect(manifest.json().canonicalBytes == bytes)
            } catch {
                // Refused: that is the point. What it says must not grow with what it read.
                #expect(error.description.utf8.count < 1000)
            }
        }
    }

    private static func mutate(_ bytes: inout [UInt8], _ random: inout SeededRandom) {
        guard !bytes.isEmpty else { return }
        let from = Int.random(in: bytes.indices, using: &random)
        let to = min(bytes.count, from + Int.random(in: 1...40, using: &random))
        switch Int.random(in: 0..<4, using: &random) {
        case 0: bytes.removeSubrange(from..<to)
        case 1: bytes.insert(contentsOf: bytes[from..<to], at: Int.random(in: bytes.indices, using: &random))
        case 2: bytes[from] = UInt8.random(in: 0...255, using: &random)
        default:
            let tokens = [
                "{", "}", "[", "]", "\"", ",", ":", "null", "-1", "1e9", "\\u0000", "9007199254740993", "é",
            ]
            bytes.replaceSubrange(from..<from, with: Array((tokens.randomElement(using: &random) ?? "").utf8))
        }
    }
}
