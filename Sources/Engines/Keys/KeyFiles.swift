import CLinux
import Core
import Glibc

/// A file or directory as it lies among keys.
struct KeyEntry: Sendable {
    /// Below the directory of keys: `tls/server.pem`; empty for that directory itself.
    var path: String
    /// `nil` for a directory.
    var content: SecretBytes?
    /// Permission bits.
    var mode: UInt32
    var owner: UInt32
    var group: UInt32
    /// Seconds since 1970.
    var modified: Int64
}

/// Reads all files of a directory of keys as one picture.
///
/// A mounted Kubernetes Secret is a directory whose `..data` leads to the files of one revision, which are never
/// changed; a new revision takes its place in one step. That one is read, through the link once. An ordinary directory is
/// read again where anything in it changed meanwhile.
///
/// All calls block.
struct KeyDirectory {
    /// Bytes that a key file may have, and all of them together.
    static let largestFile = 1 << 20
    static let largestSet = 16 << 20
    static let mostEntries = 10_000
    static let deepest = 16
    private static let attempts = 5
    private static let revisionLink = "..data"

    let path: String

    /// Whether it is a mounted Secret, which nobody but the kubelet writes.
    func isMount() throws -> Bool {
        let directory = try Descriptor(path)
        return try directory.status(of: Self.revisionLink) != nil
    }

    /// Directories before what is in them, sorted by path.
    func read() throws -> [KeyEntry] {
        for _ in 0..<Self.attempts {
            if let entries = try readOnce() { return entries }
        }
        throw KeysError.changing(path, attempts: Self.attempts)
    }

    /// `nil` where it changed meanwhile.
    private func readOnce() throws -> [KeyEntry]? {
        let place = try Descriptor(path)
        var directory = place
        let isMount = try place.status(of: Self.revisionLink) != nil
        if isMount {
            guard let revision = try place.open(Self.revisionLink, O_RDONLY | O_DIRECTORY) else { return nil }
            directory = revision
        }
        var reading = Reading(root: path)
        guard try reading.walk(directory, "", depth: 0) else { return nil }
        var again = Reading(root: path, isOnlyLooking: true)
        guard try again.walk(directory, "", depth: 0), again.seen == reading.seen else { return nil }
        if isMount {
            // A revision is taken away after another has come into its place. One that was half gone, or gone, before the
            // first look would look the same the second time.
            guard let current = try place.open(Self.revisionLink, O_RDONLY | O_DIRECTORY),
                try current.status().st_ino == directory.status().st_ino
            else { return nil }
        }
        return reading.entries.sorted { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
    }
}

/// One walk through a directory.
private struct Reading {
    let root: String
    var isOnlyLooking = false
    var entries: [KeyEntry] = []
    /// What tells a file that was changed from one that was not.
    var seen: [String: [Int64]] = [:]
    private var size = 0

    init(root: String, isOnlyLooking: Bool = false) {
        self.root = root
        self.isOnlyLooking = isOnlyLooking
    }

    /// `false` where something went away under the walk.
    mutating func walk(_ directory: Descriptor, _ path: String, depth: Int) throws -> Bool {
        guard depth <= KeyDirectory.deepest else {
            throw KeysError.tooMuch("\(root)/\(path)", "directories are nested deeper than \(KeyDirectory.deepest)")
        }
        let status = try directory.status()
        note(path, status)
        if !isOnlyLooking { entries.append(KeyEntry(path: path, content: nil, status)) }
        for name in try directory.names().sorted() {
            let inner = path.isEmpty ? name : "\(path)/\(name)"
            guard try take(name, in: directory, inner, depth: depth) else { return false }
            guard seen.count <= KeyDirectory.mostEntries else {
                throw KeysError.tooMuch(root, "it has more than \(KeyDirectory.mostEntries) entries")
            }
        }
        return true
    }

    private mutating func take(
        _ name: String, in directory: Descriptor, _ path: String, depth: Int
    ) throws -> Bool {
        guard let entry = try directory.status(of: name) else { return false }
        guard entry.st_mode & S_IFMT != S_IFDIR else {
            guard let inner = try directory.open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) else { return false }
            return try walk(inner, path, depth: depth + 1)
        }
        guard !path.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) else {
            throw KeysError.notAFile(root, "a file whose name has control characters")
        }
        // A link leads to a key that lies elsewhere: the key is stored, not the link.
        guard let file = try directory.open(name, O_RDONLY | O_NOCTTY | O_NONBLOCK) else {
            if entry.st_mode & S_IFMT == S_IFLNK { throw KeysError.notAFile("\(root)/\(path)", "a link to nothing") }
            return false
        }
        let status = try file.status()
        guard status.st_mode & S_IFMT == S_IFREG else {
            let isDirectory = status.st_mode & S_IFMT == S_IFDIR
            throw KeysError.notAFile(
                "\(root)/\(path)", isDirectory ? "a link to a directory" : "a device or a socket")
        }
        note(path, status)
        guard !isOnlyLooking else { return true }
        let content = try file.content(limit: KeyDirectory.largestFile)
        size += content.count
        guard size <= KeyDirectory.largestSet else {
            throw KeysError.tooMuch(root, "its files have more than \(KeyDirectory.largestSet >> 20) MiB together")
        }
        let after = try file.status()
        note(path, after)
        entries.append(KeyEntry(path: path, content: content, after))
        return Int64(after.st_size) == Int64(content.count) && Self.signature(status) == Self.signature(after)
    }

    private mutating func note(_ path: String, _ status: stat) { seen[path] = Self.signature(status) }

    private static func signature(_ status: stat) -> [Int64] {
        [
            Int64(bitPattern: UInt64(status.st_ino)), Int64(status.st_size), Int64(status.st_mode),
            Int64(status.st_mtim.tv_sec), Int64(status.st_mtim.tv_nsec), Int64(status.st_ctim.tv_sec),
            Int64(status.st_ctim.tv_nsec),
        ]
    }
}

extension KeyEntry {
    fileprivate init(path: String, content: SecretBytes?, _ status: stat) {
        self.init(
            path: path, content: content, mode: UInt32(status.st_mode) & 0o7777, owner: UInt32(status.st_uid),
            group: UInt32(status.st_gid), modified: Int64(status.st_mtim.tv_sec))
    }
}

/// An open file or directory, closed when it is let go.
private final class Descriptor {
    private let number: Int32
    private let path: String

    init(_ path: String) throws {
        self.path = path
        number = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard number >= 0 else { throw KeysError.system(path, errno) }
    }

    private init(number: Int32, path: String) {
        self.number = number
        self.path = path
    }

    deinit { if number >= 0 { close(number) } }

    /// `nil` where there is no such entry, or a link to none.
    func open(_ name: String, _ flags: Int32) throws -> Descriptor? {
        let inner = linux_open_at(number, name, flags | O_CLOEXEC, 0)
        guard inner >= 0 else {
            if errno == ENOENT { return nil }
            throw KeysError.system("\(path)/\(name)", errno)
        }
        return Descriptor(number: inner, path: "\(path)/\(name)")
    }

    func status() throws -> stat {
        var status = stat()
        guard fstat(number, &status) == 0 else { throw KeysError.system(path, errno) }
        return status
    }

    /// Of an entry, a link being taken as itself; `nil` where there is none.
    func status(of name: String) throws -> stat? {
        var status = stat()
        guard fstatat(number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            if errno == ENOENT { return nil }
            throw KeysError.system("\(path)/\(name)", errno)
        }
        return status
    }

    func names() throws -> [String] {
        let own = linux_open_at(number, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
        guard own >= 0, let stream = fdopendir(own) else {
            let code = errno
            if own >= 0 { close(own) }
            throw KeysError.system(path, code)
        }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                guard errno == 0 else { throw KeysError.system(path, errno) }
                return names
            }
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: Int(NAME_MAX) + 1) {
                    String(validatingCString: $0)
                }
            }
            guard let name else { throw KeysError.notAFile(path, "a directory with a name that is not UTF-8") }
            if name != ".", name != ".." { names.append(name) }
            guard names.count <= KeyDirectory.mostEntries else {
                throw KeysError.tooMuch(path, "it has more than \(KeyDirectory.mostEntries) entries")
            }
        }
    }

    func content(limit: Int) throws -> SecretBytes {
        // One byte more than is allowed shows that there are too many.
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: limit + 1, alignment: 16)
        defer {
            wipe(room)
            room.deallocate()
        }
        var count = 0
        while count < room.count {
            let amount = read(number, room.baseAddress.map { $0 + count }, room.count - count)
            if amount < 0, errno == EINTR { continue }
            guard amount >= 0 else { throw KeysError.system(path, errno) }
            guard amount > 0 else { break }
            count += amount
        }
        guard count <= limit else { throw KeysError.tooMuch(path, "it is larger than \(limit >> 20) MiB") }
        return SecretBytes(UnsafeRawBufferPointer(rebasing: room[..<count]))
    }
}
