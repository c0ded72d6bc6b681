import CLinux
import Glibc

/// What a system call left in `errno`.
struct SystemError: Error {
    let code: Int32
}

/// Calls until a signal does not interrupt it, and throws what `errno` says below zero.
@discardableResult
func system(_ call: () -> Int32) throws(SystemError) -> Int32 {
    while true {
        let result = call()
        if result >= 0 { return result }
        let code = errno
        if code != EINTR { throw SystemError(code: code) }
    }
}

/// What is known of a file without opening it.
struct FileStatus {
    enum Kind: String {
        case regular = "a file"
        case directory = "a directory"
        case link = "a symbolic link"
        case other = "neither a file nor a directory"
    }

    let kind: Kind
    let size: Int64
    /// Milliseconds since 1970, by the clock of the file system.
    let modified: Int64
    let links: Int

    init(_ status: stat) {
        kind =
            switch status.st_mode & S_IFMT {
            case S_IFREG: .regular
            case S_IFDIR: .directory
            case S_IFLNK: .link
            default: .other
            }
        size = Int64(status.st_size)
        modified = Int64(status.st_mtim.tv_sec) * 1000 + Int64(status.st_mtim.tv_nsec) / 1_000_000
        links = Int(status.st_nlink)
    }

    /// The file of this name, a symbolic link being taken as itself; `nil` where there is none.
    static func of(_ path: String, followingLinks: Bool = false) throws(SystemError) -> FileStatus? {
        var status = stat()
        do {
            try system { followingLinks ? stat(path, &status) : lstat(path, &status) }
        } catch {
            // ENOTDIR: a piece on the way is a file, so there is nothing below it.
            if error.code == ENOENT || error.code == ENOTDIR { return nil }
            throw error
        }
        return FileStatus(status)
    }
}

/// An open file descriptor that is closed exactly once.
struct OpenFile: ~Copyable {
    let number: Int32

    /// `mode` only counts with `O_CREAT`; the process's umask takes bits away from it.
    init(_ path: String, _ flags: Int32, mode: UInt32 = 0) throws(SystemError) {
        number = try system { linux_open(path, flags | O_CLOEXEC, mode) }
    }

    deinit { _ = Glibc.close(number) }

    /// Closes and reports what a network file system only says now: that earlier writes failed.
    consuming func close() throws(SystemError) {
        let number = number
        discard self
        // Linux has closed the descriptor even where the call was interrupted; calling again could hit another's.
        guard Glibc.close(number) == 0 || errno == EINTR else { throw SystemError(code: errno) }
    }

    borrowing func status() throws(SystemError) -> FileStatus {
        var status = stat()
        let number = number
        try system { fstat(number, &status) }
        return FileStatus(status)
    }

    borrowing func write(_ bytes: UnsafeRawBufferPointer) throws(SystemError) {
        var rest = bytes
        while !rest.isEmpty {
            let written = Glibc.write(number, rest.baseAddress, rest.count)
            if written < 0 {
                let code = errno
                if code == EINTR { continue }
                throw SystemError(code: code)
            }
            rest = UnsafeRawBufferPointer(rebasing: rest[written...])
        }
    }

    /// Reads up to `room` bytes at `offset`; 0 only at the end of the file.
    borrowing func read(into room: UnsafeMutableRawBufferPointer, at offset: Int64) throws(SystemError) -> Int {
        while true {
            let count = pread(number, room.baseAddress, room.count, off_t(offset))
            if count >= 0 { return count }
            let code = errno
            if code != EINTR { throw SystemError(code: code) }
        }
    }

    borrowing func sync() throws(SystemError) {
        let number = number
        try system { fsync(number) }
    }

    borrowing func startWriteback(from offset: Int64, count: Int64) { linux_start_writeback(number, offset, count) }

    borrowing func willReadSequentially() { _ = posix_fadvise(number, 0, 0, POSIX_FADV_SEQUENTIAL) }
}

/// Makes what was created in or removed from a directory durable.
func syncDirectory(_ path: String) throws(SystemError) {
    let directory = try OpenFile(path, O_RDONLY | O_DIRECTORY)
    do {
        try directory.sync()
    } catch {
        // What a file system answers that has nothing to sync for a directory (some FUSE and network ones).
        if error.code != EINVAL && error.code != ENOTSUP { throw error }
    }
}
