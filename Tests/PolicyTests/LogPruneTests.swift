import Core
import Operations
import Sets
import TestSupport
import Testing
import WALArchive

/// What a prune deletes of a server's log beside the sets.
@Suite struct LogPruneTests {
    private static let system = "7300000000000000001"
    private static let size: UInt64 = 1 << 20

    private static func base(_ segment: UInt64) -> [String: String] {
        [
            "method": "physical", "systemIdentifier": system, "timeline": "1",
            "startLSN": LSN(segment * size + 0x28).description,
        ]
    }

    /// Histories stand in for segments where only names count; one real object says how long segments are.
    private static func fill(_ archive: Archive, _ numbers: ClosedRange<UInt64>) async throws {
        for store in [archive.firstMemory, archive.secondMemory] {
            let log = WALArchive(
                store,
                WALArchiveConfiguration(
                    target: "clinic", recipients: archive.workplace.writer.recipients, identities: [],
                    compressionLevel: 1, random: archive.workplace.random))
            for number in numbers {
                let segment = WALSegment(timeline: 1, number: number, size: size)
                _ = try await log.store(
                    WALPiece(file: .segment(segment), end: segment.end, source: MemorySource(bytes(of: segment))),
                    of: WALOrigin(systemID: system, segmentSize: size), meter: ProgressMeter())
            }
        }
    }

    private static func bytes(of segment: WALSegment) -> [UInt8] {
        var header = [UInt8](repeating: 0, count: 40)
        func put(_ value: UInt64, at offset: Int, _ count: Int) {
            for index in 0..<count {
                header[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(index)))
            }
        }
        put(0xD110, at: 0, 2)
        put(2, at: 2, 2)
        put(1, at: 4, 4)
        put(segment.begin.value, at: 8, 8)
        put(UInt64(system) ?? 0, at: 24, 8)
        put(size, at: 32, 4)
        put(8192, at: 36, 4)
        return header + [UInt8](repeating: 0, count: Int(size) - header.count)
    }

    private static func segments(_ store: MemoryStore) -> Int {
        store.keys.count { $0.hasPrefix("wal/") && $0.hasSuffix(".encrypted") }
    }

    @Test("with its base a log's beginning goes from both stores, and all from the oldest kept base on stays")
    func withBase() async throws {
        let archive = try await Archive()
        try await archive.add(day: 0, details: Self.base(2))
        try await archive.prove(try await archive.add(day: 60, details: Self.base(5)), .restore, in: .both)
        try await Self.fill(archive, 1...8)
        archive.go(toDay: 61)
        // Both bases are there: only what lies before the older goes.
        #expect(try await archive.prune(dryRun: true).details["logFilesDeleted"] == .integer(2))
        #expect(Self.segments(archive.firstMemory) == 8)
        _ = try await archive.prune()
        #expect(Self.segments(archive.firstMemory) == 7)
        archive.go(toDay: 91)
        let result = try await archive.prune()
        #expect(result.keys("deleted").count == 1)
        for store in [archive.firstMemory, archive.secondMemory] {
            #expect(Self.segments(store) == 4)
            #expect(store.keys.contains { $0.contains("000000010000000000000005") })
            #expect(store.keysOfVersions.filter { $0.contains("000000010000000000000004") } == [])
        }
    }

    @Test("a base under legal hold keeps its log, and a set that cannot be read keeps all of it")
    func keptBases() async throws {
        let archive = try await Archive()
        try await archive.add(day: 0, isHeld: true, details: Self.base(2))
        try await archive.add(day: 60, details: Self.base(5))
        try await Self.fill(archive, 1...8)
        archive.go(toDay: 200)
        _ = try await archive.prune()
        #expect(Self.segments(archive.firstMemory) == 7)
        // So does one of a whole server that does not say from where on.
        let unknown = try await archive.add(
            day: 200, isHeld: true, details: Self.base(2).filter { $0.key != "startLSN" })
        let kept = try await archive.prune(dryRun: true)
        #expect(kept.details["logFilesDeleted"] == nil)
        #expect(kept.notes.contains { $0.contains("\(unknown) is of a whole server and does not say") })
        let damaged = try await archive.add(day: 201, details: Self.base(7))
        for store in [archive.firstMemory, archive.secondMemory] {
            store.damage(SetLayout.manifest(damaged)) { $0 = [] }
        }
        let result = try await archive.prune()
        #expect(Self.segments(archive.firstMemory) == 7)
        #expect(result.notes.contains { $0.contains("cannot be read") })
    }
}
