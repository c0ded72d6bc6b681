import Core
import Crypto
import LocalKeyring
import Sets
import Streams
import TestSupport

/// Makes sets of made-up parts, for tests of the set itself.
struct Workbench {
    var store: any Store
    var recipients: [any KeyProvider]
    var optionalRecipients: [any KeyProvider] = []
    var identities: [any KeyProvider]
    var signer: Curve25519.Signing.PrivateKey?
    var trustedSigners: [[UInt8]] = []
    var compression = Compression.standard
    var target = "clinic"
    var protection = SetProtection()
    var storageClasses: [Tier: StorageClass] = [:]
    let clock = ManualClock()

    static func key(_ number: UInt8, in directory: String) throws -> AESKeyProvider {
        let path = "\(directory)/key\(number).hex"
        try writeFile(path, String(repeating: hexText([number]), count: 32))
        return try AESKeyProvider(path: path)
    }

    /// A bench whose sets are sealed and opened with one AES key.
    static func withKey<Result>(
        store: any Store = MemoryStore(), _ body: (Workbench) async throws -> Result
    ) async throws -> Result {
        try await withScratchDirectory { directory in
            let key = try key(1, in: directory)
            return try await body(Workbench(store: store, recipients: [key], identities: [key]))
        }
    }

    var writer: SetWriterConfiguration {
        SetWriterConfiguration(
            target: target, engine: "made-up", recipients: recipients, optionalRecipients: optionalRecipients,
            signer: signer, compression: compression, parallelJobs: 2, rateLimit: nil,
            protection: protection, storageClasses: storageClasses, random: random,
            clock: BlockingClock(seconds: { 0 }, pause: { _ in }))
    }

    var reader: SetReaderConfiguration {
        SetReaderConfiguration(
            identities: identities, trustedSigners: trustedSigners, symmetricProviders: ["lifeboat"])
    }

    var catalog: Catalog { Catalog(store) }

    var random: RandomBytes {
        { count in
            var generator = SystemRandomNumberGenerator()
            return (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
        }
    }

    static let contents = Contents(
        data: [
            DataEntry(kind: .table, schema: "public", name: "patients", columns: ["id"], rows: 3, sum: RowSum())
        ], schema: [])

    /// A key like `daily/backup-2025-01-15T07-00-0<second>-000Z`.
    static func key(_ tier: Tier = .daily, second: Int = 0) -> BackupKey {
        BackupKey(tier: tier, timestamp: Timestamp(milliseconds: 1_736_924_400_000).adding(seconds: Int64(second)))
    }

    /// Makes and commits the next set of the chain.
    @discardableResult
    func makeSet(
        _ key: BackupKey = Workbench.key(), parts: [String: [UInt8]] = ["database.sql": Array("rows\n".utf8)],
        requestID: RequestID = .random("0123")
    ) async throws -> StoredManifest {
        let head = try await catalog.head(in: catalog.listing())
        let attempt = SetLayout.attempt(
            sequence: head.next, requestDigest: Catalog.digest(requestID), random: random(8))
        let set = try await SetWriter(key: key, attempt: attempt, in: store, configuration: writer)
        let snapshot = MadeUpSnapshot(parts, time: key.timestamp)
        let contents = try await set.write(snapshot, meter: ProgressMeter())
        return try await set.commit(
            SetWriter.Closing(
                requestID: requestID, sequence: head.next, previous: head.stored?.link, facts: snapshot.facts,
                contents: contents, finished: key.timestamp.adding(seconds: 5)))
    }

    /// Opens a set and reads all of it, as a verification does.
    @discardableResult
    func readThrough(_ key: BackupKey = Workbench.key()) async throws -> [String: [UInt8]] {
        let reader = try await SetReader.open(
            try await catalog.manifest(key), in: store, configuration: reader)
        _ = try await reader.contents()
        var parts: [String: [UInt8]] = [:]
        for name in reader.partNames {
            let source = try await reader.open(name)
            parts[name] = try await onThread("collect") { try source.collect(limit: 64 << 20) }
        }
        return parts
    }

    /// All objects, for comparisons.
    func objects() async throws -> [String] {
        var keys: [String] = []
        for try await object in store.list("") { keys.append(object.key) }
        return keys
    }
}

/// A snapshot of parts that are in memory.
struct MadeUpSnapshot: Snapshot {
    let facts: SnapshotFacts
    private let sources: [Part]
    private let failure: (any Error & Sendable)?

    init(_ parts: [String: [UInt8]], time: Timestamp, failure: (any Error & Sendable)? = nil) {
        facts = SnapshotFacts(time: time, sourceSize: 1000, details: ["server": "1"], exceptions: [])
        sources = parts.sorted { $0.key < $1.key }.map { Part(name: $0.key, source: MemorySource($0.value)) }
        self.failure = failure
    }

    var parts: AsyncThrowingStream<Part, any Error> {
        AsyncThrowingStream { continuation in
            for part in sources { continuation.yield(part) }
            continuation.finish()
        }
    }

    func finish() async throws -> Contents {
        if let failure { throw failure }
        return Workbench.contents
    }

    func cancel() async {}
}
