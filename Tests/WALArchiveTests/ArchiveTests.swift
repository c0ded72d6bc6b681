import Core
import Envelope
import Operations
import Sets
import Streams
import TestSupport
import Testing

@testable import WALArchive

/// Files of the log as they lie in the store: sealed, compared, opened and refused.
@Suite struct ArchiveTests {
    @Test("what is stored opens to the same bytes, whole and beginnings alike")
    func roundTrip() async throws {
        try await LogSite.open { site in
            let archive = site.archive()
            let whole = testSegment(5)
            try await archive.store(piece(whole, segmentBytes(whole)))
            let begun = testSegment(6)
            let end = LSN(begun.begin.value + 70_001)
            try await archive.store(piece(begun, segmentBytes(begun, upTo: end), end: end))
            let history = Array("1\t0/5000000\tno recovery target specified\n".utf8)
            try await archive.store(
                WALPiece(file: .history(timeline: 2), end: nil, source: MemorySource(history)))

            let reader = site.archive()
            #expect(try await reader.bytes(.segment(whole)) == segmentBytes(whole))
            let padded = try #require(try await reader.bytes(.segment(begun)))
            #expect(padded.count == Int(testSize))
            #expect(padded.prefix(70_001) == segmentBytes(begun).prefix(70_001))
            #expect(padded.dropFirst(70_001).allSatisfy { $0 == 0 })
            #expect(try await reader.bytes(.history(timeline: 2)) == history)
            #expect(try await reader.bytes(.segment(testSegment(7))) == nil)
            #expect(try await reader.bytes(.history(timeline: 3)) == nil)
            #expect(
                site.firstMemory.keys == [
                    "wal/\(testSystem)/00000001/000000010000000000000005.zst.encrypted",
                    "wal/\(testSystem)/00000001/000000010000000000000006.0000000000611171.partial.zst.encrypted",
                    "wal/\(testSystem)/00000002/00000002.history.zst.encrypted",
                ])
        }
    }

    @Test("a stored file is a standard message in zstd: it opens without knowing anything of logs")
    func opensWithoutUs() async throws {
        try await LogSite.open { site in
            let segment = testSegment(3)
            let receipt = try await site.archive().store(piece(segment, segmentBytes(segment)))
            let opened = MemoryStore()
            _ = try await FileEnvelope.decrypt(
                StoredFile(name: receipt.key, store: site.firstMemory), as: StoredFile(name: "plain", store: opened),
                with: [site.key])
            let frame = MemorySource(try #require(opened.bytes("plain")))
            let bytes = try await onThread("unpack") {
                let decompressor = try Compression(algorithm: .zstd, level: 1).makeDecompressor()
                var bytes: [UInt8] = []
                while let chunk = try frame.next() {
                    var rest = chunk.bytes
                    repeat {
                        let output = Chunk()
                        try decompressor.step(&rest, into: output)
                        bytes += output.bytes
                        if output.count == 0 { break }
                    } while true
                }
                try decompressor.finish()
                return bytes
            }
            #expect(bytes == segmentBytes(segment))
        }
    }

    @Test("the same file again is success, by another run and without a key that opens")
    func repeated() async throws {
        try await LogSite.open { site in
            let segment = testSegment(1)
            let bytes = segmentBytes(segment)
            #expect(try await site.archive().store(piece(segment, bytes)).isNew)
            let again = try await site.sealingArchive.store(piece(segment, bytes))
            #expect(!again.isNew)
            #expect(again.storedSize == 0)
            #expect(again.plainSize == Int64(testSize))
        }
    }

    @Test("a different file of the same name is refused, and what is there stays")
    func different() async throws {
        try await LogSite.open { site in
            let segment = testSegment(1)
            let receipt = try await site.archive().store(piece(segment, segmentBytes(segment)))
            let before = site.firstMemory.bytes(receipt.key)
            let failure = await #expect(throws: WALArchiveError.self) {
                try await site.archive().store(piece(segment, segmentBytes(segment, seed: 2)))
            }
            #expect(failure?.exitCode == .store)
            #expect(failure?.cause.contains("different file") == true)
            #expect(site.firstMemory.bytes(receipt.key) == before)
        }
    }

    @Test("a put whose reply was lost is success")
    func lostReply() async throws {
        try await LogSite.open { site in
            let segment = testSegment(1)
            site.first.fail(.put, with: .loseReply)
            await #expect(throws: InjectedFault.self) {
                try await site.archive().store(piece(segment, segmentBytes(segment)))
            }
            let again = try await site.archive().store(piece(segment, segmentBytes(segment)))
            #expect(!again.isNew)
        }
    }

    @Test("files that are not what their name says are not stored")
    func refusals() async throws {
        try await LogSite.open { site in
            let archive = site.archive()
            let segment = testSegment(4)
            let good = segmentBytes(segment)
            var torn = good
            torn.replaceSubrange(8192 * 5..<8192 * 5 + 16, with: [UInt8](repeating: 0xEE, count: 16))
            let cases: [(name: String, bytes: [UInt8], part: String)] = [
                ("short", Array(good.dropLast(8192)), "bytes where"),
                ("long", good + [UInt8](repeating: 0, count: 8192), "longer"),
                ("empty", [], "bytes where"),
                ("zeros", [UInt8](repeating: 0, count: good.count), "does not begin"),
                ("another system's", segmentBytes(segment, system: "7"), "system identifier 7"),
                ("another segment", segmentBytes(testSegment(9)), "holds the log from"),
                ("a torn page", torn, "page at 0/40A000"),
                (
                    "another size",
                    segmentBytes(WALSegment(timeline: 1, number: 2, size: testSize * 2)).prefix(good.count).map {
                        $0
                    },
                    "its segments have"
                ),
            ]
            for wrong in cases {
                let failure = await #expect(throws: WALArchiveError.self, "\(wrong.name)") {
                    try await archive.store(piece(segment, wrong.bytes))
                }
                #expect(failure?.cause.contains(wrong.part) == true, "\(wrong.name): \(failure?.cause ?? "")")
                #expect(failure?.exitCode == .source)
            }
            for text in ["", "nonsense", "2\t0/1\tlater than itself\n", "1 0/9\n1 0/8\n"] {
                await #expect(throws: WALArchiveError.self, "\(text)") {
                    try await archive.store(
                        WALPiece(file: .history(timeline: 2), end: nil, source: MemorySource(Array(text.utf8))))
                }
            }
            #expect(site.firstMemory.keys.isEmpty)
        }
    }

    @Test("damage of every kind is found when a file is read, by the name of the object")
    func damage() async throws {
        try await LogSite.open { site in
            let (one, two) = (testSegment(1), testSegment(2))
            let first = try await site.archive().store(piece(one, segmentBytes(one)))
            let second = try await site.archive().store(piece(two, segmentBytes(two)))
            let good = try #require(site.firstMemory.bytes(first.key))
            let other = try #require(site.firstMemory.bytes(second.key))
            var generator = SeededRandom(seed: 5)
            var changes: [(String, [UInt8])] = [
                ("swapped", other), ("truncated", Array(good.dropLast(20))), ("header only", Array(good.prefix(900))),
                ("empty", []), ("more", good + [0]),
            ]
            for _ in 0..<24 {
                var flipped = good
                let at = Int.random(in: 0..<good.count, using: &generator)
                flipped[at] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
                changes.append(("bit flipped at \(at)", flipped))
            }
            for (name, bytes) in changes {
                site.firstMemory.damage(first.key) { $0 = bytes }
                await #expect(throws: (any Error).self, "\(name)") {
                    _ = try await site.archive().bytes(.segment(one))
                }
            }
            site.firstMemory.damage(first.key) { $0 = good }
            #expect(try await site.archive().bytes(.segment(one)) == segmentBytes(one))
        }
    }

    @Test("a file is of one target, one system and one timeline, whoever moves it")
    func moved() async throws {
        try await LogSite.open { site in
            let segment = testSegment(1)
            let receipt = try await site.archive().store(piece(segment, segmentBytes(segment)))
            let bytes = try #require(site.firstMemory.bytes(receipt.key))
            let places = [
                "wal/\(testSystem)/00000001/000000010000000000000002.zst.encrypted",
                "wal/\(testSystem)/00000002/000000020000000000000001.zst.encrypted",
                "wal/77/00000001/000000010000000000000001.zst.encrypted",
            ]
            for place in places { try await site.firstMemory.put(place, bytes) }
            let wrong: [(WALFile, String)] = [
                (.segment(testSegment(2)), testSystem), (.segment(testSegment(1, timeline: 2)), testSystem),
                (.segment(segment), "77"),
            ]
            for (file, system) in wrong {
                let failure = await #expect(throws: WALArchiveError.self, "\(file) of \(system)") {
                    _ = try await site.archive().bytes(file, of: system)
                }
                #expect(failure?.exitCode == .verificationFailed)
            }
            await #expect(throws: WALArchiveError.self) {
                _ = try await site.archive(target: "other").bytes(.segment(segment))
            }
        }
    }

    @Test("a data key is made and wrapped once for all the files of a run, at once or one after the other")
    func oneKey() async throws {
        try await LogSite.open { site in
            let archive = site.archive()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 1...6 {
                    group.addTask {
                        let segment = testSegment(UInt64(number))
                        try await archive.store(piece(segment, segmentBytes(segment)))
                    }
                }
                try await group.waitForAll()
            }
            #expect(site.key.wraps.value == 1)
            // Another run has its own, and each file names it: any of them opens alone.
            let segment = testSegment(7)
            try await site.archive().store(piece(segment, segmentBytes(segment)))
            #expect(site.key.wraps.value == 2)
            for number in 1...7 {
                #expect(try await site.archive().bytes(.segment(testSegment(UInt64(number)))) != nil)
            }
        }
    }

    @Test("ranges are what the names say, joined where they touch, on each timeline")
    func ranges() {
        let names: [StoredFileName] = [
            .segment("000000010000000000000001"), .segment("000000010000000000000002"),
            .partial("000000010000000000000003", end: LSN(0x300010)),
            .partial("000000010000000000000003", end: LSN(0x300100)),
            .segment("000000010000000000000005"), .history(timeline: 1),
            .backupNote("000000010000000000000009.00000028.backup"),
            .partial("000000010000000000000005", end: LSN(0x500100)),
        ]
        // Each stored 10.2 s after the one before it.
        let files = names.enumerated().map { number, name in
            WALArchive.StoredFile(
                name: name,
                info: ObjectInfo(key: "\(name)", size: 1, modified: Timestamp(milliseconds: Int64(number) * 10_200)))
        }
        #expect(
            WALArchive.ranges(of: files, timeline: 1, segmentSize: testSize) == [
                WALRange(
                    timeline: 1, begin: LSN(0x100000), end: LSN(0x300100), stored: Timestamp(milliseconds: 31_000)),
                WALRange(
                    timeline: 1, begin: LSN(0x500000), end: LSN(0x600000), stored: Timestamp(milliseconds: 41_000)),
            ])
        // A time that a store has cut to whole seconds is one of the second that follows.
        #expect(WALArchive.endOfSecond(Timestamp(milliseconds: 7000)) == Timestamp(milliseconds: 8000))
    }

    @Test("of two stores the second gives what the first lacks or has damaged, and their ranges are joined")
    func reserve() async throws {
        try await LogSite.open(hasSecond: true) { site in
            let (first, second) = (site.archive(), site.archive(site.second))
            for number in [1, 2, 6] as [UInt64] {
                try await first.store(piece(testSegment(number), segmentBytes(testSegment(number))))
            }
            for number in [1, 3] as [UInt64] {
                try await second.store(piece(testSegment(number), segmentBytes(testSegment(number))))
            }
            site.firstMemory.damage(site.firstMemory.keys[0]) { $0 = Array($0.prefix(100)) }
            let log = site.workplace.recoveryLog
            #expect(
                try await log.ranges(of: testSystem).map(\.places) == [
                    Places(1, 1 << 20, 4 << 20), Places(1, 6 << 20, 7 << 20),
                ])
            for number in [1, 2, 3, 6] as [UInt64] {
                let source = try #require(try await log.open(.segment(testSegment(number)), of: testSystem))
                let bytes = try await onThread("collect") { try source.collect(limit: 1 << 24) }
                #expect(bytes == segmentBytes(testSegment(number)))
            }
            let missing = try await log.open(.segment(testSegment(4)), of: testSystem)
            #expect(missing == nil)
            site.first.fail(.list)
            #expect(try await log.ranges(of: testSystem).count == 2)
        }
    }

    @Test("names of stored files are read back as they were written, and nothing else is")
    func names() {
        let good: [StoredFileName] = [
            .segment("0000000A00000001000000FF"), .partial("000000010000000000000003", end: LSN(0xAB_CDEF)),
            .history(timeline: 0x2B), .backupNote("000000010000000000000009.00000028.backup"),
        ]
        for name in good { #expect(StoredFileName(name.description) == name) }
        let bad = [
            "", ".", "000000000000000000000001", "00000001000000000000000g", "0000000a00000001000000ff",
            "00000000.history",
            "00000001.History", "000000010000000000000003.partial", "000000010000000000000003.12.partial",
            "000000010000000000000003.backup", "../000000010000000000000003", "00000001",
        ]
        for name in bad { #expect(StoredFileName(name) == nil, "\(name)") }
    }
}

extension LogSite {
    /// An archive that seals and compares, and cannot open: another run's, of a pod without identities.
    var sealingArchive: WALArchive {
        WALArchive(
            first,
            WALArchiveConfiguration(
                target: "clinic", recipients: [key], identities: [], compressionLevel: 3, random: testRandom))
    }
}
