import CLinux
import Glibc

/// What a system call left in `errno`.
struct CallFailure: Error {
    let code: Int32
}

/// Calls until a signal does not interrupt it, and throws what `errno` says below zero.
@discardableResult
func system(_ call: () -> Int32) throws(CallFailure) -> Int32 {
    while true {
        let result = call()
        if result >= 0 { return result }
        let code = errno
        if code != EINTR { throw CallFailure(code: code) }
    }
}

/// Runs `body` and says of a failed call what it was for.
func naming<Value>(
    _ operation: String, _ path: @autoclosure () -> String, _ body: () throws(CallFailure) -> Value
) throws(FilesError) -> Value {
    do {
        return try body()
    } catch {
        throw .system(operation, path(), error.code)
    }
}

/// An open file or directory, closed when it is let go.
final class OpenFile: Sendable {
    let number: Int32
    private let isOwned: Bool

    /// A descriptor that somebody else closes, and later than this is let go.
    init(borrowed number: Int32) {
        self.number = number
        isOwned = false
    }

    /// `mode` only counts with `O_CREAT`; the process's umask takes bits away from it.
    init(_ path: String, _ flags: Int32, mode: UInt32 = 0) throws(CallFailure) {
        number = try system { linux_open(path, flags | O_CLOEXEC, mode) }
        isOwned = true
    }

    /// The entry `name` of an open directory: a single name, so a symbolic link in its place is the only one that could
    /// be met, and `O_NOFOLLOW` refuses that.
    init(_ name: [CChar], in directory: OpenFile, _ flags: Int32, mode: UInt32 = 0) throws(CallFailure) {
        number = try system { linux_open_at(directory.number, name, flags | O_CLOEXEC | O_NOFOLLOW, mode) }
        isOwned = true
    }

    deinit { if isOwned { close(number) } }

    func status() throws(CallFailure) -> stat {
        var status = stat()
        try system { fstat(number, &status) }
        return status
    }

    /// Reads up to `room` bytes at `offset`; 0 only at the end of the file.
    func read(into room: UnsafeMutableRawBufferPointer, at offset: Int64) throws(CallFailure) -> Int {
        while true {
            let count = pread(number, room.baseAddress, room.count, off_t(offset))
            if count >= 0 { return count }
            let code = errno
            if code != EINTR { throw CallFailure(code: code) }
        }
    }

    /// Writes all of `bytes` at `offset`.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(CallFailure) {
        var rest = bytes
        var offset = offset
        while !rest.isEmpty {
            let count = pwrite(number, rest.baseAddress, rest.count, off_t(offset))
            if count < 0 {
                let code = errno
                if code == EINTR { continue }
                throw CallFailure(code: code)
            }
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            offset += Int64(count)
        }
    }

    /// Writes all of a few bytes at the beginning.
    func write(_ bytes: [UInt8]) throws(CallFailure) {
        let result: Result<Void, CallFailure> = bytes.withUnsafeBytes { bytes in
            do throws(CallFailure) {
                try write(bytes, at: 0)
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    /// Up to `count` bytes from the beginning.
    func bytes(count: Int) throws(CallFailure) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let result: Result<Int, CallFailure> = bytes.withUnsafeMutableBytes { room in
            do throws(CallFailure) {
                return .success(try read(into: room, at: 0))
            } catch {
                return .failure(error)
            }
        }
        return Array(bytes[..<(try result.get())])
    }

    /// Makes what was written durable. A file system that has nothing to sync for a directory (some FUSE and network
    /// ones) says so, and that is well.
    func sync() throws(CallFailure) {
        do {
            try system { fsync(number) }
        } catch {
            if error.code != EINVAL && error.code != ENOTSUP { throw error }
        }
    }
}

/// What a name leads to, a symbolic link being taken as itself; `nil` where there is nothing.
func status(_ name: [CChar], in directory: OpenFile) throws(CallFailure) -> stat? {
    var found = stat()
    do {
        try system { fstatat(directory.number, name, &found, AT_SYMLINK_NOFOLLOW) }
    } catch {
        if error.code == ENOENT { return nil }
        throw error
    }
    return found
}

/// The same by path.
func status(of path: String) throws(CallFailure) -> stat? {
    var found = stat()
    do {
        try system { lstat(path, &found) }
    } catch {
        if error.code == ENOENT || error.code == ENOTDIR { return nil }
        throw error
    }
    return found
}

extension stat {
    /// `S_IFDIR` and the like.
    var type: mode_t { st_mode & S_IFMT }
    var isDirectory: Bool { type == S_IFDIR }
}

/// One file, told from all others that exist at the same time, and from later ones that were given its number.
package struct FileIdentity: Hashable, Sendable {
    var device: UInt64
    var inode: UInt64
    /// When it was made, in nanoseconds since 1970; 0 where that is not known or not asked for.
    var born: Int64

    init(device: UInt64, inode: UInt64, born: Int64 = 0) {
        self.device = device
        self.inode = inode
        self.born = born
    }

    init(_ status: stat) { self.init(device: UInt64(status.st_dev), inode: UInt64(status.st_ino)) }

    /// What stands at `path`; `nil` where nothing does. With the time it was made, for numbers are given again.
    static func of(_ path: String) throws(CallFailure) -> FileIdentity? {
        guard let found = try status(of: path) else { return nil }
        var identity = FileIdentity(found)
        identity.born = linux_birth_time(path)
        return identity
    }
}

/// A name as system calls take it.
func terminated(_ name: some Sequence<UInt8>) -> [CChar] { name.map { CChar(bitPattern: $0) } + [0] }
