package import Core
import Logging
import Sets
import WALArchive

/// Brings the server's write-ahead log into the store, from where the last such job ended to now.
///
/// Without the target's lock, for a base backup may hold that for hours: the server's slot lets one job in at a time.
package struct ArchiveWAL: Sendable {
    /// How many sets are looked at, newest first, to find a base backup of a server whose log is new here, or one from
    /// after a gap.
    private static let setsLookedAt = 200

    private let workplace: Workplace
    private let job: WALJob
    private let source: any WALSource

    package init(_ job: WALJob, from source: any WALSource, at workplace: Workplace) {
        self.job = job
        self.source = source
        self.workplace = workplace
    }

    package func run() async throws -> JobResult {
        try workplace.checkLogFormat()
        let meter = ProgressMeter(stage: "follow the log")
        await workplace.step("follow the log")
        return try await workplace.watching(meter) { try await archive(meter) }
    }

    private func archive(_ meter: ProgressMeter) async throws -> JobResult {
        let phases = Phases(workplace.clock)
        let began = workplace.clock.now()
        let first = workplace.logArchive(in: workplace.store)
        let stored = Guarded<WALStoredEnd?>(nil)
        let stream = try await phases.measure("open") {
            try await source.open(
                WALRequest(restorePoint: restorePoint, dryRun: job.dryRun, meter: meter) { server in
                    guard let end = try await first.end(of: server) else { return try await beginning(server, first) }
                    stored.withLock { $0 = end }
                    return end.position
                })
        }
        do {
            let result: JobResult
            if job.dryRun {
                result = plan(stream, stored.value?.gap)
            } else {
                let transfer = LogTransfer(
                    workplace: workplace, stream: stream, first: first, stored: stored.value, began: began,
                    meter: meter)
                result = try await self.transfer(stream, transfer, phases)
            }
            await stream.close()
            return result.with(phases)
        } catch {
            await stream.close()
            throw error
        }
    }

    private func transfer(
        _ stream: any WALStream, _ transfer: LogTransfer, _ phases: Phases
    ) async throws -> JobResult {
        var transfer = transfer
        if !stream.begin.isAt(stream.end) { await workplace.step("store the log") }
        transfer = try await phases.measure("store") { [transfer] in
            var transfer = transfer
            try await transfer.run()
            return transfer
        }
        var result = result(of: stream, transfer)
        if let gap = transfer.gap { try await tell(of: gap, stream, transfer, &result) }
        return result
    }

    // MARK: Steps

    /// Where a log that is new here is to begin: at the end of the newest base backup, or what is between the two would be
    /// missing without a word. While another server's log is stored it may be the wrong server; a base backup of it says
    /// that it is meant.
    private func beginning(_ server: WALServer, _ archive: WALArchive) async throws -> WALPosition? {
        let isOurs = { (base: PhysicalBase) in base.systemID == server.systemID }
        if let base = try await newestBase(where: { isOurs($0) && $0.isOnWay(to: server) }) {
            var position = WALPosition(systemID: base.systemID, timeline: base.timeline, lsn: base.end)
            position.isOfBase = true
            return position
        }
        guard try await !archive.holds(server.systemID), let other = try await archive.anySystem() else { return nil }
        if try await newestBase(where: isOurs) != nil { return nil }
        throw JobFailure(
            .source, "store the server's log", object: source.endpoint,
            cause: "it is the cluster with the system identifier \(server.systemID); the log that is stored for this "
                + "target is of \(other)",
            hint:
                "check POSTGRES_HOST and POSTGRES_PORT; if the cluster was made anew, take a base backup of it: the next "
                + "job then goes on with its log, beside that of the one before")
    }

    private func newestBase(where fits: (PhysicalBase) -> Bool) async throws -> PhysicalBase? {
        let listing = try await workplace.catalog.listing()
        for entry in listing.entries.filter(\.isCommitted).prefix(Self.setsLookedAt) {
            do {
                let manifest = try await workplace.catalog.manifest(entry.key, of: workplace.target).manifest
                if let base = PhysicalBase(manifest), fits(base) { return base }
            } catch is SetError {
                // A damaged set says nothing about the server.
                continue
            }
        }
        return nil
    }

    /// A gap fails every job until there is a base backup from after it: whoever missed the first word of it would
    /// otherwise believe that everything since can be recovered. The job that meets it fails in any case.
    private func tell(
        of gap: WALRange, _ stream: any WALStream, _ transfer: LogTransfer, _ result: inout JobResult
    ) async throws {
        let server = stream.server
        let base = try await newestBase {
            $0.systemID == server.systemID && $0.end >= gap.end && $0.isOnWay(to: server)
        }
        let text = "the log from \(gap.begin) to \(gap.end) on timeline \(gap.timeline)"
        if let base {
            try await transfer.first.settle(gap, of: server)
            result.notes.append(
                "\(text) is lost; the base backup \(base.key) is from after it, and all that is stored since leads on "
                    + "from there")
            if stream.gap == nil { return }
        } else {
            // Stored as it is, what came after the gap serves nobody.
            result.snapshotTime = nil
        }
        result.details["gap"] = .object([
            "timeline": .integer(Int64(gap.timeline)), "begin": .string(gap.begin.description),
            "end": .string(gap.end.description),
        ])
        result.exitCode = .source
        result.failure = JobFailure(
            .source, "follow the server's log", object: source.endpoint,
            cause: "\(text) is gone: the server had removed it before it was stored",
            hint: base.map {
                "nothing between \(gap.begin) and the base backup \($0.key) can be recovered; what comes after that "
                    + "can. Raise max_slot_wal_keep_size, or run this job more often"
            }
                ?? "a base backup is due, now: until there is one nothing after \(gap.begin) can be recovered, and "
                + "every job of the log fails with this. What came after the gap is stored. Raise "
                + "max_slot_wal_keep_size, or run this job more often")
    }

    /// Names are cut at 63 bytes by the server.
    private var restorePoint: String {
        var name = ""
        for scalar in "lifeboat-\(job.requestID)".unicodeScalars {
            guard name.utf8.count + String(scalar).utf8.count <= 63 else { break }
            name.unicodeScalars.append(scalar)
        }
        return name
    }

    // MARK: Results

    private func described(_ stream: any WALStream) -> JobResult {
        var result = JobResult(action: "wal", target: workplace.target, requestID: job.requestID)
        result.notes = stream.notes
        result.details = [
            "systemIdentifier": .string(stream.server.systemID),
            "timeline": .integer(Int64(stream.end.timeline)),
            "begin": .string(stream.begin.lsn.description),
            "end": .string(stream.end.lsn.description),
        ]
        return result
    }

    private func plan(_ stream: any WALStream, _ gap: WALRange?) -> JobResult {
        var result = described(stream)
        result.dryRun = true
        if let gap {
            result.notes.append(
                "the log from \(gap.begin) to \(gap.end) on timeline \(gap.timeline) is lost: the job fails until there "
                    + "is a base backup from after it")
        }
        if stream.begin.timeline == stream.end.timeline, stream.end.lsn > stream.begin.lsn {
            result.sourceBytes = Int64(clamping: stream.end.lsn.value - stream.begin.lsn.value)
        }
        return result
    }

    private func result(of stream: any WALStream, _ transfer: LogTransfer) -> JobResult {
        var result = described(stream)
        result.snapshotTime = transfer.began
        result.sourceBytes = transfer.plainBytes
        result.storedBytes = transfer.storedBytes
        result.details["files"] = .integer(Int64(transfer.files))
        result.details["filesThereBefore"] = .integer(Int64(transfer.repeated))
        result.details["coveredUntil"] = .string(transfer.began.description)
        if workplace.secondary != nil {
            result.details["filesCopied"] = .integer(Int64(transfer.copied))
        }
        if let failure = transfer.secondFailure {
            result.exitCode = .notReplicated
            result.failure = JobFailure(
                .notReplicated, "copy the log to the second store", object: failure.object, cause: failure.cause,
                hint: "the server keeps what is not there until the next job makes it up: \(failure.hint)")
        }
        return result
    }
}

extension WALPosition {
    func isAt(_ other: WALPosition) -> Bool { timeline == other.timeline && lsn == other.lsn }
}

extension PhysicalBase {
    /// Whether the server's log leads on from it.
    fileprivate func isOnWay(to server: WALServer) -> Bool {
        timeline == server.timeline || server.lineage.contains { $0.timeline == timeline && end <= $0.end }
    }
}
