import Core
import Glibc
import TestSupport
import Testing

@testable import PostgresEngine

@Suite("The directory of a restored cluster")
struct ClusterDirectoryTests {
    private static let marker = ClusterMarker(requestID: "killed", setKey: "daily/x", target: "somewhere")

    private func standing(
        _ fill: (String, ClusterDirectory) throws -> Void
    ) async throws -> ClusterDirectory.Standing {
        try await withScratchDirectory { path in
            let cluster = ClusterDirectory(path: path)
            try fill(path, cluster)
            return try cluster.standing()
        }
    }

    /// Shows what is taken for what: a run that was killed at any instant leaves nothing that the next one would take for
    /// somebody else's, and nothing that somebody else has put there is taken for ours.
    @Test("is known by its marker")
    func standings() async throws {
        #expect(try await standing { _, _ in } == .empty)
        let killedFirst = try await standing { path, cluster in
            withExtendedLifetime(try cluster.lock(owner: nil)) {}
            try writeFile("\(path)/lifeboat-restore.json.new", "{")
        }
        #expect(killedFirst == .empty)
        let killed = try await standing { path, cluster in
            try cluster.write(Self.marker)
            mkdir("\(path)/data", 0o700)
            mkdir("\(path)/tablespaces", 0o700)
        }
        #expect(killed == .unfinished)
        let beside = try await standing { path, cluster in
            try cluster.write(Self.marker)
            try writeFile("\(path)/notes", "mine")
        }
        #expect(beside == .foreign("notes"))
        let bare = try await standing { path, _ in mkdir("\(path)/data", 0o700) }
        #expect(bare == .foreign("data"))
        let damaged = try await standing { path, _ in try writeFile("\(path)/lifeboat-restore.json", "{}") }
        #expect(damaged == .foreign("lifeboat-restore.json"))
    }

    /// Shows that what is removed is what a restore has put there: nothing beside it, nothing that a link leads to.
    @Test("is cleared of what is ours alone, and no link is followed")
    func cleared() async throws {
        try await withScratchDirectory { path in
            let outside = "\(path)/outside"
            mkdir(outside, 0o700)
            try writeFile("\(outside)/kept", "this")
            let cluster = ClusterDirectory(path: "\(path)/db")
            let lock = try cluster.lock(owner: nil)
            try cluster.write(Self.marker)
            mkdir(cluster.data, 0o700)
            mkdir("\(cluster.data)/base", 0o700)
            try writeFile("\(cluster.data)/base/1", "x")
            #expect(symlink(outside, "\(cluster.data)/base/link") == 0)
            #expect(symlink(outside, cluster.tablespaces) == 0)
            try writeFile("\(cluster.path)/notes", "mine")
            try cluster.clear(keepingLock: false)
            try cluster.removeItself()
            #expect(try ClusterDirectory.names(in: cluster.path) == ["notes"])
            #expect(try contentsOfFile("\(outside)/kept") == Array("this".utf8))
            withExtendedLifetime(lock) {}
        }
    }

    /// Shows that a link, or a directory of a name that we do not give, is not taken for what a killed run has left.
    @Test("a scratch directory's leftovers are its own directories")
    func leftovers() async throws {
        try await withClusterDirectory { directory in
            let outside = "\(directory)/outside"
            mkdir(outside, 0o700)
            try writeFile("\(outside)/kept", "this")
            #expect(symlink(outside, "\(directory)/lifeboat-scratch-0123456789abcdef") == 0)
            mkdir("\(directory)/lifeboat-scratch-archive", 0o700)
            let others = "\(directory)/lifeboat-scratch-00000000000000fe"
            mkdir(others, 0o700)
            // Only root can give it away.
            if geteuid() != 0 { rmdir(others) } else { chown(others, 12_345, 12_345) }
            let left = "\(directory)/lifeboat-scratch-00000000000000ff"
            mkdir(left, 0o700)
            let room = try ScratchRoom(in: directory, random: { [UInt8](repeating: 7, count: $0) }) {
                Issue.record("left: \($0)")
            }
            await room.remove()
            #expect(access(left, F_OK) != 0)
            #expect(geteuid() != 0 || access(others, F_OK) == 0)
            #expect(
                try ClusterDirectory.names(in: directory).filter { "\(directory)/\($0)" != others }.sorted() == [
                    "lifeboat-scratch-0123456789abcdef", "lifeboat-scratch-archive", "outside",
                ])
            #expect(try contentsOfFile("\(outside)/kept") == Array("this".utf8))
        }
    }
}
