import CLinux
import Core
import Glibc
import Streams
import TestSupport
import Testing

@testable import PostgresEngine

@Suite("Recovering a server", .needs(.postgres), .needs(.program("python3")))
struct RecoveryTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var target: @Sendable (RecoveryFixture) -> RecoveryTarget?
        var rows: [Int]
    }

    static let cases = [
        Case(testDescription: "the base backup alone", target: { _ in nil }, rows: []),
        Case(
            testDescription: "a time between two commits",
            target: { RecoveryTarget(.time(microseconds: $0.commits[1].time)) }, rows: [1, 2]),
        Case(
            testDescription: "a transaction", target: { RecoveryTarget(.transaction($0.commits[2].xid)) },
            rows: [1, 2, 3]),
        Case(
            testDescription: "just before a transaction",
            target: { RecoveryTarget(.transaction($0.commits[2].xid), isInclusive: false) }, rows: [1, 2]),
        Case(
            testDescription: "a place in the log", target: { RecoveryTarget(.lsn($0.commits[0].lsn)) }, rows: [1]),
        Case(
            testDescription: "a restore point", target: { _ in RecoveryTarget(.name("before_three")) }, rows: [1, 2]),
        Case(
            testDescription: "the end, where no role has the usual name", target: { _ in RecoveryTarget(.latest) },
            rows: [1, 2, 3, 4]),
    ]

    /// A set is unpacked, compared, recovered to each kind of target and left ready; a server started on it has exactly
    /// the rows that were committed by then, in every tablespace, and nothing of ours is left running.
    @Test("ends at the target and leaves a directory that is ready", arguments: cases)
    func targets(_ one: Case) async throws {
        let fixture = try await RecoveryFixture.shared.value
        try await withHandOver { program in
            try await withClusterDirectory { directory in
                let target = one.target(fixture)
                let engine = PostgresDirectory(fixture.site(directory, program))
                let promotion = try await engine.restore(fixture.request(one.testDescription, target))
                #expect(try processes(naming: directory).isEmpty)
                #expect(try await fixture.rows(in: directory) == one.rows)
                let elsewhere = try await fixture.query(
                    "SELECT count(*) FROM public.elsewhere", database: RecoveryFixture.otherDatabase, in: directory)
                #expect(elsewhere == ["1000"])
                #expect(promotion.recovered?.timeline == target.map { _ in 2 })
                if case .time? = target?.point {
                    #expect(
                        promotion.recovered?.lastCommit.map { $0.milliseconds * 1000 < fixture.commits[1].time }
                            == true)
                }
                if let recovered = promotion.recovered { #expect(recovered.lsn >= fixture.commits[0].lsn) }
                #expect(!"\(promotion)".contains(RecoveryFixture.marker))
                // The same request again has nothing to do; another one is refused.
                let again = try await engine.plan(fixture.request(one.testDescription, target))
                #expect(again.summary.alreadyDone)
                await #expect(throws: PostgresError.self) {
                    try await engine.plan(fixture.request("another", target))
                }
            }
        }
    }

    /// What the cluster was told in its own settings stands in its way: a standby's delay does not slow a recovery down
    /// (every recovery of this fixture shows that), and damage is not passed over.
    @Test("overrules the settings that would wait, or hide what is damaged")
    func overruled() async throws {
        let fixture = try await RecoveryFixture.shared.value
        try await withClusterDirectory { directory in
            try await PostgresDirectory(fixture.site(directory, ["/bin/false"])).restore(
                fixture.request("overruled", nil))
            for name in ["ignore_invalid_pages", "zero_damaged_pages", "ignore_checksum_failure"] {
                #expect(try await fixture.query("SHOW \(name)", in: directory) == ["off"], "\(name)")
            }
            #expect(try await fixture.query("SHOW recovery_min_apply_delay", in: directory) == ["0"])
        }
    }

    /// A server that does not come to the end of its shutdown is ended with the job, not two minutes later.
    @Test("ends a shutdown that hangs when the job is ended")
    func cancelledShutdown() async throws {
        let fixture = try await RecoveryFixture.shared.value
        try await withClusterDirectory { directory in
            let site = fixture.site(directory, ["/bin/false"])
            try await PostgresDirectory(site).restore(fixture.request("hanging", nil))
            let cluster = ClusterDirectory(path: directory)
            var problems: [String] = []
            let owner = try cluster.owner(problems: &problems)
            let tools = try await ServerTools.find(major: PostgresServer.installedMajors[0], in: site.tools)
            let sockets = try SocketDirectory(in: "/tmp", owner: owner)
            let server = try await RecoveryServer.start(
                cluster, tools: tools, owner: owner,
                options: ServerLaunch(
                    purpose: .run, socketDirectory: sockets.path, preloadLibraries: [],
                    control: try await ControlData.read(cluster.data, tools: tools, owner: owner)),
                sockets: sockets, meter: ProgressMeter())
            try await server.waitUntilReady()
            let entrance = try #require(try await Entrance.enter(server, "postgres"))
            let connection = try await Connection.open(entrance.endpoint, purpose: "test")
            let row = try await connection.row(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'", to: "look")
            connection.close()
            #expect(kill(Int32(row.integer(0)), SIGSTOP) == 0)
            let began = ContinuousClock.now
            let stop = Task { try await server.stop() }
            stop.cancel()
            await #expect(throws: CancellationError.self) { try await stop.value }
            #expect(.now - began < .seconds(60))
            #expect(try processes(naming: directory).isEmpty)
        }
    }

    /// After a recovery to the second commit the new server goes on by itself: its branch of the log and the old one are
    /// both stored, and each can be recovered by its timeline.
    @Test("follows either branch after a promotion")
    func timelines() async throws {
        let fixture = try await RecoveryFixture.shared.value
        try await withHandOver { program in
            try await withClusterDirectory { first in
                try await PostgresDirectory(fixture.site(first, program)).restore(
                    fixture.request("first", RecoveryTarget(.lsn(fixture.commits[1].lsn))))
                // What is written after it lies in segments that a server shutting down would use again.
                _ = try await fixture.query("ALTER SYSTEM SET wal_keep_size = '1GB'", in: first)
                _ = try await fixture.query("INSERT INTO public.events VALUES (22, 'x')", in: first)
                _ = try await fixture.query("SELECT pg_switch_wal()", in: first)
                var log = try StoredLog(directory: "\(first)/data/pg_wal", systemID: fixture.log.systemID)
                #expect(log.files[.history(timeline: 2)] != nil)
                log.add(fixture.log)
                for (timeline, rows) in [(UInt32(2), [1, 2, 22]), (1, [1, 2, 3, 4])] {
                    try await withClusterDirectory { second in
                        let target = RecoveryTarget(.latest, timeline: timeline)
                        let promotion = try await PostgresDirectory(fixture.site(second, program)).restore(
                            fixture.request("branch", target, log: log))
                        #expect(try await fixture.rows(in: second) == rows)
                        #expect(promotion.recovered?.timeline == 3)
                    }
                }
            }
        }
    }

    /// A target that nothing in the log reaches is an error that says what is possible, and nothing stays behind.
    @Test("says which range is possible where the target is never reached")
    func neverReached() async throws {
        let fixture = try await RecoveryFixture.shared.value
        try await withHandOver { program in
            try await withClusterDirectory { directory in
                let engine = PostgresDirectory(fixture.site(directory, program))
                let error = await #expect(throws: PostgresError.self) {
                    try await engine.restore(
                        fixture.request("never", RecoveryTarget(.time(microseconds: 4_000_000_000_000_000))))
                }
                #expect(
                    error?.cause.hasPrefix("the log that is stored ends before the target; it was followed to")
                        == true)
                #expect(error?.cause.contains("its last commit is of 20") == true)
                #expect(error?.hint.contains("possible is from") == true)
                #expect(error?.exitCode == .restoreFailedOriginalIntact)
                try expectNothingLeft(in: directory)
            }
        }
    }

    /// A server says that it has not reached a time after which nothing was committed. Where the log was stored well after
    /// that time its end is what is asked for; where it was not, something may be missing.
    @Test("goes to the end for a time after the last commit that the log covers")
    func quiet() async throws {
        let fixture = try await RecoveryFixture.shared.value
        let second: Int64 = 4_000_000_000
        let target = RecoveryTarget(.time(microseconds: second * 1_000_000))
        try await withHandOver { program in
            try await withClusterDirectory { directory in
                let engine = PostgresDirectory(fixture.site(directory, program))
                var log = fixture.log
                log.stored = Timestamp(milliseconds: (second + 59) * 1000)
                let error = await #expect(throws: PostgresError.self) {
                    try await engine.restore(fixture.request("soon", target, log: log))
                }
                #expect(error?.cause.hasPrefix("the log that is stored ends before the target") == true)
                try expectNothingLeft(in: directory)
                log.stored = Timestamp(milliseconds: (second + 61) * 1000)
                let promotion = try await engine.restore(fixture.request("quiet", target, log: log))
                #expect(promotion.notes.contains { $0.hasPrefix("nothing was committed after 2096-10-02 07:06:40") })
                #expect(promotion.recovered?.timeline == 2)
                #expect(try await fixture.rows(in: directory) == [1, 2, 3, 4])
            }
        }
    }

    /// A server takes a file that is not there for the end of the log. A hole in the log, and a store that does not
    /// answer, must not pass for it.
    @Test("takes neither a gap nor a failing store for the end")
    func gaps() async throws {
        let fixture = try await RecoveryFixture.shared.value
        let needed = fixture.log.segments.filter { $0.begin >= fixture.commits[1].lsn }
        let lost = try #require(needed.first)
        var gap = fixture.log
        gap.remove(lost)
        var broken = fixture.log
        broken.broken = lost.number
        try await withHandOver { program in
            for (log, words) in [(gap, "has a gap: segment \(lost.name)"), (broken, "the store is away")] {
                try await withClusterDirectory { directory in
                    let engine = PostgresDirectory(fixture.site(directory, program))
                    let error = await #expect(throws: (any Error).self) {
                        try await engine.restore(fixture.request("gap", RecoveryTarget(.latest), log: log))
                    }
                    #expect((error as? any Failure)?.cause.contains(words) == true)
                    try expectNothingLeft(in: directory)
                    // What lies before it is not held up by it.
                    let before = RecoveryTarget(.lsn(fixture.commits[0].lsn))
                    try await engine.restore(fixture.request("before", before, log: log))
                    #expect(try await fixture.rows(in: directory) == [1])
                }
            }
        }
    }

    /// Nor must a segment that is of another server or too short, or one whose records were damaged before it was stored:
    /// there a server ends its recovery as if all were well. A target before it can be had.
    @Test("does not take a damaged segment for the end")
    func damagedLog() async throws {
        let fixture = try await RecoveryFixture.shared.value
        let lost = try #require(fixture.log.segments.first { $0.begin >= fixture.commits[1].lsn })
        let cases: [(@Sendable ([UInt8]) -> [UInt8], String)] = [
            ({ $0.prefix(60) + $0[60..<80].map { $0 ^ 1 } + $0.dropFirst(80) }, "could read it to"),
            ({ $0.prefix(24) + [$0[24] ^ 1] + $0.dropFirst(25) }, "\(lost.name) is of the server"),
            ({ Array($0.dropLast(512)) }, "\(lost.name) has 16776704 bytes instead of 16777216"),
        ]
        try await withHandOver { program in
            for (change, words) in cases {
                var log = fixture.log
                log.changed = (lost.number, change)
                try await withClusterDirectory { directory in
                    let engine = PostgresDirectory(fixture.site(directory, program))
                    let error = await #expect(throws: PostgresError.self) {
                        try await engine.restore(fixture.request("damaged", RecoveryTarget(.latest), log: log))
                    }
                    #expect(error?.cause.contains(words) == true, "\(error?.cause ?? "")")
                    #expect(error?.exitCode == .restoreFailedOriginalIntact)
                    try expectNothingLeft(in: directory)
                    let before = RecoveryTarget(.lsn(fixture.commits[0].lsn))
                    try await engine.restore(fixture.request("before", before, log: log))
                    #expect(try await fixture.rows(in: directory) == [1])
                }
            }
        }
    }

    /// A run that is called off while the server waits for its log ends the server, and leaves nothing.
    @Test("ends its server when it is cancelled", .timeLimit(.minutes(1)))
    func cancelled() async throws {
        let fixture = try await RecoveryFixture.shared.value
        try await withHandOver { program in
            try await withClusterDirectory { directory in
                let log = StalledLog(base: fixture.log)
                let task = Task {
                    try await PostgresDirectory(fixture.site(directory, program)).restore(
                        fixture.request("cancelled", RecoveryTarget(.latest), log: log))
                }
                await log.isAsked()
                #expect(try !processes(naming: directory).isEmpty)
                task.cancel()
                await #expect(throws: (any Error).self) { try await task.value }
                try expectNothingLeft(in: directory)
            }
        }
    }

    /// The kernel ends a program as soon as the thread that waits for it is gone, which it is with its process, however
    /// that ended.
    @Test("leaves no program behind when its process is killed")
    func killed() async throws {
        var ends: [Int32] = [-1, -1]
        try #require(linux_pipe(&ends, 4096) == 0)
        let (heard, said) = (ends[0], ends[1])
        let identifier = try await onThread("mortal") {
            let words: [UnsafeMutablePointer<CChar>?] = ["sh", "-c", "echo; exec sleep 1000"].map { strdup("\($0)") }
            defer { for word in words { free(word) } }
            let identifier = startOwned("/bin/sh", words + [nil], output: said)
            close(said)
            // Until it runs: of a thread that ends before, the kernel could not tell it.
            var byte: UInt8 = 0
            guard read(heard, &byte, 1) == 1 else { throw TestFailure("the program does not run") }
            close(heard)
            return identifier
        }
        // So that a program that stays fails the test, rather than holding it up.
        let watch = Task {
            try await Task.sleep(for: .seconds(20))
            kill(identifier, SIGKILL)
        }
        defer { watch.cancel() }
        let status = try await onThread("wait") {
            var status: Int32 = 0
            waitpid(identifier, &status, 0)
            return status
        }
        #expect(ServerProcess.Ending(status: status) == .signalled(SIGQUIT))
    }
}

/// A log whose segments never come.
final class StalledLog: WALLibrary {
    private let base: StoredLog
    private let asked: AsyncStream<Void>
    private let ask: AsyncStream<Void>.Continuation

    init(base: StoredLog) {
        self.base = base
        (asked, ask) = AsyncStream<Void>.makeStream()
    }

    func isAsked() async { for await _ in asked { return } }

    func ranges(of systemID: String) async throws -> [WALRange] { try await base.ranges(of: systemID) }

    func open(_ file: WALFile, of systemID: String) async throws -> (any ByteSource)? {
        guard case .segment = file else { return try await base.open(file, of: systemID) }
        ask.yield()
        return StalledSource()
    }
}

private final class StalledSource: ByteSource {
    private let queue = ChunkQueue(capacity: 1)

    func next() throws -> Chunk? { try queue.pop() }
    func cancel() { queue.cancel() }
}
