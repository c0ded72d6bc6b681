import Core
import Crypto
import Envelope
import TestSupport
import Testing

@Suite("What is sealed opens again")
struct RoundTripTests {
    @Test(
        "Around every edge of a frame, the message has the length foretold and opens to the same bytes",
        arguments: [1, 2, 64, 100, 4096])
    func lengths(frameLength: Int) throws {
        var generator = SeededRandom(seed: 7)
        let sample = Sample(frameLength: frameLength)
        let edges = [0, 1, 2, 5].flatMap { [$0 * frameLength - 1, $0 * frameLength, $0 * frameLength + 1] }
        for length in Set(edges.filter { $0 >= 0 }).sorted() {
            let plaintext = generator.bytes(length)
            let message = try sample.message(plaintext)
            #expect(try open(message, dataKey: sample.dataKey) == plaintext)
            let writer = try MessageWriter(dataKey: sample.dataKey, parameters: sample.parameters)
            #expect(writer.messageLength(plaintext: Int64(length)) == Int64(message.count))
        }
    }

    @Test("A stream split in two at any byte, and one that comes byte by byte, opens to the same bytes")
    func everySplit() throws {
        var generator = SeededRandom(seed: 8)
        let sample = Sample(frameLength: 16)
        let plaintext = generator.bytes(16 * 3 + 5)
        let message = try sample.message(plaintext)
        let start = try header(of: message).length
        for split in start...message.count {
            #expect(try open(message, dataKey: sample.dataKey, splits: [split]) == plaintext)
        }
        #expect(try open(message, dataKey: sample.dataKey, splits: Array(start...message.count)) == plaintext)
    }

    @Test("Random lengths, frame lengths, contexts and splits: a property, from a fixed seed")
    func property() throws {
        var generator = SeededRandom(seed: 9)
        for _ in 0..<(200 * soakFactor) {
            var context: [String: String] = [:]
            for _ in 0..<Int.random(in: 0...4, using: &generator) {
                context[text(&generator)] = text(&generator)
            }
            let sample = Sample(
                seed: generator.next(), frameLength: Int.random(in: 1...300, using: &generator), context: context)
            let plaintext = generator.bytes(Int.random(in: 0...2000, using: &generator))
            let message = try sample.message(plaintext)
            let splits = (0..<6).map { _ in Int.random(in: 0...message.count, using: &generator) }.sorted()
            #expect(try open(message, dataKey: sample.dataKey, splits: splits) == plaintext)
            let header = try header(of: message)
            #expect(header.context == context)
            #expect(header.messageID == sample.parameters.messageID)
            #expect(header.dataKeys == sample.parameters.dataKeys)
            #expect(header.frameLength == sample.parameters.frameLength)
        }
    }

    private func text(_ generator: inout SeededRandom) -> String {
        let letters: [Character] = ["a", "Z", "ä", "日", "\u{1F691}", "\u{FFEE}", " ", "\n", "\""]
        return String(
            (0..<Int.random(in: 0...8, using: &generator)).map { _ in letters.randomElement(using: &generator) ?? "a"
            })
    }

    @Test("A header is asked for byte by byte until it is whole, and what follows it is left alone")
    func headerInPieces() throws {
        let sample = Sample()
        let message = try sample.message([1, 2, 3])
        let whole = try header(of: message)
        for count in 0..<whole.length {
            #expect(try MessageHeader.parse(Array(message.prefix(count))) == nil)
        }
        #expect(try MessageHeader.parse(Array(message.prefix(whole.length))) == whole)
    }

    @Test("A frame longer than a chunk may be comes in several chunks, all of it after it has authenticated")
    func longFrames() throws {
        var generator = SeededRandom(seed: 10)
        let sample = Sample(frameLength: Chunk.size * 2)
        let plaintext = generator.bytes(8) + [UInt8](repeating: 1, count: Chunk.size * 3)
        let message = try sample.message(plaintext)
        let header = try header(of: message)
        var reader = try MessageReader(header: header, dataKey: sample.dataKey)
        var sizes: [Int] = []
        try message[header.length...].withUnsafeBytes { bytes in
            try reader.update(bytes) { sizes.append($0.count) }
        }
        try reader.finish()
        #expect(sizes == [Chunk.size, Chunk.size, Chunk.size, 8])
        #expect(try open(message, dataKey: sample.dataKey) == plaintext)
    }

    @Test("The context is spelt by the bytes of its keys, and one that is too long is refused")
    func contextSerialisation() throws {
        #expect(try EncryptionContext.serialise([:]) == [])
        // By bytes: "Z" 5a, "a" 61, U+FFEE ef bf ae, U+1F691 f0 9f 9a 91. By UTF-16 the last two would change places.
        let bytes = try EncryptionContext.serialise(["\u{1F691}": "4", "a": "2", "\u{FFEE}": "3", "Z": "1"])
        #expect(
            hexText(bytes) == "0004" + "00015a000131" + "000161000132" + "0003efbfae000133" + "0004f09f9a91000134")
        let longest = String(repeating: "x", count: 65_535 - 2 - 4 - 1)
        #expect(try EncryptionContext.serialise(["k": longest]).count == 65_535)
        let error = #expect(throws: EncryptionContextTooLong.self) {
            try EncryptionContext.serialise(["k": longest + "x"])
        }
        #expect(error?.length == 65_536 && error?.exitCode == .configuration)
    }

    @Test("What no message can be made of is refused before a byte is written")
    func unusableParameters() throws {
        let sample = Sample()
        let changes: [(inout MessageParameters) -> Void] = [
            { $0.messageID.removeLast() }, { $0.frameLength = 0 }, { $0.frameLength = (16 << 20) + 1 },
            { $0.dataKeys = [] }, { $0.context["aws-crypto-public-key"] = "AAAA" },
            { $0.dataKeys[0].ciphertext = [UInt8](repeating: 0, count: 65_536) },
            { $0.dataKeys = Array(repeating: $0.dataKeys[0], count: 65_536) },
            { $0.dataKeys = Array(repeating: $0.dataKeys[0], count: 65_535) },
        ]
        for change in changes {
            var parameters = sample.parameters
            change(&parameters)
            let error = #expect(throws: EnvelopeError.self) {
                _ = try MessageWriter(dataKey: sample.dataKey, parameters: parameters)
            }
            #expect(error?.exitCode == .keys)
        }
        #expect(throws: EnvelopeError.self) {
            _ = try MessageWriter(dataKey: secret([1, 2, 3]), parameters: sample.parameters)
        }
    }

    @Test("A frame of another size than promised is refused, and so is a full final one")
    func wrongFrameSizes() throws {
        let sample = Sample(frameLength: 8)
        for count in [0, 7, 9] {
            var writer = try MessageWriter(dataKey: sample.dataKey, parameters: sample.parameters)
            #expect(throws: EnvelopeError.wrongFrameSize(expected: "8", given: count)) {
                _ = try [UInt8](repeating: 0, count: count).withUnsafeBytes { try writer.seal($0) }
            }
        }
        let writer = try MessageWriter(dataKey: sample.dataKey, parameters: sample.parameters)
        let full = Chunk([UInt8](repeating: 0, count: 8))
        do {
            _ = try writer.finish(full.bytes)
            Issue.record("a full final frame was written")
        } catch {
            #expect(error as? EnvelopeError == .wrongFrameSize(expected: "fewer than 8", given: 8))
        }
    }

    @Test("A key for the set is HKDF-SHA512 as documented, another for each use")
    func derivedKeys() {
        let dataKey = secret([UInt8](repeating: 7, count: 32))
        let key = deriveKey(from: dataKey, info: "manifest")
        let byHand = HKDF<SHA512>.deriveKey(
            inputKeyMaterial: SymmetricKey(data: [UInt8](repeating: 7, count: 32)),
            salt: Array("lifeboat: a key for the set as a whole, not for one message".utf8),
            info: Array("manifest".utf8), outputByteCount: 32)
        #expect(key == byHand)
        #expect(key != deriveKey(from: dataKey, info: "manifest2"))
        // Computed apart from this project, with Python's hmac and hashlib.
        #expect(
            key.withUnsafeBytes { hexText($0) } == "f84d0bb2f522d01f31590504b447230eabe49e2eb0e5d0807ac4a46168f3a9e9")
    }
}
