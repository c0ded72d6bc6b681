import Core
import Glibc
import TestSupport
import Testing

@testable import FilesEngine

/// Sets that whoever holds a public key could have written: nothing escapes the destination.
struct HostileArchiveTests {
    /// A member as a hostile writer would make it, with a checksum that is right.
    private func member(
        _ name: String, type: Character = "0", link: String = "", size: Int = 0, bytes: String = "",
        prefix: String = ""
    ) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: 512)
        func put(_ text: String, _ start: Int) {
            block.replaceSubrange(start..<start + text.utf8.count, with: text.utf8)
        }
        put(name, 0)
        for (start, text) in [(100, "0000644"), (108, "0000000"), (116, "0000000")] { put(text, start) }
        let length = String(max(size, bytes.utf8.count), radix: 8)
        put(String(repeating: "0", count: 11 - length.count) + length, 124)
        put("14000000000", 136)
        put("        ", 148)
        put(String(type), 156)
        put(link, 157)
        put("ustar", 257)
        put("00", 263)
        put(prefix, 345)
        let sum = String(block.reduce(0) { $0 + Int($1) }, radix: 8)
        put(String(repeating: "0", count: 6 - sum.count) + sum, 148)
        block[154] = 0
        let padding = (512 - bytes.utf8.count % 512) % 512
        return block + bytes.utf8 + [UInt8](repeating: 0, count: padding)
    }

    private func extended(_ records: [String], global: Bool = false) -> [UInt8] {
        let body = records.map { record in
            var length = record.utf8.count + 3
            while "\(length) \(record)\n".utf8.count != length { length += 1 }
            return "\(length) \(record)\n"
        }.joined()
        return member("x", type: global ? "g" : "x", bytes: body)
    }

    private func archive(_ members: [UInt8]...) -> [UInt8] {
        extended(["comment=lifeboat tree /t"], global: true) + member("t/", type: "5") + members.joined()
            + [UInt8](repeating: 0, count: 1024)
    }

    /// Restores the archive under a directory beside a file that must not change, and returns the failure.
    private func restore(_ archive: [UInt8], rows: Int64 = 2) async throws -> any Failure {
        try await withScratchDirectory { scratch in
            mkdir("\(scratch)/out", 0o755)
            try writeFile("\(scratch)/outside", "as it was")
            let empty = try await set(archive, rows: rows, from: scratch)
            let failure = try await failure(.restoreFailedOriginalIntact) {
                do {
                    try await engine(["/t"], under: "\(scratch)/out").restore(empty.request("r"))
                } catch let failure as any Failure {
                    // The operation says so of every failure before the exchange.
                    throw JobFailure(failure, as: .restoreFailedOriginalIntact)
                }
            }
            #expect(try names("\(scratch)/out") == [], "something stays at the destination")
            #expect(try text("\(scratch)/outside") == "as it was")
            #expect(try names(scratch) == ["out", "outside"])
            return failure
        }
    }

    private func set(_ archive: [UInt8], rows: Int64, from scratch: String) async throws -> TakenSet {
        try writeFile("\(scratch)/honest", "x")
        var set = try await engine("\(scratch)/honest").take()
        unlink("\(scratch)/honest")
        set.parts = ["files.tar": archive, "listing.jsonl": []]
        let entry = DataEntry(kind: .tree, schema: "", name: "/t", columns: [], rows: rows, sum: RowSum())
        set.contents = Contents(data: [entry], schema: [])
        return set
    }

    @Test func whatWouldEscapeIsRefusedAndLeavesNothing() async throws {
        // Shows for each way out that the restore is refused by name, that nothing was made outside the destination, and
        // that nothing stays inside.
        let cases: [(String, [UInt8], String)] = [
            ("an absolute name", archive(member("/outside", bytes: "new")), "not below its tree"),
            ("a name beside the tree", archive(member("tt", bytes: "new")), "not below its tree"),
            ("the way up", archive(member("t/../../outside", bytes: "new")), "no plain path"),
            ("the way up in a record", archive(extended(["path=t/../outside"]) + member("x")), "no plain path"),
            ("an empty piece", archive(member("t//f")), "no plain path"),
            ("a name in two pieces", archive(member("outside", prefix: "t")), "two pieces"),
            (
                "through a symbolic link", archive(member("t/l", type: "2", link: ".."), member("t/l/outside")),
                "stands before its directory"
            ),
            (
                "a link in the place of a file",
                archive(member("t/l", type: "2", link: "../../outside"), member("t/l", bytes: "new")), "File exists"
            ),
            ("a hard link out", archive(member("t/h", type: "1", link: "outside")), "not below its tree"),
            ("a hard link up", archive(member("t/h", type: "1", link: "t/../outside")), "no plain path"),
            (
                "a hard link through a symbolic link",
                archive(member("t/l", type: "2", link: "../.."), member("t/h", type: "1", link: "t/l/outside")),
                "Not a directory"
            ),
            (
                "a hard link to a symbolic link",
                archive(
                    member("t/l", type: "2", link: "../../outside"), member("t/h", type: "1", link: "t/l")),
                "no file before it"
            ),
            ("a hard link to nothing", archive(member("t/h", type: "1", link: "t/none")), "no file before it"),
            ("a device", archive(member("t/d", type: "3")), "device"),
            ("a block device", archive(member("t/d", type: "4")), "device"),
            ("an old long name", archive(member("././@LongLink", type: "L", bytes: "t/x")), "type"),
            ("a second tree", archive(extended(["comment=lifeboat tree /etc"], global: true)), "'/etc'"),
            ("the tree twice", archive(extended(["comment=lifeboat tree /t"], global: true)), "twice"),
            ("a record nobody knows", archive(extended(["LIBARCHIVE.x=1"]) + member("t/f")), "nobody knows"),
            (
                "an attribute of the machine", archive(extended(["SCHILY.xattr.security.selinux=x"]) + member("t/f")),
                "attribute"
            ),
            ("a size beyond the archive", archive(member("t/f", size: 1 << 30)), "too early"),
            ("bytes of a directory", archive(member("t/d", type: "5", bytes: "x")), "no file"),
            ("something after the end", archive() + member("t/f"), "follows its end"),
        ]
        for (name, bytes, words) in cases {
            let failure = try await restore(bytes)
            #expect(failure.cause.contains(words), "\(name): \(failure.cause)")
        }
    }

    @Test func moreThanTheContentsSayIsNotRestored() async throws {
        // Shows that an archive with further files than the set's contents, which are authenticated on their own, does not
        // reach the destination.
        let failure = try await restore(archive(member("t/f", bytes: "new")), rows: 1)
        #expect(failure.operation == "prove the restored files")
    }
}
