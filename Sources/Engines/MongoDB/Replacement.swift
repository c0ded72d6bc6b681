import Core

/// Loads a set in the place of what stands there, and brings that back where anything fails.
///
/// MongoDB cannot rename a database, so there is no one step in which the two change places: from the first collection
/// that is dropped until the last comparison the databases are in between, and a note at the server says so.
struct Replacement {
    let restore: MongoRestore
    let archive: ArchiveContents
    /// What has to be in place in the end, under the set's names.
    let expected: Contents
    let promotion: PromotionRequest

    private var engine: MongoDatabase { restore.engine }
    private var label: String { restore.endpoint.label }
    private var meter: ProgressMeter { promotion.meter }

    /// Returns notes. Throws with the original in place, or with exit code 16 or 17.
    func run() async throws -> [String] {
        let session = try await engine.session("replace")
        try await checkUnmoved(with: session)
        do {
            try await add(.replacing, with: session)
        } catch {
            // Its answer may have been lost, and then it is there: nothing has been replaced yet.
            try await uncancelled { try await addRolledBack() }
            throw error
        }
        do {
            let notes = try await fill(
                with: restore.request.parts, contents: restore.request.contents, names: restore.names,
                oplog: archive.oplog, expected: expected)
            try await add(.restored, with: try await engine.session("finish"))
            return notes
        } catch {
            let cause = Self.cause(of: error)
            try await uncancelled { try await rollBack(after: cause) }
            throw MongoError(
                .rolledBack, exitCode: .restoreFailedRolledBack, "replace what stands there", object: label,
                cause: "\(cause); what stood there is back, and has been compared",
                hint: "put right what stopped it, then run again")
        }
    }

    /// Errors of ours say what they may; of others only that they were.
    private static func cause(of error: any Error) -> String {
        switch error {
        case is CancellationError: "the job was ended"
        case let failure as any Failure: failure.cause
        default: "something failed that has no name"
        }
    }

    // MARK: Before

    /// What stands there must still be what the safety set holds: later nobody could tell.
    private func checkUnmoved(with session: MongoSession) async throws {
        guard let safety = promotion.safety else { return }
        var why = ""
        if let position = safety.manifest.details[MongoSnapshot.Detail.position].flatMap({ OplogPosition($0) }) {
            let watch = OplogWatch(session: session, database: restore.endpoint.database)
            switch try await watch.verdict(since: position) {
            case .unmoved: return
            case .moved: throw moved("the oplog has writes to it")
            case .unknown(let reason): why = " (\(reason))"
            }
        }
        let names = Dictionary(
            safety.contents.schema.map { ($0.schema, $0.schema) }
                + safety.contents.data.map { ($0.schema, $0.schema) }
        ) { first, _ in first }.filter { !$0.key.isEmpty }
        let now = try await LiveContents(engine: engine, tool: restore.tools.dump, meter: meter).read(names)
        let comparison = ContentsComparison(recorded: Self.withoutOplog(safety.contents), found: now)
        guard comparison.isEqual else {
            throw moved("\(comparison.failures.prefix(3).joined(separator: "; "))\(why)")
        }
    }

    private func moved(_ sign: String) -> MongoError {
        MongoError(
            .moved, exitCode: .restoreFailedOriginalIntact, "replace what stands there", object: label,
            cause: "it was written to after the safety backup: \(sign)",
            hint: "stop the applications that write to it (and the TTL monitor: setParameter ttlMonitorEnabled), "
                + "then run again")
    }

    /// The databases of a set that goes back to where it is from.
    private static func ownNames(of contents: Contents) -> [String: String] {
        let names = (contents.schema.map(\.schema) + contents.data.map(\.schema)).filter { !$0.isEmpty }
        return Dictionary(names.map { ($0, $0) }) { first, _ in first }
    }

    // MARK: Filling

    private static func withoutOplog(_ contents: Contents) -> Contents {
        Contents(data: contents.data.filter { !$0.schema.isEmpty }, schema: contents.schema)
    }

    /// `names` are the set's databases and those that they become.
    private func fill(
        with parts: any PartOpener, contents: Contents, names: [String: String], oplog: OplogSummary,
        expected: Contents
    ) async throws -> [String] {
        try await removeOthers(than: contents, names: names)
        let loaded = try await ArchiveLoad(
            engine: engine, tool: restore.tools.restore, parts: parts, contents: contents, names: names, drop: true,
            meter: meter
        ).run()
        if oplog.changes > 0 {
            try await OplogReplay(engine: engine, parts: parts, names: names, meter: meter).run()
        }
        let found = try await LiveContents(engine: engine, tool: restore.tools.dump, meter: meter).read(
            Dictionary(names.map { ($0.value, $0.key) }) { first, _ in first })
        let expiring = ExpiringComparison(recorded: expected, found: found, expiring: loaded.expiring)
        let comparison = ContentsComparison(recorded: expected, found: expiring.found)
        guard comparison.isEqual else {
            throw MongoError(
                .load, "compare what is in place", object: label,
                cause: comparison.failures.prefix(5).joined(separator: "; "),
                hint: "see whether somebody wrote meanwhile, then run again")
        }
        return expiring.notes
    }

    /// What the set does not have must go; `--drop` takes away only what it has.
    private func removeOthers(than contents: Contents, names: [String: String]) async throws {
        let session = try await engine.session("replace")
        var kept: [String: Set<String>] = [:]
        for entry in contents.schema where entry.type != "INDEX" {
            if let target = names[entry.schema] { kept[target, default: []].insert(entry.name) }
        }
        var databases = Set(names.values)
        if restore.endpoint.database == nil {
            databases.formUnion(
                try await ServerFacts.read(session).databases.filter { !ArchiveScope.isForeign($0) })
        }
        for database in databases.sorted() {
            let standing = DatabaseContents(session: session, database: database)
            // Functions cannot be dropped, by mongorestore neither, so they are emptied even where the set has some.
            try await standing.remove(except: kept[database, default: []].subtracting(["system.js"]))
        }
    }

    // MARK: Back

    private func rollBack(after cause: String) async throws {
        do {
            if let safety = promotion.safety {
                let contents = Self.withoutOplog(safety.contents)
                let names = Self.ownNames(of: contents)
                // Nothing was written since its picture, so its oplog has nothing to add.
                _ = try await fill(
                    with: safety.parts, contents: safety.contents, names: names, oplog: OplogSummary(),
                    expected: contents)
            } else if restore.summary.replaces == nil {
                try await removeOthers(than: Contents(data: [], schema: []), names: restore.names)
            } else {
                throw MongoError(
                    .rollbackFailed, "bring back what stood there", object: label,
                    cause: "no safety backup was made of it", hint: "")
            }
            try await addRolledBack()
        } catch {
            let safety = promotion.marker.safetyKey.map { "restore \($0)" } ?? "restore the newest proven set"
            throw MongoError(
                .rollbackFailed, exitCode: .rollbackFailed, "bring back what stood there", object: label,
                cause: "\(cause); and the way back failed: \(Self.cause(of: error))",
                hint: "the databases are in between: keep the applications away, see to the server, then \(safety)")
        }
    }

    // MARK: Notes at the server

    private func add(_ state: Bookkeeping.Note.State, with session: MongoSession) async throws {
        // What was there before a restore that was cut short is in that one's safety set, not in ours.
        let safety = state == .replacing ? restore.interrupted?.safetyKey : nil
        try await Bookkeeping(session: session, target: restore.endpoint.database).add(
            Bookkeeping.Note(
                state: state, requestID: promotion.marker.requestID.description,
                setKey: promotion.marker.setKey.description,
                safetyKey: safety ?? promotion.marker.safetyKey?.description, time: promotion.marker.time),
            to: "note the restore")
    }

    /// Back to where it was before this run: which may have been in between already.
    private func addRolledBack() async throws {
        let session = try await engine.session("finish")
        guard let interrupted = restore.interrupted else { return try await add(.rolledBack, with: session) }
        try await Bookkeeping(session: session, target: restore.endpoint.database).add(
            interrupted, to: "note the restore")
    }
}
