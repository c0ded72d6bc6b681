import AuditRecordsEngine
import Core
import Crypto
import Glibc
import Streams
import TestSupport

/// Must show in no output: it stands for what a record says of a patient.
let marker = "M4RK3R-anna-schmidt"

/// A line as an application writes it.
func record(_ id: Int64, _ text: String = marker) -> String { "{\"at\":12.5,\"id\":\(id),\"who\":\"\(text)\"}" }

func lines(_ ids: ClosedRange<Int64>) -> String { ids.map { record($0) + "\n" }.joined() }

/// A table in memory, which tests change as an application or an intruder would.
final class MemoryTable: RecordTable {
    private let rows = Guarded<[RecordID: String]>([:])

    init(_ ids: ClosedRange<Int64>? = nil) { if let ids { add(ids) } }

    let label = "table in memory"

    func add(_ ids: ClosedRange<Int64>) { for id in ids { self[.number(id)] = record(id) } }

    subscript(_ id: RecordID) -> String? {
        get { rows.value[id] }
        set { rows.withLock { $0[id] = newValue } }
    }

    func removeAll() { rows.withLock { $0 = [:] } }

    func waiting(after id: RecordID?) async throws -> WaitingRecords {
        let waiting = rows.value.keys.filter { key in id.map { key > $0 } ?? true }
        return WaitingRecords(count: Int64(waiting.count), last: waiting.max())
    }

    func records(after: RecordID?, through: RecordID) async throws -> any ByteSource {
        let wanted = rows.value.filter { row in row.key <= through && (after.map { row.key > $0 } ?? true) }
        let text = wanted.sorted { $0.key < $1.key }.map { $0.value + "\n" }.joined()
        // Small pieces, so that lines are cut.
        return MemorySource(Array(text.utf8), chunkSize: 37)
    }
}

/// Gives what it is told, whatever is asked for.
struct FixedTable: RecordTable {
    var text: String
    var last: RecordID
    let label = "table that lies"

    func waiting(after id: RecordID?) async throws -> WaitingRecords { WaitingRecords(count: 1, last: last) }
    func records(after: RecordID?, through: RecordID) async throws -> any ByteSource {
        MemorySource(Array(text.utf8))
    }
}

/// An engine and the sets it has made, as a target's chain.
final class Trail: Sendable {
    let clock = ManualClock()
    private let settings: AuditRecordsSettings
    private let sets = Guarded<[TakenSet]>([])
    /// Whether runs can open the sets before.
    private let opens: Bool

    init(_ settings: AuditRecordsSettings, opens: Bool = true) {
        self.settings = settings
        self.opens = opens
    }

    convenience init(_ table: any RecordTable, contiguous: Bool = false, opens: Bool = true) {
        self.init(AuditRecordsSettings(source: .table(table), idsAreContiguous: contiguous), opens: opens)
    }

    var engine: AuditRecordsEngine {
        AuditRecordsEngine(
            settings, clock: clock, random: { count in (0..<count).map { UInt8($0) } },
            slowDigest: SlowDigest(rounds: 16))
    }

    var last: TakenSet? { sets.value.last }

    func request(records: [JSON] = [], isForced: Bool = false) -> SnapshotRequest {
        let (last, opens) = (last, opens)
        return SnapshotRequest(
            previous: last?.manifest, previousContents: { opens ? last?.contents : nil }, records: records,
            isForced: isForced, meter: ProgressMeter())
    }

    /// Makes the next set; where none is due, throws.
    @discardableResult
    func back(up records: [JSON] = [], isForced: Bool = false) async throws -> TakenSet {
        let set = try await engine.take(request(records: records, isForced: isForced))
        sets.withLock { $0.append(set) }
        return set
    }

    /// Why no set is due; `nil` where one is.
    func waits() async throws -> NothingToStore? {
        switch try await engine.snapshot(request()) {
        case .taken(let snapshot):
            await snapshot.cancel()
            return nil
        case .nothingToStore(let nothing): return nothing
        }
    }

    func hour() { clock.advance(seconds: 3600) }
}

extension TakenSet {
    var records: String { self[text: "records.jsonl"] }
    var ids: String { "\(facts.details["startId"] ?? "?")-\(facts.details["endId"] ?? "?")" }
}

/// Runs `body` and returns its failure, the trail's own where no other is named; throws where it succeeds. No failure
/// may hold what a record says.
func failure<Value, Expected: Failure>(
    _ type: Expected.Type = AuditRecordsError.self, of body: () async throws -> Value
) async throws -> Expected {
    do {
        _ = try await body()
    } catch let error as Expected {
        guard !"\(error)\(error.hint)\(error.object)".contains(marker) else { throw TestFailure("the marker shows") }
        return error
    }
    throw TestFailure("it succeeded")
}
