import Core
import Crypto
import Foundation
import OpenPGPKeyring
import Sets
import Streams
import TestSupport
import Testing

/// A person with GnuPG, and keyrings of ours with the keys that this person gives out.
struct Desk {
    let directory: String
    let person: GnuPG

    static func use(_ body: (Desk) async throws -> Void) async throws {
        try await withScratchDirectory { directory in
            let person = try GnuPG(in: directory)
            defer { person.stop() }
            try await body(Desk(directory: directory, person: person))
        }
    }

    /// `keys` are fingerprints of which the private halves come along where `secret` says so. The time is the system's,
    /// for gpg has no other.
    func keyring(
        _ keys: [String], secret: Bool, passphrase: String = "", given: Secret? = nil,
        program: String = "/usr/bin/gpg",
        now: @escaping @Sendable () -> Timestamp = Desk.now
    ) throws -> OpenPGPKeyring {
        let files = try keys.map { try person.exported($0, secret: secret, passphrase: passphrase) }
        return OpenPGPKeyring(
            OpenPGPSettings(keyFiles: files, passphrase: given, program: program), sleep: Desk.sleep, now: now)
    }

    func provider(_ key: String, in keyring: OpenPGPKeyring) throws -> OpenPGPKeyProvider {
        OpenPGPKeyProvider(key: try OpenPGPKeyID(parsing: key), in: keyring)
    }

    static let now: @Sendable () -> Timestamp = {
        Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000))
    }
    static let sleep: @Sendable (Double) async throws -> Void = { try await Task.sleep(for: .seconds($0)) }
}

/// Makes sets of OpenPGP messages in a store.
struct Bench {
    var store = MemoryStore()
    var recipients: [any KeyProvider]
    var identities: [any KeyProvider]
    var sealing: OpenPGPKeyring
    var opening: OpenPGPKeyring
    var compression = Compression.standard
    /// Otherwise sets are of messages.
    var isOpenPGP = true

    static let key = BackupKey(tier: .daily, timestamp: Timestamp(milliseconds: 1_736_924_400_000))

    /// Sealed by who has the public key, opened by who has the private one.
    init(_ key: String, at desk: Desk) throws {
        sealing = try desk.keyring([key], secret: false)
        opening = try desk.keyring([key], secret: true)
        recipients = [try desk.provider(key, in: sealing)]
        identities = [try desk.provider(key, in: opening)]
    }

    private var random: RandomBytes {
        { count in
            var generator = SystemRandomNumberGenerator()
            return (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
        }
    }

    func writer(for recipients: [any KeyProvider]) -> SetWriterConfiguration {
        SetWriterConfiguration(
            target: "clinic", engine: "made-up", recipients: recipients, signer: nil, compression: compression,
            parallelJobs: 2, rateLimit: nil, random: random,
            clock: BlockingClock(seconds: { 0 }, pause: { _ in }),
            cipher: isOpenPGP ? OpenPGPCipher(sealing) : nil)
    }

    func makeSet(_ parts: [String: [UInt8]]) async throws -> StoredManifest {
        let attempt = SetLayout.attempt(
            sequence: 1, requestDigest: Catalog.digest(.random("0123")), random: random(8))
        let set = try await SetWriter(
            key: Self.key, attempt: attempt, in: store, configuration: writer(for: recipients))
        do {
            let contents = try await set.write(Picture(parts: parts), meter: ProgressMeter())
            return try await set.commit(
                SetWriter.Closing(
                    requestID: .random("0123"), sequence: 1, previous: nil, facts: Picture(parts: parts).facts,
                    contents: contents, finished: Self.key.timestamp))
        } catch {
            try await set.abandon()
            throw error
        }
    }

    func reader() async throws -> SetReader {
        try await SetReader.open(
            try await Catalog(store).manifest(Self.key), in: store,
            configuration: SetReaderConfiguration(
                identities: identities, trustedSigners: [], symmetricProviders: [],
                ciphers: [OpenPGPCipher(opening)]))
    }

    func readThrough() async throws -> [String: [UInt8]] {
        let reader = try await reader()
        #expect(try await reader.contents() == Picture.contents)
        var parts: [String: [UInt8]] = [:]
        for name in reader.partNames { parts[name] = try await collect(try await reader.open(name)) }
        return parts
    }

    func close() async {
        await sealing.close()
        await opening.close()
    }
}

func collect(_ source: any ByteSource) async throws -> [UInt8] {
    try await onThread("collect") { try source.collect(limit: 64 << 20) }
}

/// A snapshot of parts that are in memory.
struct Picture: Snapshot {
    let facts = SnapshotFacts(time: Bench.key.timestamp, sourceSize: 1000, details: [:], exceptions: [])
    let sources: [Part]

    init(parts: [String: [UInt8]]) {
        sources = parts.sorted { $0.key < $1.key }.map { Part(name: $0.key, source: MemorySource($0.value)) }
    }

    static let contents = Contents(
        data: [
            DataEntry(kind: .table, schema: "public", name: "patients", columns: ["id"], rows: 3, sum: RowSum())
        ], schema: [])

    var parts: AsyncThrowingStream<Part, any Error> {
        AsyncThrowingStream { continuation in
            for part in sources { continuation.yield(part) }
            continuation.finish()
        }
    }

    func finish() async throws -> Contents { Self.contents }
    func cancel() async {}
}

/// What ended `body`, which has to end with a failure of this code.
func failure(_ code: ExitCode, _ body: () async throws -> Void) async throws -> any Failure {
    do {
        try await body()
    } catch let error as any Failure {
        #expect(error.exitCode == code, "\(error)")
        #expect(!error.hint.isEmpty)
        return error
    }
    throw TestFailure("it did not fail")
}
