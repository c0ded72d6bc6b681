import Core
import FileSystemStore
import Operations
import Sets
import TestSupport
import Testing

@testable import WALArchive

/// `wal push` and `wal fetch`: what a server's own commands call.
@Suite struct FileTests {
    private func control(_ system: String = testSystem) -> [UInt8] {
        let id = UInt64(system) ?? 0
        return withUnsafeBytes(of: id.littleEndian) { Array($0) } + [0x14, 0x05, 0, 0]
            + [UInt8](repeating: 0, count: 200)
    }

    private func push(
        _ name: String, _ bytes: [UInt8], _ site: LogSite, system: String = testSystem
    ) async throws -> JobResult {
        let directory = MemoryStore(clock: site.clock)
        try await directory.put(name, bytes)
        try await directory.put("pg_control", control(system))
        return try await WALPush(
            StoredFile(name: name, store: directory), control: StoredFile(name: "pg_control", store: directory),
            at: site.workplace
        ).run(.random("p"))
    }

    private func fetch(
        _ name: String, _ site: LogSite, into directory: MemoryStore, hasControl: Bool = true
    ) async throws -> Bool {
        try await directory.put("pg_control", control())
        return try await WALFetch(
            name, into: StoredFile(name: "RECOVERYXLOG", store: directory),
            control: hasControl ? StoredFile(name: "pg_control", store: directory) : nil, at: site.workplace
        ).run()
    }

    @Test("what is pushed is fetched again, byte for byte; what is not there is absent, not an error")
    func roundTrip() async throws {
        try await LogSite.open { site in
            let segment = testSegment(7)
            let bytes = segmentBytes(segment)
            let pushed = try await push(segment.name, bytes, site)
            #expect(pushed.exitCode == .done)
            #expect(!pushed.replayed)
            #expect(try await push(segment.name, bytes, site).replayed, "the server repeats what it is not sure of")
            let history = Array("1\t0/800000\tno recovery target specified\n".utf8)
            _ = try await push("00000002.history", history, site)
            let note = "\(segment.name).00000028.backup"
            _ = try await push(note, Array("START WAL LOCATION: 0/700028\n".utf8), site)

            let directory = MemoryStore()
            #expect(try await fetch(segment.name, site, into: directory))
            #expect(directory.bytes("RECOVERYXLOG") == bytes)
            #expect(try await fetch("00000002.history", site, into: directory, hasControl: false))
            #expect(directory.bytes("RECOVERYXLOG") == history)
            #expect(try await fetch(note, site, into: directory))
            for name in ["00000003.history", testSegment(8).name] {
                let isThere = try await fetch(name, site, into: directory)
                #expect(!isThere, "\(name)")
            }
            // A job would go on from there.
            let server = WALServer(systemID: testSystem, timeline: 1, lineage: [], segmentSize: testSize)
            #expect(try await site.archive().end(of: server)?.position.lsn == segment.end)
        }
    }

    @Test("a different file of the same name, another cluster's and no file of a log are refused")
    func refused() async throws {
        try await LogSite.open { site in
            let segment = testSegment(7)
            _ = try await push(segment.name, segmentBytes(segment), site)
            await #expect(throws: WALArchiveError.self) {
                _ = try await push(segment.name, segmentBytes(segment, seed: 2), site)
            }
            await #expect(throws: WALArchiveError.self) {
                _ = try await push(testSegment(8).name, segmentBytes(testSegment(8)), site, system: "12")
            }
            await #expect(throws: WALArchiveError.self) {
                _ = try await push(testSegment(8).name, segmentBytes(testSegment(9)), site)
            }
            for name in ["postgresql.conf", "000000010000000000000008.tmp", "x"] {
                await #expect(throws: WALArchiveError.self, "\(name)") {
                    _ = try await push(name, Array("text".utf8), site)
                }
            }
            await #expect(throws: JobFailure.self) {
                _ = try await push(segment.name, segmentBytes(segment), site, system: "0")
            }
        }
    }

    @Test("what a promotion leaves of a segment counts as far as it is the server's")
    func leftPartial() async throws {
        try await LogSite.open { site in
            let segment = testSegment(7)
            // The rest of the file is what was in it before: another place in the log.
            let bytes =
                segmentBytes(segment).prefix(8192 * 3) + segmentBytes(testSegment(2)).dropFirst(8192 * 3)
            _ = try await push(segment.name + ".partial", Array(bytes), site)
            #expect(
                try await site.archive().ranges(of: testSystem).map(\.places) == [
                    Places(1, segment.begin.value, segment.begin.value + 8192 * 3)
                ])
        }
    }

    @Test("a damaged file is an error that ends recovery, never the end of the log; the second copy is taken")
    func damaged() async throws {
        try await LogSite.open(hasSecond: true) { site in
            let segment = testSegment(7)
            let bytes = segmentBytes(segment)
            _ = try await push(segment.name, bytes, site)
            let key = try #require(site.firstMemory.keys.first { $0.hasSuffix(".encrypted") })
            site.firstMemory.damage(key) { $0[$0.count / 2] ^= 1 }
            let directory = MemoryStore()
            #expect(try await fetch(segment.name, site, into: directory))
            #expect(directory.bytes("RECOVERYXLOG") == bytes)
            site.secondMemory.damage(key) { $0[$0.count / 2] ^= 1 }
            let empty = MemoryStore()
            await #expect(throws: (any Error).self) { _ = try await fetch(segment.name, site, into: empty) }
            #expect(empty.bytes("RECOVERYXLOG") == nil, "nothing of it appears")
            #expect(WALFetch.absentStatus == 1)
            #expect(WALFetch.failureStatus > 125)
        }
    }

    @Test("a real server archives itself by push, and its files come back by fetch", .needs(.postgres))
    func realServer() async throws {
        try await ServerLogTests.withServer { server in
            try await LogSite.open { site in
                try await server.fillSegments(5)
                let pgWAL = try DirectoryStore(root: "\(server.dataDirectory)/pg_wal", random: testRandom)
                let global = StoredFile(
                    name: "pg_control",
                    store: try DirectoryStore(root: "\(server.dataDirectory)/global", random: testRandom))
                let current = try await server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")
                var pushed: [String] = []
                for try await object in pgWAL.list("") where object.key.utf8.count == 24 && object.key < current {
                    _ = try await WALPush(
                        StoredFile(name: object.key, store: pgWAL), control: global, at: site.workplace
                    ).run(.random("p"))
                    pushed.append(object.key)
                }
                #expect(pushed.count >= 3)
                for name in pushed {
                    let directory = MemoryStore()
                    #expect(
                        try await WALFetch(
                            name, into: StoredFile(name: "x", store: directory), control: global, at: site.workplace
                        ).run())
                    #expect(
                        try directory.bytes("x") == contentsOfFile("\(server.dataDirectory)/pg_wal/\(name)"))
                }
            }
        }
    }
}
