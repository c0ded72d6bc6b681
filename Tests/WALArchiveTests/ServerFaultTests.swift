import Core
import Operations
import PostgresEngine
import TestSupport
import Testing

@testable import WALArchive

/// What can go wrong at a real server, each by its name.
@Suite(.needs(.postgres)) struct ServerFaultTests {
    @Test("a slot that lost its log is a gap by name; what is left is stored, and the next job goes on")
    func lostSlot() async throws {
        let settings = ["max_slot_wal_keep_size": "2MB", "max_wal_size": "2MB", "min_wal_size": "2MB"]
        try await ServerLogTests.withServer(settings: settings) { server in
            try await LogSite.open { site in
                let log = try server.log()
                try await server.fillSegments(2)
                let stored = try await site.run(log)
                try await server.fillSegments(12)
                try await server.sql("CHECKPOINT")
                try await server.fillSegments(2)
                try await server.sql("CHECKPOINT")
                #expect(
                    try await server.sql("SELECT wal_status FROM pg_replication_slots") == "lost")
                let result = try await site.run(log)
                #expect(result.exitCode == .source)
                let failure = try #require(result.failure)
                guard case .string(let end)? = stored.details["end"] else { throw TestFailure("no end") }
                #expect(failure.cause.contains(end))
                #expect(failure.hint.contains("base backup"))
                let systemID = try await server.systemID()
                let ranges = try await site.archive().ranges(of: systemID)
                #expect(ranges.count == 2)
                #expect(ranges[0].end.description == end)
                guard case .object(let gap)? = result.details["gap"] else { throw TestFailure("no gap") }
                #expect(gap["begin"] == .string(end))
                #expect(gap["end"] == .string(ranges[1].begin.description))
                try await server.fillSegments(1)
                let next = try await site.run(log)
                #expect(next.exitCode == .source, "until there is a base backup from after it")
                #expect(next.details["gap"] == result.details["gap"])
                #expect(try await site.archive().ranges(of: systemID).count == 2)
                let current = try #require(LSN(try await server.sql("SELECT pg_current_wal_lsn()")))
                try await site.addBase(end: current, of: systemID)
                #expect(try await site.run(log).exitCode == .done)
            }
        }
    }

    @Test("a job that another has overtaken, so that the server let go of what it asks for, tells of no gap")
    func overtaken() async throws {
        try await ServerLogTests.withServer(settings: ["max_wal_size": "2MB", "min_wal_size": "2MB"]) { server in
            try await LogSite.open { site in
                let log = try server.log()
                try await server.fillSegments(2)
                guard case .string(let text)? = try await site.run(log).details["end"], let seen = LSN(text) else {
                    throw TestFailure("no end")
                }
                try await server.fillSegments(12)
                _ = try await site.run(log)
                for _ in 0..<2 {
                    try await server.fillSegments(2)
                    try await server.sql("CHECKPOINT")
                }
                let looks = Guarded(0)
                let error = await #expect(throws: PostgresError.self) {
                    _ = try await log.open(
                        WALRequest(restorePoint: "late", meter: ProgressMeter()) { server in
                            let first = looks.withLock { looks in
                                looks += 1
                                return looks == 1
                            }
                            if first { return WALPosition(systemID: server.systemID, timeline: 1, lsn: seen) }
                            return try await site.archive().end(of: server)?.position
                        })
                }
                #expect(error?.exitCode == .locked && looks.value == 2)
                #expect(error?.hint.contains("nothing is missing") == true)
                #expect(try await site.run(log).exitCode == .done)
            }
        }
    }

    @Test("a slot that somebody dropped is made again, and nothing is lost where the server still has the log")
    func droppedSlot() async throws {
        try await ServerLogTests.withServer { server in
            try await LogSite.open { site in
                let log = try server.log()
                try await server.fillSegments(2)
                _ = try await site.run(log)
                try await server.sql("SELECT pg_drop_replication_slot('lifeboat_test')")
                try await server.fillSegments(2)
                let result = try await site.run(log)
                #expect(result.exitCode == .done)
                #expect(result.notes.contains { $0.contains("was gone") })
                #expect(try await site.archive().ranges(of: try await server.systemID()).count == 1)
            }
        }
    }

    @Test("a slot that was dropped long ago is a gap by name, and what the server still has is stored")
    func droppedLongAgo() async throws {
        let settings = ["max_wal_size": "2MB", "min_wal_size": "2MB", "wal_keep_size": "0"]
        try await ServerLogTests.withServer(settings: settings) { server in
            try await LogSite.open { site in
                let log = try server.log()
                try await server.fillSegments(2)
                let stored = try await site.run(log)
                try await server.sql("SELECT pg_drop_replication_slot('lifeboat_test')")
                for _ in 1...2 {
                    try await server.fillSegments(8)
                    try await server.sql("CHECKPOINT")
                }
                let result = try await site.run(log)
                #expect(result.exitCode == .source)
                #expect(result.notes.contains { $0.contains("was gone") })
                guard case .object(let gap)? = result.details["gap"] else { throw TestFailure("no gap") }
                #expect(gap["begin"] == stored.details["end"])
                let ranges = try await site.archive().ranges(of: try await server.systemID())
                #expect(gap["end"] == .string(ranges.last?.begin.description ?? ""))
                #expect(result.details["end"] == .string(ranges.last?.end.description ?? ""))
            }
        }
    }

    @Test("the log from a base backup's end on is stored, or its absence told, however late the first job comes")
    func firstJobLate() async throws {
        let settings = ["max_wal_size": "2MB", "min_wal_size": "2MB", "wal_keep_size": "0"]
        for isKept in [true, false] {
            try await ServerLogTests.withServer(settings: isKept ? ["wal_keep_size": "100MB"] : settings) { server in
                try await LogSite.open { site in
                    let systemID = try await server.systemID()
                    try await server.fillSegments(2)
                    let end = try #require(LSN(try await server.sql("SELECT pg_current_wal_lsn()")))
                    try await site.addBase(end: end, of: systemID)
                    for _ in 1...2 {
                        try await server.fillSegments(8)
                        try await server.sql("CHECKPOINT")
                    }
                    let result = try await site.run(try server.log())
                    let begin = try #require(try await site.archive().ranges(of: systemID).first?.begin)
                    if isKept {
                        #expect(result.exitCode == .done)
                        #expect(begin <= end)
                        #expect(!result.notes.contains { $0.contains("was gone") }, "there was none")
                    } else {
                        #expect(result.exitCode == .source)
                        guard case .object(let gap)? = result.details["gap"] else { throw TestFailure("no gap") }
                        #expect(gap["begin"] == .string(end.description))
                        #expect(gap["end"] == .string(begin.description))
                    }
                }
            }
        }
    }

    @Test("a server that is put back behind what is stored is refused")
    func putBack() async throws {
        try await ServerLogTests.withServer { server in
            try await LogSite.open { site in
                let log = try server.log()
                try await server.fillSegments(2)
                _ = try await site.run(log)
                let systemID = try await server.systemID()
                var ahead = WALAdvance(timeline: 1, begin: LSN(100 << 20), end: LSN(101 << 20))
                ahead.mark = "other"
                try await site.archive().note(
                    ahead, of: WALOrigin(systemID: systemID, segmentSize: testSize), day: "2999-01-01")
                // The index alone is not believed.
                let last = WALSegment(timeline: 1, number: 100, size: testSize)
                try await site.firstMemory.put(WALLayout.object(.segment(last.name), of: systemID), [0])
                let failure = await #expect(throws: PostgresError.self) { _ = try await site.run(log) }
                #expect(failure?.cause.contains("put back") == true)
            }
        }
    }

    @Test("a cluster made anew in a server's place is refused until a base backup of it says that it is meant")
    func otherSystem() async throws {
        try await LogSite.open { site in
            let old = try await ServerLogTests.withServer { server in
                try await server.fillSegments(2)
                #expect(try await site.run(try server.log()).exitCode == .done)
                return try await server.systemID()
            }
            try await ServerLogTests.withServer { server in
                let log = try server.log()
                for _ in 1...2 {
                    let failure = await #expect(throws: JobFailure.self) { _ = try await site.run(log) }
                    #expect(failure?.cause.contains(old) == true)
                    #expect(failure?.hint.contains("base backup") == true)
                    #expect(failure?.exitCode == .source)
                    #expect(try await server.sql("SELECT count(*) FROM pg_replication_slots") == "0")
                }
                let systemID = try await server.systemID()
                let end = try #require(LSN(try await server.sql("SELECT pg_current_wal_lsn()")))
                let before = try await site.archive().ranges(of: old)
                try await site.addBase(end: end, of: systemID)
                try await server.fillSegments(2)
                for _ in 1...2 { #expect(try await site.run(log).exitCode == .done) }
                #expect(try await site.archive().systems() == [old, systemID].sorted())
                #expect(try await site.archive().ranges(of: systemID).first.map { $0.begin <= end } == true)
                #expect(try await site.archive().ranges(of: old) == before, "what is stored of the old one stays")
            }
        }
    }

    @Test("without the right to close a segment its beginning is stored, and replaced by more of it")
    func partials() async throws {
        try await ServerLogTests.withServer { server in
            try await LogSite.open { site in
                try await server.sql("CREATE ROLE follower LOGIN REPLICATION")
                try await server.fillSegments(1)
                // Synchronously, or the row may still be on its way to the log when the job looks.
                try await server.sql("SET synchronous_commit = on; INSERT INTO filled VALUES (0, 'begun')")
                let log = try server.log(user: "follower")
                let first = try await site.run(log)
                #expect(first.notes.contains { $0.contains("pg_switch_wal") })
                let partial = try #require(site.names.last)
                #expect(partial.hasSuffix(".partial"))
                let systemID = try await server.systemID()
                let segment = try #require(WALSegment(name: String(partial.prefix(24)), size: testSize))
                let begun = try #require(try await site.archive().bytes(.segment(segment), of: systemID))
                #expect(begun.count == Int(testSize), "zeros follow what is there")
                let end = try #require(try await site.archive().ranges(of: systemID).last?.end)
                let own = try contentsOfFile("\(server.dataDirectory)/pg_wal/\(segment.name)")
                let length = Int(end.value - segment.begin.value)
                #expect(begun.prefix(length) == own.prefix(length))
                #expect(begun.dropFirst(length).allSatisfy { $0 == 0 })

                try await server.sql("SET synchronous_commit = on; INSERT INTO filled VALUES (1, 'more')")
                _ = try await site.run(log)
                #expect(site.names.filter { $0.hasPrefix(segment.name) }.count == 1, "the shorter one is gone")
                #expect(site.names.last != partial)

                // Whoever may, closes it: then it is whole.
                _ = try await site.run(try server.log())
                #expect(site.names.filter { $0.hasPrefix(segment.name) } == [segment.name])
                #expect(try await ServerLogTests.compare(site, with: server.dataDirectory, systemID: systemID) > 0)
            }
        }
    }

    @Test("a promoted standby's timeline is followed, and both branches stay")
    func promotion() async throws {
        try await ServerLogTests.withServer { server in
            try await LogSite.open { site in
                let log = try server.log()
                try await server.fillSegments(3)
                _ = try await site.run(log)
                let standby = try await PostgresServer.start(PostgresServer.Options(primary: server))
                do {
                    try await promoted(standby, of: server, site)
                    try await standby.stop()
                } catch {
                    try await standby.stop()
                    throw error
                }
            }
        }
    }

    private func promoted(_ standby: PostgresServer, of server: PostgresServer, _ site: LogSite) async throws {
        let systemID = try await server.systemID()
        // A standby's log is stored as far as it goes.
        try await server.sql("INSERT INTO filled VALUES (-3, 'for both')")
        let sent = try await server.sql("SELECT pg_switch_wal()")
        try await standby.wait("pg_last_wal_receive_lsn() >= '\(sent)'")
        let waiting = try await site.run(try standby.log())
        #expect(waiting.notes.contains { $0.contains("standby") })
        try await standby.sql("SELECT pg_promote()")
        try await standby.sql("INSERT INTO filled VALUES (-1, 'after the promotion'); SELECT pg_switch_wal()")
        // The old server lives on, alone.
        try await server.fillSegments(2, marked: "the other branch")
        let after = try await site.run(try standby.log())
        #expect(after.exitCode == .done)
        #expect(after.details["timeline"] == .integer(2))
        #expect(site.names.contains("00000002.history"))
        let old = try await site.run(try server.log())
        #expect(old.exitCode == .done)
        #expect(old.details["timeline"] == .integer(1))

        let archive = site.archive()
        let history = try #require(try await archive.bytes(.history(timeline: 2), of: systemID))
        let fork = try #require(TimelineHistory.forks(in: history)?.first)
        let ranges = try await archive.ranges(of: systemID)
        #expect(Set(ranges.map(\.timeline)) == [1, 2])
        let first = try #require(ranges.first { $0.timeline == 1 })
        let second = try #require(ranges.first { $0.timeline == 2 })
        #expect(first.end > fork.end, "the old branch goes on after the fork")
        #expect(second.begin <= fork.end, "the new one begins with the segment that it was made in")
        #expect(second.end > fork.end)
        #expect(try await ServerLogTests.compare(site, with: server.dataDirectory, systemID: systemID) > 0)
        // Each branch has its own.
        for (range, marker) in [(first, "the other branch"), (second, "after the promotion")] {
            var found = false
            var segment = WALSegment(timeline: range.timeline, holding: fork.end, size: testSize)
            while segment.begin < range.end {
                let bytes = try await archive.bytes(.segment(segment), of: systemID) ?? []
                found = found || String(decoding: bytes, as: UTF8.self).contains(marker)
                segment = segment.next
            }
            #expect(found, "\(marker)")
        }
        // The new one goes on as any.
        try await standby.sql("INSERT INTO filled VALUES (-2, 'later')")
        #expect(try await site.run(try standby.log()).details["files"] == .integer(1))
    }

    @Test("a server without what a log needs says what it lacks")
    func lacking() async throws {
        let cases: [(settings: [String: String], exit: ExitCode, cause: String)] = [
            (["wal_level": "minimal", "max_wal_senders": "0"], .configuration, "wal_level is minimal"),
            (["max_wal_senders": "0"], .source, "place"),
            (["max_replication_slots": "0"], .source, "slot"),
        ]
        for wrong in cases {
            try await ServerLogTests.withServer(settings: wrong.settings) { server in
                try await LogSite.open { site in
                    let failure = await #expect(throws: PostgresError.self) {
                        _ = try await site.run(try server.log())
                    }
                    #expect(failure?.exitCode == wrong.exit)
                    #expect(failure?.cause.contains(wrong.cause) == true, "\(String(describing: failure))")
                }
            }
        }
    }

    @Test("a role without the right to replicate is told which one it lacks")
    func noRight() async throws {
        try await ServerLogTests.withServer { server in
            try await LogSite.open { site in
                try await server.sql("CREATE ROLE reader LOGIN")
                let failure = await #expect(throws: PostgresError.self) {
                    _ = try await site.run(try server.log(user: "reader"))
                }
                #expect(failure?.cause.contains("no right to replicate") == true)
                #expect(failure?.hint.contains("REPLICATION") == true)
            }
        }
    }

    @Test("a slot's name is checked")
    func slotNames() throws {
        let endpoint = PostgresEndpoint(host: "/nowhere", database: "d", user: "u")
        for name in ["", "Upper", "with space", "semi;colon", String(repeating: "a", count: 64)] {
            #expect(throws: PostgresError.self, "\(name)") { _ = try PostgresLog(endpoint, slot: name) }
        }
        _ = try PostgresLog(endpoint, slot: "lifeboat_clinic_1")
    }
}
