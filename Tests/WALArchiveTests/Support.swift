import Core
import Crypto
import LocalKeyring
import Logging
import Operations
import PostgresEngine
import Sets
import Streams
import TestSupport

@testable import WALArchive

/// A workplace for logs: two stores in memory, an AES key and a clock that a test moves.
struct LogSite {
    let clock = ManualClock(Timestamp(milliseconds: 1_736_924_400_000))
    let first: FaultyStore
    let second: FaultyStore
    let firstMemory: MemoryStore
    let secondMemory: MemoryStore
    let key: CountingKey
    var workplace: Workplace

    static func open<Result>(
        hasSecond: Bool = false, _ body: (LogSite) async throws -> Result
    ) async throws -> Result {
        try await withScratchDirectory { directory in
            let path = "\(directory)/clinic.hex"
            try writeFile(path, String(repeating: "07", count: 32))
            return try await body(LogSite(CountingKey(try AESKeyProvider(path: path)), hasSecond: hasSecond))
        }
    }

    init(_ key: CountingKey, hasSecond: Bool) {
        self.key = key
        firstMemory = MemoryStore(clock: clock)
        secondMemory = MemoryStore(clock: clock)
        first = FaultyStore(firstMemory)
        second = FaultyStore(secondMemory)
        let engine = NoSource()
        workplace = Workplace(
            target: "clinic", store: first, secondary: hasSecond ? second : nil,
            sweepUnfinishedWrites: { _ in 0 }, engine: engine, destination: { _ in engine },
            writer: SetWriterConfiguration(
                target: "clinic", engine: "none", recipients: [key], signer: nil,
                compression: Compression(algorithm: .zstd, level: 1), parallelJobs: 2, rateLimit: nil,
                random: testRandom, clock: BlockingClock(seconds: { 0 }, pause: { _ in })),
            reader: SetReaderConfiguration(
                identities: [key], trustedSigners: [], symmetricProviders: ["lifeboat"]),
            lease: LeaseConfiguration(
                holder: "test", clock: clock, elapsed: clock.elapsed, sleep: clock.sleep, random: testRandom),
            exceptions: [], stallTimeout: 300, onStall: {}, clock: clock, sleep: clock.sleep, random: testRandom,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, report: { _ in })
    }

    /// The archive as an operation makes it, with a data key of its own.
    func archive(_ store: (any Store)? = nil, target: String = "clinic") -> WALArchive {
        WALArchive(
            store ?? first,
            WALArchiveConfiguration(
                target: target, recipients: [key], identities: [key], compressionLevel: 1, random: testRandom))
    }

    func run(
        _ log: any WALSource, _ requestID: RequestID = .random("r"), dryRun: Bool = false
    ) async throws -> JobResult {
        clock.advance(seconds: 60)
        return try await ArchiveWAL(
            WALJob(target: "clinic", requestID: requestID, dryRun: dryRun), from: log, at: workplace
        ).run()
    }

    /// The names of the files of the log in the first store, without what they all end with.
    var names: [String] { Self.names(firstMemory) }

    static func names(_ store: MemoryStore) -> [String] {
        store.keys.compactMap { key in
            if case .file(_, let name)? = WALKey(key) { name.description } else { nil }
        }
    }
}

let testRandom: RandomBytes = { count in
    var generator = SystemRandomNumberGenerator()
    return (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
}

/// An AES key that counts how often it is asked for.
final class CountingKey: KeyProvider {
    let base: any KeyProvider
    let wraps = Guarded(0)

    init(_ base: any KeyProvider) { self.base = base }

    var capabilities: KeyCapabilities { base.capabilities }

    func wrap(_ dataKey: SecretBytes, context: [String: String]) async throws -> EncryptedDataKey {
        wraps.withLock { $0 += 1 }
        return try await base.wrap(dataKey, context: context)
    }

    func unwrap(_ wrapped: EncryptedDataKey, context: [String: String]) async throws -> SecretBytes? {
        try await base.unwrap(wrapped, context: context)
    }
}

/// A source that no test asks for anything: jobs of the log have one of their own.
struct NoSource: Engine {
    var capabilities: EngineCapabilities { EngineCapabilities(name: "none", endpoint: "nothing") }

    func snapshot(_ request: SnapshotRequest) async throws -> SnapshotAnswer { throw TestFailure("no source") }
    func examine(_ request: ExamineRequest) async throws -> Examined { throw TestFailure("no source") }
    func plan(_ request: RestoreRequest) async throws -> any RestorePlan { throw TestFailure("no source") }
}

// MARK: Made-up segments

let testSystem = "7300000000000000001"
let testSize: UInt64 = 1 << 20

func testSegment(_ number: UInt64, timeline: UInt32 = 1) -> WALSegment {
    WALSegment(timeline: timeline, number: number, size: testSize)
}

/// A segment whose pages begin as a server's do, filled with a pattern that `seed` decides.
func segmentBytes(
    _ segment: WALSegment, system: String = testSystem, seed: UInt8 = 1, upTo end: LSN? = nil
) -> [UInt8] {
    madeUpSegment(segment, system: system, seed: seed, upTo: end)
}

func piece(_ segment: WALSegment, _ bytes: [UInt8], end: LSN? = nil) -> WALPiece {
    WALPiece(file: .segment(segment), end: end ?? segment.end, source: MemorySource(bytes))
}

let testOrigin = WALOrigin(systemID: testSystem, segmentSize: testSize)

extension WALArchive {
    @discardableResult
    func store(_ piece: WALPiece) async throws -> WALReceipt {
        try await store(piece, of: testOrigin, meter: ProgressMeter())
    }

    func bytes(_ file: WALFile, of systemID: String = testSystem) async throws -> [UInt8]? {
        guard let source = try await open(file, of: systemID) else { return nil }
        return try await onThread("collect") { try source.collect(limit: 1 << 28) }
    }
}

/// A server of the test's own making: as many segments as it is told to have.
struct ScriptedLog: WALSource {
    var server = WALServer(systemID: testSystem, timeline: 1, lineage: [], segmentSize: testSize)
    /// Numbers of the segments that it has.
    var segments: Range<UInt64>
    var seed: UInt8 = 1
    /// How many files are stored by now.
    var stored: @Sendable () -> Int = { 0 }
    /// How many files were given, and how many of them at most were not stored yet.
    let given = Guarded((all: 0, mostAtOnce: 0))
    let acknowledged = Guarded<[LSN]>([])

    var endpoint: String { "a scripted server" }

    func open(_ request: WALRequest) async throws -> any WALStream {
        let stored = try await request.storedEnd(server)
        let first = max(segments.lowerBound, stored.map { $0.lsn.value / testSize } ?? 0)
        let end = WALPosition(
            systemID: server.systemID, timeline: server.timeline, lsn: LSN(segments.upperBound * testSize),
            mark: "\(segments.upperBound)")
        var gap: WALRange?
        if let stored, stored.lsn.value < segments.lowerBound * testSize {
            gap = WALRange(timeline: 1, begin: stored.lsn, end: LSN(segments.lowerBound * testSize))
        }
        return ScriptedStream(
            log: self, server: server,
            begin: WALPosition(systemID: server.systemID, timeline: server.timeline, lsn: LSN(first * testSize)),
            end: end, gap: gap, left: Guarded(first..<max(first, segments.upperBound)))
    }
}

private struct ScriptedStream: WALStream {
    let log: ScriptedLog
    let server: WALServer
    let begin: WALPosition
    let end: WALPosition
    let gap: WALRange?
    let left: Guarded<Range<UInt64>>
    var notes: [String] { [] }

    func next() async throws -> WALPiece? {
        guard let number = left.withLock({ $0.popFirst() }) else { return nil }
        let segment = testSegment(number, timeline: server.timeline)
        log.given.withLock {
            $0.all += 1
            $0.mostAtOnce = max($0.mostAtOnce, $0.all - log.stored())
        }
        return piece(segment, segmentBytes(segment, seed: log.seed))
    }

    func acknowledge(_ lsn: LSN) { log.acknowledged.withLock { $0.append(lsn) } }
    func finish() async throws {}
    func close() async {}
}

// MARK: Real servers

extension PostgresServer {
    func log(_ slot: String = "lifeboat_test", user: String = "postgres") throws -> PostgresLog {
        try PostgresLog(
            PostgresEndpoint(host: host, port: port, database: "postgres", user: user), slot: slot)
    }

    /// Begins `count` new segments, each with a row in it.
    func fillSegments(_ count: Int, marked marker: String = "row") async throws {
        try await sql("CREATE TABLE IF NOT EXISTS filled (n int, t text)")
        try await sql(
            """
            DO $$ BEGIN FOR n IN 1..\(count) LOOP
                INSERT INTO filled VALUES (n, '\(marker)');
                COMMIT;
                PERFORM pg_switch_wal();
            END LOOP; END $$
            """)
    }

    /// Returns when `condition` holds; throws after 20 s.
    func wait(_ condition: String) async throws {
        let end = ContinuousClock.now + .seconds(20)
        while try await sql("SELECT \(condition)") != "t" {
            guard .now < end else { throw TestFailure("never: \(condition)") }
        }
    }

    func systemID() async throws -> String {
        try await sql("SELECT system_identifier FROM pg_control_system()")
    }
}

/// A stretch of the log, whenever it was stored.
struct Places: Equatable {
    var timeline: UInt32
    var begin: LSN
    var end: LSN

    init(_ timeline: UInt32, _ begin: UInt64, _ end: UInt64) {
        self.timeline = timeline
        self.begin = LSN(begin)
        self.end = LSN(end)
    }
}

extension WALRange {
    var places: Places { Places(timeline, begin.value, end.value) }
}
