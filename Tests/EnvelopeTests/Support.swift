import Core
import Envelope
import Foundation
import LocalKeyring
import RSAKeyring
import TestSupport

/// How many times over the random tests run.
let soakFactor = runsSoak ? 50 : 1

enum Repository {
    static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    static func fixture(_ name: String) -> URL {
        root.appendingPathComponent("Tests/EnvelopeTests/Fixtures").appendingPathComponent(name)
    }
}

/// A directory for key files that goes when the test does.
final class KeyDirectory {
    let url: URL

    init() throws {
        url = FileManager.default.temporaryDirectory.appendingPathComponent("lifeboat-keys-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    func write(_ name: String, _ content: some Sequence<UInt8>) throws -> String {
        let file = url.appendingPathComponent(name)
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(content).write(to: file)
        return file.path
    }

    func aes(_ name: String, _ key: [UInt8]) throws -> AESKeyProvider {
        try AESKeyProvider(path: write(name, "\(hexText(key))\n".utf8))
    }

    /// The key of the fixture `source` under the name of the file `name`.
    func rsa(_ name: String, _ source: String) throws -> RSAKeyProvider {
        try RSAKeyProvider(path: write(name, Data(contentsOf: Repository.fixture(source))))
    }
}

func secret(_ bytes: [UInt8]) -> SecretBytes { bytes.withUnsafeBytes { SecretBytes($0) } }

func revealed(_ secret: SecretBytes) -> [UInt8] { secret.withBytes { Array($0) } }

let sampleContext = [
    "lifeboat-set": "daily/backup-2025-01-15T07-00-00-000Z", "lifeboat-target": "clinic", "lifeboat-format": "1",
]

/// A data key, and what a message is made with. The wrapped key is a stand-in where `dataKeys` is not given.
struct Sample {
    let dataKey: SecretBytes
    let parameters: MessageParameters

    init(
        seed: UInt64 = 1, frameLength: Int = 64, context: [String: String] = sampleContext,
        dataKeys: [EncryptedDataKey]? = nil
    ) {
        var generator = SeededRandom(seed: seed)
        dataKey = secret(generator.bytes(32))
        let standIn = EncryptedDataKey(
            providerID: "lifeboat", providerInfo: Array("nobody".utf8), ciphertext: [1, 2, 3])
        parameters = MessageParameters(
            messageID: generator.bytes(32), context: context, dataKeys: dataKeys ?? [standIn],
            frameLength: frameLength)
    }

    /// The same with its data key wrapped for `recipients`.
    func sealed(for recipients: [any KeyProvider]) async throws -> Sample {
        let keys = try await sealDataKey(dataKey, for: recipients, context: parameters.context)
        return Sample(dataKey: dataKey, parameters: parameters, dataKeys: keys)
    }

    private init(dataKey: SecretBytes, parameters: MessageParameters, dataKeys: [EncryptedDataKey]) {
        self.dataKey = dataKey
        var parameters = parameters
        parameters.dataKeys = dataKeys
        self.parameters = parameters
    }

    func message(_ plaintext: [UInt8]) throws -> [UInt8] {
        try seal(plaintext, dataKey: dataKey, parameters: parameters)
    }
}

func seal(_ plaintext: [UInt8], dataKey: SecretBytes, parameters: MessageParameters) throws -> [UInt8] {
    var writer = try MessageWriter(dataKey: dataKey, parameters: parameters)
    var message = writer.header
    var rest = plaintext[...]
    while rest.count >= parameters.frameLength {
        let frame = Chunk(rest.prefix(parameters.frameLength))
        message += contents(of: try withExtendedLifetime(frame) { try writer.seal(frame.bytes) })
        rest = rest.dropFirst(parameters.frameLength)
    }
    // Finishing consumes the writer, which a closure may not: the bytes come from a chunk.
    let last = Chunk(rest)
    message += contents(of: try writer.finish(last.bytes))
    return message
}

/// A copy, made while the chunk is held.
func contents(of chunk: Chunk) -> [UInt8] { withExtendedLifetime(chunk) { Array(chunk.bytes) } }

/// The header of `message`; a message that ends within it is a truncated one.
func header(of message: [UInt8]) throws -> MessageHeader {
    guard let header = try MessageHeader.parse(message) else { throw EnvelopeError.truncated(frames: 0) }
    return header
}

/// Opens `message`, handing it over in pieces that end at `splits`.
func open(_ message: [UInt8], dataKey: SecretBytes, splits: [Int] = []) throws -> [UInt8] {
    let header = try header(of: message)
    var reader = try MessageReader(header: header, dataKey: dataKey)
    var plaintext: [UInt8] = []
    try message.withUnsafeBytes { bytes in
        var offset = header.length
        for end in splits.filter({ $0 > header.length }) + [message.count] {
            try reader.update(UnsafeRawBufferPointer(rebasing: bytes[offset..<end])) { plaintext += contents(of: $0) }
            offset = end
        }
    }
    try reader.finish()
    return plaintext
}

func open(_ message: [UInt8], with identities: [any KeyProvider]) async throws -> [UInt8] {
    let header = try header(of: message)
    let dataKey = try await openDataKey(header.dataKeys, context: header.context, with: identities)
    return try open(message, dataKey: dataKey)
}
