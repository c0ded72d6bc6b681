package import Core
import Glibc

/// A directory that an engine fills by itself, file by file, and that a restore then puts in its place in one step:
/// what such an engine says of it.
package struct FilledDirectory: Sendable {
    /// Absolute: where it is to stand.
    package var location: String
    /// Bytes it will take.
    package var size: Int64
    /// Makes a directory at the path it is given, where nothing is, with everything in it.
    package var fill: @Sendable (String) async throws -> Void
    /// Reads such a directory back.
    package var read: @Sendable (String) async throws -> Contents

    package init(
        location: String, size: Int64, fill: @escaping @Sendable (String) async throws -> Void,
        read: @escaping @Sendable (String) async throws -> Contents
    ) {
        self.location = location
        self.size = size
        self.fill = fill
        self.read = read
    }

    /// Looks at what stands at the location, and changes nothing. `notes` are the engine's own.
    package func plan(
        _ request: RestoreRequest, random: @escaping RandomBytes, notes: [String] = []
    ) async throws -> any RestorePlan {
        let exchange = DirectoryExchange(of: location, random: random)
        let (standing, isDone) = try await onThread("plan") {
            (try exchange.standing(), try exchange.isDone(requestID: request.requestID, setKey: request.setKey))
        }
        return FilledDirectoryPlan(
            directory: self, exchange: exchange, request: request, standing: standing,
            summary: RestoreSummary(
                replaces: standing == nil ? nil : "the directory \(location)", alreadyDone: isDone,
                neededBytes: size, freeBytes: freeBytes(above: location), notes: notes))
    }
}

/// Of the file system that `path` is on, or will be; `nil` where it does not say.
private func freeBytes(above path: String) -> Int64? {
    var path = path[...]
    var found = statvfs()
    while statvfs(path.isEmpty ? "/" : String(path), &found) != 0 {
        guard let cut = path.lastIndex(of: "/") else { return nil }
        path = path[..<cut]
    }
    return Int64(found.f_bavail) * Int64(found.f_frsize)
}

private struct FilledDirectoryPlan: RestorePlan {
    let directory: FilledDirectory
    let exchange: DirectoryExchange
    let request: RestoreRequest
    let standing: FileIdentity?
    let summary: RestoreSummary

    func stage() async throws -> any StagedRestore {
        let kept = try await clearLeftovers()
        let staged = try await onThread("stage") { [exchange, request] in
            try exchange.stage(requestID: request.requestID, setKey: request.setKey)
        }
        do {
            try await directory.fill(staged.path)
            try await onThread("stage") { try staged.mark() }
        } catch {
            try await uncancelled { try await onThread("discard") { try staged.discard() } }
            throw error
        }
        return StagedFilledDirectory(
            directory: directory, staged: staged, standing: standing, notes: summary.notes + kept)
    }

    /// Removes what earlier runs staged, and what they replaced where a verified set holds the same. Returns a note on
    /// each that stays.
    private func clearLeftovers() async throws -> [String] {
        var kept: [String] = []
        for leftover in try await onThread("leftovers", { [exchange] in try exchange.leftovers() }) {
            if case .replaced(let safety) = leftover.kind {
                guard let safety, try await holds(safety, leftover.treePath) else {
                    kept.append(
                        "what an earlier restore replaced stays at \(leftover.treePath): no verified set holds it")
                    continue
                }
            }
            try await onThread("remove") { [exchange] in try exchange.remove(leftover) }
        }
        return kept
    }

    private func holds(_ safety: BackupKey, _ path: String) async throws -> Bool {
        guard let verified = try await request.verifiedContents(safety) else { return false }
        do {
            return ContentsComparison(recorded: verified, found: try await directory.read(path)).isEqual
        } catch is any Failure {
            // What cannot be read again is not known to be held anywhere.
            return false
        }
    }
}

private struct StagedFilledDirectory: StagedRestore {
    let directory: FilledDirectory
    let staged: StagedTree
    let standing: FileIdentity?
    let notes: [String]

    func inspect() async throws -> Contents { try await directory.read(staged.path) }

    func promote(_ request: PromotionRequest) async throws -> Promotion {
        let promoted = try await onThread("exchange") { [staged, standing] in
            try StagedTree.promote([staged], standing: [standing], marker: request.marker)
        }
        return Promotion(
            time: request.marker.time, replacedName: promoted.replaced.first, notes: notes + promoted.notes)
    }

    func discard() async throws {
        try await onThread("discard") { [staged] in try staged.discard() }
    }
}
