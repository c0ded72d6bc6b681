package import Core
import Glibc

/// A directory of the file system that is filled beside its place and then renamed: `.lifeboat-<name>.tmp` becomes
/// `<name>`. The two lie in one directory and so on one file system, where renaming is one step.
///
/// Whoever fills it holds a lock on it (`flock`), so what a killed process left is told from what another one is at.
package final class NewDirectory: StagedDirectory {
    package let path: String
    private let parent: String
    private let staging: String
    private let random: RandomBytes
    /// The descriptor that holds the lock.
    private let lock = Guarded<Int32?>(nil)

    /// `path` is absolute; a slash at its end is taken off. Throws a ``Failure`` (exit code 2) where it can be no
    /// directory's.
    package init(path: String, random: @escaping RandomBytes) throws {
        var path = path
        while path.utf8.count > 1 && path.utf8.last == UInt8(ascii: "/") { path.removeLast() }
        let pieces = path.split(separator: "/", omittingEmptySubsequences: false)
        let name = pieces.last ?? ""
        guard path.utf8.first == UInt8(ascii: "/"), !path.utf8.contains(0), !name.isEmpty,
            !pieces.contains("."), !pieces.contains(".."), name.utf8.count <= 200
        else { throw Self.refused(path, "it is no absolute path of a directory", "name one like /srv/export/clinic") }
        self.path = path
        self.random = random
        let parent = pieces.dropLast().joined(separator: "/")
        self.parent = parent.isEmpty ? "/" : parent
        staging = parent + "/" + ObjectPath.temporaryPrefix + name + ObjectPath.temporarySuffix
    }

    deinit { if let descriptor = lock.value { _ = close(descriptor) } }

    package func standing() async throws -> DirectoryStanding {
        try await onThread("standing") { try self.look() }
    }

    private func look() throws -> DirectoryStanding {
        guard let above = try status(parent, followingLinks: true), above.st_mode & S_IFMT == S_IFDIR else {
            throw Self.refused(
                path, "there is no directory \(parent) to make it in", "make that, or name another place")
        }
        guard let own = try status(path, followingLinks: false) else { return .absent }
        guard own.st_mode & S_IFMT == S_IFDIR else {
            throw Self.refused(path, "something that is no directory stands there", "name another place")
        }
        if try !names(in: path).isEmpty { return .filled(try DirectoryStore(root: path, random: random)) }
        guard own.st_dev == above.st_dev else {
            throw Self.refused(
                path, "a volume is mounted there, which nothing can be renamed to",
                "name a directory below it, which need not exist")
        }
        return .empty
    }

    package func freeBytes() async throws -> Int64 {
        try await onThread("free") { [parent] in
            var volume = statvfs()
            try attempt("look at the disk of", parent) { () throws(SystemError) in
                try system { statvfs(parent, &volume) }
            }
            return Int64(clamping: UInt64(volume.f_bavail) * UInt64(volume.f_frsize))
        }
    }

    package func begin() async throws -> any Store {
        try await onThread("begin") {
            try attempt("make the directory", self.staging) { () throws(SystemError) in
                do throws(SystemError) {
                    try system { mkdir(self.staging, 0o700) }
                } catch {
                    if error.code != EEXIST { throw error }
                }
            }
            try self.takeLock()
            try self.removeFiles()
            return try DirectoryStore(root: self.staging, random: self.random)
        }
    }

    package func publish() async throws {
        try await onThread("publish") {
            do throws(SystemError) {
                try syncDirectory(self.staging)
                // An empty directory is replaced, and nothing else.
                try system { rename(self.staging, self.path) }
                do throws(SystemError) {
                    try syncDirectory(self.parent)
                } catch {
                    // The caller is told that there is no such directory, so there must be none.
                    _ = rename(self.path, self.staging)
                    throw error
                }
            } catch {
                guard error.code != ENOTEMPTY, error.code != EEXIST, error.code != ENOTDIR else {
                    throw Self.refused(self.path, "something has come to stand there meanwhile", "name another place")
                }
                throw FileStoreError.system(
                    operation: "give the directory its name", path: self.path, code: error.code)
            }
            self.unlock()
        }
    }

    package func discard() async throws {
        try await onThread("discard") {
            try self.removeFiles()
            try attempt("remove the directory", self.staging) { () throws(SystemError) in
                try system { rmdir(self.staging) }
            }
            self.unlock()
        }
    }

    // MARK: The lock

    private func takeLock() throws {
        let descriptor = try attempt("open the directory", staging) { () throws(SystemError) in
            try system { open(self.staging, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) }
        }
        var locked = stat()
        // Between the two it may have been given its name, and another made.
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0, fstat(descriptor, &locked) == 0,
            let there = try status(staging, followingLinks: false), there.st_ino == locked.st_ino
        else {
            _ = close(descriptor)
            throw JobFailure(
                .locked, "fill the directory", object: path, cause: "another process is filling it",
                hint: "wait for that to end, or name another place")
        }
        lock.withLock { $0 = descriptor }
    }

    private func unlock() {
        lock.withLock { descriptor in
            if let open = descriptor { _ = close(open) }
            descriptor = nil
        }
    }

    // MARK: Files

    /// Nothing here ever makes directories in it, so one that is there is not ours to remove.
    private func removeFiles() throws {
        for name in try names(in: staging) {
            try attempt("remove the file", "\(staging)/\(name)") { () throws(SystemError) in
                try system { unlink("\(self.staging)/\(name)") }
            }
        }
    }

    private func names(in directory: String) throws -> [String] {
        guard let stream = opendir(directory) else {
            throw FileStoreError.system(operation: "read the directory", path: directory, code: errno)
        }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                guard errno == 0 else {
                    throw FileStoreError.system(operation: "read the directory", path: directory, code: errno)
                }
                return names
            }
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
    }

    private func status(_ path: String, followingLinks: Bool) throws -> stat? {
        var status = stat()
        if (followingLinks ? stat(path, &status) : lstat(path, &status)) == 0 { return status }
        guard errno == ENOENT || errno == ENOTDIR else {
            throw FileStoreError.system(operation: "look at", path: path, code: errno)
        }
        return nil
    }

    private static func refused(_ path: String, _ cause: String, _ hint: String) -> JobFailure {
        JobFailure(.eventRefused, "make the directory", object: path, cause: cause, hint: hint)
    }
}
