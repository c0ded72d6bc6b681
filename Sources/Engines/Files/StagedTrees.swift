import Core
import Streams

/// The trees of a set, made beside the places they are for.
final class StagedTrees: StagedRestore {
    private let restore: TreesRestore
    private let keptNotes: [String]
    private let staged = Guarded<[String: StagedTree]>([:])
    private let privileged = Guarded(0)

    init(_ restore: TreesRestore, keptNotes: [String]) {
        self.restore = restore
        self.keptNotes = keptNotes
    }

    private var request: RestoreRequest { restore.request }

    /// Makes everything that the archive has. Every byte has been authenticated before it comes here.
    func extract() async throws {
        let opened = try await request.parts.open(FileTrees.PartName.archive)
        let source = MeteredSource(
            try PrefetchedSource(opened, depth: 4, name: "open"), meter: request.meter)
        let reader = Guarded(TarReader(TreeExtraction { [self] in try place($0) }))
        try await pull(source, named: "extract") { chunk in try reader.withLock { try $0.update(chunk.bytes) } }
        try reader.withLock { reader in
            try reader.finish()
            let found = reader.visitor.privileged
            privileged.withLock { $0 = found }
        }
        for tree in restore.trees where staged.withLock({ $0[tree.name] }) == nil {
            throw FilesError.damagedPart(FileTrees.PartName.archive, "it lacks the tree \(shown(tree.name))")
        }
    }

    private func place(_ name: String) throws -> StagedTree {
        guard let tree = restore.trees.first(where: { $0.name == name }) else {
            throw FilesError.damagedPart(
                FileTrees.PartName.archive, "it has the tree \(shown(name)), which the set's contents do not")
        }
        let base = restore.engine.source.base
        let made = try failedRestore { () throws(FilesError) in
            try tree.exchange.stage(
                requestID: request.requestID, setKey: request.setKey, below: base.isEmpty ? "/" : base)
        }
        staged.withLock { $0[name] = made }
        return made
    }

    func inspect() async throws -> Contents {
        let places = staged.value.sorted { $0.key < $1.key }.map { ($0.key, $0.value.path) }
        let found = try await restore.read(places)
        guard ContentsComparison(recorded: request.contents, found: found).isEqual else {
            throw try await differences(Dictionary(uniqueKeysWithValues: places))
        }
        return found
    }

    /// Names what differs, by the set's own listing.
    private func differences(_ places: [String: String]) async throws -> FilesError {
        let source = try await request.parts.open(FileTrees.PartName.listing)
        let meter = request.meter
        let isCancelled = Guarded(false)
        let lines = Guarded(ListingLines())
        let comparison = Guarded(
            ListingComparison { tree, path in
                guard let place = places[tree] else { return nil }
                return try TreeInspection(location: place, tree: tree, meter: meter, isCancelled: isCancelled)
                    .line(of: path)
            })
        try await pull(source, named: "compare") { chunk in
            try lines.withLock { lines in
                try lines.update(chunk.bytes) { line in try comparison.withLock { try $0.compare(line) } }
            }
        }
        let named = comparison.withLock { $0.differences }
        return FilesError(
            .extraction, exitCode: .restoreFailedOriginalIntact, "prove the restored files",
            object: restore.engine.source.label,
            cause: named.isEmpty
                ? "there is more in the restored trees than in the set, or names of one file are of several"
                : named.joined(separator: "; "),
            hint: "nothing was replaced; see whether somebody works in the directories above, and whether the file "
                + "system keeps owners, times to the nanosecond, attributes and ACLs")
    }

    func promote(_ request: PromotionRequest) async throws -> Promotion {
        let all = staged.value
        let planned = restore.trees.compactMap { tree in all[tree.name].map { ($0, tree.standing) } }
        let promoted = try await uncancelled {
            try await onThread("exchange") {
                try StagedTree.promote(
                    planned.map(\.0), standing: planned.map(\.1), marker: request.marker)
            }
        }
        var notes = restore.summary.notes + keptNotes + promoted.notes
        if privileged.value > 0 {
            notes.append("\(privileged.value) restored files run as their owner or group (setuid, setgid)")
        }
        if !promoted.replaced.isEmpty {
            notes.append("programs that have files open there go on with the replaced ones until they are restarted")
        }
        return Promotion(
            time: restore.engine.clock.now(),
            replacedName: promoted.replaced.isEmpty ? nil : promoted.replaced.joined(separator: ", "), notes: notes)
    }

    func discard() async throws {
        let all = staged.withLock { staged in
            defer { staged = [:] }
            return Array(staged.values)
        }
        try await onThread("discard") { for one in all { try one.discard() } }
    }
}
