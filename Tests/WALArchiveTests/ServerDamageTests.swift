import Core
import Glibc
import Operations
import PostgresEngine
import TestSupport
import Testing

@testable import WALArchive

/// Damage to a real server's own log, and promotions that no job has seen.
@Suite(.needs(.postgres)) struct ServerDamageTests {
    /// A site whose log is stored up to now, and the names of segments that came to be after that.
    private func site(
        settings: [String: String] = [:],
        _ body: (LogSite, PostgresServer, PostgresLog, [String]) async throws -> Void
    ) async throws {
        try await ServerLogTests.withServer(settings: settings) { server in
            try await LogSite.open { site in
                let log = try server.log()
                try await server.fillSegments(1)
                _ = try await site.run(log)
                let first = try await server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")
                try await server.fillSegments(6)
                let begin = try #require(WALSegment(name: first, size: testSize))
                let names = (0..<6).map { WALSegment(timeline: 1, number: begin.number + $0, size: testSize).name }
                try await body(site, server, log, names)
            }
        }
    }

    private func path(_ name: String, _ server: PostgresServer) -> String { "\(server.dataDirectory)/pg_wal/\(name)" }

    @Test(
        "a segment that is damaged on the server is not stored, by its name; what came before is; repaired, all goes on"
    )
    func damaged() async throws {
        try await site { site, server, log, names in
            let path = path(names[3], server)
            let good = try contentsOfFile(path)
            var bad = good
            bad.replaceSubrange(8192 * 5..<8192 * 5 + 16, with: [UInt8](repeating: 0xEE, count: 16))
            try writeFile(path, bad)
            for _ in 1...2 {
                let failure = await #expect(throws: WALArchiveError.self) { _ = try await site.run(log) }
                #expect(failure?.exitCode == .source)
                #expect(failure?.object == names[3])
                #expect(failure?.cause.contains("page at") == true)
                #expect(site.names.contains(names[2]) && !site.names.contains(names[3]))
            }
            try writeFile(path, good)
            let result = try await site.run(log)
            #expect(result.exitCode == .done)
            let systemID = try await server.systemID()
            #expect(try await site.archive().ranges(of: systemID).count == 1)
            #expect(try await ServerLogTests.compare(site, with: server.dataDirectory, systemID: systemID) > 6)
        }
    }

    @Test("a segment that the server cannot read to its end is its own error, and nothing of it is stored")
    func truncated() async throws {
        try await site { site, server, log, names in
            let path = path(names[3], server)
            let good = try contentsOfFile(path)
            try writeFile(path, Array(good.prefix(300_000)))
            let failure = await #expect(throws: PostgresError.self) { _ = try await site.run(log) }
            #expect(failure?.exitCode == .source)
            #expect(failure?.cause.contains("cannot read its own log") == true, "\(String(describing: failure))")
            #expect(site.names.contains(names[2]) && !site.names.contains { $0.hasPrefix(names[3]) })
            try writeFile(path, good)
            #expect(try await site.run(log).exitCode == .done)
            #expect(try await site.archive().ranges(of: try await server.systemID()).count == 1)
        }
    }

    @Test("a segment that is missing on the server ends the job that comes to it; the next tells the gap and goes on")
    func missing() async throws {
        try await site { site, server, log, names in
            try await server.fillSegments(3)
            try await server.sql("CHECKPOINT")
            try await server.fillSegments(2)
            #expect(unlink(path(names[3], server)) == 0)
            let failure = await #expect(throws: PostgresError.self) { _ = try await site.run(log) }
            #expect(failure?.cause.contains("no longer has the file") == true, "\(String(describing: failure))")
            #expect(failure?.hint.contains("again") == true)
            let result = try await site.run(log)
            #expect(result.exitCode == .source)
            guard case .object(let gap)? = result.details["gap"] else { throw TestFailure("no gap: \(result)") }
            #expect(gap["begin"] == .string(WALSegment(name: names[3], size: testSize)?.begin.description ?? ""))
            let ranges = try await site.archive().ranges(of: try await server.systemID())
            #expect(ranges.count == 2)
            #expect(gap["end"] == .string(ranges[1].begin.description))
            #expect(result.details["end"] == .string(ranges[1].end.description))
        }
    }

    @Test("of two promotions between two jobs both timelines are stored, each with its history")
    func twoPromotions() async throws {
        // A standby refuses to be copied while its primary leaves whole pages out of the log.
        try await ServerLogTests.withServer(settings: ["full_page_writes": "on"]) { first in
            try await LogSite.open { site in
                let second = try await PostgresServer.start(PostgresServer.Options(primary: first))
                let third = try await PostgresServer.start(PostgresServer.Options(primary: second))
                let result: Result<Void, any Error>
                do {
                    // A standby has the log from when it was made.
                    try await first.fillSegments(2)
                    _ = try await site.run(try first.log())
                    let stored = try await first.sql("SELECT pg_current_wal_lsn()")
                    try await third.wait("pg_last_wal_replay_lsn() >= '\(stored)'")
                    result = .success(try await promoted(site, second, third))
                } catch {
                    result = .failure(error)
                }
                try await third.stop()
                try await second.stop()
                try result.get()
            }
        }
    }

    private func promoted(_ site: LogSite, _ second: PostgresServer, _ third: PostgresServer) async throws {
        try await second.sql("SELECT pg_promote()")
        try await second.fillSegments(2, marked: "on the second")
        let sent = try await second.sql("SELECT pg_current_wal_lsn()")
        try await third.wait("pg_last_wal_replay_lsn() >= '\(sent)'")
        try await third.sql("SELECT pg_promote()")
        try await third.fillSegments(2, marked: "on the third")
        let result = try await site.run(try third.log())
        #expect(result.exitCode == .done, "\(result)")
        #expect(result.details["timeline"] == .integer(3))
        #expect(site.names.contains("00000002.history") && site.names.contains("00000003.history"))
        let systemID = try await third.systemID()
        let ranges = try await site.archive().ranges(of: systemID)
        #expect(ranges.map(\.timeline) == [1, 2, 3])
        #expect(try await ServerLogTests.compare(site, with: third.dataDirectory, systemID: systemID) > 2)
        for (timeline, forks) in [(2, 1), (3, 2)] as [(UInt32, Int)] {
            let history = try #require(try await site.archive().bytes(.history(timeline: timeline), of: systemID))
            #expect(TimelineHistory.forks(in: history)?.count == forks)
        }
        // Where the index of the newest is lost, the files say the same.
        let key = try #require(site.firstMemory.keys.last { $0.contains("/index/") })
        try await site.firstMemory.delete(key)
        try await third.sql("INSERT INTO filled VALUES (7, 'later')")
        let later = try await site.run(try third.log())
        #expect(later.exitCode == .done && later.details["files"] == .integer(1))
    }
}
