import Core
import Glibc

/// Computes what is in an archive, or in a tree on disk, from its entries in any order.
struct TreeDigest: TarVisitor {
    /// Where the lines of the listing go; `false` where nobody wants them any more.
    private let write: ([UInt8]) throws -> Void
    private let beat: () throws -> Void
    private(set) var trees: [DataEntry] = []
    private(set) var facts = TreeFacts()
    private var digest = FileDigest()
    private var hashed: Int64 = 0
    private var storedBytes: Int64 = 0
    private var links: [[UInt8]: Linked] = [:]

    /// A file with several names of which one has been met.
    private struct Linked {
        var entry: FileEntry
        var digest: [UInt8]
        var names: RowSum
        var count: Int64
    }

    /// `write` gets every line of the listing, without its line break. `beat` is called now and then while something
    /// takes long that moves no bytes.
    init(write: @escaping ([UInt8]) throws -> Void, beat: @escaping () throws -> Void) {
        self.write = write
        self.beat = beat
    }

    var contents: Contents { Contents(data: trees, schema: []) }

    mutating func begin(tree: String) throws {
        try endTree()
        trees.append(DataEntry(kind: .tree, schema: "", name: tree, columns: [], rows: 0, sum: RowSum()))
        facts.sizes.append(0)
        try write(JSON.object(["tree": .string(tree)]).canonicalBytes)
    }

    mutating func begin(_ entry: FileEntry) throws {
        guard entry.kind == .file else {
            try add(entry, digest: nil)
            facts.add(bytes: 0)
            return
        }
        digest = FileDigest()
        hashed = 0
        storedBytes = 0
    }

    mutating func read(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws {
        try digest.update(zeros: offset - hashed, beat: beat)
        digest.update(bytes)
        hashed = offset + Int64(bytes.count)
        storedBytes += Int64(bytes.count)
    }

    mutating func end(_ entry: FileEntry) throws {
        try digest.update(zeros: entry.size - hashed, beat: beat)
        let digest = digest.finish()
        self.digest = FileDigest()
        try add(entry, digest: digest)
        facts.add(bytes: storedBytes)
        if entry.links > 1 {
            guard links.count < TarFormat.mostLinkedFiles else { throw damaged("too many files have several names") }
            links[entry.path] = Linked(
                entry: entry, digest: digest, names: FileDigest.sum(of: entry.path), count: 1)
        }
    }

    mutating func link(_ path: [UInt8], to first: [UInt8]) throws {
        guard var file = links[first] else { throw damaged("\(shown(path)) is a name of a file that is not there") }
        var entry = file.entry
        entry.path = path
        try add(entry, digest: file.digest)
        file.names.add(FileDigest.sum(of: path))
        file.count += 1
        if file.count < Int64(file.entry.links) {
            links[first] = file
        } else {
            links[first] = nil
            try add(group: file)
        }
    }

    mutating func finish() throws { try endTree() }

    private mutating func endTree() throws {
        for file in links.values where file.count > 1 { try add(group: file) }
        links.removeAll()
    }

    private mutating func add(_ entry: FileEntry, digest: [UInt8]?) throws {
        let line = entry.line(digest: digest)
        try add(line: line)
        guard let last = trees.indices.last else { return }
        trees[last].rows += 1
        facts.add(entry)
    }

    /// That these names are of one file: a line of its own, so that the sum tells two equal files from one with two
    /// names.
    private mutating func add(group: Linked) throws {
        try add(
            line: JSON.object(["links": .integer(group.count), "names": .string(group.names.hex)]).canonicalBytes)
    }

    private mutating func add(line: [UInt8]) throws {
        guard let last = trees.indices.last else { throw damaged("an entry stands before its tree") }
        trees[last].sum.add(FileDigest.sum(of: line))
        try write(line)
    }

    private func damaged(_ problem: String) -> FilesError {
        .damagedPart(FileTrees.PartName.archive, problem)
    }
}

/// What a restore has to know of a set's files before it reads them.
struct TreeFacts: Equatable, Sendable {
    private static let block: Int64 = 4096
    private static let mostOwners = 64

    /// Bytes on disk of each tree, in blocks of 4 KiB.
    var sizes: [Int64] = []
    /// Pairs of user and group.
    private(set) var owners: Set<String> = []

    mutating func add(bytes: Int64) {
        guard let last = sizes.indices.last else { return }
        sizes[last] += max((bytes + Self.block - 1) / Self.block, 1) * Self.block
    }

    mutating func add(_ entry: FileEntry) {
        guard owners.count <= Self.mostOwners else { return }
        owners.insert("\(entry.owner):\(entry.group)")
    }

    /// `0:0,33:33`, or `many`.
    var ownersText: String { owners.count > Self.mostOwners ? "many" : owners.sorted().joined(separator: ",") }

    var total: Int64 { sizes.reduce(0, +) }
}
