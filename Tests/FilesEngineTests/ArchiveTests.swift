import Core
import Glibc
import Streams
import TestSupport
import Testing

@testable import FilesEngine

/// The archive, and whether others read it as we do.
@Suite(.needs(.program("tar"))) struct ArchiveTests {
    @Test func stockTarExtractsAnArchiveToTheSameFiles() async throws {
        // Shows that a set opens without us: what GNU tar makes of the archive has the contents that the set recorded,
        // and GNU tar finds no difference to the source either.
        try await withScratchDirectory { scratch in
            let source = "\(scratch)/source"
            try makeEverything(source)
            let hasAttributes = (try? addAttributes(source)) != nil
            let set = try await engine(source).take()
            try writeFile("\(scratch)/files.tar", set.archive)
            mkdir("\(scratch)/out", 0o700)
            let options = "--xattrs --xattrs-include='*' --acls --numeric-owner --same-owner -p"
            // It warns of every time before 1970.
            let words = try shell("tar --warning=no-timestamp \(options) -xf \"$1/files.tar\" -C \"$1/out\"", scratch)
            #expect(words == "")
            let extracted = try await engine([source], under: "\(scratch)/out").take()
            let comparison = ContentsComparison(recorded: set.contents, found: extracted.contents)
            #expect(comparison.isEqual, "\(comparison.failures), attributes: \(hasAttributes)")
            #expect(extracted.listing == set.listing)
            try shell("tar \(options) -df \"$1/files.tar\" -C /", scratch)
        }
    }

    @Test func contentsAreWhatTheDocumentSays() async throws {
        // Shows that the sum over a small tree is the one that docs/contents.md describes, computed here by hand.
        try await withScratchDirectory { scratch in
            let source = "\(scratch)/t"
            try shell(
                #"mkdir "$1"; printf abc > "$1/f"; ln "$1/f" "$1/g"; chmod 640 "$1/f"; chmod 755 "$1""#, source)
            try shell(#"touch -d @1700000000.5 "$1/f"; touch -d @1700000001 "$1""#, source)
            let set = try await engine(source).take()
            let (uid, gid) = (geteuid(), getegid())
            let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
            let file = { (name: String) in
                #"{"gid":\#(gid),"mode":"0640","mtime":"1700000000.500000000","path":"\#(name)","sha256":"\#(digest)","#
                    + #""size":3,"type":"file","uid":\#(uid)}"#
            }
            let names = [FileDigest.sum(of: Array("f".utf8)), FileDigest.sum(of: Array("g".utf8))]
            var both = names[0]
            both.add(names[1])
            let lines = [
                #"{"gid":\#(gid),"mode":"0755","mtime":"1700000001.000000000","path":".","type":"directory","uid":\#(uid)}"#,
                file("f"), file("g"), #"{"links":2,"names":"\#(both.hex)"}"#,
            ]
            #expect(set.listing == ([#"{"tree":"\#(source)"}"#] + lines).map { $0 + "\n" }.joined())
            var sum = RowSum()
            for line in lines { sum.add(FileDigest.sum(of: Array(line.utf8))) }
            #expect(
                set.contents.data == [
                    DataEntry(kind: .tree, schema: "", name: source, columns: [], rows: 3, sum: sum)
                ])
            #expect(set.contents.counts == ["trees": 1, "entries": 3])
        }
    }

    @Test func everyAttributeChangesTheSum() async throws {
        // Shows that no attribute the sum covers can differ unseen: each change of one alone gives other contents.
        try await withScratchDirectory { scratch in
            let source = "\(scratch)/t"
            try shell(
                #"mkdir "$1"; printf abc > "$1/f"; printf abc > "$1/g"; touch -d @1700000000 "$1/f" "$1/g""#, source)
            var seen = [try await engine(source).take().contents.data[0].sum]
            let changes = [
                #"printf abd > f; touch -d @1700000000 f"#, "touch -d @1700000000.000000001 f", "chmod 600 f",
                "rm g; ln f g", "ln -s f s", "rm s; ln -s g s; touch -h -d @1700000000 s",
                "mv g h", "mkfifo p", "setfattr -n user.a -v 1 f", "setfattr -n user.a -v 2 f", "setfacl -m u:77:r f",
                "chown 12 f", "chgrp 34 f",
            ]
            for change in changes {
                if (change.hasPrefix("chown") || change.hasPrefix("chgrp")) && geteuid() != 0 { continue }
                // A time is all that shows some changes to a directory; it stays the same here.
                try shell("cd \"$1\"; \(change); touch -d @1700000000 .", source)
                let sum = try await engine(source).take().contents.data[0].sum
                #expect(!seen.contains(sum), "\(change)")
                seen.append(sum)
            }
        }
    }

    @Test func holesAreStoredAsHoles() async throws {
        // Shows that a file of a gigabyte with a few bytes in it takes a few kilobytes in the archive, and that its digest
        // is that of all its bytes.
        try await withScratchDirectory { scratch in
            try shell(
                #"""
                cd "$1"; truncate -s 100M big; for at in 0 7 63 99; do
                  printf mark | dd of=big bs=1 seek=$((at * 1048576 + 17)) conv=notrunc status=none; done
                """#, scratch)
            let set = try await engine("\(scratch)/big").take()
            #expect(set.archive.count < 1 << 20)
            let expected = try shell(#"sha256sum < "$1/big" | cut -c1-64"#, scratch).prefix(64)
            #expect(set.listing.contains("\"sha256\":\"\(expected)\""))
            mkdir("\(scratch)/out", 0o700)
            try await engine(["\(scratch)/big"], under: "\(scratch)/out").restore(set.request("r"))
            var restored = stat()
            #expect(stat("\(scratch)/out\(scratch)/big", &restored) == 0)
            #expect(restored.st_size == 100 << 20 && restored.st_blocks < 1000)
        }
    }

    @Test func aReaderTakesAnArchiveInAnyPieces() async throws {
        // Shows that where chunks end means nothing: the contents are the same for pieces of any size.
        try await withScratchDirectory { scratch in
            try makeEverything("\(scratch)/source")
            let set = try await engine("\(scratch)/source").take()
            var random = SeededRandom(seed: 3)
            for _ in 0..<5 {
                var reader = TarReader(TreeDigest(write: { _ in }, beat: {}))
                var rest = set.archive[...]
                while !rest.isEmpty {
                    let piece = Array(rest.prefix(Int.random(in: 1...70_000, using: &random)))
                    try piece.withUnsafeBytes { try reader.update($0) }
                    rest = rest.dropFirst(piece.count)
                }
                try reader.finish()
                #expect(reader.visitor.contents == set.contents)
            }
        }
    }

    @Test func aTruncatedArchiveIsRefusedWhereverItEnds() async throws {
        // Shows that no beginning of an archive passes for the whole.
        try await withScratchDirectory { scratch in
            try shell(#"mkdir "$1/t"; printf abc > "$1/t/f"; ln -s f "$1/t/l"; mkdir "$1/t/d""#, scratch)
            let archive = try await engine("\(scratch)/t").take().archive
            for length in stride(from: 0, to: archive.count, by: 61) {
                var reader = TarReader(TreeDigest(write: { _ in }, beat: {}))
                #expect(throws: (any Error).self, "\(length) of \(archive.count)") {
                    try archive[..<length].withUnsafeBytes { try reader.update($0) }
                    try reader.finish()
                }
            }
        }
    }

    @Test func aDamagedArchiveNeverGivesTheSameContents() async throws {
        // Shows that a byte changed anywhere but in padding is refused or shows in the sum; and that whatever is read,
        // the reader ends by itself.
        try await withScratchDirectory { scratch in
            try makeEverything("\(scratch)/source")
            let set = try await engine("\(scratch)/source", excludes: ["scan.bin", "holes"]).take()
            var random = SeededRandom(seed: 4)
            for _ in 0..<400 {
                var archive = set.archive
                let place = Int.random(in: 0..<archive.count, using: &random)
                archive[place] ^= UInt8.random(in: 1...255, using: &random)
                var reader = TarReader(TreeDigest(write: { _ in }, beat: {}))
                do {
                    try archive.withUnsafeBytes { try reader.update($0) }
                    try reader.finish()
                } catch {
                    continue
                }
                if reader.visitor.contents == set.contents {
                    // Only what no reader looks at: zeros after a file, or the name and time of an extended header.
                    #expect(isPadding(place, in: set.archive), "\(place)")
                }
            }
        }
    }

    /// Whether the byte stands in the filling of a block.
    private func isPadding(_ place: Int, in archive: [UInt8]) -> Bool {
        let start = place / 512 * 512
        // From the changed byte to the end of its block there is nothing but zeros.
        return archive[place..<min(start + 512, archive.count)].allSatisfy { $0 == 0 }
    }
}
