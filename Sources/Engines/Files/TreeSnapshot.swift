import Core
import Glibc
import Streams

/// One picture of the source's trees: an archive, and the listing that comes to be while it is read.
///
/// A file system gives no picture of one instant. What is written to meanwhile is noticed, and the set says so.
final class TreeSnapshot: Snapshot {
    private let source: FilesSource
    private let time: Timestamp
    private let notes = PictureNotes()
    private let archive: TreeArchive
    private let listing = Listing()
    private let reader: DigestReader
    private let handedOut = Guarded(0)
    private let isComplete = Guarded(false)

    private init(_ source: FilesSource, isForced: Bool, time: Timestamp, meter: ProgressMeter) {
        self.source = source
        self.time = time
        archive = TreeArchive(source, isForced: isForced, notes: notes)
        reader = DigestReader(listing: listing, meter: meter)
    }

    static func begin(
        _ source: FilesSource, isForced: Bool, time: Timestamp, meter: ProgressMeter
    ) async throws -> TreeSnapshot {
        try await onThread("look") { try check(source, isForced: isForced) }
        return TreeSnapshot(source, isForced: isForced, time: time, meter: meter)
    }

    /// What is missing is better known before anything is read.
    private static func check(_ source: FilesSource, isForced: Bool) throws(FilesError) {
        for path in source.paths.map(source.location(of:)) {
            let found = try naming("look at the files", path) { () throws(CallFailure) in try status(of: path) }
            guard let found else {
                if isForced { continue }
                throw .missing(path)
            }
            guard found.isDirectory || found.type == S_IFREG else {
                throw FilesError(
                    .refused, "read the files", object: shown(path),
                    cause: found.type == S_IFLNK
                        ? "it is a symbolic link, and the link alone would be stored"
                        : "it is neither a directory nor a file",
                    hint: "name what it leads to, or the directory above it")
            }
        }
    }

    var facts: SnapshotFacts {
        let facts = reader.facts
        let names = reader.treeNames
        let sizes = zip(names, facts.sizes).sorted { $0.0 < $1.0 }.map(\.1)
        return SnapshotFacts(
            time: time, sourceSize: facts.total,
            details: [
                Detail.sizes: sizes.map(String.init).joined(separator: ","), Detail.owners: facts.ownersText,
                "one_file_system": String(source.oneFileSystem), "excludes": String(source.excludes.count),
            ], exceptions: notes.exceptions, notes: notes.shownNotes)
    }

    /// The names of the facts that a restore reads again.
    enum Detail {
        /// Bytes on disk of each tree, in the order of the contents.
        static let sizes = "tree_sizes"
        static let owners = "owners"
    }

    var parts: AsyncThrowingStream<Part, any Error> {
        AsyncThrowingStream { try self.nextPart() }
    }

    private func nextPart() throws -> Part? {
        let number = handedOut.withLock { number in
            defer { number += 1 }
            return number
        }
        switch number {
        case 0: return Part(name: FileTrees.PartName.archive, source: try ReadArchive(self), leavesCoresIdle: true)
        case 1: return Part(name: FileTrees.PartName.listing, source: listing.source, isCompanion: true)
        default: return nil
        }
    }

    func finish() async throws -> Contents {
        guard isComplete.value else {
            throw FilesError(
                .unreadable, "finish the picture", object: source.label,
                cause: "not every part was read to its end",
                hint: "run again; see the first error of this run for what stopped it")
        }
        return reader.contents
    }

    func cancel() async {
        archive.cancel()
        listing.fail(CancellationError())
    }

    /// The archive as it is stored: read ahead on one thread, looked into on another.
    private final class ReadArchive: ByteSource {
        private let snapshot: TreeSnapshot
        private let base: ObservedSource

        init(_ snapshot: TreeSnapshot) throws {
            self.snapshot = snapshot
            let ahead = try PrefetchedSource(snapshot.archive, depth: 4, name: "files")
            let reader = snapshot.reader
            base = try ObservedSource(ahead, name: "contents") { try reader.read($0) }
        }

        func next() throws -> Chunk? {
            do {
                if let chunk = try base.next() { return chunk }
                try snapshot.reader.finish(notes: snapshot.notes.lines)
                snapshot.isComplete.withLock { $0 = true }
                return nil
            } catch {
                snapshot.listing.fail(error)
                throw error
            }
        }

        func cancel() {
            base.cancel()
            snapshot.listing.fail(CancellationError())
        }
    }
}

/// The reader of an archive, shared between the thread that feeds it and whoever wants what it found.
final class DigestReader: Sendable {
    private struct State {
        var reader: TarReader<TreeDigest>
    }

    private let state: Guarded<State>
    private let listing: Listing

    init(listing: Listing, meter: ProgressMeter) {
        self.listing = listing
        state = Guarded(
            State(reader: TarReader(TreeDigest(write: { try listing.add($0) }, beat: { meter.beat() }))))
    }

    func read(_ chunk: Chunk) throws { try state.withLock { try $0.reader.update(chunk.bytes) } }

    /// At the end of the archive: with the last lines of the listing.
    func finish(notes: [[UInt8]]) throws {
        try state.withLock { try $0.reader.finish() }
        for line in notes { try listing.add(line) }
        try listing.finish()
    }

    var contents: Contents { state.withLock { $0.reader.visitor.contents } }
    /// In the archive's order, as the sizes among ``facts`` are.
    var treeNames: [String] { state.withLock { $0.reader.visitor.trees.map(\.name) } }
    var facts: TreeFacts { state.withLock { $0.reader.visitor.facts } }
}
