package import Core
package import Streams

/// The engine `audit-records`: each set holds the records that came after those of the set before, and says which they
/// are. The source is only read.
package struct AuditRecordsEngine: Engine {
    /// The one part of a set: a record a line, as the source gave it.
    static let partName = "records.jsonl"

    let settings: AuditRecordsSettings
    let clock: any WallClock
    let random: RandomBytes
    private let slowDigest: SlowDigest

    /// `clock` tells when a set is due; `random` salts a digest and names what a restore stages.
    package init(
        _ settings: AuditRecordsSettings, clock: any WallClock, random: @escaping RandomBytes,
        slowDigest: SlowDigest = .standard
    ) {
        self.settings = settings
        self.clock = clock
        self.random = random
        self.slowDigest = slowDigest
    }

    package var capabilities: EngineCapabilities {
        EngineCapabilities(name: TrailFacts.engine, endpoint: place, readsBack: true)
    }

    private var place: String {
        switch settings.source {
        case .table(let table): table.label
        case .event: "the event's records"
        }
    }

    // MARK: Backup

    package func snapshot(_ request: SnapshotRequest) async throws -> SnapshotAnswer {
        let previous = try request.previous.map { manifest in
            do throws(TrailFacts.Problem) {
                return (facts: try TrailFacts(manifest), time: manifest.snapshotTime)
            } catch {
                throw AuditRecordsError.foreign(manifest.key, error.text)
            }
        }
        switch settings.source {
        case .event: return try event(request.records, after: previous?.facts.end)
        case .table(let table):
            guard request.records.isEmpty else {
                throw AuditRecordsError.event(
                    "this target reads its records from \(table.label)",
                    hint: "leave 'records' out, or name a target whose AUDIT_SOURCE is 'event'")
            }
            return try await batch(table, request, previous)
        }
    }

    private func batch(
        _ table: any RecordTable, _ request: SnapshotRequest, _ previous: (facts: TrailFacts, time: Timestamp)?
    ) async throws -> SnapshotAnswer {
        let joint = try await previous.asyncMap { try await self.joint($0.facts, request) }
        // Counted before what waits is, so that what comes in between is not taken for late.
        let counted = try await previous.asyncMap { try await self.countAgain($0.facts, in: table) }
        let waiting = try await table.waiting(after: joint?.id)
        if let previous, let counted = counted ?? nil, counted - waiting.count > previous.facts.count {
            throw AuditRecordsError.late(counted - waiting.count, previous.facts, in: place)
        }
        let now = clock.now()
        guard let last = waiting.last else {
            // Nothing new, and the end of what is stored still there: ids that began anew would not be seen otherwise.
            if let joint { try await check(joint, in: table) }
            return .nothingToStore(
                NothingToStore(why: "no audit record waits", details: ["waiting": .integer(0)]))
        }
        if let previous, let wait = wait(waiting.count, since: previous.time, now: now), !request.isForced {
            return .nothingToStore(wait)
        }
        let records = try await table.records(after: joint.flatMap { $0.id.predecessor }, through: last)
        return .taken(
            AuditSnapshot(
                joined(records, joint), of: settings, place: place, after: joint?.id, through: last, time: now,
                exceptions: joint?.exception.map { [$0] } ?? [], random: random, slowDigest: slowDigest))
    }

    /// How many records now follow on what the last set followed on. More than it holds and than wait came late: with an
    /// id smaller than its last, after it was stored. Fewer is no fault, for what is stored may be taken away.
    private func countAgain(_ facts: TrailFacts, in table: any RecordTable) async throws -> Int64? {
        if table.onlyGrowsAtItsEnd { return nil }
        return try await table.waiting(after: facts.after).count
    }

    /// What is known of the last set's last record: from its contents, where a key here opens them.
    private func joint(_ facts: TrailFacts, _ request: SnapshotRequest) async throws -> Joint {
        guard facts.end.predecessor != nil else {
            throw AuditRecordsError.configuration(
                "AUDIT_ID", "there is no id before \(facts.end), from which it could be read again",
                hint: "ids are whole numbers, or texts of one length in letters, digits and hyphens")
        }
        var joint = Joint(id: facts.end, known: .slow(facts.lastRecord, slowDigest))
        do {
            if let contents = try await request.previousContents(), let digest = LastRecord.digest(in: contents) {
                joint.known = .digest(digest)
            }
        } catch let failure as any Failure where [.verificationFailed, .keys].contains(failure.exitCode) {
            // New records are not left waiting for it, and its manifest has what is needed to go on.
            joint.exception = "the set before this one could not be opened: \(failure.cause)"
        }
        return joint
    }

    private func joined(_ records: any ByteSource, _ joint: Joint?) -> any ByteSource {
        guard let joint else { return records }
        return JoinedRecords(records, joint: joint, idMember: Array(settings.idMember.utf8), place: place)
    }

    private func check(_ joint: Joint, in table: any RecordTable) async throws {
        let records = try await table.records(after: joint.id.predecessor, through: joint.id)
        try await drain(joined(records, joint))
    }

    /// Why a set is not due yet; `nil` where it is.
    private func wait(_ count: Int64, since last: Timestamp, now: Timestamp) -> NothingToStore? {
        let due = last.adding(seconds: settings.batchSeconds)
        guard count < settings.batchRecords, now < due else { return nil }
        return NothingToStore(
            why: counted(count, "audit record waits", "audit records wait")
                + "; stored at \(due), or when \(settings.batchRecords) wait",
            details: ["waiting": .exact(count), "due": .string(due.description)])
    }

    /// The real-time mode: what the event brings is a set.
    private func event(_ records: [JSON], after: RecordID?) throws -> SnapshotAnswer {
        guard !records.isEmpty else {
            throw AuditRecordsError.event(
                "the event brings none, and this target stores what events bring",
                hint: "give 'records', at least one")
        }
        var lines: [UInt8] = []
        var last: RecordID?
        for (index, record) in records.enumerated() {
            let line = record.canonicalBytes
            do throws(RecordLine.Problem) {
                last = try line.withUnsafeBytes { bytes in
                    Result { () throws(RecordLine.Problem) in
                        try RecordLine.id(in: bytes, member: Array(settings.idMember.utf8))
                    }
                }.get()
            } catch {
                throw AuditRecordsError.event(
                    "records[\(index)]: \(error.text)",
                    hint: "each record is an object with its id in '\(settings.idMember)'")
            }
            lines += line + [UInt8(ascii: "\n")]
        }
        return .taken(
            AuditSnapshot(
                MemorySource(lines), of: settings, place: place, after: after, through: last, time: clock.now(),
                exceptions: [], random: random, slowDigest: slowDigest))
    }

    // MARK: Verify

    package func examine(_ request: ExamineRequest) async throws -> Examined {
        let key = request.manifest.key
        let facts: TrailFacts
        do throws(TrailFacts.Problem) {
            facts = try TrailFacts(request.manifest)
        } catch {
            throw AuditRecordsError.damaged(key, error.text)
        }
        let summary = try await read(request.parts, of: key, after: facts.after, meter: request.meter)
        guard summary.start == facts.start, summary.end == facts.end, summary.count == facts.count else {
            throw AuditRecordsError.damaged(
                key,
                "it holds \(counted(summary.count, "record")) from id \(summary.start) to \(summary.end), and its manifest says "
                    + "\(facts.count) from \(facts.start) to \(facts.end)")
        }
        let joins = try await join(facts, request)
        return Examined(
            contents: request.recompute ? summary.contents : nil,
            details: [
                "trail": .object([
                    "startId": .string(facts.start.description), "endId": .string(facts.end.description),
                    "count": .exact(facts.count), "size": .exact(summary.size),
                    "afterId": facts.after.map { .string($0.description) } ?? .null, "joins": .string(joins.rawValue),
                ])
            ], notes: joins.note.map { [$0] } ?? [])
    }

    private func read(
        _ parts: any PartOpener, of key: BackupKey, after: RecordID?, meter: ProgressMeter
    ) async throws -> TrailReader.Summary {
        let source = MeteredSource(try await parts.open(Self.partName), meter: meter)
        let trail = Guarded(
            TrailReader(
                idMember: settings.idMember, isContiguous: settings.idsAreContiguous, after: after,
                place: key.description))
        do {
            try await pull(source, named: "trail") { chunk in try trail.withLock { try $0.read(chunk.bytes) } }
            guard let summary = try trail.value.finish() else {
                throw AuditRecordsError.damaged(key, "it holds no record")
            }
            return summary
        } catch let error as AuditRecordsError where error.exitCode == .source {
            throw AuditRecordsError.damaged(key, error.cause)
        }
    }

    /// How a set is joined to the one before it.
    private enum Joining: String {
        case first, proven, removed

        var note: String? {
            self == .removed ? "the set before this one is no longer there: only the id it ended with is known" : nil
        }
    }

    private func join(_ facts: TrailFacts, _ request: ExamineRequest) async throws -> Joining {
        let key = request.manifest.key
        guard let link = request.manifest.previous else {
            guard facts.after == nil else {
                throw AuditRecordsError.damaged(key, "it follows on a set, and its manifest names none")
            }
            return .first
        }
        guard let before = try await request.predecessor() else { return .removed }
        let end: RecordID
        do throws(TrailFacts.Problem) {
            end = try TrailFacts(before).end
        } catch {
            throw AuditRecordsError.damaged(key, "it follows on \(link.key), and of that \(error.text)")
        }
        guard facts.after == end else {
            throw AuditRecordsError.damaged(
                key,
                "\(link.key) ends with id \(end), and this set follows on "
                    + (facts.after.map { "id \($0)" } ?? "nothing"))
        }
        return .proven
    }
}

extension Optional where Wrapped: Sendable {
    fileprivate func asyncMap<Value>(_ transform: (Wrapped) async throws -> Value) async throws -> Value? {
        guard let self else { return nil }
        return try await transform(self)
    }
}
