import Core
import Glibc
import Streams

/// A restore of trees that has passed every check which changes nothing.
struct TreesRestore: RestorePlan {
    let engine: FileTrees
    let request: RestoreRequest
    let trees: [PlannedTree]
    let summary: RestoreSummary

    /// A tree of the set, and where it goes.
    struct PlannedTree: Sendable {
        var name: String
        var exchange: DirectoryExchange
        /// What stood there when this was planned.
        var standing: FileIdentity?
    }

    /// Blocks.
    static func plan(_ engine: FileTrees, _ request: RestoreRequest) throws -> TreesRestore {
        try Examination.checkNames(request.parts)
        let label = engine.source.label
        let names = request.contents.data.filter { $0.kind == .tree }.map(\.name)
        guard !names.isEmpty else { throw FilesError.damagedPart("contents.json", "the set holds no tree") }
        let (trees, isDone) = try failedRestore { () throws(FilesError) in
            try look(engine, request, names)
        }
        if isDone {
            return TreesRestore(
                engine: engine, request: request, trees: trees,
                summary: RestoreSummary(
                    replaces: nil, alreadyDone: true, neededBytes: request.manifest.sourceSize, freeBytes: nil,
                    notes: ["\(label) hold this very restore already"]))
        }
        var preflight = FilesPreflight(source: engine.source, request: request, trees: trees)
        try failedRestore { () throws(FilesError) in try preflight.run() }
        guard preflight.problems.isEmpty else { throw FilesError.refused(preflight.problems, at: label) }
        let replaced = trees.filter { $0.standing != nil }.map { shown($0.exchange.location) }
        return TreesRestore(
            engine: engine, request: request, trees: trees,
            summary: RestoreSummary(
                replaces: replaced.isEmpty ? nil : replaced.joined(separator: ", "), alreadyDone: false,
                neededBytes: preflight.neededBytes, freeBytes: preflight.freeBytes, notes: preflight.notes))
    }

    /// What stands where the trees go, and whether that is this very restore.
    private static func look(
        _ engine: FileTrees, _ request: RestoreRequest, _ names: [String]
    ) throws(FilesError) -> ([PlannedTree], isDone: Bool) {
        var trees: [PlannedTree] = []
        var isDone = true
        for name in names {
            let exchange = DirectoryExchange(of: engine.source.location(of: name), random: engine.random)
            trees.append(PlannedTree(name: name, exchange: exchange, standing: try exchange.standing()))
            if isDone {
                isDone = try exchange.isDone(requestID: request.requestID, setKey: request.setKey)
            }
        }
        return (trees, isDone)
    }

    func stage() async throws -> any StagedRestore {
        guard !summary.alreadyDone else {
            throw FilesError.refused(["this request has been carried out already"], at: engine.source.label)
        }
        let kept = try await TreeLeftovers(restore: self).clear()
        let staged = StagedTrees(self, keptNotes: kept)
        do {
            try await staged.extract()
            return staged
        } catch {
            // Nothing may stay beside the original, whatever ended us.
            try await uncancelled { try await staged.discard() }
            throw error
        }
    }
}

/// Trouble with files while something is restored is a failed restore, with the original in place.
func failedRestore<Value>(_ body: () throws(FilesError) -> Value) throws(FilesError) -> Value {
    do {
        return try body()
    } catch {
        var failure = error
        if failure.exitCode == .source { failure.exitCode = .restoreFailedOriginalIntact }
        throw failure
    }
}

/// What earlier runs have left beside the trees of a restore.
struct TreeLeftovers {
    let restore: TreesRestore

    /// Removes what may go, and says what stays and why.
    func clear() async throws -> [String] {
        var kept: [String] = []
        for tree in restore.trees {
            for leftover in try await onThread("leftovers", { try tree.exchange.leftovers() }) {
                if case .replaced(let safety) = leftover.kind {
                    if leftover.requestID == restore.request.requestID.description { continue }
                    if let reason = try await reasonToKeep(leftover, of: tree, safety) {
                        kept.append("\(shown(leftover.treePath)), replaced by an earlier restore, is kept: \(reason)")
                        continue
                    }
                }
                try await onThread("remove") { try tree.exchange.remove(leftover) }
            }
        }
        return kept
    }

    /// `nil` where a proven set holds exactly what is there at this moment.
    private func reasonToKeep(
        _ leftover: DirectoryExchange.Leftover, of tree: TreesRestore.PlannedTree, _ safety: BackupKey?
    ) async throws -> String? {
        guard let safety else { return "no safety backup was made of it" }
        guard let verified = try await restore.request.verifiedContents(safety) else {
            return "its safety backup \(safety) is not there or not proven"
        }
        do {
            let found = try await restore.read([(tree.name, leftover.treePath)])
            let recorded = Contents(data: verified.data.filter { $0.name == tree.name }, schema: [])
            return ContentsComparison(recorded: recorded, found: found).isEqual
                ? nil : "it is not what its safety backup \(safety) holds"
        } catch let error as FilesError {
            return "it cannot be read: \(error.cause)"
        }
    }
}

extension TreesRestore {
    /// What is really in trees on disk.
    func read(_ places: [(tree: String, path: String)]) async throws -> Contents {
        let isCancelled = Guarded(false)
        let meter = request.meter
        return try await withTaskCancellationHandler {
            try await onThread("inspect") {
                var digest = TreeDigest(write: { _ in }, beat: { meter.beat() })
                for (tree, path) in places {
                    try TreeInspection(location: path, tree: tree, meter: meter, isCancelled: isCancelled)
                        .run(&digest)
                }
                try digest.finish()
                return digest.contents
            }
        } onCancel: {
            isCancelled.withLock { $0 = true }
        }
    }
}
