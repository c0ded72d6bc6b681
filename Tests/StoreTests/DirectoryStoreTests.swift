import Core
import Glibc
import TestSupport
import Testing

@testable import FileSystemStore

/// What the port does not say and a directory has to do all the same.
@Suite struct DirectoryStoreTests {
    @Test("directories are for their owner only, and so are files")
    func permissions() async throws {
        try await withScratchDirectory { root in
            let store = try DirectoryStore(root: root, random: testRandom)
            try await store.put("daily/set/part", [1])
            #expect(mode(of: "\(root)/daily") == 0o700)
            #expect(mode(of: "\(root)/daily/set") == 0o700)
            #expect(mode(of: "\(root)/daily/set/part") == 0o600)
        }
    }

    @Test("a root that is missing, a file or relative is refused, and never made")
    func root() async throws {
        try await withScratchDirectory { root in
            let missing = #expect(throws: FileStoreError.self) {
                try DirectoryStore(root: "\(root)/no/such", random: testRandom)
            }
            #expect(missing == .rootMissing(path: "\(root)/no/such"))
            #expect(missing?.hint.contains("mkdir -p \(root)/no/such") == true)
            #expect(missing?.exitCode == .store)
            #expect(try entries(below: root).isEmpty)
            try writeFile("\(root)/file", [1])
            #expect(throws: FileStoreError.rootNotDirectory(path: "\(root)/file")) {
                try DirectoryStore(root: "\(root)/file/", random: testRandom)
            }
            #expect(throws: FileStoreError.self) { try DirectoryStore(root: "relative", random: testRandom) }
        }
    }

    @Test("a root that goes away is an error for every call, not an empty store")
    func rootGone() async throws {
        try await withScratchDirectory { scratch in
            let root = "\(scratch)/root"
            mkdir(root, 0o700)
            let store = try DirectoryStore(root: root, random: testRandom)
            rmdir(root)
            await #expect(throws: FileStoreError.rootMissing(path: root)) { try await store.put("a/b", [1]) }
            await #expect(throws: FileStoreError.rootMissing(path: root)) { try await store.put("a", [1]) }
            await #expect(throws: FileStoreError.rootMissing(path: root)) { for try await _ in store.list("") {} }
            #expect(try entries(below: scratch).isEmpty)
        }
    }

    @Test("empty directories go with their last object, the root stays")
    func emptyDirectories() async throws {
        try await withScratchDirectory { root in
            let store = try DirectoryStore(root: root, random: testRandom)
            try await store.put("a/b/c/1", [1])
            try await store.put("a/2", [1])
            try await store.delete("a/b/c/1")
            #expect(try entries(below: root).sorted() == ["a", "a/2"])
            try await store.delete("a/2")
            #expect(try entries(below: root).isEmpty)
            #expect(access(root, F_OK) == 0)
        }
    }

    @Test("foreign things are not listed, and an error only where they are addressed")
    func foreign() async throws {
        try await withScratchDirectory { root in
            let store = try DirectoryStore(root: root, random: testRandom)
            try await store.put("daily/part", [1])
            symlink("\(root)/daily/part", "\(root)/daily/link")
            symlink("/etc", "\(root)/etc")
            mkfifo("\(root)/pipe", 0o600)
            mkdir("\(root)/lost+found", 0o000)
            try writeFile("\(root)/daily/.hidden", [1])
            try writeFile("\(root)/daily/.lifeboat-0123.tmp", [1])
            try writeFile("\(root)/daily/not-utf8-\u{1}".utf8.map { $0 == 1 ? 0xFF : $0 }, [1])
            var listed: [String] = []
            for try await info in store.list("") { listed.append(info.key) }
            #expect(listed == ["daily/part"])
            for key in ["daily/link", "pipe", "etc/passwd"] {
                await #expect(throws: FileStoreError.self, "get \(key)") { try await store.get(key, range: nil) }
                await #expect(throws: FileStoreError.self, "stat \(key)") { try await store.stat(key) }
                await #expect(throws: FileStoreError.self, "put \(key)") { try await store.put(key, [1]) }
                await #expect(throws: FileStoreError.self, "create \(key)") {
                    try await store.put(key, [1], createOnly: true)
                }
                await #expect(throws: FileStoreError.self, "delete \(key)") { try await store.delete(key) }
            }
            for key in ["lost+found/x", ".hidden", "daily/.lifeboat-0123.tmp"] {
                await #expect(throws: FileStoreError.self) { try await store.put(key, [1]) }
            }
            #expect(try await store.read("daily/part") == [1])
        }
    }

    @Test("an object cannot stand where a directory stands, nor below another object")
    func fileAgainstDirectory() async throws {
        try await withScratchDirectory { root in
            let store = try DirectoryStore(root: root, random: testRandom)
            try await store.put("a/b", [1])
            for createOnly in [false, true] {
                let above = await #expect(throws: FileStoreError.self) {
                    try await store.put("a", [2], createOnly: createOnly)
                }
                #expect(above == .foreign(path: "\(root)/a", what: "a directory"))
                let below = await #expect(throws: FileStoreError.self) {
                    try await store.put("a/b/c", [2], createOnly: createOnly)
                }
                #expect(below?.cause == "a piece of its path is a file")
            }
            #expect(try entries(below: root).sorted() == ["a", "a/b"])
        }
    }

    @Test("a file that shrinks while it is read is an error that names it")
    func shrunk() async throws {
        try await withScratchDirectory { root in
            let store = try DirectoryStore(root: root, random: testRandom)
            try await store.put("x", patternBytes(3 << 20))
            let source = try await store.get("x", range: nil)
            #expect(try source.next()?.count == Chunk.size)
            truncate("\(root)/x", 2 << 20)
            #expect(try source.next()?.count == Chunk.size)
            #expect(throws: FileStoreError.shrank(path: "\(root)/x", expected: 3 << 20, found: 2 << 20)) {
                try source.next()
            }
        }
    }

    @Test("a source that is cancelled gives nothing more")
    func cancelledSource() async throws {
        try await withScratchDirectory { root in
            let store = try DirectoryStore(root: root, random: testRandom)
            try await store.put("x", patternBytes(3 << 20))
            let source = try await store.get("x", range: nil)
            _ = try source.next()
            source.cancel()
            #expect(throws: CancellationError.self) { try source.next() }
        }
    }

    @Test("an object longer than may be is refused, the source told, and nothing stays")
    func tooLarge() async throws {
        try await withScratchDirectory { root in
            let store = try DirectoryStore(root: root, largestObject: 1000, random: testRandom)
            try await store.put("d/x", patternBytes(1000))
            let source = MemorySource(patternBytes(1001), chunkSize: 100)
            let error = await #expect(throws: FileStoreError.self) {
                try await store.put("d/y", from: source, options: PutOptions())
            }
            #expect(error == .tooLarge(path: "\(root)/d/y", limit: 1000))
            #expect(throws: CancellationError.self) { try source.next() }
            #expect(try entries(below: root).sorted() == ["d", "d/x"])
        }
    }

    @Test("a name too long for the file system, and one too long for a path")
    func longNames() async throws {
        try await withScratchDirectory { root in
            let store = try DirectoryStore(root: root, random: testRandom)
            let longest = String(repeating: "n", count: 255)
            try await store.put(longest, [1])
            await #expect(throws: FileStoreError.self) { try await store.put(longest + "n", [1]) }
            let deep = Array(repeating: longest, count: 20).joined(separator: "/")
            let error = await #expect(throws: FileStoreError.self) { try await store.put("x/\(deep)", [1]) }
            #expect(error?.cause == "the path is too long")
            try await store.delete(longest)
        }
    }

    @Test("temporary files of killed runs are swept when they are old, and only then")
    func sweep() async throws {
        try await withScratchDirectory { root in
            let store = try DirectoryStore(root: root, random: testRandom)
            try await store.put("daily/set/part", [1])
            for (path, age) in [
                ("daily/set/.lifeboat-a.tmp", 49), (".lifeboat-b.tmp", 49), ("daily/.lifeboat-c.tmp", 47),
            ] {
                try writeFile("\(root)/\(path)", [1])
                makeOlder("\(root)/\(path)", hours: age)
            }
            makeOlder("\(root)/daily/set/part", hours: 1000)
            #expect(try await store.sweepTemporaryFiles(under: "daily/set/") == 1)
            #expect(try await store.sweepTemporaryFiles() == 1)
            #expect(
                try entries(below: root).sorted()
                    == ["daily", "daily/.lifeboat-c.tmp", "daily/set", "daily/set/part"])
        }
    }

    @Test("where the file system cannot rename exclusively, a hard link does it")
    func linkFallback() async throws {
        // Drives the fallback itself: no file system at hand lacks the call.
        try await withScratchDirectory { root in
            let writer = ObjectWriter(
                object: try ObjectPath(root: root, key: "x"), createOnly: true, largest: 10, random: testRandom,
                isCancelled: { false })
            try writeFile("\(root)/.lifeboat-1.tmp", [1])
            try writer.linkAndUnlink("\(root)/.lifeboat-1.tmp")
            #expect(try entries(below: root) == ["x"])
            try writeFile("\(root)/.lifeboat-2.tmp", [2])
            #expect(throws: StoreConflict.self) { try writer.linkAndUnlink("\(root)/.lifeboat-2.tmp") }
            // A request that the network sent twice: the link is there, and it is ours.
            unlink("\(root)/x")
            link("\(root)/.lifeboat-2.tmp", "\(root)/x")
            try writer.linkAndUnlink("\(root)/.lifeboat-2.tmp")
            #expect(try entries(below: root) == ["x"])
        }
    }

    @Test("every cause that a disk commonly has is told in words, with a way out")
    func words() {
        for code in [ENOSPC, EDQUOT, EACCES, EPERM, EROFS, EIO, ENOENT, ENAMETOOLONG, ESTALE, ENOTDIR, EMFILE] {
            let error = FileStoreError.system(operation: "write the object", path: "/srv/x", code: code)
            #expect(!error.cause.contains("\(code)"))
            #expect(!error.hint.isEmpty && error.description.contains("/srv/x"))
        }
        #expect(FileStoreError.system(operation: "o", path: "p", code: 999).cause == "system error 999")
    }
}

/// Tests on a file system of their own, which only root can mount.
@Suite struct SmallDiskTests {
    static let mounting = RealPart("the right to mount a tmpfs (run as root)", isPresent: canMount())

    @Test(
        "a full disk is named as such, leaves nothing, and takes an object again when there is room", .needs(mounting)
    )
    func fullDisk() async throws {
        try await withTmpfs(options: "size=1m") { root in
            let store = try DirectoryStore(root: root, random: testRandom)
            try await store.put("old", patternBytes(200_000))
            for createOnly in [false, true] {
                let source = MemorySource(patternBytes(3 << 20), chunkSize: 100_000)
                let error = await #expect(throws: FileStoreError.self) {
                    try await store.put("daily/new", from: source, options: PutOptions(createOnly: createOnly))
                }
                #expect(
                    error == .system(operation: "write the object", path: "\(root)/daily/new", code: ENOSPC))
                #expect(error?.cause == "the disk is full")
                #expect(throws: CancellationError.self) { try source.next() }
                #expect(try entries(below: root) == ["old"])
            }
            // Replacing needs room for both, and failing leaves the old one.
            await #expect(throws: FileStoreError.self) { try await store.put("old", patternBytes(1 << 20)) }
            #expect(try await store.read("old") == patternBytes(200_000))
            try await store.put("daily/new", patternBytes(300_000))
        }
    }

    @Test("a disk without inodes left fails before the source is asked for a byte", .needs(mounting))
    func noInodes() async throws {
        try await withTmpfs(options: "size=1m,nr_inodes=2") { root in
            let store = try DirectoryStore(root: root, random: testRandom)
            try await store.put("one", [1])
            let error = await #expect(throws: FileStoreError.self) { try await store.put("two", [1]) }
            #expect(error?.cause == "the disk is full")
            #expect(try entries(below: root) == ["one"])
        }
    }

    @Test("a read-only file system is named as such", .needs(mounting))
    func readOnly() async throws {
        try await withTmpfs(options: "size=1m") { root in
            let store = try DirectoryStore(root: root, random: testRandom)
            try await store.put("daily/x", [1])
            #expect(mount("none", root, "tmpfs", UInt(MS_REMOUNT | MS_RDONLY), "size=1m") == 0)
            for key in ["daily/x", "daily/y", "weekly/z"] {
                let error = await #expect(throws: FileStoreError.self) { try await store.put(key, [2]) }
                #expect(error?.cause == "the file system is read-only")
            }
            let error = await #expect(throws: FileStoreError.self) { try await store.delete("daily/x") }
            #expect(error?.cause == "the file system is read-only")
            #expect(try await store.read("daily/x") == [1])
        }
    }

    @Test(
        "a directory that may not be written to is named as such",
        .enabled(if: geteuid() != 0, "needs another user than root"))
    func noPermission() async throws {
        try await withScratchDirectory { root in
            let store = try DirectoryStore(root: root, random: testRandom)
            chmod(root, 0o500)
            let error = await #expect(throws: FileStoreError.self) { try await store.put("daily/x", [1]) }
            #expect(error?.cause == "permission denied")
            chmod(root, 0o700)
            #expect(try entries(below: root).isEmpty)
        }
    }
}
