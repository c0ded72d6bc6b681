package import Core
import Glibc
import Synchronization

/// A store in a directory: `file:///srv/backups`.
///
/// A key is a path below the root. Directories are made with mode 0700 and files with 0600, for the user that runs
/// this; empty directories go with their last object. Symbolic links below the root, sockets, names that are not
/// UTF-8 and names that begin with a dot are not objects: no listing shows them, no key may name them. The root must
/// be there beforehand. Times are those of the file system: on a network mount, of its server.
package struct DirectoryStore: Store {
    package let capabilities: StoreCapabilities
    private let root: String
    private let random: RandomBytes

    /// `root` is an absolute path. `largestObject`, in bytes, is where longer parts are split; `random` names
    /// temporary files. Throws ``FileStoreError`` where the root is missing or is no directory.
    package init(root: String, largestObject: Int64 = 15 << 30, random: @escaping RandomBytes) throws {
        var path = root
        while path.utf8.count > 1 && path.utf8.last == UInt8(ascii: "/") { path.removeLast() }
        guard path.utf8.first == UInt8(ascii: "/"), !path.utf8.contains(0) else {
            throw FileStoreError.invalidKey(key: root, problem: "a store's directory is given as an absolute path")
        }
        let status = try attempt("open the store's directory", path) { () throws(SystemError) in
            try FileStatus.of(path, followingLinks: true)
        }
        guard let status else { throw FileStoreError.rootMissing(path: path) }
        guard status.kind == .directory else { throw FileStoreError.rootNotDirectory(path: path) }
        self.root = path == "/" ? "" : path
        self.random = random
        capabilities = StoreCapabilities(location: "file://\(path)", largestObject: largestObject)
    }

    /// Pulls `source` on a thread of its own. An overlap of producing and writing is the caller's to make: the last
    /// stage before this one should be a channel.
    package func put(_ key: String, from source: any ByteSource, options: PutOptions) async throws -> Int64 {
        let cancellation = Cancellation()
        return try await withTaskCancellationHandler {
            do {
                try refuse(options, key)
                let writer = ObjectWriter(
                    object: try ObjectPath(root: root, key: key), createOnly: options.createOnly,
                    largest: capabilities.largestObject, random: random, isCancelled: { cancellation.isRequested })
                return try await onThread("store-put") { try writer.write(from: source) }
            } catch {
                source.cancel()
                throw cancellation.isRequested ? CancellationError() : error
            }
        } onCancel: {
            cancellation.request()
            source.cancel()
        }
    }

    /// A file is there or not: it has no classes and no locks that would hold against the user it belongs to.
    private func refuse(_ options: PutOptions, _ key: String) throws {
        guard options.protection.isNone else { throw NotSupportedByStore(key: key, what: "object lock") }
        guard options.storageClass == .standard else { throw NotSupportedByStore(key: key, what: "storage classes") }
    }

    package func amend(_ key: String, _ amendment: Amendment) async throws {
        switch amendment {
        case .protect, .liftHold: throw NotSupportedByStore(key: key, what: "object lock")
        case .thaw: throw NotSupportedByStore(key: key, what: "archive")
        }
    }

    package func get(_ key: String, range: Range<Int64>?) async throws -> any ByteSource {
        let object = try ObjectPath(root: root, key: key)
        try Task.checkCancellation()
        return try await onThread("store-get") { try open(object, range: range) }
    }

    private func open(_ object: ObjectPath, range: Range<Int64>?) throws -> FileSource {
        try object.refuseLinks()
        let file = try openFile(object)
        let status = try status(of: file, object)
        switch status.kind {
        case .regular: break
        case .directory: throw ObjectNotFound(key: object.key)
        case .link, .other: throw FileStoreError.foreign(path: object.path, what: status.kind.rawValue)
        }
        let range = range ?? 0..<status.size
        guard range.lowerBound >= 0, range.upperBound <= status.size else {
            throw FileStoreError.pastEnd(path: object.path, size: status.size, wanted: range.upperBound)
        }
        return FileSource(file, path: object.path, range: range)
    }

    private func openFile(_ object: ObjectPath) throws -> OpenFile {
        do throws(SystemError) {
            // Without O_NONBLOCK a named pipe would wait here for its writer.
            return try OpenFile(object.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
        } catch {
            if error.code == ENOENT || error.code == ENOTDIR { throw ObjectNotFound(key: object.key) }
            throw FileStoreError.system(operation: "open the object", path: object.path, code: error.code)
        }
    }

    private func status(of file: borrowing OpenFile, _ object: ObjectPath) throws(FileStoreError) -> FileStatus {
        do throws(SystemError) {
            return try file.status()
        } catch {
            throw .system(operation: "look at the object", path: object.path, code: error.code)
        }
    }

    package func stat(_ key: String) async throws -> ObjectInfo? {
        let object = try ObjectPath(root: root, key: key)
        try Task.checkCancellation()
        return try await onThread("store-stat") {
            try object.refuseLinks()
            let status = try attempt("look at the object", object.path) { () throws(SystemError) in
                try FileStatus.of(object.path)
            }
            guard let status, status.kind != .directory else { return nil }
            guard status.kind == .regular else {
                throw FileStoreError.foreign(path: object.path, what: status.kind.rawValue)
            }
            return ObjectInfo(key: key, status: status)
        }
    }

    package func list(_ prefix: String) -> AsyncThrowingStream<ObjectInfo, any Error> {
        let listing = DirectoryListing(root: root, prefix: prefix)
        return AsyncThrowingStream { try await listing.next() }
    }

    /// A file has no versions.
    package func delete(_ key: String, allVersions: Bool) async throws {
        let object = try ObjectPath(root: root, key: key)
        try Task.checkCancellation()
        try await onThread("store-delete") {
            try object.refuseLinks()
            let status = try attempt("look at the object", object.path) { () throws(SystemError) in
                try FileStatus.of(object.path)
            }
            guard let status, status.kind != .directory else { return }
            guard status.kind == .regular else {
                throw FileStoreError.foreign(path: object.path, what: status.kind.rawValue)
            }
            do throws(SystemError) {
                try system { unlink(object.path) }
                // So that of two deletes the first is never undone by a power cut while the second holds.
                try syncDirectory(object.directory)
            } catch {
                if error.code != ENOENT {
                    throw FileStoreError.system(operation: "delete the object", path: object.path, code: error.code)
                }
            }
            removeEmptyDirectories(object)
        }
    }

    /// Removes what killed runs left half written under `prefix`: temporary files not written to for `seconds` (two
    /// days), by the file system's clock. Returns how many there were. Walks every directory under `prefix`; called
    /// at the start of a backup. A younger file may belong to a run that goes on.
    package func sweepTemporaryFiles(
        olderThan seconds: Int64 = 48 * 3600, under prefix: String = ""
    ) async throws -> Int {
        try Task.checkCancellation()
        return try await onThread("store-sweep") {
            let now = try fileSystemTime()
            var walk = try DirectoryWalk(root: root, prefix: prefix, selection: .temporaries)
            var removed = 0
            while let file = try walk.next() {
                guard file.status.modified <= now - seconds * 1000 else { continue }
                try attempt("remove the temporary file", file.path) { () throws(SystemError) in
                    do throws(SystemError) {
                        try system { unlink(file.path) }
                    } catch {
                        // Another run swept it first.
                        if error.code != ENOENT { throw error }
                    }
                }
                removed += 1
            }
            return removed
        }
    }

    /// The time by the clock that stamps the files, in milliseconds since 1970: what a new file gets.
    private func fileSystemTime() throws(FileStoreError) -> Int64 {
        let name = ObjectPath.temporaryPrefix + hexText(random(8)) + ObjectPath.temporarySuffix
        let path = "\(root)/\(name)"
        return try attempt("create a file in", path) { () throws(SystemError) in
            let file = try OpenFile(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600)
            defer { _ = unlink(path) }
            return try file.status().modified
        }
    }
}

extension ObjectInfo {
    fileprivate init(key: String, status: FileStatus) {
        self.init(key: key, size: status.size, modified: Timestamp(milliseconds: status.modified))
    }
}

/// Whether the task of a put has been cancelled, as its thread can see it.
private final class Cancellation: Sendable {
    private let flag = Atomic(false)

    var isRequested: Bool { flag.load(ordering: .relaxed) }
    func request() { flag.store(true, ordering: .relaxed) }
}

/// A listing that is read ahead in batches, each on a thread, when the consumer asks for more.
private final class DirectoryListing: Sendable {
    private struct State {
        var walk: DirectoryWalk?
        /// Found and not handed out yet, the next one last.
        var found: [ObjectInfo] = []
        var hasEnded = false
    }

    private static let batch = 500
    private let root: String
    private let prefix: String
    private let state = Guarded(State())

    init(root: String, prefix: String) {
        self.root = root
        self.prefix = prefix
    }

    func next() async throws -> ObjectInfo? {
        try Task.checkCancellation()
        if let info = state.withLock({ $0.found.popLast() }) { return info }
        return try await onThread("store-list") { try self.readBatch() }
    }

    private func readBatch() throws -> ObjectInfo? {
        try state.withLock { state in
            if state.hasEnded { return nil }
            var walk = try state.walk ?? DirectoryWalk(root: root, prefix: prefix, selection: .objects)
            state.walk = nil
            var batch: [ObjectInfo] = []
            while batch.count < Self.batch {
                guard let file = try walk.next() else {
                    state.hasEnded = true
                    break
                }
                batch.append(ObjectInfo(key: file.key, status: file.status))
            }
            state.walk = walk
            state.found = batch.reversed()
            return state.found.popLast()
        }
    }
}
