import Core
import Streams

/// Looks at the archives and the manifest of a base backup while they stream by, in whatever order, and says at the end
/// whether they belong together.
final class ClusterInspection: Sendable {
    private struct State {
        var archives: [String: ArchiveFindings] = [:]
        var manifest: BackupManifestReader?
    }

    private let segmentSize: UInt64
    private let failure: @Sendable (PhysicalProblem) -> PostgresError
    private let state = Guarded(State())

    /// `failure` makes of a problem the error that it is for the one who inspects.
    init(segmentSize: UInt64, failure: @escaping @Sendable (PhysicalProblem) -> PostgresError) {
        self.segmentSize = segmentSize
        self.failure = failure
    }

    /// `source`, looked at on a thread of its own as it is pulled. Its end is only reported when it is an archive to its
    /// end.
    func archive(_ source: any ByteSource, root: String) throws -> any ByteSource {
        let findings = ArchiveFindings(root: root, segmentSize: segmentSize)
        let reader = Guarded(ArchiveReader(part: ClusterArchive.part(of: root), findings))
        return try watched(source) { chunk in
            try reader.withLock { try $0.update(chunk.bytes) }
        } atEnd: { [self] in
            let findings = try reader.withLock { reader in
                try reader.finish()
                return reader.visitor
            }
            state.withLock { $0.archives[root] = findings }
        }
    }

    /// The same for the manifest.
    func manifest(_ source: any ByteSource) throws -> any ByteSource {
        let reader = Guarded(BackupManifestReader())
        return try watched(source) { chunk in
            try reader.withLock { try $0.update(chunk.bytes) }
        } atEnd: { [self] in
            try reader.withLock { try $0.finish() }
            let whole = reader.value
            state.withLock { $0.manifest = whole }
        }
    }

    private func watched(
        _ source: any ByteSource, _ observe: @escaping @Sendable (Chunk) throws -> Void,
        atEnd: @escaping @Sendable () throws -> Void
    ) throws -> any ByteSource {
        let failure = failure
        return EndingSource(
            try ObservedSource(source, name: "contents") { chunk in
                try named(failure) { try observe(chunk) }
            }
        ) { try named(failure, atEnd) }
    }

    /// Compares all that was seen; throws where something is missing, too much, or other than the manifest says.
    /// `roots` are the archives that there have to be, `ranges` are given where the manifest was.
    func finish(roots: [String], systemID: String) throws -> Contents {
        let (archives, manifest) = state.withLock { ($0.archives, $0.manifest) }
        return try named(failure) {
            for root in roots where archives[root] == nil {
                throw PhysicalProblem(ClusterArchive.part(of: root), "it was not read to its end")
            }
            guard let manifest, archives.count == roots.count else {
                throw PhysicalProblem(ClusterArchive.manifest, "it was not read to its end")
            }
            let problems = ManifestComparison.problems(
                manifest: manifest.ledger, archives: archives.mapValues(\.ledger))
            guard problems.isEmpty else {
                throw PhysicalProblem(ClusterArchive.manifest, problems.joined(separator: "; "))
            }
            guard manifest.systemID.map({ $0 == systemID }) ?? true else {
                throw PhysicalProblem(ClusterArchive.manifest, "it is of another server than the backup")
            }
            guard let base = archives[ClusterArchive.base] else {
                throw PhysicalProblem(ClusterArchive.part(of: ClusterArchive.base), "it is missing")
            }
            try base.log.check(manifest.ranges, systemID: systemID)
            return Contents(cluster: archives.mapValues(\.ledger), log: base.log.ledgers)
        }
    }
}

/// Runs `body`, whose problems are `failure`'s errors.
private func named<Value>(
    _ failure: (PhysicalProblem) -> PostgresError, _ body: () throws -> Value
) throws -> Value {
    do {
        return try body()
    } catch let problem as PhysicalProblem {
        throw failure(problem)
    }
}

/// Does something at its base's end, before it reports that.
private final class EndingSource: ByteSource {
    private let base: any ByteSource
    private let atEnd: @Sendable () throws -> Void

    init(_ base: any ByteSource, atEnd: @escaping @Sendable () throws -> Void) {
        self.base = base
        self.atEnd = atEnd
    }

    func next() throws -> Chunk? {
        if let chunk = try base.next() { return chunk }
        try atEnd()
        return nil
    }

    func cancel() { base.cancel() }
}

extension Contents {
    /// What is in a cluster: the files of its data directory and of each tablespace, and the log that came along.
    /// `archives` are by root, `log` by timeline.
    init(cluster archives: [String: FileLedger], log: [UInt32: FileLedger]) {
        let roots = archives.map { DataEntry(.tablespace, name: $0.key, $0.value) }
        let timelines = log.map { DataEntry(.log, name: String($0.key), $0.value) }
        self.init(data: roots + timelines, schema: [])
    }
}

extension DataEntry {
    fileprivate init(_ kind: Kind, name: String, _ ledger: FileLedger) {
        self.init(kind: kind, schema: "", name: name, columns: [], rows: ledger.files, sum: ledger.sum)
    }
}
