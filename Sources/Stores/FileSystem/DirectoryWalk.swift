import Core
import Glibc

/// Goes through a directory tree in the order of the keys' bytes.
///
/// Depth first, each directory sorted by name, a directory's name taken with the slash that follows it in its keys:
/// so `a-b/x` comes before `a/x`, as bytes have it. Holds the names of one directory a level, never the whole tree.
struct DirectoryWalk: Sendable {
    struct File {
        let key: String
        let path: String
        let status: FileStatus
    }

    /// Which files are wanted.
    enum Selection {
        case objects, temporaries
    }

    private struct Level {
        /// What the keys below begin with: empty, or with a slash at the end.
        let prefix: String
        /// Names in descending order, so that the next is the last; a directory's with its slash.
        var names: [[UInt8]]
    }

    private let root: String
    private let prefix: String
    private let selection: Selection
    private var levels: [Level] = []
    private var hasBegun = false

    /// Walks what lies under `prefix`, which may end anywhere in a name. ``FileStoreError/invalidKey(key:problem:)``
    /// where no key can begin like that.
    init(root: String, prefix: String, selection: Selection) throws(FileStoreError) {
        let pieces = prefix.split(separator: "/", omittingEmptySubsequences: false)
        for (index, piece) in pieces.enumerated() where index < pieces.count - 1 || !piece.isEmpty {
            if let problem = ObjectPath.problem(with: piece, isFirst: index == 0) {
                throw .invalidKey(key: prefix, problem: problem)
            }
        }
        self.root = root
        self.prefix = prefix
        self.selection = selection
    }

    /// The next file; `nil` after the last.
    mutating func next() throws(FileStoreError) -> File? {
        if !hasBegun {
            hasBegun = true
            try begin()
        }
        while let top = levels.indices.last {
            guard let name = levels[top].names.popLast() else {
                levels.removeLast()
                continue
            }
            let key = levels[top].prefix + String(decoding: name, as: UTF8.self)
            if name.last == UInt8(ascii: "/") {
                levels.append(Level(prefix: key, names: try names(in: key, beginningWith: [])))
                continue
            }
            let path = "\(root)/\(key)"
            let status = try attempt("look at the object", path) { () throws(SystemError) in try FileStatus.of(path) }
            // Gone since its directory was read, or something that is not ours: not an object.
            if let status, status.kind == .regular { return File(key: key, path: path, status: status) }
        }
        return nil
    }

    private mutating func begin() throws(FileStoreError) {
        let status = try attempt("look at the store's directory", root) { () throws(SystemError) in
            try FileStatus.of(root, followingLinks: true)
        }
        guard status != nil else { throw .rootMissing(path: root) }
        let cut =
            prefix.utf8.lastIndex(of: UInt8(ascii: "/")).map { prefix.utf8.index(after: $0) } ?? prefix.startIndex
        let directory = String(prefix[..<cut])
        if !directory.isEmpty {
            // The piece after it only serves to name a file in the directory.
            try ObjectPath(root: root, key: directory + "file").refuseLinks()
        }
        levels = [
            Level(prefix: directory, names: try names(in: directory, beginningWith: Array(prefix[cut...].utf8)))
        ]
    }

    /// The names in the directory of the keys that begin with `keyPrefix`, in descending order.
    private func names(in keyPrefix: String, beginningWith start: [UInt8]) throws(FileStoreError) -> [[UInt8]] {
        let path = keyPrefix.isEmpty ? root : "\(root)/\(keyPrefix)"
        do throws(SystemError) {
            var names: [[UInt8]] = []
            try readDirectory(path) { name, kind throws(SystemError) in
                guard let text = String(validating: name, as: UTF8.self), !text.isEmpty else { return }
                let isTemporary =
                    text.hasPrefix(ObjectPath.temporaryPrefix) && text.hasSuffix(ObjectPath.temporarySuffix)
                if isTemporary {
                    if selection == .temporaries { names.append(Array(name)) }
                    return
                }
                // Names that a key cannot have are not ours.
                guard ObjectPath.problem(with: text[...], isFirst: keyPrefix.isEmpty) == nil else { return }
                var found = kind
                if found == nil { found = try FileStatus.of("\(path)/\(text)")?.kind }
                switch found {
                case .directory:
                    let withSlash = Array(name) + [UInt8(ascii: "/")]
                    if withSlash.starts(with: start) { names.append(withSlash) }
                case .regular:
                    if selection == .objects && name.starts(with: start) { names.append(Array(name)) }
                case .link, .other, nil: return
                }
            }
            names.sort { $1.lexicographicallyPrecedes($0) }
            return names
        } catch {
            // Removed since its parent was read, or never there: nothing below it.
            if error.code == ENOENT || error.code == ENOTDIR { return [] }
            throw .system(operation: "list the directory", path: path, code: error.code)
        }
    }
}

/// Calls `body` with the name of each entry but `.` and `..`, and with its kind where the file system tells.
private func readDirectory(
    _ path: String, _ body: (UnsafeBufferPointer<UInt8>, FileStatus.Kind?) throws(SystemError) -> Void
) throws(SystemError) {
    guard let directory = opendir(path) else { throw SystemError(code: errno) }
    defer { closedir(directory) }
    while true {
        errno = 0
        guard let entry = readdir(directory) else {
            let code = errno
            if code == 0 { return }
            throw SystemError(code: code)
        }
        let kind: FileStatus.Kind? =
            switch Int(entry.pointee.d_type) {
            case Int(DT_REG): .regular
            case Int(DT_DIR): .directory
            case Int(DT_LNK): .link
            case Int(DT_UNKNOWN): nil
            default: .other
            }
        let start = UnsafeRawPointer(entry).advanced(by: nameOffset)
        let bytes = UnsafeBufferPointer(
            start: start.assumingMemoryBound(to: UInt8.self), count: strlen(start.assumingMemoryBound(to: CChar.self))
        )
        if bytes.elementsEqual(".".utf8) || bytes.elementsEqual("..".utf8) { continue }
        try body(bytes, kind)
    }
}

/// Where the name begins in what readdir(3) returns: after the inode, the offset, the length and the type.
private let nameOffset = MemoryLayout<dirent>.offset(of: \.d_name) ?? 19
