import Core
import TestSupport
import Testing

@testable import PostgresEngine

/// The way through timelines, and what the server says on it.
@Suite struct LegTests {
    private let size: UInt64 = 16 << 20

    private func server(_ timeline: UInt32, _ lineage: [(UInt32, UInt64)]) -> WALServer {
        WALServer(
            systemID: "1", timeline: timeline,
            lineage: lineage.map { TimelineFork(timeline: $0.0, end: LSN($0.1)) }, segmentSize: size)
    }

    private func at(_ timeline: UInt32, _ lsn: UInt64) -> WALPosition {
        WALPosition(systemID: "1", timeline: timeline, lsn: LSN(lsn))
    }

    private func leg(_ timeline: UInt32, _ begin: UInt64, _ end: UInt64) -> LogLeg {
        LogLeg(timeline: timeline, begin: LSN(begin), end: LSN(end))
    }

    @Test("a log on one timeline is one leg, from the beginning of its segment; none where nothing is new")
    func oneTimeline() {
        let server = server(1, [])
        #expect(LogLeg.way(from: at(1, 2 * size), to: LSN(5 * size), of: server) == [leg(1, 2 * size, 5 * size)])
        #expect(
            LogLeg.way(from: at(1, 2 * size + 9), to: LSN(5 * size), of: server) == [leg(1, 2 * size, 5 * size)])
        #expect(LogLeg.way(from: at(1, 5 * size), to: LSN(5 * size), of: server) == [])
        #expect(LogLeg.way(from: at(1, 6 * size), to: LSN(5 * size), of: server) == [])
    }

    @Test("each promotion since is a leg that begins with the segment in which it was made")
    func promotions() {
        let server = server(4, [(1, 3 * size + 77), (2, 6 * size), (3, 6 * size + 5)])
        let end = 9 * size
        #expect(
            LogLeg.way(from: at(1, 2 * size), to: LSN(end), of: server) == [
                leg(1, 2 * size, 3 * size + 77), leg(2, 3 * size, 6 * size), leg(3, 6 * size, 6 * size + 5),
                leg(4, 6 * size, end),
            ])
        #expect(LogLeg.way(from: at(4, 7 * size), to: LSN(end), of: server) == [leg(4, 7 * size, end)])
    }

    @Test("a branch that is stored past the fork stays, and the new one begins at the fork")
    func branch() {
        let server = server(2, [(1, 3 * size + 77)])
        #expect(
            LogLeg.way(from: at(1, 8 * size), to: LSN(5 * size), of: server) == [leg(2, 3 * size, 5 * size)])
        #expect(
            LogLeg.way(from: at(1, 3 * size + 77), to: LSN(5 * size), of: server) == [leg(2, 3 * size, 5 * size)])
    }

    @Test("a place belongs to the timeline that has it")
    func places() {
        let server = server(3, [(1, 100), (2, 200)])
        #expect([0, 99, 100, 199, 200, 900].map { server.timeline(at: LSN($0)) } == [1, 1, 2, 2, 3, 3])
        #expect(server.segmentEnd(LSN(size)) == LSN(size))
        #expect(server.segmentEnd(LSN(size + 1)) == LSN(2 * size))
    }

    @Test("quiet is a server whose transactions are the same and that has hardly written")
    func quiet() {
        var stored = at(1, size)
        stored.mark = "7:9:8"
        #expect(PostgresLog.isQuiet(since: stored, at: LSN(size + 500), transactions: "7:9:8"))
        #expect(!PostgresLog.isQuiet(since: stored, at: LSN(size + 500), transactions: "9:9:"))
        #expect(!PostgresLog.isQuiet(since: stored, at: LSN(size + 65536), transactions: "7:9:8"))
        stored.mark = nil
        #expect(!PostgresLog.isQuiet(since: stored, at: LSN(size), transactions: "7:9:8"))
        // An index says where the stored log ends, and may say anything.
        let absurd = WALPosition(systemID: "1", timeline: 1, lsn: LSN(.max), mark: "m")
        #expect(PostgresLog.isQuiet(since: absurd, at: LSN(.max), transactions: "m"))
        #expect(server(1, []).segmentEnd(LSN(.max)) == LSN(.max))
    }

    @Test("the server's messages are taken as the protocol has them, and nothing else is")
    func messages() throws {
        var data = [UInt8(ascii: "w")] + [UInt8](repeating: 0, count: 24) + [1, 2, 3]
        data[8] = 9
        data.withUnsafeBytes { bytes in
            guard case .data(let at, let rest)? = LogMessage(bytes) else {
                Issue.record("no data")
                return
            }
            #expect(at == LSN(9))
            #expect(Array(rest) == [1, 2, 3])
        }
        let keepalive = [UInt8(ascii: "k")] + [UInt8](repeating: 0, count: 16) + [1]
        keepalive.withUnsafeBytes { bytes in
            guard case .keepalive(true)? = LogMessage(bytes) else {
                Issue.record("no keepalive")
                return
            }
        }
        let wrong: [[UInt8]] = [
            [], [0], Array(data.prefix(24)), Array(keepalive.dropLast()), [UInt8(ascii: "x")] + data,
        ]
        for bytes in wrong {
            let isKnown = bytes.withUnsafeBytes { LogMessage($0) != nil }
            #expect(!isKnown, "\(bytes)")
        }
        let status = LogMessage.status(received: LSN(0x0102), safe: LSN(0x03))
        #expect(status.count == 34)
        #expect(status[7] == 1 && status[8] == 2 && status[16] == 3)
    }

    @Test("a history is read whatever its reasons say, and refused where its order is wrong")
    func histories() {
        let good =
            Array("# made up\n\n1\t0/3000028\tno recovery target specified\n2\t1/5A\tbefore ".utf8) + [0xFF, 10]
        #expect(
            TimelineHistory.forks(in: good) == [
                TimelineFork(timeline: 1, end: LSN(0x300_0028)), TimelineFork(timeline: 2, end: LSN(0x1_0000_005A)),
            ])
        #expect(TimelineHistory.forks(in: []) == [])
        for text in [
            "x\t0/1\tr\n", "1\n", "1\t0/1x\tr\n", "2\t0/1\tr\n1\t0/2\tr\n", "1\t0/2\tr\n2\t0/1\tr\n", "0\t0/1\tr\n",
        ] {
            #expect(TimelineHistory.forks(in: Array(text.utf8)) == nil, "\(text)")
        }
        var random = SeededRandom(seed: 3)
        for _ in 0..<500 { _ = TimelineHistory.forks(in: random.bytes(Int.random(in: 0..<60, using: &random))) }
    }
}
