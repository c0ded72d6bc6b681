import Core
import Glibc

/// Reads trees and gives them as one tar archive. Pulled by one thread at a time.
final class TreeArchive: ByteSource, @unchecked Sendable {
    /// Up to this many bytes a file is read whole before its header is written, and once more where it changed
    /// meanwhile, so that most files that are written to now and then are stored as they were at one instant.
    static let smallFile = 128 << 10
    private static let attempts = 3

    private let source: FilesSource
    /// Trees that are not there, and empty ones, are passed over.
    private let isForced: Bool
    private let notes: PictureNotes
    private let reader: EntryReader
    private let isCancelled = Guarded(false)
    // Only touched by the thread that pulls.
    private var trees: [String]
    private var walk: TreeWalk?
    private var items = 0
    private var headers = TarHeaderWriter(tree: "/")
    private var links = HardLinks()
    private var pending: [UInt8] = []
    private var given = 0
    private var file: PiecewiseFile?
    private var hasEnded = false

    init(_ source: FilesSource, isForced: Bool, notes: PictureNotes) {
        self.source = source
        self.isForced = isForced
        self.notes = notes
        reader = EntryReader(notes: notes)
        trees = source.paths.reversed()
    }

    func cancel() { isCancelled.withLock { $0 = true } }

    func next() throws -> Chunk? {
        let chunk = Chunk()
        while chunk.remaining > 0 {
            if isCancelled.value { throw CancellationError() }
            if given < pending.count {
                given += pending.withUnsafeBytes {
                    chunk.append(UnsafeRawBufferPointer(rebasing: $0[given...]))
                }
            } else if file != nil {
                try readFile(into: chunk)
            } else if try !advance() {
                break
            }
        }
        return chunk.count > 0 ? chunk : nil
    }

    /// Makes the next bytes pending; `false` after the last.
    private func advance() throws(FilesError) -> Bool {
        guard let current = walk else { return try beginTree() }
        if let item = try current.next() {
            items += 1
            try begin(item, current)
            return true
        }
        if items == 1, !isForced, !source.allowsEmpty, let item = try isDirectory(current.location), item {
            throw FilesError(
                .empty, "read the files", object: shown(current.location), cause: "there is nothing in it",
                hint: "see whether the volume is mounted; set FILES_ALLOW_EMPTY where an empty directory is as it "
                    + "should be")
        }
        walk = nil
        return true
    }

    private func isDirectory(_ path: String) throws(FilesError) -> Bool? {
        try naming("look at the files", path) { () throws(CallFailure) in try status(of: path)?.isDirectory }
    }

    private func beginTree() throws(FilesError) -> Bool {
        guard let tree = trees.popLast() else {
            guard !hasEnded else { return false }
            hasEnded = true
            put(TarHeaderWriter.end)
            return true
        }
        let selection = TreeWalk.Selection(
            tree: tree, excludes: Excludes(source.excludes), oneFileSystem: source.oneFileSystem, notes: notes)
        guard let walk = try TreeWalk(source.location(of: tree), selection) else {
            if isForced { return true }
            throw FilesError.missing(source.location(of: tree))
        }
        self.walk = walk
        items = 0
        links = HardLinks()
        headers = TarHeaderWriter(tree: tree)
        put(headers.beginning)
        return true
    }

    private func put(_ bytes: [UInt8]) {
        pending = bytes
        given = 0
    }

    // MARK: Entries

    private func begin(_ item: TreeWalk.Item, _ walk: TreeWalk) throws(FilesError) {
        let path = walk.wholePath(item.path)
        guard let kind = EntryReader.kind(item.status) else {
            notes.add(item.status.type == S_IFSOCK ? .socket : .device, path)
            return
        }
        do {
            if kind == .file {
                try beginFile(item, path)
            } else {
                let entry = try reader.entry(item, kind, opened: item.opened, wholePath: path)
                put(try headers.header(entry))
            }
        } catch let error as CallFailure {
            guard error.code == ENOENT, item.path != FileEntry.root else {
                throw .system("read the file", path, error.code)
            }
            notes.add(.vanished, path)
        } catch {
            throw FilesError(
                .unreadable, "read the file", object: shown(path),
                cause: "it has more extended attributes than an archive can hold, or an ACL that nobody knows",
                hint: "remove what is not needed with setfattr or setfacl, then run again")
        }
    }

    private func beginFile(_ item: TreeWalk.Item, _ path: [UInt8]) throws {
        let file = try OpenFile(item.name, in: item.parent, O_RDONLY | O_NONBLOCK)
        let status = try file.status()
        // Another kind of file has come into its place since.
        guard status.type == S_IFREG else { throw CallFailure(code: ENOENT) }
        var count = 1
        if status.st_nlink > 1 {
            switch links.meet(FileIdentity(status), item.path, links: Int(status.st_nlink)) {
            case .first: count = Int(status.st_nlink)
            case .further(let first):
                let entry = try reader.entry(item, .file, opened: file, known: status, wholePath: path)
                put(try headers.hardLink(entry, to: first))
                return
            case .forgotten: notes.add(.linkedFile, path)
            }
        }
        if status.st_size <= Self.smallFile, Int64(status.st_blocks) * 512 >= Int64(status.st_size) {
            put(try smallFile(item, file, status, path, links: count))
            return
        }
        var entry = try reader.entry(item, .file, opened: file, known: status, wholePath: path)
        entry.links = count
        // One status for the size in the header, the pieces, and what it is compared with afterwards.
        entry.size = Int64(status.st_size)
        let pieces = try file.pieces(status)
        let isWhole = pieces == [FilePiece(offset: 0, count: entry.size)]
        let map = isWhole ? nil : PieceMapReader.map(pieces, size: entry.size)
        let stored = pieces.reduce(0) { $0 + $1.count }
        put(try headers.header(entry, map: map, stored: stored))
        pending += map ?? []
        self.file = PiecewiseFile(
            file: file, path: path, version: FileVersion(status), pieces: pieces.filter { $0.count > 0 },
            padding: TarFormat.padding(after: stored))
    }

    /// Header and bytes of a file that is read at once. `status` has just been asked for.
    private func smallFile(
        _ item: TreeWalk.Item, _ file: OpenFile, _ status: stat, _ path: [UInt8], links: Int
    ) throws -> [UInt8] {
        var status = status
        var attempt = 1
        while true {
            let before = FileVersion(status)
            var entry = try reader.entry(item, .file, opened: file, known: status, wholePath: path)
            entry.links = links
            // One more than it should have shows one that has grown.
            let room = Int(min(entry.size, Int64(Self.smallFile))) + 1
            var bytes = try file.bytes(count: room)
            status = try file.status()
            let after = FileVersion(status)
            let isStable = bytes.count == Int(entry.size) && after == before
            if isStable || attempt == Self.attempts {
                if !isStable { notes.add(.changed, path) }
                bytes.removeLast(max(0, bytes.count - room + 1))
                entry.size = Int64(bytes.count)
                let padding = TarFormat.padding(after: entry.size)
                let header = try headers.header(entry)
                return header + bytes + [UInt8](repeating: 0, count: padding)
            }
            attempt += 1
        }
    }

    // MARK: Large files

    private func readFile(into chunk: Chunk) throws(FilesError) {
        guard var current = file else { return }
        do throws(CallFailure) {
            try current.read(into: chunk)
            guard current.isAtEnd else {
                file = current
                return
            }
            file = nil
            put([UInt8](repeating: 0, count: current.padding))
            let after = FileVersion(try current.file.status())
            if current.isShort || after != current.version { notes.add(.changed, current.path) }
        } catch {
            throw .system("read the file", current.path, error.code)
        }
    }
}

/// A file that is being read piece by piece into an archive.
private struct PiecewiseFile {
    let file: OpenFile
    let path: [UInt8]
    let version: FileVersion
    let pieces: [FilePiece]
    let padding: Int
    private var piece = 0
    private var done: Int64 = 0
    /// It has become shorter: zeros stand for what is missing, because its size is in the archive already.
    private(set) var isShort = false

    init(file: OpenFile, path: [UInt8], version: FileVersion, pieces: [FilePiece], padding: Int) {
        self.file = file
        self.path = path
        self.version = version
        self.pieces = pieces
        self.padding = padding
    }

    var isAtEnd: Bool { piece == pieces.count }

    mutating func read(into chunk: Chunk) throws(CallFailure) {
        guard piece < pieces.count else { return }
        let current = pieces[piece]
        let wanted = Int(min(current.count - done, Int64(chunk.remaining)))
        let offset = current.offset + done
        let (file, wasShort) = (file, isShort)
        var isShortNow = wasShort
        let count = try chunk.append { room throws(CallFailure) in
            let room = UnsafeMutableRawBufferPointer(rebasing: room[..<wanted])
            let count = wasShort ? 0 : try file.read(into: room, at: offset)
            if count > 0 { return count }
            isShortNow = true
            room.initializeMemory(as: UInt8.self, repeating: 0)
            return wanted
        }
        isShort = isShortNow
        done += Int64(count)
        if done == current.count {
            piece += 1
            done = 0
        }
    }
}
