import CLinux
import Core
import Glibc

// Files and directories of a restored cluster, made for the user who will own them. All of it blocks.
extension ClusterDirectory {
    func makeDirectory(_ path: String, mode: UInt32, owner: ClusterOwner?) throws(PostgresError) {
        try Self.makeDirectory(path, mode: mode, owner: owner)
    }

    static func makeDirectory(_ path: String, mode: UInt32, owner: ClusterOwner?) throws(PostgresError) {
        guard mkdir(path, mode) == 0 || errno == EEXIST else {
            throw .directory("make the directory", path, error: errno)
        }
        // The umask has no say in what the server asks for.
        guard chmod(path, mode) == 0 else { throw .directory("make the directory", path, error: errno) }
        try give(path, to: owner)
    }

    /// Hands a file, a directory or a link over.
    static func give(_ path: String, to owner: ClusterOwner?) throws(PostgresError) {
        guard let owner else { return }
        guard lchown(path, owner.user, owner.group) == 0 else {
            throw .directory("hand over to the owner", path, error: errno)
        }
    }

    static func write(_ bytes: [UInt8], to path: String, mode: UInt32, owner: ClusterOwner?) throws(PostgresError) {
        let file = linux_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode)
        guard file >= 0 else { throw .directory("write the file", path, error: errno) }
        defer { close(file) }
        var offset = 0
        while offset < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.write(file, $0.baseAddress?.advanced(by: offset), $0.count - offset)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw .directory("write the file", path, error: errno) }
            offset += count
        }
        if let owner, fchown(file, owner.user, owner.group) != 0 {
            throw .directory("hand over to the owner", path, error: errno)
        }
        guard fsync(file) == 0 else { throw .directory("write the file", path, error: errno) }
    }

    static func sync(_ path: String) throws(PostgresError) {
        let directory = linux_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
        guard directory >= 0 else { throw .directory("open the directory", path, error: errno) }
        defer { close(directory) }
        // Some network file systems have nothing to sync for a directory, and say so.
        guard fsync(directory) == 0 || errno == EINVAL || errno == ENOTSUP else {
            throw .directory("write to the disk", path, error: errno)
        }
    }

    /// A small file, 64 KiB of it at most.
    func contents(of path: String) throws(PostgresError) -> [UInt8] {
        let file = linux_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0)
        guard file >= 0 else { throw .directory("read the file", path, error: errno) }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let count = read(file, &bytes, bytes.count)
        guard count >= 0 else { throw .directory("read the file", path, error: errno) }
        return Array(bytes[..<count])
    }

    func names(in path: String) throws(PostgresError) -> [String] { try Self.names(in: path) }

    static func names(in path: String) throws(PostgresError) -> [String] {
        guard let folder = opendir(path) else { throw .directory("list the directory", path, error: errno) }
        return names(in: folder)
    }

    /// Closes `folder`.
    private static func names(in folder: OpaquePointer) -> [String] {
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }

    /// Removes a file, or a directory with all below it, without following a link or leaving its file system, whatever
    /// is moved about there meanwhile. What is gone already is success.
    static func remove(_ path: String) throws(PostgresError) {
        let directory = linux_open(path, openAsDirectory, 0)
        guard directory >= 0 else {
            // A file, or a link.
            let code = errno
            if code == ENOENT { return }
            guard code == ENOTDIR || code == ELOOP else { throw leftOver(path, code) }
            guard unlink(path) == 0 || errno == ENOENT else { throw leftOver(path, errno) }
            return
        }
        defer { close(directory) }
        try empty(directory, path)
        guard rmdir(path) == 0 || errno == ENOENT else { throw leftOver(path, errno) }
    }

    private static let openAsDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC

    /// Removes what is in an open directory. `path` is for errors.
    private static func empty(_ directory: Int32, _ path: String) throws(PostgresError) {
        var own = stat()
        let copy = fcntl(directory, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0, fstat(directory, &own) == 0, let folder = fdopendir(copy) else {
            let code = errno
            if copy >= 0 { close(copy) }
            throw leftOver(path, code)
        }
        for name in names(in: folder) {
            if unlinkat(directory, name, 0) == 0 || errno == ENOENT { continue }
            guard errno == EISDIR else { throw leftOver("\(path)/\(name)", errno) }
            let inner = linux_open_at(directory, name, openAsDirectory, 0)
            guard inner >= 0 else { throw leftOver("\(path)/\(name)", errno) }
            defer { close(inner) }
            var facts = stat()
            guard fstat(inner, &facts) == 0 else { throw leftOver("\(path)/\(name)", errno) }
            guard facts.st_dev == own.st_dev else { throw leftOver("\(path)/\(name)", EBUSY) }
            try empty(inner, "\(path)/\(name)")
            guard unlinkat(directory, name, AT_REMOVEDIR) == 0 || errno == ENOENT else {
                throw leftOver("\(path)/\(name)", errno)
            }
        }
    }

    private static func leftOver(_ path: String, _ code: Int32) -> PostgresError {
        .directory("remove what is left over", path, error: code)
    }
}

/// What stands in a restored directory beside the cluster: which restore it is of, and whether that was finished.
struct ClusterMarker: Equatable, Sendable {
    var requestID: String
    var setKey: String
    /// How far the log was followed, for people and for a replay: `the end of the base backup`.
    var target: String
    /// `nil` until the cluster is recovered and shut down.
    var time: Timestamp?

    var isReady: Bool { time != nil }

    init(requestID: String, setKey: String, target: String, time: Timestamp? = nil) {
        self.requestID = requestID
        self.setKey = setKey
        self.target = target
        self.time = time
    }

    var json: JSON {
        .object(present: [
            "format": .integer(1), "request": .string(requestID), "set": .string(setKey), "target": .string(target),
            "time": time.map { .string($0.description) },
        ])
    }

    /// `nil` for bytes that are not exactly such a marker.
    init?(parsing bytes: [UInt8]) {
        do {
            var fields = try JSONFields(JSON(parsing: bytes), path: "")
            guard try fields.integer("format") == 1 else { return nil }
            requestID = try fields.string("request")
            setKey = try fields.string("set")
            target = try fields.string("target")
            time = try fields.optionalString("time").flatMap { Timestamp($0) }
            try fields.finish()
        } catch {
            return nil
        }
    }
}
