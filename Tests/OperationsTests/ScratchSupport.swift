import Core
import Operations
import Sets
import TestSupport

/// A scratch place in memory: what is restored there is a text, and the log is followed by saying so.
final class TextScratchPlace: ScratchPlace {
    enum Step: String, CaseIterable, Sendable {
        case open, plan, stage, inspect, promote, check, database
    }

    struct State: Sendable {
        var opened = 0
        var closed = 0
        /// What is thrown at a step, once.
        var faults: [Step: any Error] = [:]
        /// Done at a step before it goes on, as another would.
        var acts: [Step: @Sendable () async throws -> Void] = [:]
        /// What stands there already.
        var occupant: String?
        var summary = RestoreSummary(
            replaces: nil, alreadyDone: false, neededBytes: 0, freeBytes: nil, notes: ["planned"])
        /// What the restored copy reads as.
        var reading: @Sendable ([UInt8]) -> [UInt8] = { $0 }
        /// The recoveries that were asked for.
        var recoveries: [RecoveryTarget] = []
        /// Where a recovery ends.
        var recovered: @Sendable (RecoveryTarget) -> RecoveredPoint? = { _ in nil }
        /// The databases of the recovered server.
        var databases: [String: [UInt8]] = [:]
        var promoted: [[UInt8]] = []
        var discarded = 0
    }

    private let state = Guarded(State())
    let clock: ManualClock

    init(clock: ManualClock) { self.clock = clock }

    var label: String { "a text in memory" }
    var now: State { state.value }
    func set(_ body: @Sendable (inout State) -> Void) { state.withLock { body(&$0) } }

    func open(for manifest: Manifest, meter: ProgressMeter) async throws -> any Scratch {
        try await pass(.open)
        state.withLock { $0.opened += 1 }
        return TextScratch(place: self)
    }

    func pass(_ step: Step) async throws {
        let (act, fault) = state.withLock { state in
            (state.acts[step], state.faults.removeValue(forKey: step))
        }
        try await act?()
        if let fault { throw fault }
    }
}

private struct TextScratch: Scratch {
    let place: TextScratchPlace

    var destination: any Engine { TextScratchEngine(place: place) }

    func check(meter: ProgressMeter) async throws -> [String] {
        try await place.pass(.check)
        return ["the server finds nothing wrong"]
    }

    func database(_ name: String, meter: ProgressMeter) async throws -> RecoveredDatabase {
        try await place.pass(.database)
        guard let text = place.now.databases[name] else {
            throw JobFailure(
                .eventRefused, "take out the database", object: name, cause: "there is none of that name", hint: "")
        }
        return RecoveredDatabase(
            facts: SnapshotFacts(
                time: place.clock.now(), sourceSize: Int64(text.count), details: ["database": name], exceptions: []),
            contents: TextEngine.contents(text), parts: TextParts(text: text))
    }

    func close() async { place.set { $0.closed += 1 } }
}

private struct TextParts: PartOpener {
    let text: [UInt8]
    var partNames: [String] { ["text"] }
    func open(_ part: String) async throws -> any ByteSource { MemorySource(text) }
}

struct TextScratchEngine: Engine {
    let place: TextScratchPlace

    var capabilities: EngineCapabilities { EngineCapabilities(name: "text", endpoint: "scratch") }

    func snapshot(_ request: SnapshotRequest) async throws -> SnapshotAnswer {
        throw JobFailure(.source, "read the scratch", cause: "nobody does", hint: "")
    }

    func examine(_ request: ExamineRequest) async throws -> Examined { Examined(contents: nil) }

    func plan(_ request: RestoreRequest) async throws -> any RestorePlan {
        try await place.pass(.plan)
        if let recovery = request.recovery { place.set { $0.recoveries.append(recovery.target) } }
        return TextScratchPlan(place: place, request: request)
    }
}

private struct TextScratchPlan: RestorePlan {
    let place: TextScratchPlace
    let request: RestoreRequest

    var summary: RestoreSummary {
        var summary = place.now.summary
        summary.replaces = place.now.occupant
        return summary
    }

    func stage() async throws -> any StagedRestore {
        try await place.pass(.stage)
        let source = try await request.parts.open("text")
        let bytes = try await onThread("stage") { try source.collect(limit: 64 << 20) }
        return TextScratchStaged(place: place, request: request, text: bytes)
    }
}

private struct TextScratchStaged: StagedRestore {
    let place: TextScratchPlace
    let request: RestoreRequest
    let text: [UInt8]

    func inspect() async throws -> Contents {
        try await place.pass(.inspect)
        return TextEngine.contents(place.now.reading(text))
    }

    func promote(_ promotion: PromotionRequest) async throws -> Promotion {
        try await place.pass(.promote)
        let text = text
        place.set { $0.promoted.append(text) }
        return Promotion(
            time: promotion.marker.time, replacedName: nil, notes: [],
            recovered: request.recovery.flatMap { place.now.recovered($0.target) })
    }

    func discard() async throws { place.set { $0.discarded += 1 } }
}

/// A stored log that says what it has and gives histories.
struct MemoryLibrary: WALLibrary {
    var ranges: [WALRange]
    /// By timeline, as the server writes them.
    var histories: [UInt32: String] = [:]
    var systemID = "7001"

    func ranges(of systemID: String) async throws -> [WALRange] { systemID == self.systemID ? ranges : [] }

    func open(_ file: WALFile, of systemID: String) async throws -> (any ByteSource)? {
        guard systemID == self.systemID, case .history(let timeline) = file else { return nil }
        return histories[timeline].map { MemorySource(Array($0.utf8)) }
    }
}

extension Clinic {
    /// Places in the log by the number of a segment of 16 MiB and the bytes in it.
    static func lsn(_ segment: UInt64, _ offset: UInt64 = 0) -> LSN { LSN(segment << 24 | offset) }

    /// Makes the next sets those of a whole server, which ended at `end` now.
    func isPhysical(from start: LSN = lsn(2), to end: LSN = lsn(2, 0x100), timeline: UInt32 = 1) {
        // The picture's time is a second on, as backups here are.
        engine.details = [
            "method": "physical", "systemIdentifier": "7001", "timeline": String(timeline),
            "startLSN": start.description, "endLSN": end.description, "walSegmentSize": String(1 << 24),
            "endTime": clock.now().adding(seconds: 1).description,
        ]
    }

    /// The proofs beside a set in the first store, oldest first, as JSON.
    func proofs(of key: BackupKey) throws -> [JSON] {
        try firstMemory.keys.filter { $0.hasPrefix("\(key)/records/") && $0.hasSuffix("-proof.json") }
            .map { try JSON(parsing: firstMemory.bytes($0) ?? []) }
    }
}

extension JSON {
    /// A member, for tests that look into documents; `nil` where there is none.
    subscript(_ name: String) -> JSON? {
        if case .object(let members) = self { members[name] } else { nil }
    }
}

extension ManualClock {
    /// Lets seconds pass, one after another, until `body` has ended: for what waits for a limit.
    func running<Result: Sendable>(_ body: () async throws -> Result) async throws -> Result {
        let isDone = Guarded(false)
        let hand = Task {
            while !isDone.value {
                advance(seconds: 1)
                await Task.yield()
            }
        }
        let result: Swift.Result<Result, any Error>
        do {
            result = .success(try await body())
        } catch {
            result = .failure(error)
        }
        isDone.withLock { $0 = true }
        await hand.value
        return try result.get()
    }
}
