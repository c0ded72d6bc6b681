import Core
import Glibc
import TestSupport
import Testing

@testable import KeysEngine

/// A directory as the kubelet makes it of a Secret: `..data` leads to a revision, and each name through it.
private struct Mount {
    let path: String

    init(_ path: String) {
        self.path = path
        mkdir(path, 0o755)
    }

    func write(_ revision: String, _ files: [String: String]) throws {
        mkdir("\(path)/\(revision)", 0o755)
        for (name, text) in files {
            try writeFile("\(path)/\(revision)/\(name)", text)
            if access("\(path)/\(name)", F_OK) != 0 { symlink("..data/\(name)", "\(path)/\(name)") }
        }
        symlink(revision, path + "/..data_tmp")
        guard rename(path + "/..data_tmp", path + "/..data") == 0 else { throw TestFailure("no exchange") }
    }
}

@Suite("Keys of a mounted Secret")
struct SecretMountTests {
    /// The files of the revision are the keys, once each; a new revision with the same keys is no change, although every
    /// file is new.
    @Test func readsOneRevision() async throws {
        try await withKeys { _, elsewhere in
            let mount = Mount(elsewhere + "/secret")
            let files = ["master.key": hexText([UInt8](repeating: 7, count: 32)), "token": "abc"]
            try mount.write("..2025_01_15_a", files)
            let engine = keysEngine([mount.path], schedule: .onChange)
            let set = try await engine.take()
            #expect(set.contents.data.map(\.schema) == ["master.key", "token"])
            try mount.write("..2025_01_16_b", files)
            removeTree(mount.path + "/..2025_01_15_a")
            guard case .nothingToStore = try await engine.snapshot(set.next()) else {
                throw TestFailure("stored again")
            }
            try mount.write("..2025_01_17_c", files.merging(["token": "abd"]) { $1 })
            #expect(try await engine.take(set.next()).contents != set.contents)
        }
    }

    /// While revisions follow one another as fast as can be, every picture is of one of them.
    @Test func neverMixesRevisions() async throws {
        try await withKeys { _, elsewhere in
            let mount = Mount(elsewhere + "/secret")
            let revision = { @Sendable (number: Int) in
                Dictionary(uniqueKeysWithValues: (0..<20).map { ("key\($0)", "value \(number)") })
            }
            try mount.write("..0", revision(0))
            let isOver = Guarded(false)
            async let writer: Int = onThread("kubelet") {
                var number = 0
                while !isOver.value {
                    number += 1
                    try mount.write("..\(number)", revision(number))
                    removeTree("\(mount.path)/..\(number - 1)")
                }
                return number
            }
            var seen: Set<Set<String>> = []
            for _ in 0..<200 {
                do {
                    let entries = try await onThread("read") { try KeyDirectory(path: mount.path).read() }
                    let values = entries.compactMap { $0.content?.withBytes { String(decoding: $0, as: UTF8.self) } }
                    #expect(values.count == 20)
                    seen.insert(Set(values))
                } catch let error as KeysError {
                    // Nothing but that it does not come to rest.
                    #expect(error.kind == .changing)
                }
            }
            isOver.withLock { $0 = true }
            #expect(try await writer > 0)
            #expect(seen.allSatisfy { $0.count == 1 })
        }
    }

    /// A restore over a mount is refused before anything is touched, with what to do instead.
    @Test func isNotRestoredOver() async throws {
        try await withKeys { keys, elsewhere in
            try keys.putMaster()
            let set = try await keys.engine().take()
            let mount = Mount(elsewhere + "/secret")
            try mount.write("..1", ["a": "b"])
            let found = try await failure { try await keysEngine([mount.path]).plan(set.request("one")) }
            #expect(found.kind == .refused && found.hint.contains("kubectl create secret"))
        }
    }
}
