import Core
import Glibc
import TestSupport
import Testing

@testable import PostgresEngine

@Suite("Directories for sockets")
struct SocketDirectoryTests {
    private func names(_ directory: String) throws -> [String] { try ClusterDirectory.names(in: directory).sorted() }

    private func makeLeftover(_ path: String, isLocked: Bool = true) throws {
        guard mkdir(path, 0o700) == 0 else { throw TestFailure("no directory") }
        try writeFile(path + "/pg_hba.conf", "local all all trust")
        if isLocked { try writeFile(path + "/lock", "") }
    }

    /// Shows that one is gone when nobody needs it any more, and that others that are in use stay meanwhile.
    @Test func inUse() async throws {
        try await withScratchDirectory { directory in
            let first = try SocketDirectory(in: directory, owner: nil)
            try first.write("x", to: first.path + "/postgresql.conf")
            do {
                let second = try SocketDirectory(in: directory, owner: nil)
                #expect(try names(directory).count == 2)
                withExtendedLifetime(second) {}
            }
            #expect(try names(directory) == [String(first.path.dropFirst(directory.count + 1))])
            withExtendedLifetime(first) {}
        }
    }

    /// Shows that what a killed run has left is removed by the next, and nothing else is: not what is not locked yet, not
    /// another's, not what a link leads to.
    @Test func leftovers() async throws {
        try await withScratchDirectory { directory in
            try makeLeftover(directory + "/lifeboat-run-killed")
            try makeLeftover(directory + "/lifeboat-run-unborn", isLocked: false)
            try makeLeftover(directory + "/other")
            symlink(directory + "/other", directory + "/lifeboat-run-linked")
            var kept = ["lifeboat-run-linked", "lifeboat-run-unborn", "other"]
            if getuid() == 0 {
                try makeLeftover(directory + "/lifeboat-run-foreign")
                #expect(chown(directory + "/lifeboat-run-foreign", 65534, 65534) == 0)
                kept.insert("lifeboat-run-foreign", at: 0)
            }
            let made = try SocketDirectory(in: directory, owner: nil)
            let own = String(made.path.dropFirst(directory.count + 1))
            #expect(try names(directory).filter { $0 != own } == kept)
            #expect(try names(directory + "/other").count == 2)
            withExtendedLifetime(made) {}
        }
    }
}
