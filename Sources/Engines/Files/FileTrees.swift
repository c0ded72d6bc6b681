package import Core

/// The engine `files`: directories and files as a tar stream, restored beside and exchanged.
///
/// A snapshot only reads. A restore needs a directory above each tree that it may write to, on the tree's own file
/// system, and root where the files are not its own.
package struct FileTrees: Engine {
    /// The names of a set's parts.
    enum PartName {
        static let archive = "files.tar"
        static let listing = "listing.jsonl"
        static let all = [archive, listing]
    }

    let source: FilesSource
    let clock: any WallClock
    let random: RandomBytes

    /// `clock` tells when a picture was taken, for a file system has no clock that can be asked; `random` names what
    /// stands beside a tree while it is restored.
    package init(_ source: FilesSource, clock: any WallClock, random: @escaping RandomBytes) {
        self.source = source
        self.clock = clock
        self.random = random
    }

    package var capabilities: EngineCapabilities { EngineCapabilities(name: "files", endpoint: source.label) }

    package func snapshot(_ request: SnapshotRequest) async throws -> SnapshotAnswer {
        .taken(
            try await TreeSnapshot.begin(
                source, isForced: request.isForced, time: clock.now(), meter: request.meter))
    }

    package func examine(_ request: ExamineRequest) async throws -> Examined {
        let examination = Examination(parts: request.parts, meter: request.meter)
        return Examined(contents: try await examination.run(recompute: request.recompute))
    }

    package func plan(_ request: RestoreRequest) async throws -> any RestorePlan {
        try await onThread("plan") { try TreesRestore.plan(self, request) }
    }
}
