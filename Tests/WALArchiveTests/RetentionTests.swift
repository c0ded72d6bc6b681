import Core
import TestSupport
import Testing

@testable import WALArchive

/// Which files of a log no base backup needs.
@Suite struct RetentionTests {
    private static let later = Timestamp(milliseconds: 1_736_924_400_000 + 100 * 86_400_000)

    private func fill(_ site: LogSite, _ numbers: ClosedRange<UInt64>, timeline: UInt32 = 1) async throws {
        for number in numbers {
            let segment = testSegment(number, timeline: timeline)
            try await site.archive().store(piece(segment, segmentBytes(segment)))
        }
    }

    private func expired(
        _ site: LogSite, _ bases: [WALBase], now: Timestamp = later
    ) async throws -> [String] {
        try await site.archive().expired(bases: bases, now: now, meter: ProgressMeter()).objects.compactMap {
            object in
            if case .file(_, let name)? = WALKey(object.key) { name.description } else { object.key }
        }
    }

    private func base(_ lsn: UInt64, timeline: UInt32 = 1, system: String = testSystem) -> WALBase {
        WALBase(systemID: system, timeline: timeline, start: LSN(lsn))
    }

    @Test("all from the segment in which the oldest base begins stays")
    func oldestBase() async throws {
        try await LogSite.open { site in
            try await fill(site, 1...6)
            let bases = [base(4 << 20 | 0x28), base(6 << 20)]
            #expect(try await expired(site, bases) == (1...3).map { testSegment($0).name })
            // A base that begins exactly with a segment needs that one.
            #expect(try await expired(site, [base(3 << 20)]) == (1...2).map { testSegment($0).name })
        }
    }

    @Test("without a base of that server nothing goes, and it is said")
    func noBase() async throws {
        try await LogSite.open { site in
            try await fill(site, 1...3)
            #expect(try await expired(site, []) == [])
            let other = try await site.archive().expired(
                bases: [base(3 << 20, system: "12")], now: Self.later, meter: ProgressMeter())
            #expect(other.objects.isEmpty)
            #expect(other.notes.contains { $0.contains(testSystem) })
        }
    }

    @Test(
        "a timeline that an older one with a base leads to stays whole; one that none leads to goes, but its history")
    func timelines() async throws {
        try await LogSite.open { site in
            try await fill(site, 1...4)
            try await fill(site, 3...6, timeline: 2)
            let history = Array("1\t0/380000\treason\n".utf8)
            try await site.archive().store(
                WALPiece(file: .history(timeline: 2), end: nil, source: MemorySource(history)))
            #expect(
                try await expired(site, [base(2 << 20), base(5 << 20, timeline: 2)]) == [testSegment(1).name])
            #expect(
                try await expired(site, [base(5 << 20, timeline: 2)])
                    == (1...4).map { testSegment($0).name } + (3...4).map { testSegment($0, timeline: 2).name })
        }
    }

    /// A file's own word, which anybody could have written there, decides nothing alone: shorter segments would end
    /// earlier, and be deleted although a base needs them.
    @Test("segments of another length than the bases say stay whole")
    func otherLength() async throws {
        try await LogSite.open { site in
            try await fill(site, 1...3)
            var base = base(3 << 20)
            for (size, count) in [(testSize, 2), (testSize * 2, 0)] {
                base.segmentSize = size
                let found = try await site.archive().expired(bases: [base], now: Self.later, meter: ProgressMeter())
                #expect(found.objects.count == count)
                #expect(found.notes.contains { $0.contains("the base backups say otherwise") } == (count == 0))
            }
        }
    }

    @Test("what is younger than two days stays, whatever needs it")
    func young() async throws {
        try await LogSite.open { site in
            try await fill(site, 1...3)
            let bases = [base(3 << 20)]
            #expect(try await expired(site, bases, now: site.clock.now().adding(seconds: 48 * 3600 - 1)) == [])
            #expect(try await expired(site, bases, now: site.clock.now().adding(seconds: 48 * 3600 + 1)).count == 2)
        }
    }

    @Test("a beginning of a segment goes once more of it is there, needed or not")
    func superseded() async throws {
        try await LogSite.open { site in
            let segment = testSegment(5)
            for length in [1000, 2000] as [UInt64] {
                let end = LSN(segment.begin.value + length)
                try await site.archive().store(piece(segment, segmentBytes(segment, upTo: end), end: end))
            }
            let names = site.names
            #expect(try await expired(site, [base(1 << 20)]) == [names[0]])
            try await site.archive().store(piece(segment, segmentBytes(segment)))
            #expect(try await expired(site, [base(1 << 20)]) == names)
        }
    }

    @Test("days of which nothing is left go as well, but for the last")
    func days() async throws {
        try await LogSite.open { site in
            for day in 0..<4 {
                _ = try await site.run(ScriptedLog(segments: 1..<(3 + 2 * UInt64(day))))
                site.clock.advance(seconds: 86_400)
            }
            let gone = try await expired(site, [base(6 << 20)])
            #expect(gone.filter { $0.contains("/index/") }.count == 2)
            #expect(gone.contains { $0.hasSuffix("/index/2025-01-15.json") })
        }
    }
}
