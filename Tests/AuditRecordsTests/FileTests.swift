import AuditRecordsEngine
import Core
import Glibc
import Streams
import TestSupport
import Testing

@Suite("Audit records from files that rotate")
struct FileTests {
    private func trail(_ directory: String, _ pattern: String = "audit.jsonl*") -> Trail {
        Trail(FileRecords(pattern: "\(directory)/\(pattern)", idMember: "id"))
    }

    private func append(_ path: String, _ text: String) throws {
        guard let file = fopen(path, "a") else { throw TestFailure("cannot open \(path)") }
        defer { fclose(file) }
        fputs(text, file)
    }

    private func move(_ from: String, _ to: String) throws {
        guard rename(from, to) == 0 else { throw TestFailure("cannot rename \(from)") }
    }

    /// Numbered rotation, several times between two sets, with the oldest packed: every record is stored once.
    @Test func followsNumberedRotation() async throws {
        try await withScratchDirectory { directory in
            let file = directory + "/audit.jsonl"
            let trail = self.trail(directory)
            try append(file, lines(1...4))
            #expect(try await trail.back().ids == "1-4")
            try append(file, lines(5...6))
            try move(file, file + ".1")
            try append(file, lines(7...8))
            try move(file + ".1", file + ".2")
            try move(file, file + ".1")
            try append(file, lines(9...9))
            #expect(try runProgram("/bin/gzip", [file + ".2"]).status == 0)
            trail.hour()
            let second = try await trail.back()
            #expect(second.ids == "5-9" && second.records == lines(5...9))
        }
    }

    /// Dated rotation, where names do not sort as records do: the records' own ids give the order.
    @Test func followsDatedRotation() async throws {
        try await withScratchDirectory { directory in
            try append(directory + "/audit.jsonl-20250131", lines(4...6))
            try append(directory + "/audit.jsonl-20241230", lines(1...3))
            try append(directory + "/audit.jsonl", lines(7...8))
            #expect(try await trail(directory).back().records == lines(1...8))
        }
    }

    /// A line that is still being written waits, and is stored whole by the next run.
    @Test func leavesTheUnfinishedLine() async throws {
        try await withScratchDirectory { directory in
            let file = directory + "/audit.jsonl"
            let trail = self.trail(directory)
            try append(file, lines(1...2) + "{\"id\":3,\"who\"")
            #expect(try await trail.back().records == lines(1...2))
            #expect(try await trail.waits()?.details["waiting"] == .integer(0))
            try append(file, ":\"x\"}\n")
            trail.hour()
            #expect(try await trail.back().records == "{\"id\":3,\"who\":\"x\"}\n")
        }
    }

    /// Of a rotated file the last line may lack its newline; half a record there is a broken one.
    @Test func readsTheEndOfRotatedFiles() async throws {
        try await withScratchDirectory { directory in
            try append(directory + "/audit.jsonl.1", lines(1...1) + record(2))
            try append(directory + "/audit.jsonl", lines(3...3))
            #expect(try await trail(directory).back().records == lines(1...3))
            try append(directory + "/audit.jsonl.1", "\n{\"id\":")
            let found = try await failure { try await trail(directory).back() }
            #expect(found.kind == .badRecord && found.object.contains("audit.jsonl.1"))
        }
    }

    /// A rotation while the set is made changes nothing: the files are held open.
    @Test func readsThroughARotation() async throws {
        try await withScratchDirectory { directory in
            let file = directory + "/audit.jsonl"
            try append(file, lines(1...60_000))
            let records = FileRecords(pattern: file + "*", idMember: "id")
            let source = try await records.records(after: nil, through: .number(60_000))
            let text = try await onThread("read") {
                var bytes = try source.next().map { Array($0.bytes) } ?? []
                guard rename(file, file + ".1") == 0 else { throw TestFailure("no rotation") }
                try writeFile(file, lines(60_001...60_002))
                bytes += try source.collect(limit: 1 << 24)
                return bytes
            }
            #expect(text == Array(lines(1...60_000).utf8))
        }
    }

    /// A file and its packed copy, while it is being packed, are one; two others that begin alike are an overlap.
    @Test func tellsPackingFromCopies() async throws {
        try await withScratchDirectory { directory in
            let file = directory + "/audit.jsonl.1"
            try append(file, lines(1...3))
            try append(file + ".gz", "half a pack")
            #expect(try await trail(directory).back().records == lines(1...3))
            try append(directory + "/audit.jsonl.copy", lines(1...3))
            let found = try await failure { try await trail(directory).back() }
            #expect(found.kind == .overlap && found.cause.contains("id 1"))
        }
    }

    /// Files that overlap in part are no trail.
    @Test func seesOverlaps() async throws {
        try await withScratchDirectory { directory in
            try append(directory + "/audit.jsonl.1", lines(1...5))
            try append(directory + "/audit.jsonl", lines(4...8))
            let overlap = try await failure { try await trail(directory).back() }
            #expect(overlap.cause == "id 4 stands after id 5")
        }
    }

    /// A file that was rotated out of sight is a gap, named by the ids around it.
    @Test func seesWhatWasRotatedAway() async throws {
        try await withScratchDirectory { directory in
            let chain = trail(directory)
            try append(directory + "/audit.jsonl.1", lines(1...5))
            try await chain.back()
            chain.hour()
            unlink(directory + "/audit.jsonl.1")
            try append(directory + "/audit.jsonl", lines(9...12))
            let gap = try await failure { try await chain.back() }
            #expect(gap.kind == .gap && gap.cause.contains("id 5") && gap.cause.contains("id 9"))
        }
    }

    /// Ids that begin anew are seen, in the file itself and in a new one.
    @Test func seesIdsThatBeginAnew() async throws {
        try await withScratchDirectory { directory in
            let chain = trail(directory)
            let file = directory + "/audit.jsonl"
            try append(file, lines(1...5))
            try await chain.back()
            chain.hour()
            try append(file, lines(1...2))
            let inside = try await failure { try await chain.back() }
            #expect(inside.cause == "id 1 stands after id 5")

            unlink(file)
            try append(file + ".1", lines(3...5))
            backdate(file + ".1")
            try append(file, lines(1...2))
            let anew = try await failure { try await chain.back() }
            #expect(anew.kind == .disorder && anew.object == file)
        }
    }

    private func backdate(_ path: String) {
        let times = [timespec(tv_sec: 1000, tv_nsec: 0), timespec(tv_sec: 1000, tv_nsec: 0)]
        utimensat(AT_FDCWD, path, times, 0)
    }

    /// No file, a directory, a file that may not be read, a line that is none, a broken pack: each is an error of the
    /// source or of the setting, with its place.
    @Test func namesWhatCannotBeRead() async throws {
        try await withScratchDirectory { directory in
            let none = try await failure { try await trail(directory).back() }
            #expect(none.kind == .unreadable && none.cause == "no file matches")
            mkdir(directory + "/audit.jsonl.d", 0o700)
            #expect(try await failure { try await trail(directory).back() }.kind == .configuration)
            rmdir(directory + "/audit.jsonl.d")

            try append(directory + "/audit.jsonl", lines(1...2) + "\(marker)\n" + lines(3...3))
            let line = try await failure { try await trail(directory).back() }
            #expect(line.kind == .badRecord && line.object.contains("after id 2"))

            unlink(directory + "/audit.jsonl")
            try append(directory + "/audit.jsonl.gz", "no pack at all, \(marker)")
            #expect(try await failure { try await trail(directory).back() }.kind == .badRecord)
        }
    }

    /// A file that shrinks while it is read gives no set.
    @Test func seesAFileShrink() async throws {
        try await withScratchDirectory { directory in
            let file = directory + "/audit.jsonl"
            try append(file, lines(1...60_000))
            let records = FileRecords(pattern: file, idMember: "id")
            let source = try await records.records(after: nil, through: .number(60_000))
            let found = try await failure {
                try await onThread("read") {
                    _ = try source.next()
                    truncate(file, 0)
                    _ = try source.collect(limit: 1 << 24)
                }
            }
            #expect(found.cause == "it was truncated while it was read")
        }
    }
}
