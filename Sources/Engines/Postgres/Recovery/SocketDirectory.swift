import CLinux
import Core
import Glibc

/// A private directory with a short path: for sockets, and for the few settings of a server. What a killed run has left
/// of its own is removed by the next.
final class SocketDirectory: Sendable {
    /// The longest path that a socket may have, with its final zero byte, is 108 bytes.
    private static let longest = 107 - "/.s.PGSQL.65535".utf8.count

    private static let prefix = "lifeboat-"
    /// Held for as long as the directory is in use.
    private static let lockName = "lifeboat.lock"

    let path: String
    let owner: ClusterOwner?
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
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        self.owner = owner
        // Held before it has its name: nobody meets it free while this one is at work.
        let new = "\(path)/\(Self.lockName).new"
        lock = linux_open(new, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard lock >= 0, flock(lock, LOCK_EX | LOCK_NB) == 0, rename(new, "\(path)/\(Self.lockName)") == 0 else {
            throw .directory("lock the directory", path, error: errno)
        }
        try ClusterDirectory.give(path, to: owner)
    }

    /// Removes it. It is in a temporary directory: what cannot be removed there is no reason to fail.
    deinit {
        _ = Result { try ClusterDirectory.remove(path) }
        if lock >= 0 { close(lock) }
    }

    /// Those of the same user that nobody holds any more. What cannot be looked at or removed is left.
    private static func removeLeftovers(in parent: String, of user: uid_t) {
        _ = Result {
            for name in try ClusterDirectory.names(in: parent) where name.hasPrefix(prefix) {
                let path = "\(parent)/\(name)"
                var facts = stat()
                guard lstat(path, &facts) == 0, facts.st_mode & S_IFMT == S_IFDIR, facts.st_uid == user else {
                    continue
                }
                let lock = linux_open("\(path)/\(lockName)", O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0)
                guard lock >= 0 else { continue }
                if flock(lock, LOCK_EX | LOCK_NB) == 0 { _ = Result { try ClusterDirectory.remove(path) } }
                close(lock)
            }
        }
    }

    func write(_ text: String, to file: String) throws(PostgresError) {
        try ClusterDirectory.write(Array(text.utf8), to: file, mode: 0o600, owner: owner)
    }
}
