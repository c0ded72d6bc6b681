import Core
import Glibc
import TestSupport
import Testing

/// What stands against a recovery of a whole PostgreSQL server, as its operator sees it: an exit code and words, and
/// nothing left behind.
@Suite(.serialized, .needs(.postgres))
struct RecoveryFailureTests {
    private struct Case: Sendable {
        var target: JSON
        var environment: [String: String] = [:]
        var code: Core.ExitCode
        /// Each somewhere in the error's object, cause or hint.
        var words: [String]
    }

    private func expect(_ one: Case, _ site: ServerSite) async throws {
        let ended = try await site.event(
            ["CONFIRM_RESTORE": .string("YES_I_WANT_TO_RESTORE"), "recoveryTarget": one.target],
            environment: one.environment, expecting: one.code)
        for word in one.words {
            #expect(
                ["object", "cause", "hint"].contains { ended.error($0).contains(word) },
                "\(one.target), \(word): \(ended)")
        }
        #expect(try processes(naming: site.restored).isEmpty)
    }

    private static func object(_ name: String, _ value: JSON) -> JSON { .object([name: value]) }

    @Test("A target that cannot be reached is refused, or found out, with the range that is possible")
    func targets() async throws {
        try await ServerSite.with { site in
            let early = try await site.now()
            let base = try await site.backup()
            try await site.mark("after")
            try await site.archive()
            for one in [
                Case(
                    target: Self.object("time", .string(early)), code: .eventRefused,
                    words: ["before the end of", base]),
                Case(
                    target: Self.object("lsn", .string("FFFF/0")), code: .eventRefused,
                    words: ["the stored log ends before it", "every point from"]),
                Case(
                    target: Self.object("time", .string("2025-01-15 15:59:00")), code: .eventRefused,
                    words: ["it has no time zone; read as UTC it would be 2025-01-15T15:59:00Z"]),
                Case(
                    target: Self.object("time", .string("2125-01-15 15:59:00Z")), code: .eventRefused,
                    words: ["it lies in the future"]),
                Case(
                    target: .object(["latest": .bool(true), "timeline": .integer(7)]), code: .verificationFailed,
                    words: ["00000007.history is not stored"]),
                // Whether these are in the log shows only at its end.
                Case(
                    target: Self.object("xid", .integer(4_000_000)), code: .restoreFailedOriginalIntact,
                    words: ["the log that is stored ends before the target", "possible is from"]),
                Case(
                    target: Self.object("name", .string("no such point")), code: .restoreFailedOriginalIntact,
                    words: ["the log that is stored ends before the target", "possible is from"]),
            ] {
                try await expect(one, site)
                #expect(try await everything(in: site.restored).isEmpty)
            }
        }
    }

    @Test("A directory, a server or a library that is not as it has to be is refused before anything starts")
    func places() async throws {
        try await ServerSite.with { site in
            _ = try await site.backup()
            try await site.mark("after")
            try await site.archive()
            let latest = JSON.string("latest")
            try await expect(
                Case(
                    target: latest, environment: ["POSTGRES_BIN": site.directory], code: .restoreFailedOriginalIntact,
                    words: ["need a server of exactly version", "POSTGRES_BIN"]), site)
            try await expect(
                Case(
                    target: latest, environment: ["POSTGRES_PRELOAD_LIBRARIES": "no_such_library"],
                    code: .restoreFailedOriginalIntact, words: ["the library no_such_library"]), site)
            #expect(try await everything(in: site.restored).isEmpty)
            try writeFile("\(site.restored)/keep", "this")
            try await expect(
                Case(
                    target: latest, code: .restoreFailedOriginalIntact,
                    words: ["it is not empty: there is 'keep'"]), site)
            #expect(try await everything(in: site.restored) == ["keep"])
            #expect(try contentsOfFile("\(site.restored)/keep") == Array("this".utf8))

            // A proof has no original that could be intact.
            let unproven = try await site.event(
                ["action": .string("verify"), "backupKey": .string("latest"), "depth": .string("restore")],
                environment: ["POSTGRES_PRELOAD_LIBRARIES": "no_such_library"], expecting: .inconclusive)
            #expect(unproven.error("cause").contains("the library no_such_library"), "\(unproven)")
            #expect(try await everything(in: site.scratch).isEmpty)
        }
    }

    @Test("A segment of the stored log that is damaged, cut off, another or missing is an error by name, not the end")
    func segments() async throws {
        try await ServerSite.with { site in
            _ = try await site.backup()
            for number in 1...3 {
                try await site.mark("mark \(number)")
                try await site.archive()
            }
            let stored = try await site.listing().filter { $0.hasPrefix("wal/") && $0.hasSuffix(".zst.encrypted") }
                .sorted()
            try #require(stored.count > 3)
            let (lost, other) = (stored[stored.count - 2], stored[stored.count - 1])
            let path = "\(site.store)/\(lost)"
            let name = String(lost.split(separator: "/").last?.prefix(24) ?? "")
            let whole = try contentsOfFile(path)
            var flipped = whole
            flipped[whole.count / 2] ^= 1
            let changes = [
                flipped, Array(whole.dropLast(100)), try contentsOfFile("\(site.store)/\(other)"),
            ]
            for bytes in changes {
                chmod(path, 0o600)
                try writeFile(path, bytes)
                try await expect(
                    Case(target: .string("latest"), code: .restoreFailedOriginalIntact, words: [name]), site)
                #expect(try await everything(in: site.restored).isEmpty)
            }
            unlink(path)
            try await expect(
                Case(target: .string("latest"), code: .verificationFailed, words: ["lacks", "before the gap"]), site)
            #expect(try await everything(in: site.restored).isEmpty)
            try writeFile(path, whole)
            try await site.event([
                "CONFIRM_RESTORE": .string("YES_I_WANT_TO_RESTORE"), "recoveryTarget": .string("latest"),
            ])
            #expect(try await site.marks(inDirectory: site.restored + "/data") == ["mark 1", "mark 2", "mark 3"])
        }
    }

    @Test("After a promotion the job stores both servers' branches, and each is brought back by its timeline")
    func fork() async throws {
        try await ServerSite.with { site in
            _ = try await site.backup()
            try await site.archive()
            let standby = try await PostgresServer.start(PostgresServer.Options(primary: site.server))
            do {
                try await branches(site, site.served(by: standby))
                try await standby.stop()
            } catch {
                try await standby.stop()
                throw error
            }
        }
    }

    private func branches(_ site: ServerSite, _ promoted: ServerSite) async throws {
        try await site.mark("common")
        try await site.archive()
        let end = try await site.server.sql("SELECT pg_current_wal_lsn()")
        try await until("the standby has all of it") {
            try await promoted.server.sql("SELECT pg_last_wal_replay_lsn() >= '\(end)'") == "t"
        }
        try await promoted.server.sql("SELECT pg_promote()")
        try await promoted.mark("promoted")
        try await promoted.archive()
        // The old server lives on, alone.
        try await site.mark("left")
        try await site.archive()
        try await promoted.mark("promoted later")
        try await promoted.archive()
        let cases: [(timeline: Int64?, marks: [String])] = [
            (1, ["common", "left"]), (2, ["common", "promoted", "promoted later"]),
            (nil, ["common", "promoted", "promoted later"]),
        ]
        for (timeline, marks) in cases {
            var target: [String: JSON] = ["latest": .bool(true)]
            target["timeline"] = timeline.map { .integer($0) }
            let place = "\(site.restored)/\(timeline.map(String.init) ?? "newest")"
            let restored = try await site.event([
                "CONFIRM_RESTORE": .string("YES_I_WANT_TO_RESTORE"), "recoveryTarget": .object(target),
                "targetDatabase": .string(place),
            ])
            #expect(try await site.marks(inDirectory: place + "/data") == marks, "\(restored)")
        }
    }

    @Test("Libraries that the cluster was set to load are named, and those that the settings name are loaded")
    func libraries() async throws {
        try await ServerSite.with { site in
            try await site.server.sql("ALTER SYSTEM SET shared_preload_libraries = 'auto_explain'")
            let key = try await site.backup()
            let event: [String: JSON] = [
                "action": .string("verify"), "backupKey": .string(key), "depth": .string("restore"),
            ]
            let without = try await site.event(event)
            #expect(
                without.output.contains("recovered without libraries that the cluster is set to load: auto_explain"))
            let with = try await site.event(event, environment: ["POSTGRES_PRELOAD_LIBRARIES": "auto_explain"])
            #expect(
                with.text("verdict") == "proven" && !with.output.contains("recovered without libraries"), "\(with)")
        }
    }
}
