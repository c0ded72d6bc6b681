import Core
import Operations
import TestSupport
import Testing

@testable import WALArchive

/// A log in two stores, of which one fails.
@Suite struct ReserveTests {
    private func fill(_ site: LogSite, _ numbers: ClosedRange<UInt64>) async throws {
        for store in [site.first, site.second] {
            for number in numbers {
                try await site.archive(store).store(piece(testSegment(number), noise(number)))
            }
        }
    }

    /// A segment that does not compress, so that breaking it off breaks off something.
    private func noise(_ number: UInt64) -> [UInt8] {
        var bytes = segmentBytes(testSegment(number))
        var random = SeededRandom(seed: number)
        for at in bytes.indices where at % 8192 >= 40 { bytes[at] = UInt8(truncatingIfNeeded: random.next()) }
        return bytes
    }

    private func open(_ site: LogSite, _ number: UInt64) async throws -> [UInt8]? {
        guard let source = try await site.workplace.recoveryLog.open(.segment(testSegment(number)), of: testSystem)
        else { return nil }
        return try await onThread("collect") { try source.collect(limit: 1 << 24) }
    }

    @Test("where a file breaks off in one store the other goes on with it, without a byte lost or doubled")
    func midway() async throws {
        try await LogSite.open(hasSecond: true) { site in
            try await fill(site, 1...1)
            let size = try #require(site.firstMemory.bytes(site.firstMemory.keys[0])).count
            for length in [0, 100, 5000, size / 3, size / 2, size - 1] {
                site.first.fail(.get, with: .cut(afterBytes: length))
                #expect(try await open(site, 1) == noise(1), "broken off after \(length) bytes")
            }
            // Damage in the middle shows only when its frame is opened.
            site.firstMemory.damage(site.firstMemory.keys[0]) { $0[$0.count - 30] ^= 1 }
            #expect(try await open(site, 1) == noise(1))
            // And where both fail, the first one's error is told.
            site.secondMemory.damage(site.secondMemory.keys[0]) { $0 = Array($0.prefix(size / 2)) }
            await #expect(throws: (any Error).self) { _ = try await open(site, 1) }
        }
    }

    @Test("what goes on has to be the same file: another one of the same name in the second store is no help")
    func otherFile() async throws {
        try await LogSite.open(hasSecond: true) { site in
            try await site.archive().store(piece(testSegment(1), noise(1)))
            // It differs from the first byte after the header on.
            try await site.archive(site.second).store(piece(testSegment(1), segmentBytes(testSegment(1))))
            let size = try #require(site.firstMemory.bytes(site.firstMemory.keys[0])).count
            // A whole frame has been given by then.
            site.firstMemory.damage(site.firstMemory.keys[0]) { $0[size - 30] ^= 1 }
            await #expect(throws: (any Error).self) {
                let bytes = try await open(site, 1)
                #expect(bytes == nil || bytes == segmentBytes(testSegment(1)))
                if bytes == segmentBytes(testSegment(1)) { throw TestFailure("nothing had been given yet") }
            }
        }
    }

    @Test("a beginning never stands in for a segment of which another store has more")
    func beginnings() async throws {
        try await LogSite.open(hasSecond: true) { site in
            let segment = testSegment(1)
            let (short, long) = (LSN(segment.begin.value + 20_000), LSN(segment.begin.value + 60_000))
            func store(_ archive: WALArchive, upTo end: LSN) async throws {
                try await archive.store(piece(segment, segmentBytes(segment, upTo: end), end: end))
            }
            try await store(site.archive(), upTo: short)
            try await store(site.archive(site.second), upTo: long)
            let begun = try #require(try await open(site, 1))
            #expect(begun.prefix(60_000) == segmentBytes(segment).prefix(60_000))
            #expect(begun.count == Int(testSize) && begun.dropFirst(60_000).allSatisfy { $0 == 0 })
            #expect(
                try await site.workplace.recoveryLog.ranges(of: testSystem).map(\.places) == [
                    Places(1, segment.begin.value, long.value)
                ])

            // The whole is in the first alone, and damaged: the second's beginning would end the log there.
            let whole = try await site.archive().store(piece(segment, segmentBytes(segment)))
            #expect(try await open(site, 1) == segmentBytes(segment))
            site.firstMemory.damage(whole.key) { $0 = Array($0.prefix(300)) }
            await #expect(throws: (any Error).self) { _ = try await open(site, 1) }
            // A store that is away says nothing: what the other has is all that there is.
            site.first.die(afterCalls: 0)
            #expect(try await open(site, 1) == begun)
            site.second.die(afterCalls: 0)
            await #expect(throws: InjectedFault.self) { _ = try await open(site, 1) }
        }
    }

    @Test("when the newest was stored is told by either store, and the earlier of two for the same")
    func times() async throws {
        let joined = WALReserve.joined([
            WALRange(timeline: 1, begin: LSN(0), end: LSN(10), stored: Timestamp(milliseconds: 5000)),
            WALRange(timeline: 1, begin: LSN(0), end: LSN(10), stored: Timestamp(milliseconds: 3000)),
            WALRange(timeline: 1, begin: LSN(5), end: LSN(20), stored: Timestamp(milliseconds: 9000)),
            WALRange(timeline: 1, begin: LSN(6), end: LSN(15), stored: Timestamp(milliseconds: 1000)),
            WALRange(timeline: 2, begin: LSN(5), end: LSN(20)),
        ])
        #expect(
            joined == [
                WALRange(timeline: 1, begin: LSN(0), end: LSN(20), stored: Timestamp(milliseconds: 9000)),
                WALRange(timeline: 2, begin: LSN(5), end: LSN(20)),
            ])
    }
}
