import AuditRecordsEngine
import Core
import Glibc
import Streams
import TestSupport
import Testing

@Suite("Batches of audit records")
struct BatchTests {
    /// The first run stores all there is; the next what came since; each says which, and holds the very lines.
    @Test func storesWhatCameSince() async throws {
        let table = MemoryTable(1...5)
        let trail = Trail(table)
        let first = try await trail.back()
        #expect(first.records == lines(1...5))
        #expect(first.ids == "1-5" && first.facts.details["records"] == "5")
        #expect(first.facts.details["afterId"] == nil)
        #expect(first.contents.counts == ["trails": 1, "records": 5])
        #expect(first.facts.sourceSize == Int64(first.records.utf8.count))
        table.add(6...9)
        trail.hour()
        let second = try await trail.back()
        #expect(second.records == lines(6...9))
        #expect(second.ids == "6-9" && second.facts.details["afterId"] == "5")
    }

    /// Before its time and its number a batch waits, and the run says how many records do.
    @Test func waitsForTimeOrNumber() async throws {
        let table = MemoryTable(1...3)
        let settings = AuditRecordsSettings(source: .table(table), batchSeconds: 600, batchRecords: 10)
        let trail = Trail(settings)
        try await trail.back()
        #expect(try await trail.waits()?.details == ["waiting": .integer(0)])
        table.add(4...12)
        let waits = try #require(try await trail.waits())
        #expect(waits.details["waiting"] == .integer(9))
        #expect(waits.why.contains("9 audit records wait") && waits.why.contains("2025-01-15T07:10:00.000Z"))
        trail.clock.advance(seconds: 599)
        #expect(try await trail.waits() != nil)
        trail.clock.advance(seconds: 1)
        #expect(try await trail.waits() == nil)
        #expect(try await trail.back().ids == "4-12")
        table.add(13...22)
        #expect(try await trail.waits() == nil, "ten wait")
        table.add(23...23)
        #expect(try await trail.back().ids == "13-23")
        table.add(24...24)
        #expect(try await trail.waits() != nil)
        #expect(try await trail.back(isForced: true).ids == "24-24")
    }

    /// A record of the last set that is no longer there, or no longer what it was, is named; also where nothing here
    /// opens that set, and also where nothing new waits.
    @Test(arguments: [true, false], [true, false])
    func seesWhatBecameOfTheLastRecord(opens: Bool, waits: Bool) async throws {
        let table = MemoryTable(1...5)
        let trail = Trail(table, opens: opens)
        try await trail.back()
        if waits { table.add(6...7) }
        trail.hour()
        table[.number(5)] = record(5, "somebody else")
        let rewritten = try await failure { try await trail.back() }
        #expect(rewritten.kind == .rewritten && rewritten.exitCode == .source)
        #expect(rewritten.cause.contains("id 5"))
        table[.number(5)] = nil
        let gap = try await failure { try await trail.back() }
        #expect(gap.kind == .gap && gap.cause.contains("id 5"))
        #expect(gap.cause.contains("id 6") == waits)
        table[.number(5)] = record(5)
        guard waits else { return }
        #expect(try await trail.back().ids == "6-7")
    }

    /// A table that was emptied and began anew would never have anything after the last id: it is seen.
    @Test func seesIdsThatBeginAnew() async throws {
        let table = MemoryTable(1...5)
        let trail = Trail(table)
        try await trail.back()
        table.removeAll()
        table.add(1...3)
        trail.hour()
        #expect(try await failure { try await trail.back() }.kind == .gap)
    }

    /// A record that comes to stand among those that are stored already would be in no set: the range is named. One that
    /// was taken away there is no fault.
    @Test func seesWhatCameLate() async throws {
        let table = MemoryTable(1...3)
        let trail = Trail(table)
        try await trail.back()
        table.add(7...9)
        trail.hour()
        try await trail.back()
        table[.number(5)] = record(5)
        let late = try await failure { try await trail.waits() }
        #expect(late.kind == .late && late.exitCode == .source)
        #expect(
            late.cause.hasPrefix("after id 3 up to id 9 the source has 4 records, and the set of these ids holds 3"))
        table.add(10...10)
        #expect(try await failure { try await trail.waits() }.kind == .late)
        table[.number(5)] = nil
        table[.number(8)] = nil
        trail.hour()
        #expect(try await trail.back().ids == "10-10")
    }

    /// Where ids are contiguous, missing ones are named, inside a set and at its joint; elsewhere they may be left out.
    @Test func namesMissingIds() async throws {
        let table = MemoryTable(1...9)
        for id in [3, 4] { table[.number(Int64(id))] = nil }
        let loose = Trail(table)
        #expect(try await loose.back().facts.details["records"] == "7")
        let strict = Trail(table, contiguous: true)
        let inside = try await failure { try await strict.back() }
        #expect(inside.kind == .gap && inside.cause == "ids 3 to 4 are missing")
        table.add(3...4)
        try await strict.back()
        table.add(11...12)
        strict.hour()
        let joint = try await failure { try await strict.back() }
        #expect(joint.cause == "the record of id 10 is missing")
    }

    /// A source that gives ids twice, backwards, of two kinds, or less than it said, makes no set; nor do lines that are
    /// no records, or one without its end.
    @Test(arguments: [
        (record(1) + "\n" + record(1) + "\n", AuditRecordsError.Kind.overlap, "id 1"),
        (record(2) + "\n" + record(1) + "\n", .disorder, "id 1 stands after id 2"),
        (record(1) + "\n{\"id\":\"x\"}\n", .disorder, "another kind"),
        (record(1) + "\n", .gap, "id 9"), ("", .gap, ""),
        (record(1) + "\n\(marker)\n" + record(9) + "\n", .badRecord, "not a JSON object"),
        (record(1) + "\n{\"who\":\"\(marker)\"}\n" + record(9) + "\n", .badRecord, "no id"),
        (record(1) + "\n" + record(9), .badRecord, "no end"),
    ])
    func refusesWhatIsNoTrail(_ text: String, _ kind: AuditRecordsError.Kind, _ words: String) async throws {
        let found = try await failure { try await Trail(FixedTable(text: text, last: .number(9))).back() }
        #expect(found.kind == kind && found.cause.contains(words))
        #expect(found.exitCode == .source && !found.hint.isEmpty)
    }

    /// Ids that are texts go on as numbers do, and are never called contiguous.
    @Test func takesTextIds() async throws {
        let table = MemoryTable()
        for id in ["65a0", "65a1"] { table[.text(id)] = "{\"id\":\"\(id)\"}" }
        let trail = Trail(table)
        #expect(try await trail.back().ids == "65a0-65a1")
        table[.text("65af")] = "{\"id\":\"65af\"}"
        trail.hour()
        #expect(try await trail.back().ids == "65af-65af")
        #expect(try await failure { try await Trail(table, contiguous: true).back() }.kind == .configuration)
    }

    /// A last set that does not open holds nothing up: its manifest is gone on from, and the next set says so.
    @Test func goesOnAfterADamagedSet() async throws {
        let table = MemoryTable(1...3)
        let trail = Trail(table)
        try await trail.back()
        table.add(4...4)
        var request = trail.request(isForced: true)
        request.previousContents = {
            throw JobFailure(.verificationFailed, "read the set", cause: "it is damaged", hint: "none")
        }
        let set = try await trail.engine.take(request)
        #expect(set.ids == "4-4")
        #expect(set.facts.exceptions == ["the set before this one could not be opened: it is damaged"])
    }

    /// A target whose chain belongs to another engine is refused rather than begun anew.
    @Test func refusesAnotherEnginesChain() async throws {
        let trail = Trail(MemoryTable(1...2))
        var foreign = try await trail.back()
        foreign.engine = "postgres"
        let request = SnapshotRequest(previous: foreign.manifest, meter: ProgressMeter())
        let found = try await failure { try await trail.engine.take(request) }
        #expect(found.kind == .foreign && found.exitCode == .configuration)
    }

    /// A snapshot that was not read to its end is no set, and records in the event are not lost in silence.
    @Test func refusesHalfAndStrayRecords() async throws {
        let trail = Trail(MemoryTable(1...2))
        let snapshot = try await trail.engine.picture()
        #expect(try await failure { try await snapshot.finish() }.kind == .unreadable)
        await snapshot.cancel()
        let stray = try await failure { try await trail.back(up: [.object(["id": .integer(1)])]) }
        #expect(stray.kind == .event && stray.exitCode == .eventRefused)
    }

    /// Two gibibytes of records pass without being held: memory grows by less than sixteen mebibytes.
    @Test(.enabled(if: runsSoak)) func staysWithinMemory() async throws {
        let engine = Trail(EndlessTable(count: 8_000_000)).engine
        let before = residentBytes()
        let snapshot = try await engine.picture()
        for try await part in snapshot.parts { try await drain(part.source) }
        let contents = try await snapshot.finish()
        #expect(contents.counts["records"] == 8_000_000)
        #expect(residentBytes() - before < 16 << 20)
    }
}

/// Records of 250 bytes, made as they are asked for.
private struct EndlessTable: RecordTable {
    let count: Int64
    let label = "table without end"

    func waiting(after id: RecordID?) async throws -> WaitingRecords {
        WaitingRecords(count: count, last: .number(count))
    }

    func records(after: RecordID?, through: RecordID) async throws -> any ByteSource { Rows(count: count) }

    private final class Rows: ByteSource {
        private let position = Guarded<Int64>(1)
        private let count: Int64
        private let filler = String(repeating: "x", count: 230)

        init(count: Int64) { self.count = count }

        func next() throws -> Chunk? {
            let first = position.value
            guard first <= count else { return nil }
            let last = min(first + 3000, count)
            position.withLock { $0 = last + 1 }
            return Chunk(Array((first...last).map { "{\"id\":\($0),\"x\":\"\(filler)\"}\n" }.joined().utf8))
        }

        func cancel() {}
    }
}

private func residentBytes() -> Int {
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    var text = [CChar](repeating: 0, count: 128)
    guard fgets(&text, 128, file) != nil else { return 0 }
    let pieces = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).split(
        separator: " ")
    return pieces.count > 1 ? (Int(pieces[1]) ?? 0) * 4096 : 0
}
