import Core
import Envelope
import LocalKeyring
import TestSupport
import Testing

@Suite("What was changed never opens")
struct DamageTests {
    /// Opens `message`, which is not what was written. Whatever of it comes out may only be the beginning of the
    /// original, and it has to end in an error of the two kinds there are.
    private func expectRefusal(
        _ message: [UInt8], _ identity: some KeyProvider, original: [UInt8], _ what: @autoclosure () -> String
    ) async {
        var emitted: [UInt8] = []
        do {
            let header = try header(of: message)
            let dataKey = try await openDataKey(header.dataKeys, context: header.context, with: [identity])
            var reader = try MessageReader(header: header, dataKey: dataKey)
            try message.withUnsafeBytes { bytes in
                try reader.update(UnsafeRawBufferPointer(rebasing: bytes[header.length...])) {
                    emitted += contents(of: $0)
                }
            }
            try reader.finish()
            Issue.record("it opened: \(what())")
        } catch let error as EnvelopeError {
            let isExpected = error.exitCode == .keys || error.exitCode == .verificationFailed
            #expect(isExpected, "\(what()): \(error)")
        } catch {
            Issue.record("\(what()): \(error)")
        }
        #expect(original.starts(with: emitted), "\(what())")
    }

    private func sample(_ directory: KeyDirectory) async throws -> (AESKeyProvider, [UInt8], [UInt8]) {
        var generator = SeededRandom(seed: 20)
        let identity = try directory.aes("clinic.key", generator.bytes(32))
        let plaintext = generator.bytes(40)
        let sample = try await Sample(frameLength: 16, context: ["a": "b"]).sealed(for: [identity])
        return (identity, plaintext, try sample.message(plaintext))
    }

    @Test("Every single bit of a message, flipped")
    func bitFlips() async throws {
        let directory = try KeyDirectory()
        let (identity, plaintext, message) = try await sample(directory)
        #expect(try await open(message, with: [identity]) == plaintext)
        for bit in 0..<(message.count * 8) {
            var changed = message
            changed[bit / 8] ^= 1 << (bit % 8)
            await expectRefusal(changed, identity, original: plaintext, "bit \(bit) flipped")
        }
    }

    @Test("Every truncation, and bytes added")
    func truncations() async throws {
        let directory = try KeyDirectory()
        let (identity, plaintext, message) = try await sample(directory)
        for count in 0..<message.count {
            await expectRefusal(
                Array(message.prefix(count)), identity, original: plaintext, "cut to \(count) bytes")
        }
        for tail in [[0], [255, 255, 255, 255], Array(message.suffix(48)), message] {
            await expectRefusal(message + tail, identity, original: plaintext, "\(tail.count) bytes added")
        }
    }

    @Test("Frames of two messages under the same data key, mixed: no exchange opens")
    func splices() throws {
        var generator = SeededRandom(seed: 21)
        let first = Sample(seed: 1, frameLength: 16)
        var parameters = first.parameters
        parameters.messageID = generator.bytes(32)
        let plaintext = generator.bytes(16 * 4)
        let one = try first.message(plaintext)
        let two = try seal(plaintext, dataKey: first.dataKey, parameters: parameters)
        let start = try header(of: one).length
        for frame in 0..<4 {
            let range = (start + frame * 48)..<(start + (frame + 1) * 48)
            var mixed = one
            mixed.replaceSubrange(range, with: two[range])
            #expect(throws: EnvelopeError.damaged(frame: UInt32(frame + 1), .tag)) {
                try open(mixed, dataKey: first.dataKey)
            }
        }
        // The header of one before the body of the other.
        #expect(throws: EnvelopeError.damaged(frame: 1, .tag)) {
            try open(Array(one[..<start] + two[start...]), dataKey: first.dataKey)
        }
    }

    @Test("Random bytes, cut, copied, swapped and overwritten at random: never a crash, never a wrong byte")
    func mutations() async throws {
        let directory = try KeyDirectory()
        let (identity, plaintext, message) = try await sample(directory)
        var generator = SeededRandom(seed: 22)
        for round in 0..<(2000 * soakFactor) {
            var changed = message
            for _ in 0..<Int.random(in: 1...4, using: &generator) { mutate(&changed, &generator) }
            guard changed != message else { continue }
            await expectRefusal(changed, identity, original: plaintext, "round \(round)")
        }
        for round in 0..<(500 * soakFactor) {
            let start: [UInt8] = Array([2, 4, 0x78].prefix(Int.random(in: 0...3, using: &generator)))
            let noise = start + generator.bytes(Int.random(in: 0...600, using: &generator))
            await expectRefusal(noise, identity, original: [], "noise \(round)")
        }
    }

    private func mutate(_ bytes: inout [UInt8], _ generator: inout SeededRandom) {
        guard bytes.count > 1 else { return }
        let a = Int.random(in: 0..<bytes.count, using: &generator)
        let b = min(bytes.count, a + Int.random(in: 0...64, using: &generator))
        switch Int.random(in: 0..<6, using: &generator) {
        case 0: bytes[a] = UInt8.random(in: 0...255, using: &generator)
        case 1: bytes.removeSubrange(a..<b)
        case 2: bytes.insert(contentsOf: bytes[a..<b], at: Int.random(in: 0...bytes.count, using: &generator))
        case 3: bytes.replaceSubrange(a..<b, with: [UInt8](repeating: 0xFF, count: b - a))
        case 4: bytes.swapAt(a, Int.random(in: 0..<bytes.count, using: &generator))
        default: bytes.removeLast(bytes.count - a)
        }
    }

    @Test("A header that goes on and on is refused at one mebibyte, one that names too long a frame at once")
    func hugeHeaders() throws {
        var endless: [UInt8] = [2, 4, 0x78] + [UInt8](repeating: 1, count: 32) + [0, 0, 0xFF, 0xFF]
        let recipient: [UInt8] = [0, 1, 0x61, 0, 1, 0x61, 0xFF, 0xF0] + [UInt8](repeating: 0, count: 0xFFF0)
        while endless.count < MessageHeader.largest { endless += recipient }
        #expect(try MessageHeader.parse(Array(endless.prefix(MessageHeader.largest - 1))) == nil)
        #expect(throws: EnvelopeError.self) { try MessageHeader.parse(endless) }
    }

    @Test("A reader that has failed says so when it is used again, and does not end well")
    func afterError() throws {
        let sample = Sample()
        let message = try sample.message([1, 2, 3])
        let header = try header(of: message)
        var reader = try MessageReader(header: header, dataKey: sample.dataKey)
        let body = Array(message[header.length...])
        struct Refusal: Error {}
        // An error of the consumer's own comes back unchanged.
        #expect(throws: Refusal.self) {
            try body.withUnsafeBytes { try reader.update($0) { _ in throw Refusal() } }
        }
        #expect(throws: EnvelopeError.usedAfterError) {
            try body.withUnsafeBytes { try reader.update($0) { _ in } }
        }
        do {
            try reader.finish()
            Issue.record("it ended well")
        } catch {
            #expect(error as? EnvelopeError == .usedAfterError)
        }
    }

    @Test("The wrong data key is told from a changed header")
    func wrongKey() throws {
        let message = try Sample(seed: 1).message([1])
        let header = try header(of: message)
        let error = #expect(throws: EnvelopeError.wrongDataKey) {
            _ = try MessageReader(header: header, dataKey: Sample(seed: 2).dataKey)
        }
        #expect(error?.exitCode == .keys)
    }
}
