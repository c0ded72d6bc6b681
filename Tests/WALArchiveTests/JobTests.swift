import Core
import Operations
import Sets
import Streams
import TestSupport
import Testing

@testable import WALArchive

/// The job around a server that a test makes up: what it notes, copies and lets the server forget.
@Suite struct JobTests {
    @Test("three segments are in memory at most, and what is acknowledged is stored without a hole")
    func bounded() async throws {
        try await LogSite.open { site in
            var log = ScriptedLog(segments: 1..<41)
            log.stored = { site.names.count }
            let result = try await site.run(log)
            #expect(result.details["files"] == .integer(40))
            #expect((1...3).contains(log.given.value.mostAtOnce))
            #expect(log.acknowledged.value.last == LSN(41 * testSize))
            #expect(log.acknowledged.value == log.acknowledged.value.sorted())
            #expect(result.sourceBytes == Int64(40 * testSize))
            #expect((result.storedBytes ?? 0) > 0)
            #expect(
                try await site.archive().ranges(of: testSystem).map(\.places) == [
                    Places(1, testSize, 41 * testSize)
                ])
        }
    }

    @Test("fewer of longer segments are held at once")
    func memory() {
        #expect(WALArchive.segmentsInMemory(ofSize: 16 << 20) == 2)
        #expect(WALArchive.segmentsInMemory(ofSize: 1 << 20) == 3)
        #expect(WALArchive.segmentsInMemory(ofSize: 32 << 20) == 1)
        #expect(WALArchive.segmentsInMemory(ofSize: 64 << 20) == 1)
    }

    @Test("nothing is acknowledged that could not be stored, wherever the store dies; the next job has it all")
    func acknowledgement() async throws {
        for calls in stride(from: 3, through: 27, by: 2) {
            try await LogSite.open { site in
                let log = ScriptedLog(segments: 1..<19)
                site.first.die(afterCalls: calls)
                do {
                    _ = try await site.run(log)
                } catch is InjectedFault {}
                site.first.heal()
                if let safe = log.acknowledged.value.last {
                    let ranges = try await site.archive().ranges(of: testSystem)
                    #expect(ranges.first?.begin == LSN(testSize))
                    #expect((ranges.first?.end ?? LSN(0)) >= safe, "after \(calls) calls")
                }
                // A server always has something more: at least the end of the job.
                let next = ScriptedLog(segments: 1..<20)
                let result = try await site.run(next)
                #expect(result.exitCode == .done)
                #expect(
                    try await site.archive().ranges(of: testSystem).map(\.places) == [
                        Places(1, testSize, 20 * testSize)
                    ], "after \(calls) calls")
                #expect(next.acknowledged.value.last == LSN(20 * testSize))
            }
        }
    }

    @Test("what a killed job had stored after its last note is found by its names, and not sent again")
    func afterKill() async throws {
        try await LogSite.open { site in
            _ = try await site.run(ScriptedLog(segments: 1..<5))
            // As if killed: four more are stored and nobody has noted them.
            for number in 5..<9 {
                let segment = testSegment(UInt64(number))
                try await site.archive().store(piece(segment, segmentBytes(segment)))
            }
            let log = ScriptedLog(segments: 1..<12)
            let result = try await site.run(log)
            #expect(result.details["files"] == .integer(3))
            #expect(result.details["begin"] == .string(LSN(9 * testSize).description))
            let index = try #require(try await site.archive().newestIndex(of: testSystem, 1)).index
            #expect(index.ranges == [testSize..<12 * testSize], "the index has what the killed job could not say")
        }
    }

    @Test("the same segment with other bytes ends the job: two servers write one timeline")
    func fork() async throws {
        try await LogSite.open { site in
            _ = try await site.run(ScriptedLog(segments: 1..<3))
            // The other server was ended before it had closed the hole, so that this job sends the rest again.
            let segment = testSegment(4)
            try await site.archive().store(piece(segment, segmentBytes(segment)))
            let failure = await #expect(throws: WALArchiveError.self) {
                _ = try await site.run(ScriptedLog(segments: 1..<6, seed: 9))
            }
            #expect(failure?.cause.contains("different file") == true)
        }
    }

    @Test("with a second store only what is in both is acknowledged; what it missed is made up later")
    func secondStore() async throws {
        try await LogSite.open(hasSecond: true) { site in
            let log = ScriptedLog(segments: 1..<5)
            #expect(try await site.run(log).exitCode == .done)
            #expect(LogSite.names(site.secondMemory) == site.names)
            #expect(log.acknowledged.value.last == LSN(5 * testSize))

            // It is away for a job: the first store goes on alone, and says so.
            site.second.die(afterCalls: 2)
            let alone = ScriptedLog(segments: 1..<25)
            let result = try await site.run(alone)
            #expect(result.exitCode == .notReplicated)
            #expect(result.failure?.operation.contains("second store") == true)
            #expect(alone.acknowledged.value.isEmpty)
            #expect(try await site.archive().ranges(of: testSystem).last?.end == LSN(25 * testSize))

            site.second.heal()
            let last = ScriptedLog(segments: 1..<26)
            let made = try await site.run(last)
            #expect(made.exitCode == .done)
            #expect(last.acknowledged.value.last == LSN(26 * testSize))
            #expect(LogSite.names(site.secondMemory) == site.names)
            let copy = site.archive(site.second)
            for number in 1..<26 {
                let segment = testSegment(UInt64(number))
                #expect(try await copy.bytes(.segment(segment)) == segmentBytes(segment))
            }
            // Nothing new and nothing missing: nothing is copied again.
            #expect(try await site.run(last).details["filesCopied"] == .integer(0))
        }
    }

    @Test("a second store that dies at any call never loses what was acknowledged")
    func dyingSecond() async throws {
        for calls in stride(from: 1, through: 41, by: 4) {
            try await LogSite.open(hasSecond: true) { site in
                site.second.die(afterCalls: calls)
                let log = ScriptedLog(segments: 1..<19)
                let first = try await site.run(log)
                #expect(first.exitCode == .done || first.exitCode == .notReplicated)
                site.second.heal()
                if let safe = log.acknowledged.value.last {
                    let ranges = try await site.archive(site.second).ranges(of: testSystem)
                    #expect((ranges.first?.end ?? LSN(0)) >= safe, "after \(calls) calls")
                }
                #expect(try await site.run(log).exitCode == .done)
                #expect(LogSite.names(site.secondMemory) == site.names, "after \(calls) calls")
            }
        }
    }

    @Test("no more is taken from the server in a second than is allowed")
    func pace() async throws {
        try await LogSite.open { site in
            var site = site
            let passed = Guarded(0.0)
            site.workplace.writer.rateLimit = Int64(3 * testSize)
            site.workplace.writer.clock = BlockingClock(
                seconds: { 0 }, pause: { seconds in passed.withLock { $0 = max($0, seconds) } })
            _ = try await site.run(ScriptedLog(segments: 1..<4))
            // A third of the rate for each of three at once: a mebibyte takes a second.
            #expect(passed.value == 1)
        }
    }

    @Test("a log is refused for a target whose backups are OpenPGP")
    func otherFormat() async throws {
        try await LogSite.open { site in
            var site = site
            site.workplace.writer.cipher = NoCipher()
            let failure = await #expect(throws: JobFailure.self) {
                _ = try await site.run(ScriptedLog(segments: 1..<2))
            }
            #expect(failure?.exitCode == .configuration)
        }
    }

    @Test("an index says what it said after it was written and read, and joins what touches")
    func index() throws {
        var index = WALIndex(systemID: testSystem, timeline: 3, segmentSize: testSize)
        index.add(10..<20)
        index.add(30..<40)
        index.add(20..<30)
        index.add(60..<70)
        index.files = 4
        index.bytes = 1 << 60
        index.coveredUntil = Timestamp(milliseconds: 1000)
        index.mark = "5:7:6"
        #expect(index.ranges == [10..<40, 60..<70])
        #expect(index.end == LSN(70))
        #expect(try WALIndex(reading: index.json.canonicalBytes) == index)
    }

    /// Shows that an index that anybody may have written ends no job: numbers to which nothing could be added, and
    /// places that no log has, make it one that cannot be read.
    @Test("an index of absurd numbers is none")
    func absurdIndex() throws {
        var index = WALIndex(systemID: testSystem, timeline: 3, segmentSize: testSize)
        index.add(10..<20)
        let good = String(decoding: index.json.canonicalBytes, as: UTF8.self)
        for (old, new) in [
            ("\"bytes\":0", "\"bytes\":\"\(Int64.max)\""), ("\"files\":0", "\"files\":-1"),
            ("\"storedBytes\":0", "\"storedBytes\":\"\(Int64.max)\""), ("\"end\":\"0/14\"", "\"end\":\"0/A\""),
            ("\"timeline\":3", "\"timeline\":-3"), ("\"segmentSize\":\(testSize)", "\"segmentSize\":0"),
        ] {
            #expect(good.contains(old), "\(old)")
            let bytes = Array(good.replacing(old, with: new).utf8)
            #expect(throws: (any Error).self, "\(new)") { try WALIndex(reading: bytes) }
        }
    }
}

private struct NoCipher: SegmentCipher {
    var algorithm: String { "none" }
    func recognises(_ beginning: [UInt8]) -> Bool { false }
    func seal(
        _ source: any ByteSource, for dataKeys: [EncryptedDataKey], key: SecretBytes?
    ) async throws -> any ByteSource { source }
    func open(_ source: any ByteSource, key: SecretBytes?) async throws -> any ByteSource { source }
}
