import Core
import Glibc

/// Reads a tree on disk as if its archive streamed by, with nothing left out: what is really there.
struct TreeInspection {
    /// Where it is.
    let location: String
    /// What it is called in sets.
    let tree: String
    let meter: ProgressMeter
    let isCancelled: Guarded<Bool>

    /// Tells `visitor` everything. A tree that is not there has no entries.
    func run(_ visitor: inout some TarVisitor) throws {
        try visitor.begin(tree: tree)
        guard let walk = try TreeWalk(location, TreeWalk.Selection(tree: tree)) else { return }
        let reader = EntryReader(notes: nil)
        var links = HardLinks()
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
        defer { room.deallocate() }
        while let item = try walk.next() {
            try beat()
            if item.status.type == S_IFSOCK { continue }
            do {
                try visit(item, &visitor, reader, &links, room)
            } catch let error as CallFailure {
                throw FilesError.system("read the tree back", walk.wholePath(item.path), error.code)
            }
        }
    }

    private func visit(
        _ item: TreeWalk.Item, _ visitor: inout some TarVisitor, _ reader: EntryReader, _ links: inout HardLinks,
        _ room: UnsafeMutableRawBufferPointer
    ) throws {
        guard let kind = EntryReader.kind(item.status) else {
            // In no set, so a tree with one is not what any set holds.
            throw FilesError(
                .refused, "read the tree back", object: shown(location), cause: "there is a device in it",
                hint: "find out who put it there")
        }
        guard kind == .file else {
            let entry = try reader.entry(item, kind, opened: item.opened, wholePath: [])
            try visitor.begin(entry)
            return
        }
        let file = try OpenFile(item.name, in: item.parent, O_RDONLY | O_NONBLOCK)
        var entry = try reader.entry(item, kind, opened: file, wholePath: [])
        if item.status.st_nlink > 1 {
            let count = Int(item.status.st_nlink)
            switch links.meet(FileIdentity(item.status), item.path, links: count) {
            case .first: entry.links = count
            case .further(let first): return try visitor.link(item.path, to: first)
            case .forgotten: break
            }
        }
        try visitor.begin(entry)
        try read(file, entry.size, &visitor, room)
        try visitor.end(entry)
    }

    private func read(
        _ file: OpenFile, _ size: Int64, _ visitor: inout some TarVisitor, _ room: UnsafeMutableRawBufferPointer
    ) throws {
        for piece in try file.pieces(try file.status()) {
            var offset = piece.offset
            let end = min(piece.offset + piece.count, size)
            while offset < end {
                try beat()
                let wanted = UnsafeMutableRawBufferPointer(
                    rebasing: room[..<Int(min(Int64(room.count), end - offset))])
                let count = try file.read(into: wanted, at: offset)
                // Shorter than it was a moment ago: zeros stand for the rest, and the digest will differ.
                if count == 0 { return }
                try visitor.read(
                    UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(wanted)[..<count]), at: offset)
                offset += Int64(count)
                meter.add(count)
            }
        }
    }

    private func beat() throws {
        if isCancelled.value { throw CancellationError() }
        meter.beat()
    }
}

extension TreeInspection {
    /// The line of one path; `nil` where nothing is there that could be stored.
    func line(of path: [UInt8]) throws(FilesError) -> [UInt8]? {
        do {
            guard let item = try item(path), let kind = EntryReader.kind(item.status) else { return nil }
            let flags = kind == .directory ? O_RDONLY | O_DIRECTORY : O_RDONLY | O_NONBLOCK
            let opened =
                kind == .file || kind == .directory ? try OpenFile(item.name, in: item.parent, flags) : nil
            let entry = try EntryReader(notes: nil).entry(item, kind, opened: opened, wholePath: [])
            guard let opened, kind == .file else { return entry.line(digest: nil) }
            var digest = LineDigest()
            let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
            defer { room.deallocate() }
            try read(opened, entry.size, &digest, room)
            digest.end(entry)
            return digest.line
        } catch let error as CallFailure {
            if error.code == ENOENT || error.code == ENOTDIR || error.code == ELOOP { return nil }
            throw FilesError.system("read the tree back", location, error.code)
        } catch let error as FilesError {
            throw error
        } catch {
            throw FilesError.system("read the tree back", location, EINTR)
        }
    }

    private func item(_ path: [UInt8]) throws(CallFailure) -> TreeWalk.Item? {
        let whole = Array(location.utf8) + (path == FileEntry.root ? [] : [UInt8(ascii: "/")] + path)
        let pieces = whole.split(separator: UInt8(ascii: "/"))
        guard let last = pieces.last else { return nil }
        let above = location.split(separator: "/").count - 1
        let start = "/" + pieces.prefix(above).map { String(decoding: $0, as: UTF8.self) }.joined(separator: "/")
        var parent = try OpenFile(start, O_RDONLY | O_DIRECTORY)
        for piece in pieces.dropFirst(above).dropLast() {
            parent = try OpenFile(terminated(piece), in: parent, O_RDONLY | O_DIRECTORY)
        }
        let name = terminated(last)
        return try status(name, in: parent).map {
            TreeWalk.Item(path: path, name: name, parent: parent, status: $0, opened: nil)
        }
    }
}

/// The line of a single file.
private struct LineDigest: TarVisitor {
    private(set) var line: [UInt8] = []
    private var digest = FileDigest()
    private var hashed: Int64 = 0

    mutating func begin(tree: String) {}
    mutating func begin(_ entry: FileEntry) {}

    mutating func read(_ bytes: UnsafeRawBufferPointer, at offset: Int64) {
        digest.update(zeros: offset - hashed) {}
        digest.update(bytes)
        hashed = offset + Int64(bytes.count)
    }

    mutating func end(_ entry: FileEntry) {
        digest.update(zeros: entry.size - hashed) {}
        let digest = digest.finish()
        line = entry.line(digest: digest)
    }

    mutating func link(_ path: [UInt8], to first: [UInt8]) {}
    mutating func finish() {}
}

/// Says what differs between a set's listing and what is on disk: line by line, whatever the order, so that neither of
/// the two is ever held.
struct ListingComparison {
    static let mostNamed = 20

    private(set) var differences: [String] = []
    private var tree = ""
    private let look: (_ tree: String, _ path: [UInt8]) throws -> [UInt8]?

    /// `look` gives the line that the path has on disk; `nil` where nothing is there.
    init(look: @escaping (_ tree: String, _ path: [UInt8]) throws -> [UInt8]?) { self.look = look }

    var isFull: Bool { differences.count >= Self.mostNamed }

    mutating func compare(_ line: [UInt8]) throws {
        guard !isFull else { return }
        guard case .object(let members) = try JSON(parsing: line) else { throw damaged }
        if case .string(let name)? = members["tree"] {
            tree = name
            return
        }
        guard members["type"] != nil else { return }
        let path: [UInt8]
        if case .string(let text)? = members["path"] {
            path = Array(text.utf8)
        } else if case .string(let hex)? = members["pathHex"], let bytes = bytes(hexText: hex) {
            path = bytes
        } else {
            throw damaged
        }
        guard let found = try look(tree, path) else {
            differences.append("\(shown(whole(path))) is missing")
            return
        }
        if found != line { differences.append("\(shown(whole(path))) \(Self.difference(members, found))") }
    }

    private func whole(_ path: [UInt8]) -> [UInt8] {
        Array(tree.utf8) + (path == FileEntry.root ? [] : [UInt8(ascii: "/")] + path)
    }

    private static func difference(_ recorded: [String: JSON], _ found: [UInt8]) -> String {
        guard case .object(let members)? = try? JSON(parsing: found) else { return "differs" }
        let names = Set(recorded.keys).union(members.keys).filter { recorded[$0] != members[$0] }
        return "has another \(names.sorted().joined(separator: ", "))"
    }

    private var damaged: FilesError { .damagedPart(FileTrees.PartName.listing, "a line is none of a listing") }
}
