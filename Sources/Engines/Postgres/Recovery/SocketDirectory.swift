import CLinux
import Core
import Glibc

/// A private directory with a short path: for sockets, and for the few settings of a server.
final class SocketDirectory: Sendable {
    /// The longest path that a socket may have, with its final zero byte, is 108 bytes.
    private static let longest = 107 - "/.s.PGSQL.65535".utf8.count

    private static let prefix = "lifeboat-run-"
    private static let lockName = "lock"

    let path: String
    let owner: ClusterOwner?
    /// Held for as long as this is: by it the next run tells what is in use from what a killed one has left.
    private let lock: Int32

    init(in parent: String, owner: ClusterOwner?) throws(PostgresError) {
        var template = Array("\(parent)/\(Self.prefix)XXXXXX".utf8CString)
        guard template.count <= Self.longest else {
            throw .configuration(
                parent, "its path is too long for a socket in it",
                hint: "use a temporary directory with a shorter path")
        }
        Self.removeLeftovers(in: parent, of: owner?.user ?? getuid())
        guard mkdtemp(&template) != nil else {
            throw .directory("make a directory for sockets", parent, error: errno)
        }
        let made = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        do {
            lock = try Self.lock(made)
            try ClusterDirectory.give(made, to: owner)
        } catch {
            _ = Result { try ClusterDirectory.remove(made) }
            throw error
        }
        path = made
        self.owner = owner
    }

    /// Removes it. It is in a temporary directory: what cannot be removed there is no reason to fail.
    deinit {
        _ = Result { try ClusterDirectory.remove(path) }
        close(lock)
    }

    /// The name is there once the lock is held, so that nobody takes it in between.
    private static func lock(_ path: String) throws(PostgresError) -> Int32 {
        let new = "\(path)/\(lockName).new"
        let file = linux_open(new, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0, flock(file, LOCK_EX | LOCK_NB) == 0, rename(new, "\(path)/\(lockName)") == 0 else {
            let code = errno
            if file >= 0 { close(file) }
            unlink(new)
            throw .directory("make a directory for sockets", path, error: code)
        }
        return file
    }

    /// What runs have left that were killed. Another user's stays, and so does what is in use.
    private static func removeLeftovers(in parent: String, of user: uid_t) {
        guard case .success(let names) = Result(catching: { try ClusterDirectory.names(in: parent) }) else { return }
        for name in names where name.hasPrefix(prefix) {
            var facts = stat()
            guard lstat("\(parent)/\(name)", &facts) == 0, facts.st_mode & S_IFMT == S_IFDIR, facts.st_uid == user
            else { continue }
            let file = linux_open("\(parent)/\(name)/\(lockName)", O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0)
            guard file >= 0 else { continue }
            if flock(file, LOCK_EX | LOCK_NB) == 0 {
                _ = Result { try ClusterDirectory.remove("\(parent)/\(name)") }
            }
            close(file)
        }
    }

    func write(_ text: String, to file: String) throws(PostgresError) {
        try ClusterDirectory.write(Array(text.utf8), to: file, mode: 0o600, owner: owner)
    }
}
