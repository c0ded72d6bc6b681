import AWS
import AWSKMSKeyring
import Core
import Envelope
import Foundation
import Logging
import TestSupport

let sampleContext = [
    "lifeboat-set": "daily/backup-2025-01-15T07-00-00-000Z", "lifeboat-target": "clinic", "lifeboat-format": "1",
]

/// KMS keys over one client, as `lifeboat` makes them, with everything that is logged at hand.
final class KMSFixture: Sendable {
    let client: AWSClient
    let configuration: AWSConfiguration
    private let logs = TestLogs()

    /// `url`: where KMS is played; AWS' own endpoints where it is `nil`.
    init(url: String?, transport: any HTTPTransport, region: String? = "eu-central-1") throws {
        var environment: [String: String] = [:]
        environment["AWS_ENDPOINT_URL_KMS"] = url
        environment["AWS_REGION"] = region
        configuration = try AWSConfiguration(environment: environment, readFile: { _ in [] })
        client = AWSClient(
            transport: transport,
            credentials: FixedCredentials(
                AWSCredentials(accessKeyID: "AKIDTESTKEYID", secretAccessKey: Secret("verySecret"), source: "tests")),
            maxAttempts: 2, clock: ManualClock(), sleep: { _ in try Task.checkCancellation() },
            random: { [UInt8](repeating: 128, count: $0) },
            logger: logs.logger)
    }

    var log: String { logs.text }

    func key(_ name: String) throws -> KMSKeyProvider {
        try KMSKeyProvider(key: name, client: client, configuration: configuration)
    }
}

/// Keys of the shared moto server.
func withMoto<Result>(_ body: (MotoServer, KMSFixture) async throws -> Result) async throws -> Result {
    let moto = try await MotoServer.shared()
    return try await withTransport { try await body(moto, KMSFixture(url: moto.url, transport: $0)) }
}

/// Keys of a KMS that a script plays.
func withStub<Result>(
    _ script: @escaping StubServer.Script, _ body: (StubServer, KMSFixture) async throws -> Result
) async throws -> Result {
    let server = try await StubServer.start(script)
    defer { server.stop() }
    return try await withTransport { try await body(server, KMSFixture(url: server.url, transport: $0)) }
}

func secret(_ bytes: [UInt8]) -> SecretBytes { bytes.withUnsafeBytes { SecretBytes($0) } }

func revealed(_ secret: SecretBytes) -> [UInt8] { secret.withBytes { Array($0) } }

/// The members of a request's JSON object.
func members(_ request: StubRequest) throws -> [String: JSON] {
    guard case .object(let members) = try JSON(parsing: request.body) else { return [:] }
    return members
}

let sampleKey = [UInt8]((0..<32).map { $0 &* 37 &+ 11 })

// MARK: Messages

func seal(
    _ plaintext: [UInt8], frameLength: Int = 4096, for recipients: [any KeyProvider]
) async throws -> [UInt8] {
    let random = Guarded(SeededRandom(seed: 3))
    let made = try await makeDataKey(for: recipients, context: sampleContext) { count in
        random.withLock { $0.bytes(count) }
    }
    let parameters = MessageParameters(
        messageID: random.withLock { $0.bytes(32) }, context: sampleContext, dataKeys: made.wrapped,
        frameLength: frameLength)
    var writer = try MessageWriter(dataKey: made.dataKey, parameters: parameters)
    var message = writer.header
    var rest = plaintext[...]
    while rest.count >= frameLength {
        let frame = Chunk(rest.prefix(frameLength))
        message += contents(of: try withExtendedLifetime(frame) { try writer.seal(frame.bytes) })
        rest = rest.dropFirst(frameLength)
    }
    let last = Chunk(rest)
    message += contents(of: try writer.finish(last.bytes))
    return message
}

func open(_ message: [UInt8], with identities: [any KeyProvider]) async throws -> [UInt8] {
    guard let header = try MessageHeader.parse(message) else { throw EnvelopeError.truncated(frames: 0) }
    let dataKey = try await openDataKey(header.dataKeys, context: header.context, with: identities)
    var reader = try MessageReader(header: header, dataKey: dataKey)
    var plaintext: [UInt8] = []
    try message.withUnsafeBytes { bytes in
        try reader.update(UnsafeRawBufferPointer(rebasing: bytes[header.length...])) { plaintext += contents(of: $0) }
    }
    try reader.finish()
    return plaintext
}

/// A copy, made while the chunk is held.
func contents(of chunk: Chunk) -> [UInt8] { withExtendedLifetime(chunk) { Array(chunk.bytes) } }
