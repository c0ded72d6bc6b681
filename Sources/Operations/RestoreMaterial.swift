import Core
import Sets

/// What a restore puts in place: a set as it is, a set and the log after it, or one database out of a server that was
/// brought to life from them.
struct RestoreMaterial: Sendable {
    /// The set that it begins with.
    let reader: SetReader
    /// Of what is put in place: the set's own, or the taken database's.
    let manifest: Manifest
    let contents: Contents
    let parts: any PartOpener
    /// The log that the destination has to follow; `nil` where it has been followed already, or none is.
    let recovery: RecoveryBase?

    /// A set, with the log where it is to be followed.
    init(_ reader: SetReader, contents: Contents, recovery: RecoveryBase?) {
        self.reader = reader
        manifest = reader.manifest
        self.contents = contents
        parts = reader
        self.recovery = recovery
    }

    /// One database of a recovered server.
    init(_ database: RecoveredDatabase, outOf reader: SetReader) {
        self.reader = reader
        var manifest = reader.manifest
        manifest.snapshotTime = database.facts.time
        manifest.sourceSize = database.facts.sourceSize
        manifest.details = database.facts.details
        manifest.exceptions += database.facts.exceptions
        manifest.contents = ContentsSummary(database.contents.counts)
        // They are read out of a server, and lie in no store.
        manifest.parts = []
        self.manifest = manifest
        contents = database.contents
        parts = database.parts
        recovery = nil
    }
}

/// A database that was taken out of a recovered server, and what that took.
struct TakenDatabase: Sendable {
    let material: RestoreMaterial
    let recovered: RecoveredPoint?
    let notes: [String]
    let details: [String: JSON]
    let phases: [String: Double]
}

extension Restore {
    /// The set, its manifest believed and its segments there; with a point in time the nearest one before that.
    func openSet(_ notes: ReadingNotes) async throws -> SetReader {
        let copies = try workplace.copies(job.store)
        let key = try await chooseSet(in: copies, notes)
        return try await SetReader.open(
            key, of: workplace.target, in: copies, configuration: workplace.reader, notes: notes)
    }

    private func chooseSet(in copies: Copies, _ notes: ReadingNotes) async throws -> BackupKey {
        guard let target = job.recoveryTarget else {
            return try await workplace.resolve(
                job.key, for: job.requestID, action: "restore", dryRun: job.dryRun, in: copies, notes: notes)
        }
        let search = try BaseSearch(workplace, to: target, notes: notes)
        // A dry run leaves nothing behind, so neither the note of what was chosen.
        let key = try await Catalog(workplace.store).resolve(
            "\(job.key) for \(target.text)", for: job.dryRun ? .random("") : job.requestID, action: "restore"
        ) {
            try await search.nearest(job.key, in: copies)
        }
        await workplace.step("restore \(key) to \(target.text)")
        return key
    }

    /// The log that is to be followed after the set, all of it there; `nil` where none is.
    func recovery(after reader: SetReader, _ notes: ReadingNotes) async throws -> RecoveryBase? {
        guard let target = job.recoveryTarget else { return nil }
        return try await BaseSearch(workplace, to: target, notes: notes).base(reader.manifest)
    }

    /// Recovers the whole server beside the live one, takes `database` out of it and gives that to `body`, unless this
    /// request has been carried out already. No lock is held meanwhile: the log goes on to be stored.
    func withDatabase(
        _ database: String, _ notes: ReadingNotes, _ body: (TakenDatabase) async throws -> JobResult
    ) async throws -> JobResult {
        _ = try workplace.requireScratch(for: "take one database out of the set")
        let destination = try workplace.destination(job.destination)
        let phases = Phases(workplace.clock)
        let meter = ProgressMeter(stage: "check")
        let source = try await phases.measure("check") { try await databaseSource(notes) }
        if let needed = ThawNeeded(source.reader.archived, of: source.reader.manifest.key) { throw needed }
        // What would stop the restore after hours of recovery is looked at before.
        let seen = try await phases.measure("survey") { try await survey(database, of: source, at: destination) }
        if seen.alreadyDone { return replay(source.reader) }
        return try await workplace.withScratch { holder in
            let taken = try await failing(as: .restoreFailedOriginalIntact) {
                try await workplace.watching(meter) {
                    try await take(database, out: source.reader, source.recovery, in: holder, phases, meter)
                }
            }
            return try await body(taken)
        }
    }

    /// The set of a whole server, and the log that is to be followed after it, all of it there.
    func databaseSource(_ notes: ReadingNotes) async throws -> (reader: SetReader, recovery: RecoveryBase?) {
        let reader = try await openSet(notes)
        guard PhysicalBase.isPhysical(reader.manifest) else { throw notPhysical(reader.manifest.key) }
        return (reader, try await recovery(after: reader, notes))
    }

    /// What the destination can say before the database has been recovered.
    func survey(
        _ database: String, of source: (reader: SetReader, recovery: RecoveryBase?), at destination: any Engine
    ) async throws -> RestoreSummary {
        await workplace.step("survey")
        return try await destination.survey(
            SurveyRequest(
                requestID: job.requestID, manifest: source.reader.manifest, database: database,
                createDatabase: job.createDatabase, acknowledgeDisk: job.acknowledgeDisk,
                acknowledgeBoundObjects: job.acknowledgeBoundObjects))
    }

    private func take(
        _ database: String, out reader: SetReader, _ base: RecoveryBase?, in holder: ScratchHolder,
        _ phases: Phases, _ meter: ProgressMeter
    ) async throws -> TakenDatabase {
        let restored = try await workplace.restoreToScratch(
            reader, following: base?.recovery, acknowledgeDisk: job.acknowledgeDisk, in: holder, phases, meter)
        guard let promotion = restored.promotion else {
            throw JobFailure(
                .restoreFailedOriginalIntact, "prove the restored copy", object: reader.manifest.key.description,
                cause: restored.comparison.failures.prefix(20).joined(separator: "; "),
                hint: "nothing was replaced; restore from another base, and keep this one for examination")
        }
        await workplace.step("take out the database")
        meter.begin("take out the database")
        let database = try await phases.measure("takeOut") {
            try await restored.scratch.database(database, meter: meter)
        }
        return TakenDatabase(
            material: RestoreMaterial(database, outOf: reader), recovered: promotion.recovered,
            notes: restored.notes + database.facts.notes, details: base?.details ?? [:],
            phases: Dictionary(uniqueKeysWithValues: phases.all.map { ("scratch.\($0.key)", $0.value) }))
    }

    private func notPhysical(_ key: BackupKey) -> JobFailure {
        JobFailure(
            .eventRefused, "take one database out of the set", object: key.description,
            cause: "the set is of one database, not of a whole server",
            hint: "leave sourceDatabase out of the event, or name a set made with BACKUP_METHOD=physical")
    }
}

extension RecoveredPoint {
    var json: JSON {
        .object(present: [
            "timeline": .integer(Int64(timeline)), "lsn": .string(lsn.description),
            "lastCommit": lastCommit.map { .string($0.description) },
        ])
    }
}
