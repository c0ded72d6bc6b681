import Core
import Sets

/// The set that a recovery begins with, and the log that leads from it to the target.
struct RecoveryBase: Sendable {
    let base: PhysicalBase
    let path: LogPath
    let recovery: Recovery

    /// Segments and bytes of log that the recovery reads, at most.
    var needed: (segments: Int64, bytes: Int64) {
        guard case .lsn(let place) = recovery.target.point else { return path.needed() }
        return path.needed(until: place)
    }

    var details: [String: JSON] {
        [
            "recoveryTarget": .string(recovery.target.text),
            "base": .object([
                "key": .string(base.key.description), "timeline": .integer(Int64(base.timeline)),
                "end": .string(base.end.description), "endTime": .string(base.endTime.description),
            ]),
            "log": .object(present: [
                "timeline": .integer(Int64(path.timeline)), "until": .string(path.end.description),
                "stored": path.stored.map { .string($0.description) },
                "segments": .exact(needed.segments), "bytes": .exact(needed.bytes),
            ]),
        ]
    }
}

/// Finds the base for a recovery among the target's sets.
struct BaseSearch: Sendable {
    let workplace: Workplace
    let target: RecoveryTarget
    let log: any WALLibrary
    let notes: ReadingNotes

    init(_ workplace: Workplace, to target: RecoveryTarget, notes: ReadingNotes) throws {
        guard let log = workplace.log else {
            throw JobFailure(
                .configuration, "recover to a point in time", object: workplace.target,
                cause: "no write-ahead log is stored for this target",
                hint: "point-in-time recovery is for PostgreSQL with BACKUP_METHOD=physical and the wal job")
        }
        self.workplace = workplace
        self.target = target
        self.log = log
        self.notes = notes
    }

    // MARK: The nearest set

    /// The newest of the sets that `selector` leaves to choose from that ends before the target and lies on the way to
    /// its timeline. For a transaction and for a name, which nobody can place without replaying, that is the newest of
    /// all: an older one has to be named.
    func nearest(_ selector: KeySelector, in copies: Copies) async throws -> BackupKey {
        if case .exact(let key) = selector { return key }
        var failure: (any Error)?
        for copy in copies.all {
            do {
                return try await nearest(selector, in: copy)
            } catch let error as any Failure where error.exitCode == .store {
                failure = failure ?? error
                notes.add("the base was looked for in the next copy: \(copy.name.text): \(error.cause)")
            }
        }
        throw failure ?? SetError.noSets("\(selector)")
    }

    private func nearest(_ selector: KeySelector, in copy: SetCopy) async throws -> BackupKey {
        let catalog = Catalog(copy.store)
        // Asked for once for each server, not for each of its bases: it takes a listing of all its log.
        var ranges: [String: [WALRange]] = [:]
        var oldest: PhysicalBase?
        for entry in try await catalog.listing(Tier.selectable).entries
        where entry.isCommitted && Self.allows(selector, entry.key) {
            let manifest: Manifest
            do {
                manifest = try await catalog.manifest(entry.key, of: workplace.target).manifest
            } catch let error as SetError {
                notes.add("\(error); it was passed over as a base")
                continue
            }
            guard let base = PhysicalBase(manifest) else { continue }
            oldest = base
            guard isAfter(base) else { continue }
            if ranges[base.systemID] == nil { ranges[base.systemID] = try await log.ranges(of: base.systemID) }
            if try await lineage(of: base, in: ranges[base.systemID] ?? []) != nil { return base.key }
        }
        guard let oldest else { throw SetError.noSets("\(selector), of a whole server") }
        throw impossible(
            "it is before the end of every base that is left, or on another timeline",
            possible: "the oldest base is \(oldest.key), which ends at \(oldest.endTime) (\(oldest.end), timeline "
                + "\(oldest.timeline))")
    }

    private static func allows(_ selector: KeySelector, _ key: BackupKey) -> Bool {
        switch selector {
        case .exact(let wanted): wanted == key
        case .latest(nil), .random: true
        case .latest(let tier?): tier == key.tier
        case .day(let tier, let day): tier == key.tier && key.timestamp.day == day
        }
    }

    /// Whether the target is at the base's end or after it, as far as that can be told.
    private func isAfter(_ base: PhysicalBase) -> Bool {
        switch target.point {
        case .time(let microseconds): base.endTime.milliseconds <= microseconds / 1000
        case .lsn(let place): base.end <= place
        case .transaction, .name, .latest: true
        }
    }

    // MARK: The log

    /// What is needed to get from `manifest`'s set to the target; throws where that is not there, saying what is possible.
    func base(_ manifest: Manifest) async throws -> RecoveryBase {
        guard let base = PhysicalBase(manifest) else {
            throw JobFailure(
                .eventRefused, "recover to a point in time", object: manifest.key.description,
                cause: "the set is no base backup of a whole server",
                hint: "name a set that was made with BACKUP_METHOD=physical, or leave recoveryTarget out")
        }
        let ranges = try await log.ranges(of: base.systemID)
        guard isAfter(base) else {
            throw impossible("it is before the end of \(base.key)", possible: range(base, nil))
        }
        guard let lineage = try await lineage(of: base, in: ranges) else {
            throw impossible(
                "\(base.key) is on timeline \(base.timeline), which does not lead to timeline \(wanted(base, ranges))",
                possible: range(base, nil))
        }
        let path = LogPath(from: base, along: lineage, in: ranges)
        try check(path, from: base)
        // One that follows the newest would follow what comes to be while it runs.
        var exact = target
        exact.timeline = lineage.last?.timeline
        return RecoveryBase(base: base, path: path, recovery: Recovery(to: exact, from: log))
    }

    private func wanted(_ base: PhysicalBase, _ ranges: [WALRange]) -> UInt32 {
        target.timeline ?? ranges.map(\.timeline).reduce(base.timeline, max)
    }

    /// From the base's timeline to the target's; `nil` where none leads there.
    private func lineage(
        of base: PhysicalBase, in ranges: [WALRange]
    ) async throws -> [(timeline: UInt32, until: LSN?)]? {
        let wanted = wanted(base, ranges)
        guard wanted != base.timeline else { return [(wanted, nil)] }
        guard wanted > base.timeline else { return nil }
        let entries = try await history(wanted, base.systemID)
        guard let first = entries.firstIndex(where: { $0.timeline == base.timeline }), entries[first].end >= base.end
        else { return nil }
        return entries[first...].map { ($0.timeline, $0.end) } + [(wanted, nil)]
    }

    private func history(_ timeline: UInt32, _ systemID: String) async throws -> [TimelineFork] {
        let file = WALFile.history(timeline: timeline)
        guard let source = try await log.open(file, of: systemID) else {
            throw lost("the file \(file) is not stored, which says how that timeline came to be")
        }
        let bytes = try await withTaskCancellationHandler {
            try await onThread("history") { try source.collect(limit: Self.longestHistory) }
        } onCancel: {
            source.cancel()
        }
        guard let history = TimelineHistory.forks(in: bytes) else { throw lost("the file \(file) is no history") }
        return history
    }

    /// Bytes: some ten thousand promotions.
    private static let longestHistory = 1 << 20

    private func check(_ path: LogPath, from base: PhysicalBase) throws {
        switch target.point {
        case .latest:
            if let gap = path.gap { throw broken(gap, base, path) }
        case .lsn(let place):
            guard place >= path.end else { return }
            if let gap = path.gap { throw broken(gap, base, path) }
            throw impossible("the stored log ends before it", possible: range(base, path))
        case .time(let microseconds):
            if let stored = path.stored, microseconds / 1000 <= stored.milliseconds { return }
            if let gap = path.gap { throw broken(gap, base, path) }
            guard let stored = path.stored else {
                guard !path.legs.isEmpty else {
                    throw impossible("no log after the base is stored", possible: range(base, path))
                }
                // When it was stored is not known: whether it is in it shows at its end.
                if microseconds / 1000 > workplace.clock.now().milliseconds {
                    throw impossible("it is in the future", possible: range(base, path))
                }
                return
            }
            throw impossible(
                "the newest stored log is of \(stored), before it", possible: range(base, path))
        case .transaction, .name:
            guard !path.legs.isEmpty else {
                throw impossible("no log after the base is stored", possible: range(base, path))
            }
            if let gap = path.gap { notes.add(Self.text(gap)) }
        }
    }

    // MARK: Errors

    private func range(_ base: PhysicalBase, _ path: LogPath?) -> String {
        if let path, path.legs.isEmpty {
            return "from \(base.key) only its own end is possible, \(base.endTime) (\(base.end))"
        }
        var text = "from \(base.key) every point from \(base.endTime) (\(base.end)) is possible"
        if let path {
            text += " until \(path.stored.map { "\($0) " } ?? "")(\(path.end), timeline \(path.timeline))"
        }
        return text
    }

    private static func text(_ gap: WALRange) -> String {
        "the stored log of timeline \(gap.timeline) lacks \(gap.begin) to \(gap.end)"
    }

    private func impossible(_ cause: String, possible: String) -> JobFailure {
        JobFailure(
            .eventRefused, "recover to \(target.text)", object: workplace.target, cause: "\(cause); \(possible)",
            hint:
                "if the server still answers, bring in the rest of its log with the wal job; else choose a point that is "
                + "possible, or name another base with backupKey ('lifeboat list' shows them)")
    }

    private func broken(_ gap: WALRange, _ base: PhysicalBase, _ path: LogPath) -> JobFailure {
        JobFailure(
            .verificationFailed, "recover to \(target.text)", object: workplace.target,
            cause: "\(Self.text(gap)); \(range(base, path))",
            hint: "recover to a point before the gap; a new base backup is due if none was made after it")
    }

    private func lost(_ cause: String) -> JobFailure {
        JobFailure(
            .verificationFailed, "recover to \(target.text)", object: workplace.target, cause: cause,
            hint: "name a timeline whose history is stored, or restore a set without recoveryTarget")
    }
}

extension RecoveryTarget {
    /// For people, and for the note of what a request chose: `the time 2025-01-15T07:00:00.000Z`, as fine as it was
    /// asked for.
    var text: String {
        let point =
            switch point {
            case .time(let microseconds): "the time \(Self.text(microseconds: microseconds))"
            case .transaction(let id): "transaction \(id)"
            case .lsn(let place): "the place \(place) in the log"
            case .name(let name): "the restore point \(name)"
            case .latest: "the end of the stored log"
            }
        let place = isInclusive ? point : "just before \(point)"
        return timeline.map { "\(place) on timeline \($0)" } ?? place
    }

    private static func text(microseconds: Int64) -> String {
        let rest = microseconds % 1000
        let text = Timestamp(milliseconds: (microseconds - rest) / 1000).description
        guard rest > 0 else { return text }
        return text.dropLast() + String(String(1000 + rest).dropFirst()) + "Z"
    }
}
