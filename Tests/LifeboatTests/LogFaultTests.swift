import Core
import Glibc
import TestSupport
import Testing

/// A server's log in a store that somebody has been at, and a log that is far behind, with the program itself.
@Suite(.serialized, .needs(.postgres))
struct LogFaultTests {
    private static let confirmed: [String: JSON] = ["CONFIRM_RESTORE": .string("YES_I_WANT_TO_RESTORE")]

    /// A site with a base backup, eight marks in as many segments after it, and all of it stored.
    private func stored(_ body: (ServerSite, [String]) async throws -> Void) async throws {
        try await ServerSite.with(walSegmentSize: 1) { site in
            _ = try await site.backup()
            for number in 1...8 {
                try await site.mark("mark \(number)")
                try await site.server.sql("SELECT pg_switch_wal()")
            }
            try await site.archive()
            let segments = try await site.listing().filter {
                $0.hasPrefix("wal/") && $0.hasSuffix(".zst.encrypted")
            }
            try #require(segments.count >= 8)
            try await body(site, segments)
        }
    }

    private func restore(_ site: ServerSite, _ target: JSON = .string("latest")) async throws -> Binary.Ended {
        try await site.run(Self.confirmed.merging(["recoveryTarget": target]) { $1 })
    }

    /// Whatever the index says: every day of it claims all the log there could be, stored just now.
    private func forgeIndex(_ site: ServerSite) async throws {
        for key in try await site.listing() where key.contains("/index/") {
            guard case .object(var index) = try JSON(parsing: contentsOfFile("\(site.store)/\(key)")) else {
                throw TestFailure("no index: \(key)")
            }
            index["ranges"] = .array([.object(["begin": .string("0/100000"), "end": .string("FF/0")])])
            index["coveredUntil"] = .string("2999-01-01T00:00:00.000Z")
            index["gap"] = nil
            try writeFile("\(site.store)/\(key)", JSON.object(index).canonicalText)
            let directory = key.dropLast("2025-01-15.json".count)
            try writeFile("\(site.store)/\(directory)2999-01-01.json", JSON.object(index).canonicalText)
        }
    }

    @Test(
        "A forged index makes no recovery pass: missing segments are named before it starts, and so is a time too late"
    )
    func missing() async throws {
        try await stored { site, segments in
            let hole = segments[segments.count - 4]
            let bytes = try contentsOfFile("\(site.store)/\(hole)")
            unlink("\(site.store)/\(hole)")
            try await forgeIndex(site)
            let ended = try await restore(site)
            #expect(ended.exitCode == Core.ExitCode.verificationFailed.rawValue, "\(ended)")
            #expect(ended.error("cause").contains("lacks"), "\(ended)")
            #expect(try await everything(in: site.restored).isEmpty)

            try writeFile("\(site.store)/\(hole)", bytes)
            // Nothing has been stored since, and the second in which the last was is over.
            let stored = time(nil)
            try await until("the second is over") { time(nil) > stored + 1 }
            let late = try await restore(site, .object(["time": .string(try await site.now())]))
            #expect(late.exitCode == Core.ExitCode.eventRefused.rawValue, "\(late)")
            #expect(late.error("cause").contains("newest stored log is of"), "\(late)")
            #expect(try await everything(in: site.restored).isEmpty)

            let whole = try await restore(site)
            #expect(whole.exitCode == 0, "\(whole)")
            let marks = try await site.marks(inDirectory: site.restored + "/data")
            #expect(marks == (1...8).map { "mark \($0)" })
        }
    }

    @Test("A forged index makes no recovery pass: segments that were exchanged, renamed or cut end it by name")
    func wrong() async throws {
        try await stored { site, segments in
            try await forgeIndex(site)
            let paths = segments.suffix(5).map { "\(site.store)/\($0)" }
            let (good, other) = (try contentsOfFile(paths[1]), try contentsOfFile(paths[2]))
            for (name, bytes) in [("another's", other), ("cut", Array(good.prefix(good.count / 2))), ("empty", [])] {
                try writeFile(paths[1], bytes)
                let ended = try await restore(site)
                #expect(ended.exitCode != 0, "\(name): \(ended)")
                #expect(ended.error("hint") != "", "\(name): \(ended)")
                let left = try await everything(in: site.restored)
                #expect(left.isEmpty, "\(name): \(left)")
            }
            try writeFile(paths[1], good)
            #expect(try await restore(site).exitCode == 0)
        }
    }

    @Test("The job goes on in spite of a forged index, and what it stores leads to the last commit")
    func goingOn() async throws {
        try await stored { site, _ in
            try await forgeIndex(site)
            try await site.mark("mark 9")
            try await site.archive()
            #expect(try await restore(site).exitCode == 0)
            let marks = try await site.marks(inDirectory: site.restored + "/data")
            #expect(marks == (1...9).map { "mark \($0)" })
        }
    }

    @Test("A log far behind is caught up by one job within 96 MiB, and after SIGKILL the next brings the rest alone")
    func farBehind() async throws {
        let count = runsSoak ? 2000 : 60
        try await ServerSite.with(walSegmentSize: 1, settings: ["max_wal_size": "8GB", "fsync": "off"]) { site in
            try await site.archive()
            try await fill(site, count)
            // Killed halfway: when half of them are there.
            _ = try await site.run(["action": .string("wal")]) { pid in
                while try await segments(site).count < count / 2, kill(pid, 0) == 0 {
                    try await Task.sleep(for: .milliseconds(5))
                }
                kill(pid, SIGKILL)
            }
            let before = try await segments(site)
            #expect(before.count >= count / 2 && before.count <= count, "\(before.count) of \(count)")
            try await until("the server has let go of the slot") {
                try await site.server.sql("SELECT count(*) FROM pg_replication_slots WHERE active") == "0"
            }
            let highest = Guarded(0)
            let ended = try await site.run(["action": .string("wal")]) { pid in
                while let resident = peak(of: pid) {
                    highest.withLock { $0 = max($0, resident) }
                    try await Task.sleep(for: .milliseconds(20))
                }
            }
            #expect(ended.exitCode == 0, "\(ended)")
            #expect(highest.value > 0 && highest.value <= 96 << 10, "\(highest.value) KiB resident at most")
            let after = try await segments(site)
            #expect(after.count > count)
            guard case .integer(let sent)? = ended.details["files"] else {
                throw TestFailure("no files: \(ended)")
            }
            // Each is sent at most once more, and only those on their way when the first job died.
            #expect(Int(sent) == after.count - before.count)
            print(
                "caught up \(count) segments of 1 MiB: \(highest.value) KiB resident at most, \(sent) in the second job"
            )
        }
    }

    private func fill(_ site: ServerSite, _ count: Int) async throws {
        try await site.server.sql("CREATE TABLE filled (n int)")
        try await site.server.sql(
            """
            DO $$ BEGIN FOR n IN 1..\(count) LOOP
                INSERT INTO filled VALUES (n);
                COMMIT;
                PERFORM pg_switch_wal();
            END LOOP; END $$
            """)
    }

    private func segments(_ site: ServerSite) async throws -> [String] {
        try await site.listing().filter { $0.hasPrefix("wal/") && $0.hasSuffix(".zst.encrypted") }
    }

    /// KiB of memory that the process has had resident at most; `nil` once it is gone.
    private func peak(of pid: pid_t) -> Int? {
        guard let file = fopen("/proc/\(pid)/status", "r") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 8192)
        let count = fread(&bytes, 1, bytes.count, file)
        let text = String(decoding: bytes.prefix(count), as: UTF8.self)
        guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") }) else { return nil }
        return line.split(separator: " ").dropFirst().first.flatMap { Int($0) }
    }
}
