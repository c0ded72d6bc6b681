import Core
import Operations
import PostgresEngine
import TestSupport
import Testing

@testable import WALArchive

/// The log of a real server, brought into a store by jobs that end.
@Suite(.needs(.postgres)) struct ServerLogTests {
    /// A server with small segments, so that many of them are little.
    static func withServer<Result>(
        settings: [String: String] = [:], _ body: (PostgresServer) async throws -> Result
    ) async throws -> Result {
        let server = try await PostgresServer.start(
            PostgresServer.Options(settings: settings, walSegmentSize: 1))
        do {
            let result = try await body(server)
            try await server.stop()
            return result
        } catch {
            try await server.stop()
            throw error
        }
    }

    /// Every stored segment, opened, is the server's own file byte for byte; returns how many were compared.
    static func compare(_ site: LogSite, with directory: String, systemID: String) async throws -> Int {
        var compared = 0
        for name in site.names {
            guard case .segment(let text)? = StoredFileName(name) else { continue }
            let segment = try #require(WALSegment(name: text, size: testSize))
            let path = "\(directory)/pg_wal/\(text)"
            guard let own = try? contentsOfFile(path) else { continue }
            let stored = try await site.archive().bytes(.segment(segment), of: systemID)
            #expect(stored == own, "\(text)")
            compared += 1
        }
        return compared
    }

    @Test("the first job stores the log byte for byte, and the server may forget what it acknowledged")
    func firstJob() async throws {
        try await Self.withServer { server in
            try await LogSite.open { site in
                let log = try server.log()
                // The slot has to be there before what it is to keep; the first job makes it.
                _ = try await site.run(log)
                try await server.fillSegments(5, marked: "secret-patient")
                let result = try await site.run(log, .run("job-1"))
                #expect(result.exitCode == .done)
                let systemID = try await server.systemID()
                #expect(try await Self.compare(site, with: server.dataDirectory, systemID: systemID) >= 6)
                let ranges = try await site.archive().ranges(of: systemID)
                #expect(ranges.count == 1)
                #expect(result.details["end"] == .string(ranges[0].end.description))
                #expect(result.snapshotTime == site.clock.now())
                #expect(
                    try await server.sql(
                        "SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'lifeboat_test'")
                        == ranges[0].end.description)
                // The end can be named in a recovery.
                let last = try #require(
                    WALSegment(
                        name: String(site.names.last ?? ""), size: testSize))
                let bytes = try await site.archive().bytes(.segment(last), of: systemID) ?? []
                #expect(String(decoding: bytes, as: UTF8.self).contains("lifeboat-job-1"))
                // Nothing is stored in clear.
                for key in site.firstMemory.keys {
                    let stored = String(decoding: site.firstMemory.bytes(key) ?? [], as: UTF8.self)
                    #expect(!stored.contains("secret-patient"), "\(key)")
                }
            }
        }
    }

    @Test("a job that finds nothing new changes nothing, at the server or in the store")
    func nothingNew() async throws {
        try await Self.withServer { server in
            try await LogSite.open { site in
                let log = try server.log()
                try await server.fillSegments(2)
                _ = try await site.run(log)
                let before = try await server.sql("SELECT pg_current_wal_lsn()")
                let keys = site.firstMemory.keys
                // The server talks to itself between two jobs: that is no reason to store anything.
                try await server.sql("CHECKPOINT; SELECT pg_log_standby_snapshot()", or: "CHECKPOINT")
                let calls = site.first.log.count
                let result = try await site.run(log)
                // The days, the last of them, whether there is what it says, and whether there is more.
                #expect(site.first.log.dropFirst(calls).map { $0.call } == [.list, .get, .stat, .stat])
                #expect(result.exitCode == .done)
                #expect(result.details["files"] == .integer(0))
                #expect(result.snapshotTime == site.clock.now(), "all there is to store is stored")
                #expect(site.firstMemory.keys == keys)
                let after = try await server.sql("SELECT pg_current_wal_lsn()")
                #expect(
                    try await server.sql("SELECT '\(after)'::pg_lsn - '\(before)'::pg_lsn < 65536") == "t",
                    "no segment was closed")
                // One row more, and there is.
                try await server.sql("INSERT INTO filled VALUES (0, 'more')")
                #expect(try await site.run(log).details["files"] == .integer(1))
            }
        }
    }

    @Test("many segments are caught up in one run, with one wrap of the key")
    func manySegments() async throws {
        let count = runsSoak ? 2000 : 20
        try await Self.withServer(settings: ["max_wal_size": "8GB"]) { server in
            try await LogSite.open { site in
                let log = try server.log()
                _ = try await site.run(log)
                site.key.wraps.withLock { $0 = 0 }
                try await server.fillSegments(count)
                let result = try await site.run(log)
                #expect(result.details["files"] == .integer(Int64(count + 1)))
                #expect(site.key.wraps.value == 1)
                let systemID = try await server.systemID()
                #expect(try await site.archive().ranges(of: systemID).count == 1)
                if !runsSoak {
                    #expect(
                        try await Self.compare(site, with: server.dataDirectory, systemID: systemID) > count)
                }
            }
        }
    }

    @Test("a job that dies at any call of the store is made up by the next, without a hole", arguments: 1...9)
    func dyingStore(call: Int) async throws {
        try await Self.withServer { server in
            try await LogSite.open { site in
                let log = try server.log()
                try await server.fillSegments(1)
                _ = try await site.run(log)
                try await server.fillSegments(20)
                site.first.die(afterCalls: call * 3)
                await #expect(throws: InjectedFault.self) { _ = try await site.run(log) }
                site.first.heal()
                try await server.fillSegments(1)
                let result = try await site.run(log)
                #expect(result.exitCode == .done)
                let systemID = try await server.systemID()
                let ranges = try await site.archive().ranges(of: systemID)
                #expect(ranges.count == 1)
                #expect(result.details["end"] == .string(ranges[0].end.description))
                #expect(try await Self.compare(site, with: server.dataDirectory, systemID: systemID) > 20)
                #expect(result.details["gap"] == nil)
            }
        }
    }

    @Test("a job that is cancelled ends at once, and the next goes on")
    func cancelled() async throws {
        try await Self.withServer { server in
            try await LogSite.open { site in
                let log = try server.log()
                _ = try await site.run(log)
                try await server.fillSegments(20)
                for number in [1, 4, 9] {
                    let job = Guarded<Task<JobResult, any Error>?>(nil)
                    site.first.fail(
                        .put, nth: number,
                        with: .interleave {
                            while job.value == nil { await Task.yield() }
                            job.value?.cancel()
                        })
                    let task = Task { try await site.run(log) }
                    job.withLock { $0 = task }
                    let began = ContinuousClock.now
                    await #expect(throws: (any Error).self) { _ = try await task.value }
                    #expect(ContinuousClock.now - began < .seconds(10))
                    site.first.heal()
                }
                let result = try await site.run(log)
                #expect(result.exitCode == .done)
                let systemID = try await server.systemID()
                #expect(try await site.archive().ranges(of: systemID).count == 1)
                #expect(try await Self.compare(site, with: server.dataDirectory, systemID: systemID) > 20)
            }
        }
    }

    @Test("two jobs at once: the second is told that the first follows the log")
    func twoAtOnce() async throws {
        try await Self.withServer { server in
            try await LogSite.open { site in
                let log = try server.log()
                try await server.fillSegments(3)
                let first = try await log.open(
                    WALRequest(restorePoint: "first", meter: ProgressMeter()) { _ in nil })
                let failure = await #expect(throws: PostgresError.self) { _ = try await site.run(log) }
                #expect(failure?.exitCode == .locked)
                await first.close()
                #expect(try await site.run(log).exitCode == .done)
            }
        }
    }

    @Test("a dry run names what it would store, and changes nothing at the server")
    func dryRun() async throws {
        try await Self.withServer { server in
            try await LogSite.open { site in
                let before = try await server.sql("SELECT pg_current_wal_lsn()")
                let result = try await site.run(try server.log(), dryRun: true)
                #expect(result.dryRun)
                #expect(result.notes.contains { $0.contains("no slot lifeboat_test yet") })
                #expect(try await server.sql("SELECT count(*) FROM pg_replication_slots") == "0")
                #expect(try await server.sql("SELECT pg_current_wal_lsn()") == before)
                #expect(site.firstMemory.keys.isEmpty)
            }
        }
    }
}

extension PostgresServer {
    /// Runs `text`, or `other` where this version does not know what is in it.
    func sql(_ text: String, or other: String) async throws {
        do { try await sql(text) } catch { try await sql(other) }
    }
}
