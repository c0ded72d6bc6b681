import Core
import Streams

/// Reads the parts of a set as a restore would, without making anything.
struct Examination {
    let parts: any PartOpener
    let meter: ProgressMeter

    /// Whether both parts are there, complete and of one another; with `recompute`, also what is in the archive.
    func run(recompute: Bool) async throws -> Contents? {
        try Self.checkNames(parts)
        let listed = try await listing()
        let found = try await recompute ? digests() : counts()
        for entry in listed.data where !recompute || found.data.contains(where: { $0.name == entry.name }) {
            guard let other = found.data.first(where: { $0.name == entry.name }), other.rows == entry.rows,
                !recompute || other.sum == entry.sum
            else { throw differ(entry.name) }
        }
        guard listed.data.count == found.data.count else { throw differ("") }
        return recompute ? found : nil
    }

    static func checkNames(_ parts: any PartOpener) throws(FilesError) {
        let present = Set(parts.partNames)
        for name in FileTrees.PartName.all where !present.contains(name) {
            throw .damagedPart(name, "the set has no such part")
        }
    }

    private func differ(_ tree: String) -> FilesError {
        .damagedPart(FileTrees.PartName.listing, "it does not list what the archive has of \(shown(tree))")
    }

    private func listing() async throws -> Contents {
        let source = MeteredSource(try await parts.open(FileTrees.PartName.listing), meter: meter)
        let sums = Guarded(ListingSums())
        try await pull(source, named: "listing") { chunk in try sums.withLock { try $0.update(chunk.bytes) } }
        return try sums.withLock { try $0.finish() }
    }

    private func digests() async throws -> Contents {
        let meter = meter
        let reader = Guarded(TarReader(TreeDigest(write: { _ in }, beat: { meter.beat() })))
        let source = MeteredSource(try await parts.open(FileTrees.PartName.archive), meter: meter)
        let ahead = try PrefetchedSource(source, depth: 4, name: "open")
        try await pull(ahead, named: "examine") { chunk in try reader.withLock { try $0.update(chunk.bytes) } }
        return try reader.withLock { reader in
            try reader.finish()
            return reader.visitor.contents
        }
    }

    private func counts() async throws -> Contents {
        let reader = Guarded(TarReader(EntryCount()))
        let source = MeteredSource(try await parts.open(FileTrees.PartName.archive), meter: meter)
        try await pull(source, named: "examine") { chunk in try reader.withLock { try $0.update(chunk.bytes) } }
        return try reader.withLock { reader in
            try reader.finish()
            return Contents(data: reader.visitor.trees, schema: [])
        }
    }
}

/// Counts the entries of an archive.
private struct EntryCount: TarVisitor {
    private(set) var trees: [DataEntry] = []

    mutating func begin(tree: String) {
        trees.append(DataEntry(kind: .tree, schema: "", name: tree, columns: [], rows: 0, sum: RowSum()))
    }

    mutating func begin(_ entry: FileEntry) { count() }
    mutating func read(_ bytes: UnsafeRawBufferPointer, at offset: Int64) {}
    mutating func end(_ entry: FileEntry) {}
    mutating func link(_ path: [UInt8], to first: [UInt8]) { count() }
    mutating func finish() {}

    private mutating func count() {
        if let last = trees.indices.last { trees[last].rows += 1 }
    }
}

/// Adds up the lines of a listing, as the trees' sums do. Lines are canonical, so how they begin says what they are.
struct ListingSums {
    private var lines = ListingLines()
    private var trees: [DataEntry] = []

    init() {}

    mutating func update(_ bytes: UnsafeRawBufferPointer) throws {
        var trees = self.trees
        try lines.update(bytes) { line in
            if line.starts(with: #"{"note":"#.utf8) { return }
            if line.starts(with: #"{"tree":"#.utf8) {
                guard case .object(let members) = try JSON(parsing: line), case .string(let name)? = members["tree"]
                else { throw Self.damaged }
                trees.append(DataEntry(kind: .tree, schema: "", name: name, columns: [], rows: 0, sum: RowSum()))
                return
            }
            guard let last = trees.indices.last else { throw Self.damaged }
            trees[last].sum.add(FileDigest.sum(of: line))
            if !line.starts(with: #"{"links":"#.utf8) { trees[last].rows += 1 }
        }
        self.trees = trees
    }

    mutating func finish() throws -> Contents {
        try lines.finish()
        return Contents(data: trees, schema: [])
    }

    private static var damaged: FilesError { .damagedPart(FileTrees.PartName.listing, "it is no listing") }
}
