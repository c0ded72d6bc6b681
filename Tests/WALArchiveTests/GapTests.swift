import Core
import Operations
import TestSupport
import Testing

@testable import WALArchive

/// What is lost of a log, and how long jobs say so; and the index that remembers it, which nobody vouches for.
@Suite struct GapTests {
    private func expectGap(
        _ result: JobResult, _ begin: UInt64, _ end: UInt64, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let (begin, end) = (LSN(begin * testSize), LSN(end * testSize))
        #expect(result.exitCode == .source, sourceLocation: sourceLocation)
        #expect(result.failure?.cause.contains("\(begin) to \(end)") == true, sourceLocation: sourceLocation)
        #expect(result.failure?.hint.contains("base backup") == true, sourceLocation: sourceLocation)
        #expect(
            result.details["gap"]
                == .object([
                    "timeline": .integer(1), "begin": .string("\(begin)"), "end": .string("\(end)"),
                ]), sourceLocation: sourceLocation)
    }

    @Test(
        "a gap fails every job, on the next day too, until there is a base backup from after it; all else is stored")
    func untilBase() async throws {
        try await LogSite.open { site in
            try await site.addBase(1, end: LSN(2 * testSize))
            _ = try await site.run(ScriptedLog(segments: 1..<5))
            let met = try await site.run(ScriptedLog(segments: 30..<32))
            expectGap(met, 5, 30)
            #expect(met.failure?.hint.contains("due") == true)
            #expect(met.snapshotTime == nil, "what comes after it does not count as stored")
            // A job that finds nothing new, one that does, and one on another day.
            expectGap(try await site.run(ScriptedLog(segments: 30..<32)), 5, 30)
            expectGap(try await site.run(ScriptedLog(segments: 30..<34)), 5, 30)
            site.clock.advance(seconds: 86_400)
            expectGap(try await site.run(ScriptedLog(segments: 30..<35)), 5, 30)
            #expect(
                try await site.run(ScriptedLog(segments: 30..<35), dryRun: true).notes.contains {
                    $0.contains("lost")
                })

            // One that ends in the gap does not lead over it, nor does one of another server or timeline.
            try await site.addBase(2, end: LSN(29 * testSize))
            try await site.addBase(3, end: LSN(40 * testSize), of: "77")
            try await site.addBase(4, end: LSN(40 * testSize), timeline: 3)
            expectGap(try await site.run(ScriptedLog(segments: 30..<36)), 5, 30)
            #expect(
                try await site.archive().ranges(of: testSystem).map(\.places) == [
                    Places(1, 2 * testSize, 5 * testSize), Places(1, 30 * testSize, 36 * testSize),
                ])

            let base = try await site.addBase(5, end: LSN(31 * testSize + 77))
            let settled = try await site.run(ScriptedLog(segments: 30..<36))
            #expect(settled.exitCode == .done)
            #expect(settled.notes.contains { $0.contains("\(base)") })
            #expect(settled.snapshotTime != nil)
            let after = try await site.run(ScriptedLog(segments: 30..<37))
            #expect(after.exitCode == .done && after.notes.isEmpty, "said once, it is over")
        }
    }

    @Test("the job that meets a gap fails even where a base backup was made since, and only that one")
    func metLate() async throws {
        try await LogSite.open { site in
            _ = try await site.run(ScriptedLog(segments: 1..<5))
            let base = try await site.addBase(end: LSN(31 * testSize))
            let met = try await site.run(ScriptedLog(segments: 30..<32))
            expectGap(met, 5, 30)
            #expect(met.failure?.hint.contains("\(base)") == true)
            #expect(try await site.run(ScriptedLog(segments: 30..<33)).exitCode == .done)
        }
    }

    @Test("a log whose first job comes after the server has removed what follows the base backup begins with a gap")
    func beforeFirst() async throws {
        try await LogSite.open { site in
            try await site.addBase(end: LSN(3 * testSize))
            expectGap(try await site.run(ScriptedLog(segments: 25..<27)), 3, 25)
        }
        try await LogSite.open { site in
            try await site.addBase(end: LSN(3 * testSize))
            #expect(try await site.run(ScriptedLog(segments: 2..<27)).exitCode == .done)
            #expect(
                try await site.archive().ranges(of: testSystem).map(\.places) == [
                    Places(1, 3 * testSize, 27 * testSize)
                ])
        }
    }

    @Test(
        "an index that is damaged, gone or of another place is made anew from the files, with the gap that they show")
    func rebuilt() async throws {
        let other = WALIndex(systemID: "77", timeline: 1, segmentSize: testSize).json.canonicalBytes
        let damages: [(String, [UInt8]?)] = [
            ("gone", nil), ("empty", []), ("no index", Array("{}".utf8)), ("no text", [0xFF, 0xFE]),
            ("another version", Array("{\"format\":9}".utf8)), ("another server's", other),
        ]
        for (name, bytes) in damages {
            try await LogSite.open { site in
                try await site.addBase(end: LSN(2 * testSize))
                _ = try await site.run(ScriptedLog(segments: 1..<5))
                expectGap(try await site.run(ScriptedLog(segments: 30..<50)), 5, 30)
                let key = try #require(site.firstMemory.keys.first { $0.contains("/index/") })
                if let bytes {
                    site.firstMemory.damage(key) { $0 = bytes }
                } else {
                    try await site.firstMemory.delete(key)
                }
                let next = ScriptedLog(segments: 30..<52)
                let result = try await site.run(next)
                expectGap(result, 5, 30)
                #expect(result.details["files"] == .integer(2), "\(name): nothing is sent again")
                let index = try #require(try await site.archive().newestIndex(of: testSystem, 1)).index
                #expect(index.ranges == [2 * testSize..<5 * testSize, 30 * testSize..<52 * testSize], "\(name)")
                // Nothing new, and the index is whole again.
                let calls = site.first.log.count
                expectGap(try await site.run(next), 5, 30)
                #expect(!site.first.log.dropFirst(calls).contains { $0.call == .put }, "\(name)")
            }
        }
    }

    @Test("a hole that a killed job left among the last files is filled, whatever has become of the index")
    func hole() async throws {
        for hasIndex in [true, false] {
            try await LogSite.open { site in
                if hasIndex { _ = try await site.run(ScriptedLog(segments: 1..<3)) }
                let first: UInt64 = hasIndex ? 3 : 1
                for number in first..<15 where number != 6 && number != 9 && number != 10 {
                    try await site.archive().store(piece(testSegment(number), segmentBytes(testSegment(number))))
                }
                let result = try await site.run(ScriptedLog(segments: 1..<16))
                #expect(result.exitCode == .done)
                #expect(result.details["files"] == .integer(4))
                #expect(
                    try await site.archive().ranges(of: testSystem).map(\.places) == [
                        Places(1, testSize, 16 * testSize)
                    ])
            }
        }
    }

    @Test("no more files are ahead of one that is not stored yet than a later job looks back for")
    func ahead() async throws {
        try await LogSite.open { site in
            let log = ScriptedLog(segments: 1..<60)
            let slow = "\(testSegment(5).name).zst"
            let most = Guarded(0)
            site.first.fail(
                .put, keyContaining: slow,
                with: .interleave {
                    // Everything else that may go first goes first.
                    var last = -1
                    while last != log.given.value.all {
                        last = log.given.value.all
                        for _ in 0..<20_000 { await Task.yield() }
                    }
                    most.withLock { $0 = log.given.value.all }
                })
            let result = try await site.run(log)
            #expect(result.exitCode == .done)
            #expect((6...4 + WALArchive.mostAhead).contains(most.value), "\(most.value)")
        }
    }

    @Test("an index that lies about what is stored neither moves the job on nor puts anything into the log's ranges")
    func forged() async throws {
        typealias Change = (inout WALIndex) -> Void
        let lies: [(name: String, day: String?, change: Change)] = [
            ("more than there is", nil, { $0.ranges = [testSize..<31 * testSize] }),
            ("another place", nil, { $0.ranges = [100 * testSize..<200 * testSize + 5] }),
            ("a day to come", "2999-01-01", { $0.ranges = [testSize..<31 * testSize] }),
            ("nothing", nil, { $0.ranges = [] }),
            ("less than there is", nil, { $0.ranges = [testSize..<3 * testSize] }),
            ("a time to come", nil, { $0.coveredUntil = Timestamp(milliseconds: 1 << 42) }),
            ("nothing has happened since", nil, { $0.mark = "40" }),
        ]
        for (name, day, change) in lies {
            try await LogSite.open { site in
                _ = try await site.run(ScriptedLog(segments: 1..<10))
                let before = try await site.archive().ranges(of: testSystem)
                #expect(before.map(\.places) == [Places(1, testSize, 10 * testSize)])
                var (key, index) = try #require(try await site.archive().newestIndex(of: testSystem, 1))
                change(&index)
                if let day { key = WALLayout.index(of: testSystem, 1, day: day) }
                try await site.firstMemory.put(key, index.json.canonicalBytes)
                #expect(try await site.archive().ranges(of: testSystem) == before, "\(name)")
                let log = ScriptedLog(segments: 1..<41)
                #expect(try await site.run(log).exitCode == .done, "\(name)")
                #expect(
                    try await site.archive().ranges(of: testSystem).map(\.places) == [
                        Places(1, testSize, 41 * testSize)
                    ], "\(name)")
                #expect(log.acknowledged.value.last == LSN(41 * testSize), "\(name)")
                for number in 1..<41 {
                    #expect(try await site.archive().bytes(.segment(testSegment(UInt64(number)))) != nil, "\(name)")
                }
            }
        }
    }
}
