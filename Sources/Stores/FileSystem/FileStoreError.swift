package import Core
import Glibc

/// What a directory store could not do. Names the path, never a byte of what is stored there.
package enum FileStoreError: Failure, Equatable {
    /// The store's own directory is not there: a typing error, or a volume that is not mounted.
    case rootMissing(path: String)
    case rootNotDirectory(path: String)
    /// The key cannot be a file's path under the root.
    case invalidKey(key: String, problem: String)
    /// The system refused; `code` is `errno`.
    case system(operation: String, path: String, code: Int32)
    /// Something that this store did not make stands under the key, or on the way to it.
    case foreign(path: String, what: String)
    /// More bytes were asked for than the file has.
    case pastEnd(path: String, size: Int64, wanted: Int64)
    /// The file ended before the bytes it had when it was opened.
    case shrank(path: String, expected: Int64, found: Int64)
    case tooLarge(path: String, limit: Int64)
    /// The file system can neither rename without replacing nor link.
    case noExclusiveCreate(path: String)

    package var exitCode: ExitCode { .store }

    package var operation: String {
        switch self {
        case .rootMissing, .rootNotDirectory: "open the store's directory"
        case .invalidKey: "use the key"
        case .system(let operation, _, _): operation
        case .foreign: "use the path"
        case .pastEnd, .shrank: "read the object"
        case .tooLarge: "write the object"
        case .noExclusiveCreate: "create the object"
        }
    }

    package var object: String {
        switch self {
        case .rootMissing(let path), .rootNotDirectory(let path), .system(_, let path, _), .foreign(let path, _),
            .pastEnd(let path, _, _), .shrank(let path, _, _), .tooLarge(let path, _), .noExclusiveCreate(let path):
            path
        case .invalidKey(let key, _): key
        }
    }

    package var cause: String {
        switch self {
        case .rootMissing: "it does not exist"
        case .rootNotDirectory: "it is not a directory"
        case .invalidKey(_, let problem): problem
        case .system(_, _, let code): ErrnoText(code).words
        case .foreign(_, let what): "it is \(what), which this store did not make and does not follow"
        case .pastEnd(_, let size, let wanted): "bytes up to \(wanted) were asked for, and it has \(size)"
        case .shrank(_, let expected, let found): "it had \(expected) bytes and ends after \(found)"
        case .tooLarge(_, let limit): "it is longer than the \(limit) bytes that one object may have"
        case .noExclusiveCreate: "this file system can neither rename without replacing nor make hard links"
        }
    }

    package var hint: String {
        switch self {
        case .rootMissing(let path):
            "mount the volume, or make the directory once by 'mkdir -p \(path)'; it is never made by itself, so that "
                + "backups do not go to an unmounted place"
        case .rootNotDirectory: "name a directory: file:///path/to/directory"
        case .invalidKey: "check the key, and the key prefix in the configuration"
        case .system(_, _, let code): ErrnoText(code).hint
        case .foreign: "move it out of the store's directory; to use another disk, mount it there or change the store"
        case .pastEnd, .shrank:
            "the file was cut by something else: run 'lifeboat verify' on the set, and use another"
        case .tooLarge: "this is a fault of the program: longer parts go on in further segments; report it"
        case .noExclusiveCreate:
            "use a directory on ext4, xfs, btrfs, zfs or NFS; FAT and some FUSE mounts will not do"
        }
    }
}

/// What an `errno` means and what to do about it, in our own words.
private struct ErrnoText {
    let words: String
    let hint: String

    init(_ code: Int32) {
        (words, hint) =
            switch code {
            case ENOSPC:
                ("the disk is full", "free space on it or enlarge it, then run again; 'df' shows how much there is")
            case EDQUOT: ("the disk quota is used up", "raise the quota of this user or free space, then run again")
            case EFBIG:
                (
                    "the file is too large for this file system or limit",
                    "raise 'ulimit -f', or use another file system"
                )
            case EACCES, EPERM:
                (
                    "permission denied",
                    "give the user that runs this (id -u) read, write and search rights on the directory"
                )
            case EROFS:
                (
                    "the file system is read-only",
                    "mount it for writing; after a disk error the kernel makes it read-only"
                )
            case EIO:
                ("the disk reports an error", "look at the kernel's log (dmesg); replace the disk, use another store")
            case ENOENT: ("it is not there", "check the path, and that the volume is mounted")
            case ENOTDIR: ("a piece of its path is a file", "move that file out of the store's directory")
            case EISDIR: ("it is a directory", "move that directory out of the store's directory")
            case ENAMETOOLONG: ("the path is too long", "use a store directory or a key prefix with a shorter name")
            case ESTALE:
                (
                    "the network file system no longer knows it",
                    "mount it again; the server was restarted or re-exported"
                )
            case ETIMEDOUT:
                ("the network file system does not answer", "check the file server and the network, then run again")
            case EMFILE, ENFILE: ("too many files are open", "raise 'ulimit -n'")
            case ELOOP: ("it is a symbolic link", "move it out of the store's directory")
            default: ("system error \(code)", "'errno \(code)' and the kernel's log (dmesg) say more")
            }
    }
}

/// Runs a system call and names what it was for.
@discardableResult
func attempt<Value>(
    _ operation: String, _ path: String, _ body: () throws(SystemError) -> Value
) throws(FileStoreError) -> Value {
    do {
        return try body()
    } catch {
        throw .system(operation: operation, path: path, code: error.code)
    }
}
