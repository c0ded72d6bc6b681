import AWS
import CLinux
import Core
import Crypto
import Foundation
import Glibc
import LocalKeyring
import Logging
import S3Store
import Sets
import Streams

// The byte path between a file and a bucket, as a backup and a verify go it, without a database in the way: what
// Benchmarks/run compares with the AWS CLI. Everything comes from the environment, as AWS_… and STORE_….
//
//   store-benchmark upload FILE     makes a set with FILE as its one part, prints the set's key
//   store-benchmark download KEY    reads that part back, authenticated and decrypted, into STORE_OUTPUT
//   store-benchmark fill COUNT      makes the objects of COUNT sets, a byte each
//   store-benchmark list PREFIX     reads the catalog below PREFIX and counts its sets

// As lifeboat does.
linux_tune_allocator()
let arguments = CommandLine.arguments
guard arguments.count == 3 else {
    print("usage: store-benchmark upload FILE | download KEY | fill COUNT | list PREFIX")
    exit(2)
}
let environment = ProcessInfo.processInfo.environment
let bench = try StoreBenchmark(environment)
switch arguments[1] {
case "upload": print(try await bench.upload(arguments[2]))
case "download": print(try await bench.download(arguments[2], to: environment["STORE_OUTPUT"] ?? "/dev/null"))
case "fill": print(try await bench.fill(Int(arguments[2]) ?? 0))
case "list": print(try await bench.list(arguments[2]))
default: exit(2)
}
try await bench.close()

struct StoreBenchmark {
    private let store: S3Store
    private let transport: PooledTransport
    private let key: AESKeyProvider

    init(_ environment: [String: String]) throws {
        func needed(_ name: String) throws -> String {
            guard let value = environment[name] else { throw Missing(name: name) }
            return value
        }
        let configuration = try AWSConfiguration(environment: environment) { _ in [] }
        let transport = try PooledTransport(caBundle: configuration.caBundle)
        let credentials = FixedCredentials(
            AWSCredentials(
                accessKeyID: try needed("AWS_ACCESS_KEY_ID"),
                secretAccessKey: Secret(try needed("AWS_SECRET_ACCESS_KEY")), source: "environment"))
        let logger = Logger(label: "store-benchmark") { _ in SwiftLogNoOpLogHandler() }
        let client = AWSClient(
            transport: transport, credentials: credentials, maxAttempts: configuration.maxAttempts,
            clock: SystemTime(), sleep: { try await Task.sleep(for: .seconds($0)) }, random: randomBytes,
            logger: logger)
        self.transport = transport
        store = try S3Store(
            settings: S3Settings(bucket: try needed("STORE_BUCKET"), addressing: .path), client: client,
            configuration: configuration, random: randomBytes, clock: SystemTime(),
            sleep: { try await Task.sleep(for: .seconds($0)) }, logger: logger)
        key = try AESKeyProvider(path: try needed("STORE_KEY"))
    }

    func close() async throws { try await transport.shutdown() }

    func upload(_ path: String) async throws -> String {
        let key = BackupKey(tier: .manual, timestamp: SystemTime().now())
        let attempt = SetLayout.attempt(sequence: 1, requestDigest: randomBytes(8), random: randomBytes(8))
        let writer = try await SetWriter(
            key: key, attempt: attempt, in: store,
            configuration: SetWriterConfiguration(
                target: "benchmark", engine: "file", recipients: [self.key], signer: nil,
                compression: Compression(algorithm: .none, level: 0), parallelJobs: 2, rateLimit: nil,
                random: randomBytes, clock: unusedClock))
        let snapshot = FileSnapshot(path: path)
        let contents = try await writer.write(snapshot, meter: ProgressMeter())
        let stored = try await writer.commit(
            SetWriter.Closing(
                requestID: .random("benchmark"), sequence: 1, previous: nil, facts: snapshot.facts,
                contents: contents, finished: SystemTime().now()))
        return stored.manifest.key.description
    }

    func download(_ text: String, to path: String) async throws -> String {
        guard let key = BackupKey(text) else { throw Missing(name: text) }
        let stored = try await Catalog(store).manifest(key)
        let reader = try await SetReader.open(
            stored, in: store,
            configuration: SetReaderConfiguration(
                identities: [self.key], trustedSigners: [], symmetricProviders: ["lifeboat"]))
        let descriptor = Glibc.open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Missing(name: path) }
        defer { Glibc.close(descriptor) }
        let source = try await reader.open(FileSnapshot.part)
        try await pull(source, named: "write") { chunk in
            var rest = chunk.bytes
            while !rest.isEmpty {
                let count = write(descriptor, rest.baseAddress, rest.count)
                guard count > 0 else { throw Missing(name: path) }
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            }
        }
        return "\(stored.manifest.plainSize) bytes"
    }

    func fill(_ count: Int) async throws -> String {
        let newest = SystemTime().now()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<count {
                if number >= 32 { try await group.next() }
                group.addTask {
                    let key = BackupKey(tier: .hourly, timestamp: newest.adding(seconds: Int64(-3600 * number)))
                    let attempt = SetLayout.attempt(
                        sequence: Int64(count - number), requestDigest: randomBytes(8), random: randomBytes(8))
                    let parts = ["contents.json", "database.sql", "globals.sql"].map {
                        SetLayout.directory(key)
                            + SetLayout.segment(attempt: attempt, part: $0, number: 1, compression: .zstd)
                    }
                    for object in parts + [SetLayout.manifest(key)] { try await store.put(object, [1]) }
                }
            }
            try await group.waitForAll()
        }
        return "\(count) sets"
    }

    func list(_ prefix: String) async throws -> String {
        let listing = try await Catalog(PrefixedStore(store, prefix: prefix)).listing()
        return "\(listing.entries.filter(\.isCommitted).count) sets"
    }
}

struct Missing: Error { let name: String }

/// A file as a source of one part.
struct FileSnapshot: Snapshot {
    static let part = "file"

    let path: String
    let facts = SnapshotFacts(time: SystemTime().now(), sourceSize: 0, details: [:], exceptions: [])

    var parts: AsyncThrowingStream<Part, any Error> {
        AsyncThrowingStream { continuation in
            do {
                continuation.yield(Part(name: Self.part, source: try FileContent(path: path)))
                continuation.finish()
            } catch {
                continuation.finish(throwing: error)
            }
        }
    }

    func finish() async throws -> Contents { Contents(data: [], schema: []) }
    func cancel() async {}
}

final class FileContent: ByteSource {
    private let descriptor: Int32

    init(path: String) throws {
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Missing(name: path) }
    }

    deinit { close(descriptor) }

    func next() throws -> Chunk? {
        let chunk = Chunk()
        while chunk.remaining > 0 {
            let count = chunk.append { room in max(0, read(descriptor, room.baseAddress, room.count)) }
            if count == 0 { break }
        }
        return chunk.count == 0 ? nil : chunk
    }

    func cancel() {}
}

struct SystemTime: WallClock {
    func now() -> Timestamp { Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)) }
}

@Sendable func randomBytes(_ count: Int) -> [UInt8] {
    var generator = SystemRandomNumberGenerator()
    return (0..<count).map { _ in generator.next() }
}

/// Only a rate limit asks for it, and there is none.
let unusedClock = BlockingClock(seconds: { 0 }, pause: { _ in })
