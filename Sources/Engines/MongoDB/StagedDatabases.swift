import Core

/// The databases a restore is loaded into, beside those they will replace.
final class StagedDatabases: StagedRestore {
    private let restore: MongoRestore
    /// What the set turned out to hold while it was loaded.
    private let archive = Guarded<ArchiveContents?>(nil)
    private let notes = Guarded<[String]>([])

    init(_ restore: MongoRestore) { self.restore = restore }

    private var request: RestoreRequest { restore.request }

    func load() async throws {
        let found = try await ArchiveLoad(
            engine: restore.engine, tool: restore.tools.restore, parts: request.parts, contents: request.contents,
            names: restore.stagingNames, drop: false, meter: request.meter
        ).run()
        archive.withLock { $0 = found }
    }

    /// What has been loaded is what the dump read; what was written meanwhile (the oplog) comes on top of it when the
    /// copy is put in place, and is compared as the set holds it.
    func inspect() async throws -> Contents {
        try await failedRestore {
            guard let archive = archive.value else { throw CancellationError() }
            let found = try await readStaged(archive)
            let oplog = archive.contents.data.filter { $0.schema.isEmpty }
            return Contents(data: found.data + oplog, schema: found.schema)
        }
    }

    private func readStaged(_ archive: ArchiveContents) async throws -> Contents {
        let live = LiveContents(engine: restore.engine, tool: restore.tools.dump, meter: request.meter)
        let found = try await live.read(
            Dictionary(restore.stagingNames.map { ($0.value, $0.key) }) { first, _ in first })
        let comparison = ExpiringComparison(
            recorded: request.contents, found: found, expiring: archive.expiring)
        notes.withLock { $0 = comparison.notes }
        return comparison.found
    }

    func promote(_ request: PromotionRequest) async throws -> Promotion {
        try await failedRestore {
            guard let archive = archive.value else { throw CancellationError() }
            let expected = try await finishStaged(archive)
            let replacement = Replacement(
                restore: restore, archive: archive, expected: expected, promotion: request)
            let late = try await replacement.run()
            let session = try await restore.engine.session("finish")
            let time = try await ServerFacts.read(session).time
            var promotion = Promotion(
                time: time, replacedName: nil, notes: restore.summary.notes + notes.value + late)
            do {
                try await discard()
            } catch let error as MongoError {
                promotion.notes.append("the staging copy stays until the next restore clears it: \(error.cause)")
            }
            return promotion
        }
    }

    /// Applies the set's oplog to the staged copy. Returns what has to be in place in the end.
    private func finishStaged(_ archive: ArchiveContents) async throws -> Contents {
        guard archive.oplog.changes > 0 else {
            return Contents(
                data: request.contents.data.filter { !$0.schema.isEmpty }, schema: request.contents.schema)
        }
        try await OplogReplay(
            engine: restore.engine, parts: request.parts, names: restore.stagingNames, meter: request.meter
        ).run()
        return try await LiveContents(engine: restore.engine, tool: restore.tools.dump, meter: request.meter).read(
            Dictionary(restore.stagingNames.map { ($0.value, $0.key) }) { first, _ in first })
    }

    /// Also where the task has been cancelled: that is when it is needed most.
    func discard() async throws {
        let names = restore.stagingNames.values.sorted()
        try await uncancelled { [engine = restore.engine] in
            let session = try await engine.session("discard")
            for name in names { try await DatabaseContents(session: session, database: name).remove() }
        }
    }
}
