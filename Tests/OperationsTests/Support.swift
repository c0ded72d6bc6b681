import Core
import Crypto
import LocalKeyring
import Logging
import Operations
import Sets
import Streams
import TestSupport

/// A workplace of made-up parts: real sets and keys, two stores in memory, a source of text and a clock that a test
/// moves.
struct Clinic {
    let clock = ManualClock()
    let first: FaultyStore
    let second: FaultyStore
    let firstMemory: MemoryStore
    let secondMemory: MemoryStore
    let engine: TextEngine
    let steps = Guarded<[String]>([])
    var workplace: Workplace

    /// Bytes of the first store's longest object make segments of a part.
    static func open<Result>(
        secondIsBucket: Bool = true, largestObject: Int64 = 15 << 30,
        _ body: (Clinic) async throws -> Result
    ) async throws -> Result {
        try await withScratchDirectory { directory in
            let path = "\(directory)/clinic.hex"
            try writeFile(path, String(repeating: "07", count: 32))
            let key = try AESKeyProvider(path: path)
            return try await body(
                Clinic(key: key, secondIsBucket: secondIsBucket, largestObject: largestObject))
        }
    }

    init(key: any KeyProvider, secondIsBucket: Bool = true, largestObject: Int64 = 15 << 30) {
        let clock = clock
        firstMemory = MemoryStore(clock: clock, largestObject: largestObject)
        secondMemory = MemoryStore(clock: clock, isBucket: secondIsBucket)
        first = FaultyStore(firstMemory)
        second = FaultyStore(secondMemory)
        engine = TextEngine(clock: clock)
        let steps = steps
        let random: RandomBytes = { count in
            var generator = SystemRandomNumberGenerator()
            return (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
        }
        let engine = engine
        workplace = Workplace(
            target: "clinic", store: first, secondary: second, sweepUnfinishedWrites: { _ in 0 }, engine: engine,
            destination: { _ in engine },
            writer: SetWriterConfiguration(
                target: "clinic", engine: "text", recipients: [key], signer: nil,
                compression: Compression(algorithm: .none, level: 0), parallelJobs: 2, rateLimit: nil,
                random: random,
                clock: BlockingClock(seconds: { 0 }, pause: { _ in })),
            reader: SetReaderConfiguration(
                identities: [key], trustedSigners: [], symmetricProviders: ["lifeboat"]),
            lease: LeaseConfiguration(
                holder: "test", clock: clock, elapsed: clock.elapsed, sleep: clock.sleep, random: random),
            exceptions: [], stallTimeout: 300, onStall: {}, clock: clock, sleep: clock.sleep, random: random,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            report: { event in if case .step(let name) = event { steps.withLock { $0.append(name) } } })
    }

    @discardableResult
    func backup(
        _ tier: Tier = .daily, requestID: RequestID = .random("r"), dryRun: Bool = false
    ) async throws -> JobResult {
        // Sets are named by the second.
        clock.advance(seconds: 1)
        return try await Backup(
            BackupJob(target: "clinic", tier: tier, requestID: requestID, dryRun: dryRun), at: workplace
        ).run()
    }

    func verify(
        _ key: KeySelector, depth: ProofDepth = .integrity, store: StoreChoice = .primary, waitForThaw: Int = 0,
        dryRun: Bool = false
    ) async throws -> JobResult {
        try await Verify(
            VerifyJob(
                target: "clinic", key: key, requestID: .random("v"), depth: depth, store: store,
                waitForThaw: waitForThaw, dryRun: dryRun), at: workplace
        ).run()
    }

    func restore(
        _ key: KeySelector, requestID: RequestID = .random("s"), store: StoreChoice = .primary,
        waitForThaw: Int = 0, dryRun: Bool = false
    ) async throws -> JobResult {
        clock.advance(seconds: 1)
        return try await Restore(
            RestoreJob(
                target: "clinic", key: key, requestID: requestID, store: store, waitForThaw: waitForThaw,
                dryRun: dryRun), at: workplace
        ).run()
    }

    func list(store: StoreChoice = .primary) async throws -> JobResult {
        try await List(ListJob(target: "clinic", requestID: .random("l"), store: store), at: workplace).run()
    }

    /// The keys of segments in a store, of one set where `key` is given.
    func segments(_ store: MemoryStore, of key: BackupKey? = nil) -> [String] {
        store.keys.filter { $0.hasSuffix(".encrypted") && $0.hasPrefix(key.map { "\($0)/" } ?? "") }
    }
}

/// A source of one part of text, and a place to restore to.
final class TextEngine: Engine {
    private let clock: any WallClock
    private let state: Guarded<[UInt8]>
    private let facts = Guarded<[String: String]>([:])
    private let look = Guarded<@Sendable (SurveyRequest) throws -> RestoreSummary>({ _ in
        RestoreSummary(replaces: "text", alreadyDone: false, neededBytes: 0, freeBytes: nil, notes: [])
    })

    init(clock: any WallClock) {
        self.clock = clock
        state = Guarded(Array("rows\n".utf8))
    }

    /// What the next pictures say of themselves.
    var details: [String: String] {
        get { facts.value }
        set { facts.withLock { $0 = newValue } }
    }

    /// What it answers before the database that is to be restored has been recovered.
    func onSurvey(_ body: @escaping @Sendable (SurveyRequest) throws -> RestoreSummary) {
        look.withLock { $0 = body }
    }

    func survey(_ request: SurveyRequest) async throws -> RestoreSummary { try look.value(request) }

    /// What stands in the source.
    var text: [UInt8] {
        get { state.value }
        set { state.withLock { $0 = newValue } }
    }

    var capabilities: EngineCapabilities { EngineCapabilities(name: "text", endpoint: "text") }

    /// One table, but of a text that begins with `tables:` one a line.
    static func contents(_ text: [UInt8]) -> Contents {
        if text.starts(with: Array("tables:\n".utf8)) {
            let lines = String(decoding: text, as: UTF8.self).split(separator: "\n").dropFirst()
            return Contents(
                data: lines.map { line in
                    DataEntry(
                        kind: .table, schema: "public", name: String(line.prefix { $0 != "=" }), columns: ["line"],
                        rows: Int64(line.utf8.count), sum: RowSum())
                }, schema: [])
        }
        return Contents(
            data: [
                DataEntry(
                    kind: .table, schema: "public", name: "lines", columns: ["line"], rows: Int64(text.count),
                    sum: RowSum())
            ], schema: [])
    }

    func snapshot(_ request: SnapshotRequest) async throws -> SnapshotAnswer {
        .taken(
            TextSnapshot(
                text: text,
                facts: SnapshotFacts(
                    time: clock.now(), sourceSize: Int64(text.count), details: details, exceptions: [])))
    }

    func examine(_ request: ExamineRequest) async throws -> Examined {
        let source = try await request.parts.open("text")
        let bytes = try await onThread("examine") { try source.collect(limit: 64 << 20) }
        return Examined(contents: request.recompute ? Self.contents(bytes) : nil)
    }

    func plan(_ request: RestoreRequest) async throws -> any RestorePlan { TextPlan(engine: self, request: request) }
}

private struct TextSnapshot: Snapshot {
    let text: [UInt8]
    let facts: SnapshotFacts

    var parts: AsyncThrowingStream<Part, any Error> {
        AsyncThrowingStream { continuation in
            continuation.yield(Part(name: "text", source: MemorySource(text)))
            continuation.finish()
        }
    }

    func finish() async throws -> Contents { TextEngine.contents(text) }
    func cancel() async {}
}

private struct TextPlan: RestorePlan {
    let engine: TextEngine
    let request: RestoreRequest

    var summary: RestoreSummary {
        RestoreSummary(replaces: "text", alreadyDone: false, neededBytes: 0, freeBytes: nil, notes: [])
    }

    func stage() async throws -> any StagedRestore {
        let source = try await request.parts.open("text")
        let bytes = try await onThread("stage") { try source.collect(limit: 64 << 20) }
        return TextStaged(engine: engine, text: bytes)
    }
}

private struct TextStaged: StagedRestore {
    let engine: TextEngine
    let text: [UInt8]

    func inspect() async throws -> Contents { TextEngine.contents(text) }

    func promote(_ request: PromotionRequest) async throws -> Promotion {
        engine.text = text
        return Promotion(time: request.marker.time, replacedName: "old", notes: [])
    }

    func discard() async throws {}
}
