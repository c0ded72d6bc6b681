import Core
import Glibc
import Streams
import TestSupport
import Testing

@testable import PostgresEngine

@Suite("Handing the log over")
struct WALHandOverTests {
    private static let size: UInt64 = 1 << 20
    private static let systemID = "4711"

    /// Segments 1 to 3 in memory, each filled with its number.
    private struct Library: WALLibrary {
        var numbers: Set<UInt64> = [1, 2, 3]
        var broken: UInt64?
        var change: @Sendable ([UInt8]) -> [UInt8] = { $0 }

        func ranges(of systemID: String) async throws -> [WALRange] {
            numbers.sorted().map { number in
                let segment = WALSegment(timeline: 1, number: number, size: size)
                return WALRange(timeline: 1, begin: segment.begin, end: segment.end)
            }
        }

        func open(_ file: WALFile, of systemID: String) async throws -> (any ByteSource)? {
            guard systemID == WALHandOverTests.systemID else { return nil }
            guard case .segment(let segment) = file else {
                return file.timeline == 2 ? MemorySource(Array("1\t0/3000000\n".utf8)) : nil
            }
            guard segment.timeline == 1, numbers.contains(segment.number) else { return nil }
            let bytes = change(WALHandOverTests.bytes(of: segment.number))
            return segment.number == broken ? BrokenSource(bytes) : MemorySource(bytes, chunkSize: 100_000)
        }
    }

    /// The first page's long header (PostgreSQL source, `XLogLongPageHeaderData`), and then the segment's number.
    private static func bytes(of number: UInt64) -> [UInt8] {
        func field(_ value: UInt64, _ count: Int) -> [UInt8] { (0..<count).map { UInt8(value >> (8 * $0) & 0xFF) } }
        let segment = WALSegment(timeline: 1, number: number, size: size)
        let header =
            field(0xD110, 2) + field(2, 2) + field(1, 4) + field(segment.begin.value, 8) + field(0, 8)
            + field(UInt64(systemID) ?? 0, 8) + field(size, 4) + field(8192, 4)
        return header + [UInt8](repeating: UInt8(number), count: Int(size) - header.count)
    }

    /// Gives half and then fails.
    private final class BrokenSource: ByteSource {
        private let half: MemorySource

        init(_ bytes: [UInt8]) { half = MemorySource(Array(bytes.prefix(bytes.count / 2))) }

        func next() throws -> Chunk? {
            if let chunk = try half.next() { return chunk }
            throw TestFailure("the store broke off")
        }

        func cancel() { half.cancel() }
    }

    private func with(
        _ library: Library,
        _ body: (WALHandOver, (String) async throws -> WALHandOver.Fetched, String) async throws
            -> Void
    ) async throws {
        let sockets = try SocketDirectory(in: "/tmp", owner: nil)
        let handOver = try WALHandOver(
            library, systemID: Self.systemID, segmentSize: Self.size,
            held: WALRange(timeline: 1, begin: LSN(0), end: LSN(Self.size)), in: sockets, meter: ProgressMeter())
        let target = "\(sockets.path)/RECOVERYXLOG"
        let socket = handOver.socketPath
        try await body(
            handOver,
            { name in try await onThread("fetch") { WALHandOver.fetch(socket: socket, name: name, path: target) } },
            target)
        await handOver.close()
    }

    private func name(_ number: UInt64) -> String {
        WALSegment(timeline: 1, number: number, size: Self.size).name
    }

    /// Every file comes whole and in any order; what is not stored, and what no log has, is "not there".
    @Test("gives what is stored and says what is not")
    func gives() async throws {
        try await with(Library()) { handOver, fetch, target in
            for number in [UInt64(1), 2, 3, 1] {
                let fetched = try await fetch(name(number))
                #expect(fetched == .written)
                let bytes = try contentsOfFile(target)
                #expect(bytes == Self.bytes(of: number))
            }
            unlink(target)
            for absent in [
                name(4), "00000003.history", "../../etc/passwd", "000000010000000000000001.00000028.backup",
            ] {
                let fetched = try await fetch(absent)
                #expect(fetched == .notThere)
                #expect(access(target, F_OK) != 0)
            }
            let history = try await fetch("00000002.history")
            #expect(history == .written)
            #expect(handOver.failure == nil)
        }
    }

    /// A file that breaks off, and a hole before what is stored, end the recovery: the file is not there, and every
    /// later question is answered the same.
    @Test("ends the recovery where the log cannot be read")
    func fails() async throws {
        for library in [Library(broken: 2), Library(numbers: [1, 3])] {
            try await with(library) { handOver, fetch, target in
                let first = try await fetch(name(1))
                #expect(first == .written)
                unlink(target)
                let second = try await fetch(name(2))
                #expect(second == .failed)
                #expect(access(target, F_OK) != 0)
                #expect(handOver.failure != nil)
                let third = try await fetch(name(3))
                #expect(third == .failed)
            }
        }
    }

    /// What is not the segment that its name says, of another server, from another place, too short or too long, ends the
    /// recovery by name: the server would take it for the end of the log.
    @Test("ends the recovery where a segment is another than its name says")
    func others() async throws {
        let cases: [(@Sendable ([UInt8]) -> [UInt8], String)] = [
            ({ $0.dropLast(8192) + [] }, "has 1040384 bytes instead of 1048576"),
            ({ $0 + [1] }, "has more than 1048576 bytes"), ({ _ in [] }, "does not begin as a segment"),
            ({ [UInt8](repeating: 0, count: $0.count) }, "does not begin as a segment"),
            ({ $0.prefix(24) + [9] + $0.dropFirst(25) }, "is of the server 4617, and the set is of 4711"),
            ({ $0.prefix(10) + [9] + $0.dropFirst(11) }, "holds what belongs at 0/9"),
        ]
        for (change, words) in cases {
            try await with(Library(change: change)) { handOver, fetch, target in
                let fetched = try await fetch(name(1))
                #expect(fetched == .failed)
                #expect(access(target, F_OK) != 0)
                let cause = (handOver.failure as? any Failure)?.cause ?? ""
                #expect(cause.contains("segment \(name(1))") && cause.contains(words), "\(cause)")
            }
        }
    }

    /// What came with the base backup is asked for first, and the log may begin after it.
    @Test("lets a server take what it has already")
    func held() async throws {
        try await with(Library()) { handOver, fetch, _ in
            let own = try await fetch(name(0))
            #expect(own == .notThere)
            #expect(handOver.failure == nil)
        }
    }

    /// Where nobody answers the server must not take that for the end of the log.
    @Test("fails where nobody answers")
    func nobody() async throws {
        try await withScratchDirectory { directory in
            let fetched = try await onThread("fetch") {
                WALHandOver.fetch(socket: "\(directory)/none", name: "x", path: "\(directory)/file")
            }
            #expect(fetched == .failed)
        }
        #expect(WALHandOver.Fetched.failed.rawValue > 125)
        #expect(WALHandOver.Fetched.notThere.rawValue == 1)
    }

    /// A shell takes the program's path and the socket for one word each, whatever is in them, and the server takes no
    /// `%` in them for a name.
    @Test("is called by a command that a shell reads as it is meant")
    func command() {
        #expect(ServerLaunch.shellWord("/a b/it's 5%") == #"'/a b/it'\''s 5%%'"#)
    }

    /// A log of a server is read for known words only; what else it says is nowhere in what is found.
    @Test("reads the server's log without keeping it")
    func log() throws {
        let log = RecoveryLog(meter: ProgressMeter())
        for line in [
            "00000 LOG:  redo starts at 0/2000028", "00000 LOG:  redo done at 0/3000110 system usage: CPU",
            "00000 LOG:  last completed transaction was at log time 2026-01-02 03:04:05.678901+00",
            "00000 LOG:  selected new timeline ID: 12",
            "22P02 ERROR:  invalid input \(RecoveryFixture.marker)",
            "XX000 FATAL:  recovery ended before configured recovery target was reached \(RecoveryFixture.marker)",
            "", "x", "00000 LOG:  last completed transaction was at log time \(RecoveryFixture.marker)",
        ] { log.read(line) }
        let findings = log.findings
        #expect(findings.end == LSN("0/3000110"))
        #expect(findings.timeline == 12)
        #expect(findings.lastCommit == Timestamp("2026-01-02T03:04:05.678Z"))
        #expect(findings.failure?.cause == "the log that is stored ends before the target")
        #expect(findings.fatalCode == "XX000")
        #expect(!"\(findings)".contains(RecoveryFixture.marker))
    }

    @Test("writes a target's time as the server reads it")
    func time() {
        #expect(ServerLaunch.text(microseconds: 1_767_323_045_678_901) == "2026-01-02 03:04:05.678901+00")
        #expect(ServerLaunch.text(microseconds: -1) == "1969-12-31 23:59:59.999999+00")
    }
}
