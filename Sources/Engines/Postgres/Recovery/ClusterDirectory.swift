import CLinux
import Core
import Glibc

/// The directory a cluster is restored into: `data`, `tablespaces/<oid>`, and a marker that says whose it is.
///
/// A run that was killed leaves it unfinished; the next one knows that by the marker, and begins anew. What has no
/// marker of ours, and what lies beside one that a restore has not put there, is never touched.
struct ClusterDirectory: Sendable {
    enum Standing: Equatable, Sendable {
        case absent, empty
        /// Left by a run that did not finish.
        case unfinished
        case ready(ClusterMarker)
        /// Something that is not ours; a name of what is there.
        case foreign(String)
    }

    let path: String

    var data: String { "\(path)/data" }
    var tablespaces: String { "\(path)/tablespaces" }
    func tablespace(_ oid: UInt32) -> String { "\(tablespaces)/\(oid)" }

    private static let markerName = "lifeboat-restore.json"
    private static let lockName = "lifeboat-restore.lock"
    /// What a marker is called until it is whole.
    private static let newMarkerName = "\(markerName).new"
    /// All that a restore puts there, beside the lock; in the order in which it goes.
    private static let ownNames = ["data", "tablespaces", newMarkerName, markerName]
    private var marker: String { "\(path)/\(Self.markerName)" }

    // MARK: What stands there

    func standing() throws(PostgresError) -> Standing {
        guard try status() != nil else { return .absent }
        // A run may have been killed before its first marker was whole: that is nothing of anybody's.
        let names = try names(in: path).filter { $0 != Self.lockName && $0 != Self.newMarkerName }
        guard let first = names.min() else { return .empty }
        guard names.contains(Self.markerName) else { return .foreign(first) }
        guard let found = ClusterMarker(parsing: try contents(of: marker)) else { return .foreign(Self.markerName) }
        if found.isReady { return .ready(found) }
        return names.filter { !Self.ownNames.contains($0) }.min().map { .foreign($0) } ?? .unfinished
    }

    /// Whose the files will be: the owner of the directory or, where it is not there yet, of the one it will be made in.
    /// `nil` for our own user, who then has to be able to write there. What stands against it is added to `problems`.
    func owner(problems: inout [String]) throws(PostgresError) -> ClusterOwner? {
        let own = try status()
        let above = try Self.status(of: parent)
        guard let found = own ?? above else {
            problems.append("\(parent), in which it is to be made, does not exist")
            return nil
        }
        guard found.st_mode & S_IFMT == S_IFDIR else {
            problems.append("\(own == nil ? parent : path) is no directory")
            return nil
        }
        if geteuid() == 0 {
            guard found.st_uid != 0 else {
                problems.append(
                    "\(own == nil ? parent : path) belongs to root, and PostgreSQL's programs refuse to run as root: "
                        + "give it to the user that the server is to run as (chown, or the pod's runAsUser)")
                return nil
            }
            return ClusterOwner(user: found.st_uid, group: found.st_gid)
        }
        // What is made there is ours, which is all that a server asks; the directory itself may be a volume that the job
        // may write by its group.
        if access(own == nil ? parent : path, R_OK | W_OK | X_OK) != 0 {
            problems.append(
                "\(own == nil ? parent : path) belongs to user \(found.st_uid), and user \(geteuid()) may not write "
                    + "there: run the job as its owner, or give it to the job's group (the pod's fsGroup)")
        }
        return nil
    }

    /// Bytes free on its disk.
    func freeBytes() throws(PostgresError) -> Int64 {
        var facts = statvfs()
        let place = try status() == nil ? parent : path
        guard statvfs(place, &facts) == 0 else { throw .directory("measure the disk", place, error: errno) }
        return Int64(clamping: UInt64(facts.f_bavail) * UInt64(facts.f_frsize))
    }

    private var parent: String {
        let end = path.lastIndex(of: "/") ?? path.startIndex
        return end == path.startIndex ? "/" : String(path[..<end])
    }

    private func status() throws(PostgresError) -> stat? { try Self.status(of: path) }

    private static func status(of path: String) throws(PostgresError) -> stat? {
        var facts = stat()
        if stat(path, &facts) == 0 { return facts }
        if errno == ENOENT { return nil }
        throw .directory("look at the directory", path, error: errno)
    }

    // MARK: Making and unmaking

    /// Takes the directory for this run, away from every other run; throws (exit code 75) where another has it.
    func lock(owner: ClusterOwner?) throws(PostgresError) -> ClusterLock {
        let wasThere = try status() != nil
        if !wasThere { try makeDirectory(path, mode: 0o700, owner: owner) }
        let file = linux_open("\(path)/\(Self.lockName)", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { throw .directory("lock the directory", path, error: errno) }
        guard flock(file, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            close(file)
            guard code == EWOULDBLOCK else { throw .directory("lock the directory", path, error: code) }
            throw inUse
        }
        // Who had it may have removed the file since it was opened: a lock on that would hold nobody off.
        guard isLockFile(file) else {
            close(file)
            throw inUse
        }
        return ClusterLock(descriptor: file, madeDirectory: !wasThere)
    }

    private var inUse: PostgresError {
        PostgresError(
            .staging, exitCode: .locked, "lock the directory", object: path,
            cause: "another run is restoring into it", hint: "wait for that run, or name another directory")
    }

    /// Whether `file` is what the lock's name leads to now.
    private func isLockFile(_ file: Int32) -> Bool {
        var (opened, named) = (stat(), stat())
        return fstat(file, &opened) == 0 && lstat("\(path)/\(Self.lockName)", &named) == 0
            && opened.st_dev == named.st_dev && opened.st_ino == named.st_ino
    }

    func write(_ content: ClusterMarker) throws(PostgresError) {
        let new = "\(path)/\(Self.newMarkerName)"
        try Self.write(content.json.canonicalBytes, to: new, mode: 0o600, owner: nil)
        guard rename(new, marker) == 0 else { throw .directory("mark the directory", marker, error: errno) }
        try Self.sync(path)
    }

    /// Removes what a restore has put there, the marker last: until then all of it is known as ours. A lock that is kept
    /// still holds others off.
    func clear(keepingLock: Bool) throws(PostgresError) {
        guard try status() != nil else { return }
        for name in Self.ownNames { try Self.remove("\(path)/\(name)") }
        if !keepingLock { try removeLock() }
    }

    /// Removes the directory, unless somebody has put something else there.
    func removeItself() throws(PostgresError) {
        guard rmdir(path) == 0 || errno == ENOENT || errno == ENOTEMPTY else {
            throw .directory("remove the directory", path, error: errno)
        }
    }

    func removeLock() throws(PostgresError) {
        guard unlink("\(path)/\(Self.lockName)") == 0 || errno == ENOENT else {
            throw .directory("unlock the directory", path, error: errno)
        }
    }

    /// Everything below it is on the disk afterwards.
    func sync() throws(PostgresError) {
        let file = linux_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
        guard file >= 0 else { throw .directory("open the directory", path, error: errno) }
        defer { close(file) }
        guard linux_sync_file_system(file) == 0 else { throw .directory("write to the disk", path, error: errno) }
    }
}

/// A directory that is this run's alone, until it is let go.
final class ClusterLock: Sendable {
    private let descriptor: Int32
    /// The directory itself is of this run's making.
    let madeDirectory: Bool

    init(descriptor: Int32, madeDirectory: Bool) {
        self.descriptor = descriptor
        self.madeDirectory = madeDirectory
    }

    deinit { close(descriptor) }
}
