import Core
import Glibc
import Streams
import TestSupport
import Testing

@testable import FilesEngine

struct SnapshotTests {
    // MARK: What is not there

    @Test func whatCannotBeReadIsAFailureByName() async throws {
        // Shows that a path that is missing, a link, an empty directory and an unreadable file each end the backup with 10
        // and name the path.
        try await withScratchDirectory { scratch in
            mkdir("\(scratch)/empty", 0o700)
            symlink("empty", "\(scratch)/link")
            try shell(#"mkdir "$1/fed"; touch "$1/fed/core.1" "$1/fed/core.2""#, scratch)
            let missing = try await failure(.source) { _ = try await engine("\(scratch)/none").take() }
            #expect(missing.object.contains("\(scratch)/none") && missing.hint.contains("mounted"))
            let link = try await failure(.source) { _ = try await engine("\(scratch)/link").take() }
            #expect(link.cause.contains("symbolic link"))
            let empty = try await failure(.source) { _ = try await engine("\(scratch)/empty").take() }
            #expect(empty.object.contains("/empty") && empty.hint.contains("FILES_ALLOW_EMPTY"))
            // Everything excluded is nothing at all.
            try await failure(.source) { _ = try await engine("\(scratch)/fed", excludes: ["core.*"]).take() }
            // Root may read every file but this kind.
            let closed = "/proc/sys/vm/compact_memory"
            if exists(closed) {
                let unreadable = try await failure(.source) { _ = try await engine(closed).take() }
                #expect(unreadable.object.contains(closed) && unreadable.hint.contains("DAC_READ_SEARCH"))
            }
        }
    }

    @Test func aForcedPictureHoldsWhatStandsThereEvenNothing() async throws {
        // Shows that a safety backup succeeds of a destination where a tree is empty and another missing.
        try await withScratchDirectory { scratch in
            mkdir("\(scratch)/empty", 0o700)
            let request = SnapshotRequest(previous: nil, isForced: true, meter: ProgressMeter())
            let set = try await engine("\(scratch)/empty", "\(scratch)/none").take(request)
            #expect(set.contents.data.map(\.name) == ["\(scratch)/empty"])
            #expect(set.contents.data.map(\.rows) == [1])
            let source = try FilesSource(paths: ["\(scratch)/empty"], allowsEmpty: true)
            #expect(try await source.engine().take().contents.data.map(\.rows) == [1])
        }
    }

    @Test func aSingleFileIsATree() async throws {
        // Shows that a path may be a file: it is stored and restored under its own name.
        try await withScratchDirectory { scratch in
            try writeFile("\(scratch)/one", "content")
            let set = try await engine("\(scratch)/one").take()
            #expect(set.contents.data.map(\.rows) == [1])
            try writeFile("\(scratch)/one", "changed")
            try await engine("\(scratch)/one").restore(
                set.request("r"), safety: try await engine("\(scratch)/one").take())
            #expect(try text("\(scratch)/one") == "content")
        }
    }

    // MARK: Changes meanwhile

    @Test func aFileThatChangesWhileItIsReadIsNoted() async throws {
        // Shows it on the archive's own reader, without threads that run ahead: the file is changed between two of its
        // chunks.
        for (name, change) in [
            ("grows", #"printf more >> "$1""#), ("shrinks", #"truncate -s 2000000 "$1""#),
            ("overwritten", #"printf new | dd of="$1" conv=notrunc status=none"#),
        ] {
            try await withScratchDirectory { scratch in
                let path = "\(scratch)/\(name)"
                try shell(#"head -c 5000000 /dev/zero > "$1""#, path)
                let notes = PictureNotes()
                let archive = TreeArchive(try FilesSource(paths: [path]), isForced: false, notes: notes)
                var reader = TarReader(TreeDigest(write: { _ in }, beat: {}))
                var isFirst = true
                while let chunk = try archive.next() {
                    try reader.update(chunk.bytes)
                    if isFirst { try shell(change, path) }
                    isFirst = false
                }
                try reader.finish()
                #expect(reader.visitor.contents.data.map(\.rows) == [1])
                #expect(notes.exceptions == ["1 file changed while it was read"], "\(name)")
                #expect(notes.shownNotes == ["'\(path)' changed while it was read"])
                #expect(notes.lines == [Array(#"{"note":"changed","path":"\#(path)"}"#.utf8)])
            }
        }
    }

    @Test func aFileThatVanishesBeforeItIsReadIsNoted() async throws {
        // Shows that what was listed and is gone when its turn comes is passed over and named.
        try await withScratchDirectory { scratch in
            let tree = "\(scratch)/tree"
            try shell(#"mkdir -p "$1/z"; cd "$1"; head -c 3000000 /dev/zero > a; printf x > b; printf x > z/c"#, tree)
            let notes = PictureNotes()
            let archive = TreeArchive(try FilesSource(paths: [tree]), isForced: false, notes: notes)
            var isFirst = true
            while try archive.next() != nil {
                if isFirst { try shell(#"rm -r "$1/b" "$1/z""#, tree) }
                isFirst = false
            }
            #expect(notes.exceptions == ["2 files were removed before they could be read"])
            #expect(notes.shownNotes.count == 2 && notes.shownNotes[0].contains("\(tree)/b"))
        }
    }

    @Test func manifestsNameNoFiles() async throws {
        // Shows that what lies in clear has counts only: no name of a file is in facts or exceptions.
        try await withScratchDirectory { scratch in
            let tree = "\(scratch)/marker-of-a-patient"
            try shell(#"mkdir "$1"; printf x > "$1/f"; mkfifo "$1/p""#, tree)
            if geteuid() == 0 { try shell(#"mknod "$1/device" c 1 3"#, tree) }
            let set = try await engine(tree).take()
            let manifest = set.manifest.json().canonicalText
            #expect(!manifest.contains("marker-of-a-patient"))
            if geteuid() == 0 {
                #expect(set.facts.exceptions == ["1 device is not in the set"])
                #expect(set.facts.notes.contains { $0.contains("\(tree)/device") })
                #expect(set.listing.contains(#"{"note":"device","path":"\#(tree)/device"}"#))
            }
        }
    }

    // MARK: What is left out

    @Test func excludesLeaveOutWhatTheySay() async throws {
        // Shows both kinds of pattern: names anywhere, and whole paths, whose star stops at a slash.
        try await withScratchDirectory { scratch in
            let tree = "\(scratch)/t"
            try shell(
                #"""
                mkdir -p "$1/cache/deep" "$1/a/cache" "$1/a/logs"; cd "$1"
                touch keep x.tmp .y.tmp a/z.tmp cache/deep/f a/cache/g a/logs/1.log a/logs/old-2.log
                """#, tree)
            let source = try FilesSource(
                paths: [tree], excludes: ["*.tmp", "\(tree)/cache", "\(tree)/*/*.log", "old-[0-9].log"])
            let set = try await source.engine().take()
            let paths = set.listing.split(separator: "\n").compactMap { line -> Substring? in
                guard let start = line.firstRange(of: #""path":""#) else { return nil }
                return line[start.upperBound...].prefix { $0 != "\"" }
            }
            #expect(paths.sorted() == [".", "a", "a/cache", "a/cache/g", "a/logs", "a/logs/1.log", "keep"])
        }
    }

    @Test(.needs(.mounting)) func otherFileSystemsAreCrossedOrNotedAsAskedFor() async throws {
        // Shows that with one file system a mounted directory is stored without its content, and that is noted; otherwise
        // with it; and that the kernel's own file systems are left out in any case.
        try await withScratchDirectory { scratch in
            let tree = "\(scratch)/t"
            try shell(#"mkdir -p "$1/mounted" "$1/proc"; touch "$1/f""#, tree)
            try await withMount("\(tree)/mounted") {
                try writeFile("\(tree)/mounted/inside", "x")
                #expect(mount("proc", "\(tree)/proc", "proc", 0, nil) == 0)
                defer { umount2("\(tree)/proc", Int32(MNT_DETACH)) }
                let many = try await engine(tree).take()
                #expect(many.listing.contains(#""path":"mounted/inside""#))
                #expect(many.facts.exceptions == ["1 file system of the kernel is not in the set"])
                let one = try await FilesSource(paths: [tree], oneFileSystem: true).engine().take()
                #expect(one.listing.contains(#""path":"mounted""#) && !one.listing.contains("inside"))
                #expect(
                    one.facts.exceptions.contains(
                        "the content of 1 directory on another file system is not in the set"))
                #expect(one.facts.notes.contains { $0.contains("\(tree)/mounted") })
            }
        }
    }

    @Test func socketsAreNotedAndNotStored() async throws {
        // Shows that a socket, which nothing could restore, does not stop a backup.
        try await withScratchDirectory { scratch in
            try shell(
                #"mkdir "$1/t"; touch "$1/t/f"; cd "$1/t"; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("s")'"#,
                scratch)
            let set = try await engine("\(scratch)/t").take()
            #expect(set.contents.data.map(\.rows) == [2])
            #expect(set.facts.exceptions == ["1 socket is not in the set"])
        }
    }

    // MARK: Bounds

    @Test func directoriesDeeperThanTheLimitAreRefusedByName() async throws {
        // Shows that a path longer than the system's own calls take is stored and restored, and that the depth has a limit
        // with a name rather than an exhausted table of open files.
        try await withScratchDirectory { scratch in
            let piece = String(repeating: "d", count: 200)
            try shell(
                #"mkdir "$1/t"; cd "$1/t"; i=0; while [ $i -lt 30 ]; do mkdir $2; cd -P ./$2; i=$((i+1)); done; printf x > f"#,
                scratch, piece)
            let set = try await engine("\(scratch)/t").take()
            #expect(set.contents.data.map(\.rows) == [32])
            try await engine("\(scratch)/t").restore(set.request("r"), safety: set)
            #expect(try await engine("\(scratch)/t").take().contents == set.contents)
            try shell(
                #"mkdir "$1/u"; cd "$1/u"; i=0; while [ $i -lt 300 ]; do mkdir d; cd d; i=$((i+1)); done"#, scratch)
            let failure = try await failure(.source) { _ = try await engine("\(scratch)/u").take() }
            #expect(failure.hint.contains("256"))
        }
    }

    @Test func filesWithSeveralNamesAreRememberedUpToALimit() async throws {
        // Shows the table that pairs the names: further names are found, complete ones make room, and what is beyond the
        // limit is a file of its own.
        var links = HardLinks(most: 2)
        let file = { (number: UInt64) in FileIdentity(device: 1, inode: number) }
        #expect(links.meet(file(1), Array("a".utf8), links: 2) == .first)
        #expect(links.meet(file(2), Array("b".utf8), links: 3) == .first)
        #expect(links.meet(file(3), Array("c".utf8), links: 2) == .forgotten)
        #expect(links.meet(file(1), Array("d".utf8), links: 2) == .further(Array("a".utf8)))
        #expect(links.meet(file(3), Array("e".utf8), links: 2) == .first)
        #expect(links.meet(file(2), Array("f".utf8), links: 3) == .further(Array("b".utf8)))
    }

    @Test func aDirectoryIsReadInBatches() async throws {
        // Shows that names come in pieces of a bounded size, each once.
        try await withScratchDirectory { scratch in
            try shell(#"cd "$1"; for i in $(seq 500); do : > file-$i; done"#, scratch)
            let names = try DirectoryNames(path: scratch, batchSize: 100)
            var seen: Set<[UInt8]> = []
            while let name = try names.next() { #expect(seen.insert(name).inserted) }
            #expect(seen.count == 500)
        }
    }

    @Test func aPictureThatIsGivenUpEndsBothParts() async throws {
        // Shows that neither part hangs when the other is cancelled, and that such a picture has no contents.
        try await withScratchDirectory { scratch in
            try shell(#"mkdir "$1/t"; cd "$1/t"; head -c 20000000 /dev/zero > a; touch b"#, scratch)
            let snapshot = try await engine("\(scratch)/t").picture()
            var parts: [Part] = []
            for try await part in snapshot.parts { parts.append(part) }
            let (archive, listing) = (parts[0].source, parts[1].source)
            _ = try await onThread("first") { try archive.next() }
            archive.cancel()
            await #expect(throws: CancellationError.self) {
                try await onThread("archive") { while try archive.next() != nil {} }
            }
            await #expect(throws: CancellationError.self) {
                try await onThread("listing") { while try listing.next() != nil {} }
            }
            try await failure(.source) { _ = try await snapshot.finish() }
            await snapshot.cancel()
        }
    }

    @Test func aListingNobodyReadsFurtherEndsTheArchive() async throws {
        // Shows that a listing which cannot be stored fails the archive too, instead of holding it back for ever.
        try await withScratchDirectory { scratch in
            try shell(#"mkdir "$1/t"; cd "$1/t"; for i in $(seq 20000); do echo > f$i; done"#, scratch)
            let snapshot = try await engine("\(scratch)/t").picture()
            var parts: [Part] = []
            for try await part in snapshot.parts { parts.append(part) }
            let (archive, listing) = (parts[0].source, parts[1].source)
            listing.cancel()
            await #expect(throws: CancellationError.self) {
                try await onThread("archive") { while try archive.next() != nil {} }
            }
            await snapshot.cancel()
        }
    }
}
