import CLinux
import Core
import Glibc

/// Writes one object: under a temporary name beside its place, then into its place in one step.
///
/// At every instant the object is whole or not there; what a killed process leaves is a temporary file, which no
/// listing shows and ``DirectoryStore/sweepTemporaryFiles(olderThan:under:)`` removes.
struct ObjectWriter {
    let object: ObjectPath
    let createOnly: Bool
    /// Bytes.
    let largest: Int64
    let random: RandomBytes
    /// Asked before the object becomes visible: a job that has been ended does not commit.
    let isCancelled: @Sendable () -> Bool

    /// Write-back begins every so many bytes, so that the final fsync has little left to wait for.
    private static let writebackStep: Int64 = 8 << 20

    /// Pulls `source` to its end on the calling thread and returns the bytes written.
    func write(from source: any ByteSource) throws -> Int64 {
        do {
            try refuseOccupied()
            let temporary = try createTemporary()
            let name = temporary.path
            do {
                let size = try fill(temporary, from: source)
                guard !isCancelled() else { throw CancellationError() }
                try publish(name)
                return size
            } catch {
                // What cannot be removed now is invisible, and swept by a later run.
                _ = unlink(name)
                removeEmptyDirectories(object)
                throw error
            }
        } catch {
            source.cancel()
            throw error
        }
    }

    /// Looks before the first byte is pulled: a conflict at the end would have cost a whole dump.
    private func refuseOccupied() throws {
        try object.refuseLinks()
        let status = try attempt("look at the object", object.path) { () throws(SystemError) in
            try FileStatus.of(object.path)
        }
        guard let status else { return }
        guard status.kind == .regular else {
            throw FileStoreError.foreign(path: object.path, what: status.kind.rawValue)
        }
        if createOnly { throw StoreConflict(key: object.key) }
    }

    private struct Temporary: ~Copyable {
        let path: String
        let file: OpenFile
    }

    /// Makes the directories and the temporary file. A delete beside us may remove a directory that we have just
    /// made, for it was empty; once our file stands in it, none can.
    private func createTemporary() throws(FileStoreError) -> Temporary {
        var last = ENOENT
        for _ in 0..<100 {
            let name = ObjectPath.temporaryPrefix + hexText(random(8)) + ObjectPath.temporarySuffix
            let path = "\(object.directory)/\(name)"
            do {
                for parent in object.parents { try makeDirectory(parent) }
                return Temporary(
                    path: path, file: try OpenFile(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600))
            } catch {
                last = error.code
            }
            // EEXIST: another writer drew the same name, or its process left it; draw again.
            guard last == ENOENT || last == EEXIST else { break }
            guard try rootExists() else { throw .rootMissing(path: object.root) }
        }
        throw .system(operation: "create a file in", path: object.directory, code: last)
    }

    private func makeDirectory(_ path: String) throws(SystemError) {
        do {
            try system { mkdir(path, 0o700) }
        } catch {
            if error.code != EEXIST { throw error }
        }
    }

    private func rootExists() throws(FileStoreError) -> Bool {
        try attempt("look at the store's directory", object.root) { () throws(SystemError) in
            try FileStatus.of(object.root, followingLinks: true) != nil
        }
    }

    private func fill(_ temporary: consuming Temporary, from source: any ByteSource) throws -> Int64 {
        let file = temporary.file
        var size: Int64 = 0
        var flushed: Int64 = 0
        while let chunk = try source.next() {
            guard size + Int64(chunk.count) <= largest else {
                throw FileStoreError.tooLarge(path: object.path, limit: largest)
            }
            try naming("write the object") { () throws(SystemError) in try file.write(chunk.bytes) }
            size += Int64(chunk.count)
            if size - flushed >= Self.writebackStep {
                file.startWriteback(from: flushed, count: size - flushed)
                flushed = size
            }
        }
        do throws(SystemError) {
            try file.sync()
            try file.close()
        } catch {
            throw FileStoreError.system(
                operation: "write the object to the disk", path: object.path, code: error.code)
        }
        return size
    }

    /// Gives the finished file its name and makes that durable.
    private func publish(_ temporary: String) throws {
        if createOnly {
            try linkExclusively(temporary)
        } else {
            try naming("put the object in its place") { () throws(SystemError) in
                try system { rename(temporary, object.path) }
            }
        }
        do {
            // All of them: a directory may have been made by a writer beside us that has not made it durable yet.
            for directory in object.ancestors { try syncDirectory(directory) }
        } catch {
            // The caller is told that there is no object, so there must be none; what a replacement replaced is gone.
            if createOnly { _ = unlink(object.path) }
            throw FileStoreError.system(
                operation: "make the object's name durable", path: object.path, code: error.code)
        }
    }

    private func linkExclusively(_ temporary: String) throws {
        do {
            try system { linux_rename_exclusive(temporary, object.path) }
            return
        } catch {
            switch error.code {
            case EEXIST: throw StoreConflict(key: object.key)
            // NFS and some others cannot, old kernels have no such call: a hard link never replaces either.
            case EINVAL, ENOSYS, EOPNOTSUPP: break
            default:
                throw FileStoreError.system(
                    operation: "put the object in its place", path: object.path, code: error.code)
            }
        }
        try linkAndUnlink(temporary)
    }

    /// The way for file systems without renameat2(2)'s RENAME_NOREPLACE.
    func linkAndUnlink(_ temporary: String) throws {
        do {
            try system { link(temporary, object.path) }
        } catch {
            switch error.code {
            case EEXIST:
                // A request sent twice by the network file system may find its own link: then there are two names.
                let links = try naming("look at the object") { () throws(SystemError) in
                    try FileStatus.of(temporary)?.links
                }
                guard links == 2 else { throw StoreConflict(key: object.key) }
            case EPERM, EOPNOTSUPP, ENOSYS, EMLINK: throw FileStoreError.noExclusiveCreate(path: object.path)
            default:
                throw FileStoreError.system(
                    operation: "put the object in its place", path: object.path, code: error.code)
            }
        }
        // A second name that stays is a temporary file like any other, swept later.
        _ = unlink(temporary)
    }

    @discardableResult
    private func naming<Value>(
        _ operation: String, _ body: () throws(SystemError) -> Value
    ) throws(FileStoreError) -> Value {
        try attempt(operation, object.path, body)
    }
}

/// Removes the object's directories as far as they are empty, innermost first. One that is not empty, or that
/// somebody is filling, stays; so none of the failures here matters.
func removeEmptyDirectories(_ object: ObjectPath) {
    for parent in object.parents.reversed() {
        guard rmdir(parent) == 0 else { return }
    }
}
