import Core
import Streams

/// Records on their way into a set.
final class AuditSnapshot: Snapshot {
    private let source: any ByteSource
    private let time: Timestamp
    private let exceptions: [String]
    private let after: RecordID?
    /// The id that has to be the last; `nil` where the source itself says what there is.
    private let through: RecordID?
    private let place: String
    private let random: RandomBytes
    private let slowDigest: SlowDigest
    private let trail: Guarded<TrailReader>
    private let state = Guarded(State())

    private struct State {
        var isHandedOut = false
        var isRead = false
        var facts: TrailFacts?
        var size: Int64 = 0
    }

    /// `source` gives what follows on `after`, line by line.
    init(
        _ source: any ByteSource, of settings: AuditRecordsSettings, place: String, after: RecordID?,
        through: RecordID?, time: Timestamp, exceptions: [String], random: @escaping RandomBytes,
        slowDigest: SlowDigest
    ) {
        self.source = source
        self.time = time
        self.exceptions = exceptions
        self.after = after
        self.through = through
        self.place = place
        self.random = random
        self.slowDigest = slowDigest
        trail = Guarded(
            TrailReader(
                idMember: settings.idMember, isContiguous: settings.idsAreContiguous, after: after, place: place))
    }

    /// What is known before the records have been read is only when that began.
    var facts: SnapshotFacts {
        let (facts, size) = state.withLock { ($0.facts, $0.size) }
        return SnapshotFacts(time: time, sourceSize: size, details: facts?.details ?? [:], exceptions: exceptions)
    }

    var parts: AsyncThrowingStream<Part, any Error> {
        AsyncThrowingStream { try self.nextPart() }
    }

    private func nextPart() throws -> Part? {
        let isFirst = state.withLock { state in
            defer { state.isHandedOut = true }
            return !state.isHandedOut
        }
        guard isFirst else { return nil }
        // What comes from a server is taken in one thread, looked at in another, and packed in a third.
        let ahead = try PrefetchedSource(source, depth: 2, name: "records")
        let observed = try ObservedSource(ahead, depth: 2, name: "trail") { [trail] chunk in
            try trail.withLock { try $0.read(chunk.bytes) }
        }
        return Part(
            name: AuditRecordsEngine.partName,
            source: EndNotingSource(observed) { [weak self] in self?.state.withLock { $0.isRead = true } })
    }

    func finish() async throws -> Contents {
        guard state.withLock({ $0.isRead }) else {
            throw AuditRecordsError(
                .unreadable, "store the audit records", object: place, cause: "they were not read to their end",
                hint: "run again; see the first error of this run for what stopped it")
        }
        let reader = trail.value
        let last = reader.lastRecord
        guard let summary = try reader.finish() else {
            throw AuditRecordsError.gap(after: after ?? .number(0), found: nil, in: place)
        }
        if let through, summary.end != through { throw AuditRecordsError.vanished(through, in: place) }
        let digest = try await onThread("digest") { [random, slowDigest] in
            try slowDigest.make(of: last, random: random)
        }
        state.withLock {
            $0.facts = TrailFacts(
                start: summary.start, end: summary.end, count: summary.count, after: after, lastRecord: digest)
            $0.size = summary.size
        }
        return summary.contents
    }

    func cancel() async { source.cancel() }
}

/// Tells when its base has come to a good end.
private final class EndNotingSource: ByteSource {
    private let base: any ByteSource
    private let note: @Sendable () -> Void

    init(_ base: any ByteSource, note: @escaping @Sendable () -> Void) {
        self.base = base
        self.note = note
    }

    func next() throws -> Chunk? {
        if let chunk = try base.next() { return chunk }
        note()
        return nil
    }

    func cancel() { base.cancel() }
}

extension AuditRecordsError {
    static func vanished(_ id: RecordID, in place: String) -> AuditRecordsError {
        AuditRecordsError(
            .gap, "read the audit records", object: place,
            cause: "the record of id \(id) was there when the run began, and is no longer",
            hint: "find out who deletes audit records, and run again")
    }
}
