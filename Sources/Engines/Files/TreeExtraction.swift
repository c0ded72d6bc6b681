import CLinux
import Core
import Glibc

/// Makes the trees of an archive again, each in a place of its own.
///
/// Every entry is made by a single name in a directory that this extraction has made itself and holds open, so nothing
/// can escape: there is no path to resolve, and so no link to follow.
struct TreeExtraction: TarVisitor {
    /// What has been met that a person should know.
    private(set) var privileged = 0
    /// Entries made.
    private(set) var count: Int64 = 0

    /// Begins a tree and says where it goes.
    private let place: (String) throws -> StagedTree
    private var staged: StagedTree?
    private var tree = ""
    /// The directories from the tree's own to the one that is being filled.
    private var levels: [Level] = []
    private var above: OpenFile?
    private var file: OpenFile?
    private var fileName: [CChar] = []

    private struct Level {
        var entry: FileEntry
        var directory: OpenFile
    }

    /// `place` is asked for each tree that the archive has, and throws where there should be none of this name.
    init(into place: @escaping (String) throws -> StagedTree) { self.place = place }

    mutating func begin(tree: String) throws {
        try leave(to: [])
        let staged = try place(tree)
        self.tree = tree
        self.staged = staged
        above = try naming("stage the restore", staged.workshop.path) { () throws(CallFailure) in
            try OpenFile(staged.workshop.path, O_RDONLY | O_DIRECTORY)
        }
    }

    mutating func begin(_ entry: FileEntry) throws {
        let (name, parent) = try enter(entry.path)
        guard entry.kind != .directory || levels.count < TreeWalk.deepest else {
            throw damaged("\(shown(entry.path)) lies deeper than this program stores")
        }
        count += 1
        if entry.kind == .file, entry.mode & 0o6000 != 0 { privileged += 1 }
        try Self.failing(tree, entry.path) { () throws(CallFailure) in
            switch entry.kind {
            case .directory:
                try system { mkdirat(parent.number, name, S_IRWXU) }
                levels.append(
                    Level(entry: entry, directory: try OpenFile(name, in: parent, O_RDONLY | O_DIRECTORY)))
            case .file:
                file = try OpenFile(name, in: parent, O_RDWR | O_CREAT | O_EXCL, mode: 0o600)
            case .link:
                let target = terminated(entry.target)
                try system { symlinkat(target, parent.number, name) }
                try finish(entry, name, in: parent)
            case .pipe:
                try system { mkfifoat(parent.number, name, 0o600) }
                try finish(entry, name, in: parent)
                try system { fchmodat(parent.number, name, mode_t(entry.mode), 0) }
            }
        }
        if entry.isRoot { try staged?.mark() }
    }

    mutating func read(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws {
        guard let file else { return }
        try Self.failing(tree, FileEntry.root) { () throws(CallFailure) in try file.write(bytes, at: offset) }
    }

    mutating func end(_ entry: FileEntry) throws {
        guard let made = file else { return }
        file = nil
        try Self.failing(tree, entry.path) { () throws(CallFailure) in
            // A hole at the end has no bytes that would make the file so long.
            try system { ftruncate(made.number, off_t(entry.size)) }
            try finish(entry, made)
        }
    }

    mutating func link(_ path: [UInt8], to first: [UInt8]) throws {
        let (name, parent) = try enter(path)
        count += 1
        guard let root = levels.first?.directory else { throw damaged("\(shown(path)) stands before its tree") }
        var isFile = false
        try Self.failing(tree, path) { () throws(CallFailure) in
            var directory = root
            let pieces = first.split(separator: UInt8(ascii: "/"))
            for piece in pieces.dropLast() {
                directory = try OpenFile(terminated(piece), in: directory, O_RDONLY | O_DIRECTORY)
            }
            let target = terminated(pieces.last ?? [])
            isFile = try status(target, in: directory)?.type == S_IFREG
            if isFile { try system { linkat(directory.number, target, parent.number, name, 0) } }
        }
        guard isFile else { throw damaged("\(shown(path)) is a name of what is no file before it") }
    }

    mutating func finish() throws { try leave(to: []) }

    // MARK: The way there

    /// Leaves the directories that are complete. Returns the entry's own name, and the directory it belongs in, which
    /// must be one of those it came through.
    private mutating func enter(_ path: [UInt8]) throws -> (name: [CChar], parent: OpenFile) {
        if path == FileEntry.root {
            guard let above, levels.isEmpty else { throw damaged("the tree \(shown(tree)) begins twice") }
            return (terminated(Workshop.treeName.utf8), above)
        }
        let cut = path.lastIndex(of: UInt8(ascii: "/"))
        let parent = cut.map { Array(path[..<$0]) } ?? FileEntry.root
        try leave(to: parent)
        guard let level = levels.last else { throw damaged("\(shown(path)) stands before its directory") }
        return (terminated(path[(cut.map { $0 + 1 } ?? 0)...]), level.directory)
    }

    /// Gives each directory that is left its owner, mode and time, which making its entries would have changed.
    private mutating func leave(to path: [UInt8]) throws {
        while let level = levels.last, level.entry.path != path {
            levels.removeLast()
            try Self.failing(tree, level.entry.path) { () throws(CallFailure) in
                try finish(level.entry, level.directory)
            }
        }
    }

    // MARK: Attributes

    /// Owner before mode, which a change of owner takes bits from; attributes before the mode that may forbid to write
    /// them; ACLs after it, for they are part of it; time last.
    private func finish(_ entry: FileEntry, _ file: OpenFile) throws(CallFailure) {
        try system { fchown(file.number, entry.owner, entry.group) }
        for attribute in entry.attributes where !attribute.isList { try set(attribute, file) }
        try system { fchmod(file.number, mode_t(entry.mode)) }
        for attribute in entry.attributes where attribute.isList { try set(attribute, file) }
        let times = Self.times(entry)
        try system { futimens(file.number, times) }
    }

    private func set(_ attribute: FileAttribute, _ file: OpenFile) throws(CallFailure) {
        let name = terminated(attribute.name)
        try system { linux_set_attribute(file.number, name, attribute.value, attribute.value.count) }
    }

    private func finish(_ entry: FileEntry, _ name: [CChar], in parent: OpenFile) throws(CallFailure) {
        try system { fchownat(parent.number, name, entry.owner, entry.group, AT_SYMLINK_NOFOLLOW) }
        let times = Self.times(entry)
        try system { utimensat(parent.number, name, times, AT_SYMLINK_NOFOLLOW) }
    }

    private static func times(_ entry: FileEntry) -> [timespec] {
        let time = timespec(tv_sec: time_t(entry.modified.seconds), tv_nsec: Int(entry.modified.nanoseconds))
        return [time, time]
    }

    // MARK: Errors

    private static func failing(
        _ tree: String, _ path: [UInt8], _ body: () throws(CallFailure) -> Void
    ) throws(FilesError) {
        do throws(CallFailure) {
            try body()
        } catch {
            let whole = Array(tree.utf8) + (path == FileEntry.root ? [] : [UInt8(ascii: "/")] + path)
            var failure = FilesError.system("make the file again", whole, error.code)
            failure.exitCode = .restoreFailedOriginalIntact
            throw failure
        }
    }

    private func damaged(_ problem: String) -> FilesError {
        .damagedPart(FileTrees.PartName.archive, problem)
    }
}
