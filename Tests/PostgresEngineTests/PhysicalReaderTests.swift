import Core
import Crypto
import TestSupport
import Testing

@testable import PostgresEngine

@Suite("What a base backup consists of")
struct PhysicalReaderTests {
    private struct Collector: ArchiveVisitor {
        var members: [ArchiveMember] = []
        var contents: [[UInt8]] = []
        mutating func begin(_ member: ArchiveMember) throws {
            members.append(member)
            contents.append([])
        }
        mutating func read(_ bytes: UnsafeRawBufferPointer) throws { contents[contents.count - 1] += bytes }
        mutating func end(_ member: ArchiveMember) throws { #expect(member == members.last) }
    }

    private func read(_ bytes: [UInt8], chunk: Int = 1 << 20) throws -> Collector {
        var reader = ArchiveReader(part: "base.tar", Collector())
        for start in stride(from: 0, to: bytes.count, by: chunk) {
            try bytes[start..<min(start + chunk, bytes.count)].withUnsafeBytes { try reader.update($0) }
        }
        try reader.finish()
        return reader.visitor
    }

    // MARK: Archives

    /// Files, empty ones, directories, links and names in two pieces come out as they went in, however the stream is cut.
    @Test("An archive is read whole, in pieces of any size", arguments: [1, 511, 512, 513, 1 << 20])
    func archive(chunk: Int) throws {
        var archive = TestArchive()
        archive.add("backup_label", Array("START".utf8))
        archive.add("base/", type: "5")
        archive.add("base/1/1255", [UInt8](repeating: 7, count: 1024))
        archive.add("empty")
        archive.add("1", [1], prefix: "a/b")
        archive.add("pg_tblspc/16385", type: "2", target: "/space")
        let read = try read(archive.whole, chunk: chunk)
        #expect(
            read.members.map { String(decoding: $0.path, as: UTF8.self) }
                == ["backup_label", "base", "base/1/1255", "empty", "a/b/1", "pg_tblspc/16385"])
        #expect(read.members.map(\.size) == [5, 0, 1024, 0, 1, 0])
        #expect(read.members[1].kind == .directory && read.members[5].kind == .link(target: Array("/space".utf8)))
        #expect(read.members[0].mode == 0o600)
        #expect(read.contents[2] == [UInt8](repeating: 7, count: 1024))
    }

    /// Sizes past eight gibibytes are written in bytes; the member is known before its content comes.
    @Test("A file larger than octal digits can say is understood")
    func largeFile() throws {
        var block = TestArchive.header(Array("large".utf8), size: 0)
        block.replaceSubrange(124..<136, with: [0x80, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1])
        block.replaceSubrange(148..<156, with: [UInt8](repeating: 0x20, count: 8))
        let sum = String(block.reduce(0) { $0 + Int($1) }, radix: 8)
        block.replaceSubrange(148..<156, with: Array((String(repeating: "0", count: 7 - sum.count) + sum + " ").utf8))
        var reader = ArchiveReader(part: "base.tar", Collector())
        try block.withUnsafeBytes { try reader.update($0) }
        #expect(reader.visitor.members.first?.size == 12_884_901_889)
        #expect(throws: PhysicalProblem.self) { try reader.finish() }
    }

    /// Whatever leads out of the archive, is a device, or is not whole, is refused by name.
    @Test(
        "An archive that no server wrote is refused",
        arguments: [
            "../escape", "/etc/passwd", "a//b", "a/./b", "a/../../b", "",
        ])
    func hostileNames(name: String) {
        var archive = TestArchive()
        archive.add(name, [1])
        #expect(throws: PhysicalProblem.self) { try read(archive.whole) }
    }

    @Test("An archive that is cut, goes on, or has a damaged header or a device in it is refused")
    func damagedArchives() throws {
        var archive = TestArchive()
        archive.add("a", [UInt8](repeating: 1, count: 600))
        let whole = archive.whole
        _ = try read(whole)
        for count in [0, 100, 512, 700, 1536, 1536 + 512, whole.count - 1] {
            #expect(throws: PhysicalProblem.self, "cut at \(count)") { try read(Array(whole.prefix(count))) }
        }
        #expect(throws: PhysicalProblem.self) { try read(whole + TestArchive.header([0x61], size: 0)) }
        for index in [0, 100, 124, 150, 257] {
            var damaged = whole
            damaged[index] ^= 1
            #expect(throws: PhysicalProblem.self, "byte \(index)") { try read(damaged) }
        }
        for type: Character in ["1", "3", "4", "6", "x", "g", "L"] {
            var other = TestArchive()
            other.add("a", type: type)
            #expect(throws: PhysicalProblem.self, "type \(type)") { try read(other.whole) }
        }
    }

    // MARK: Ledgers

    private func digest(_ byte: UInt8) -> FileDigest {
        FileDigest(sha256: [UInt8](repeating: byte, count: 32), crc32c: UInt32(byte))
    }

    /// Thousands of paths that share beginnings, over several blocks, come back in their order.
    @Test("A ledger gives back what was added")
    func ledger() {
        var ledger = FileLedger()
        var paths: [[UInt8]] = []
        for number in 0..<9000 { paths.append(Array("base/\(number % 7)/\(number * 31)_fsm".utf8)) }
        paths += [Array(String(repeating: "x", count: 4000).utf8), [0xFF, 0x0A], Array("x".utf8)]
        for path in paths {
            ledger.add(path: path, size: Int64(path.count), digest: digest(1))
        }
        #expect(ledger.entries.map(\.path) == paths)
        #expect(ledger.files == Int64(paths.count))
        let size = withUnsafeBytes(of: Int64(1).bigEndian) { Array($0) }
        #expect(Array(ledger.entries).last?.mark == size + [0, 0, 0, 1])
        // The sum is of digests that anybody can make from what docs/physical.md says.
        var one = FileLedger()
        one.add(path: Array("x".utf8), size: 1, digest: digest(1))
        var sum = RowSum()
        SHA256.hash(data: Array("x".utf8) + [0] + size + [UInt8](repeating: 1, count: 32)).withUnsafeBytes {
            sum.add(digest: $0)
        }
        #expect(one.sum == sum)
    }

    /// The sum does not depend on the order; the path, the size and the content all show in it.
    @Test("A ledger's sum is of paths, sizes and contents, in any order")
    func ledgerSum() {
        func sum(_ files: [(String, Int64, UInt8)]) -> RowSum {
            var ledger = FileLedger()
            for (path, size, byte) in files {
                ledger.add(path: Array(path.utf8), size: size, digest: digest(byte))
            }
            return ledger.sum
        }
        let sums: [RowSum] = [
            sum([("a", 1, 1), ("b", 2, 2)]), sum([("a", 1, 1), ("c", 2, 2)]), sum([("a", 1, 1), ("b", 3, 2)]),
            sum([("a", 1, 1), ("b", 2, 3)]), sum([("a", 1, 1)]), sum([("a", 1, 1), ("b", 2, 2), ("b", 2, 2)]),
        ]
        #expect(Set(sums).count == sums.count)
        #expect(sum([("b", 2, 2), ("a", 1, 1)]) == sums[0])
    }

    // MARK: Manifests

    @Test("A manifest is read line by line, in pieces of any size", arguments: [1, 7, 1 << 20])
    func manifest(chunk: Int) throws {
        var manifest = TestManifest()
        manifest.files = [("backup_label", [1, 2]), ("base/1/\\\"ö\\\\", [])]
        let read = try manifest.read(chunk: chunk)
        #expect(
            read.ledger.entries.map { String(decoding: $0.path, as: UTF8.self) } == ["backup_label", "base/1/\"ö\\"])
        #expect(read.ledger.files == 2 && read.systemID == nil)
        #expect(read.ranges == [WALRange(timeline: 1, begin: LSN(0x200_0028), end: LSN(0x200_0100))])
    }

    @Test("A server that says absurd sizes is refused, and many large ones do not add up to a trap")
    func absurdTablespaces() throws {
        func start(_ sizes: [String]) throws -> BackupStart {
            var rows: [[String?]] = sizes.dropLast().enumerated().map { [String($0.offset + 1), "/x", $0.element] }
            rows.append([nil, nil, sizes.last])
            return try BaseBackup(
                conversation: ScriptedConversation([.rows([["0/2000028", "1"]]), .rows(rows)]), serverMajor: 15,
                server: "the server"
            ).start()
        }
        #expect(try start(["3", "4"]).size == 7 * 1024)
        for size in [String(Int64.max), String(1 << 40), "-1", "x"] {
            #expect(throws: PostgresError.self, "\(size)") { try start(["1", size]) }
        }
        let large = [String](repeating: String((1 << 40) - 1), count: 9000)
        #expect(try start(large).size == .max)
    }

    @Test("A manifest of newer servers names the server, one with other bytes in a name has them in hexadecimal")
    func newerManifest() throws {
        var manifest = TestManifest()
        manifest.version = "2,\n\"System-Identifier\": 18446744073709551615,"
        manifest.files = [("a", [])]
        #expect(try manifest.read().systemID == "18446744073709551615")
        let text = String(decoding: manifest.bytes, as: UTF8.self)
        let body = String(text[..<(try #require(text.firstRange(of: "\"Manifest-Checksum\"")).lowerBound)])
        let encoded = TestManifest.sealed(body.replacing("\"Path\": \"a\"", with: "\"Encoded-Path\": \"FF0a\""))
        #expect(try Array(TestManifest.read(encoded).ledger.entries).first?.path == [0xFF, 0x0A])
    }

    /// A manifest that is cut at any byte, changed at any, or of a kind nobody knows is refused.
    @Test("A damaged manifest is refused")
    func damagedManifests() throws {
        var manifest = TestManifest()
        manifest.files = [("a", [1]), ("b", [2])]
        let bytes = manifest.bytes
        for count in 0..<bytes.count {
            #expect(throws: PhysicalProblem.self, "cut at \(count)") {
                try TestManifest.read(Array(bytes.prefix(count)))
            }
        }
        for index in bytes.indices {
            // In the checksum's own hexadecimal digits a letter may change its case.
            var damaged = bytes
            damaged[index] ^= 1
            #expect(throws: PhysicalProblem.self, "byte \(index)") { try TestManifest.read(damaged) }
        }
        let text = String(decoding: bytes, as: UTF8.self)
        let body = String(text[..<(try #require(text.firstRange(of: "\"Manifest-Checksum\"")).lowerBound)])
        for (old, new) in [
            ("Version\": 1", "Version\": 3"), ("CRC32C", "SHA256"), ("\"Size\": 1", "\"Size\": -1"),
            ("\"Timeline\": 1", "\"Timeline\": 0"), ("0/2000028", "0/3000028"), ("\"Path\": \"a\"", "\"Path\": \"\""),
            ("\"WAL-Ranges\"", "\"Others\""),
        ] {
            let other = TestManifest.sealed(body.replacing(old, with: new))
            #expect(throws: PhysicalProblem.self, "\(new)") { try TestManifest.read(other) }
        }
        #expect(throws: PhysicalProblem.self) {
            try TestManifest.read(TestManifest.sealed(String(repeating: "x", count: 1 << 17) + "\n"))
        }
    }

    // MARK: Comparison

    private func ledger(_ files: [(String, UInt8)]) -> FileLedger {
        var ledger = FileLedger()
        for (path, byte) in files {
            ledger.add(path: Array(path.utf8), size: 1, digest: digest(byte))
        }
        return ledger
    }

    @Test("A file that is missing, too much, different or twice is named; the order does not matter")
    func comparison() {
        let files: [(String, UInt8)] = [("a", 1), ("b", 2), ("c", 3), ("pg_tblspc/5/x", 4), ("pg_tblspc/6/y", 5)]
        let manifest = ledger(files)
        let space = ledger([("pg_tblspc/5/x", 4)])
        func problems(_ base: [(String, UInt8)]) -> [String] {
            ManifestComparison.problems(manifest: manifest, archives: ["base": ledger(base), "5": space])
        }
        // The sixth tablespace is a directory in the data directory.
        let inPlace = ("pg_tblspc/6/y", UInt8(5))
        #expect(problems([("a", 1), ("b", 2), ("c", 3), inPlace]).isEmpty)
        #expect(problems([inPlace, ("c", 3), ("a", 1), ("b", 2)]).isEmpty)
        #expect(problems([("a", 1), ("c", 3), inPlace]) == ["'b' is missing"])
        #expect(
            problems([("a", 1), ("b", 9), ("c", 3), inPlace])
                == ["'b' has another size or content than the manifest says"])
        #expect(problems([("a", 1), ("b", 2), ("c", 3), ("d", 4), inPlace]) == ["'d' is not in the manifest"])
        #expect(problems([("a", 1), ("a", 1), ("b", 2), ("c", 3), inPlace]) == ["'a' is not in the manifest"])
        #expect(
            ManifestComparison.problems(manifest: manifest, archives: ["base": ledger(files.dropLast(2) + [inPlace])])
                == ["'pg_tblspc/5/x' is missing"])
        let many = ledger((0..<20).map { ("f\($0)", 1) })
        let told = ManifestComparison.problems(manifest: many, archives: ["base": FileLedger()])
        #expect(told.count == 9 && told.last == "and 12 more")
    }

    // MARK: The log

    @Test("A segment of the log is known by its own header, in either order of bytes")
    func segments() throws {
        let size: UInt64 = 1 << 20
        for bigEndian in [false, true] {
            var log = LogFindings(segmentSize: size)
            let segment = WALSegment(timeline: 1, number: 32, size: size)
            let path = Array("pg_wal/\(segment.name)".utf8)
            #expect(log.segment(at: path) == segment)
            #expect(log.segment(at: Array("pg_wal/00000002.history".utf8)) == nil)
            #expect(log.segment(at: Array("other/\(segment.name)".utf8)) == nil)
            let bytes = testSegment(32, bigEndian: bigEndian)
            try log.add(segment, path: path, size: Int64(size), digest: digest(1), beginning: Array(bytes.prefix(40)))
            try log.check([WALRange(timeline: 1, begin: segment.begin, end: segment.end)], systemID: "7")
            for (range, systemID) in [
                (WALRange(timeline: 1, begin: segment.begin, end: LSN(segment.end.value + 1)), "7"),
                (WALRange(timeline: 1, begin: LSN(segment.begin.value - 1), end: segment.end), "7"),
                (WALRange(timeline: 2, begin: segment.begin, end: segment.end), "7"),
                (WALRange(timeline: 1, begin: segment.begin, end: segment.end), "8"),
            ] {
                #expect(throws: PhysicalProblem.self) { try log.check([range], systemID: systemID) }
            }
            #expect(throws: PhysicalProblem.self) { try log.check([], systemID: "7") }
            for other in [testSegment(33, bigEndian: bigEndian), [UInt8](repeating: 0, count: 40), []] {
                #expect(throws: PhysicalProblem.self) {
                    try log.add(
                        segment, path: path, size: Int64(size), digest: digest(1), beginning: Array(other.prefix(40)))
                }
            }
            #expect(throws: PhysicalProblem.self) {
                try log.add(segment, path: path, size: 5, digest: digest(1), beginning: Array(bytes.prefix(40)))
            }
        }
    }

    // MARK: The server's warnings

    @Test(
        "Of a warning about a page only the file's name is kept, in whatever language",
        arguments: [
            (
                "checksum verification failed in file \"./base/16384/16390\", block 0: calculated 1",
                "base/16384/16390"
            ),
            ("Prüfsummenprüfung in Datei »./base/5/2619_fsm«, Block 3", "base/5/2619_fsm"),
            ("x \"pg_tblspc/16385/PG_15_202209061/5/16400.1\" y", "pg_tblspc/16385/PG_15_202209061/5/16400.1"),
            ("x \"global/1262\"", "global/1262"), ("row (patient marker)", nil), ("base/marker", nil),
            ("base/../../etc/1", nil),
        ] as [(String, String?)])
    func warnings(text: String, file: String?) { #expect(DamagedPages.file(in: text) == file) }
}

@Suite("The answers to BASE_BACKUP")
struct BackupConversationTests {
    private let begin = ScriptedConversation.Step.rows([["0/2000028", "1"]])
    private let spaces = ScriptedConversation.Step.rows([["16385", "/space", "10"], [nil, nil, "300"]])
    private let end = ScriptedConversation.Step.rows([["0/2000100", "1"]])

    private func typed(_ kind: Character, _ content: String = "") -> [UInt8] { Array("\(kind)\(content)".utf8) }

    private var newCopy: [[UInt8]] {
        [
            typed("n", "16385.tar\0/space\0"), typed("d", "ab"), typed("p", "12345678"), typed("d", "c"),
            typed("n", "base.tar\0\0"), typed("d", "de"), typed("m"), typed("d", "mani"), typed("d", "fest"),
        ]
    }

    private func run(
        _ steps: [ScriptedConversation.Step], major: Int
    ) throws -> (BackupStart, BackupEnd, CollectedBackup) {
        let backup = BaseBackup(conversation: ScriptedConversation(steps), serverMajor: major, server: "the server x")
        let start = try backup.start()
        var output = CollectedBackup()
        let end = try backup.stream(start.roots, to: &output)
        return (start, end, output)
    }

    @Test("Servers from 15 on send one copy, whose messages say what they are")
    func newServers() throws {
        let (start, end, output) = try run([begin, spaces, .copy(newCopy), end, .rows([])], major: 15)
        #expect(start.roots == ["16385", "base"] && start.size == 310 * 1024)
        #expect(start.position == LSN(0x200_0028) && end.position == LSN(0x200_0100))
        #expect(output.parts.map(\.root) == ["16385", "base", nil])
        #expect(output.parts.map { String(decoding: $0.bytes, as: UTF8.self) } == ["abc", "de", "manifest"])
        #expect(output.parts.map(\.isEnded) == [true, true, false])
    }

    @Test("Servers before 15 send a copy for each archive, and leave out the zeros at its end")
    func oldServers() throws {
        let copies: [ScriptedConversation.Step] = [
            .copy([Array("ab".utf8), Array("c".utf8)]), .copy([Array("de".utf8)]), .copy([Array("manifest".utf8)]),
        ]
        for major in [13, 14] {
            let (_, _, output) = try run([begin, spaces] + copies + [end, .rows([])], major: major)
            let zeros = [UInt8](repeating: 0, count: 1024)
            #expect(output.parts.map(\.root) == ["16385", "base", nil])
            #expect(
                output.parts.map(\.bytes) == [
                    Array("abc".utf8) + zeros, Array("de".utf8) + zeros, Array("manifest".utf8),
                ])
            #expect(output.parts.map(\.isEnded) == [true, true, false])
        }
    }

    /// What a server reports after everything has been sent still fails the backup.
    @Test("An error after the last byte is an error")
    func lateError() {
        let late = PostgresError.query("x", sqlState: "XX001", on: "the server x")
        let error = #expect(throws: PostgresError.self) {
            try run([begin, spaces, .copy(newCopy), end, .failure(late)], major: 15)
        }
        #expect(error?.sqlState == "XX001")
    }

    /// A copy that is broken off ends as a whole one does: the part must not, and the server's reason must be seen.
    @Test(
        "A copy that the server breaks off is its error, and no archive of it is complete",
        arguments: [13, 14, 15, 17])
    func brokenOff(major: Int) throws {
        let reason = PostgresError.query("x", sqlState: "55000", on: "the server x")
        let copy = ScriptedConversation.Step.copy(major >= 15 ? Array(newCopy.prefix(2)) : [Array("ab".utf8)])
        let backup = BaseBackup(
            conversation: ScriptedConversation([begin, spaces, copy, .failure(reason)]), serverMajor: major,
            server: "the server x")
        let roots = try backup.start().roots
        var output = CollectedBackup()
        let error = #expect(throws: PostgresError.self) { try backup.stream(roots, to: &output) }
        #expect(error?.sqlState == "55000")
        #expect(output.parts.map(\.isEnded) == [false])
    }

    @Test("Answers that the protocol does not have are refused")
    func violations() {
        var wrongName = newCopy
        wrongName[0] = typed("n", "other.tar\0\0")
        var unknown = newCopy
        unknown[2] = typed("z")
        let conversations: [[ScriptedConversation.Step]] = [
            [], [begin], [.rows([]), spaces], [.rows([["x", "1"]]), spaces], [begin, .rows([])],
            [begin, .rows([["16385", "/s", "1"]])], [begin, .rows([["../x", "/s", "1"], [nil, nil, "1"]])],
            [begin, .rows([[nil, nil, nil]])], [begin, spaces, end], [begin, spaces, .copy(newCopy)],
            [begin, spaces, .copy(Array(newCopy.dropLast(3))), end], [begin, spaces, .copy(wrongName), end],
            [begin, spaces, .copy(unknown), end], [begin, spaces, .copy([typed("d", "x")] + newCopy), end],
            [begin, spaces, .copy(newCopy + [typed("m")]), end], [begin, spaces, .copy([[]]), end],
            [begin, spaces, .copy(newCopy), end, .copy([])],
        ]
        for (number, steps) in conversations.enumerated() {
            let error = #expect(throws: PostgresError.self, "conversation \(number)") { try run(steps, major: 15) }
            #expect(error?.sqlState == "08P01", "conversation \(number)")
        }
    }

    @Test("The command is in the words of the server's version")
    func command() {
        let new = BaseBackup.command(label: "it's", serverMajor: 15)
        let old = BaseBackup.command(label: "it's", serverMajor: 14)
        #expect(new.contains("(LABEL 'it''s', ") && new.contains("CHECKPOINT 'fast'"))
        #expect(old.contains("LABEL 'it''s' ") && old.contains(" FAST ") && !old.contains("("))
    }
}
