package import Core
import Logging
import Sets
import WALArchive

/// Brings the server's write-ahead log into the store, from where the last such job ended to now.
///
/// Without the target's lock, for a base backup may hold that for hours: the server's slot lets one job in at a time.
package struct ArchiveWAL: Sendable {
    /// How many base backups are looked at to find one of a server whose log is new here.
    private static let basesLookedAt = 200

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
                    let end = try await first.end(of: server)
                    if end == nil { try await checkKnown(server, first) }
                    stored.withLock { $0 = end }
                    return end?.position
                })
        }
        do {
            let result: JobResult
            if job.dryRun {
                result = plan(stream)
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
        return result(of: stream, transfer)
    }

    // MARK: Steps

    /// A server whose log is new here while another's is stored may be the wrong one; a base backup of it says that it
    /// is meant.
    private func checkKnown(_ server: WALServer, _ archive: WALArchive) async throws {
        guard try await !archive.holds(server.systemID), let other = try await archive.anySystem() else { return }
        let listing = try await workplace.catalog.listing()
        for entry in listing.entries.filter(\.isCommitted).prefix(Self.basesLookedAt) {
            do {
                let manifest = try await workplace.catalog.manifest(entry.key).manifest
                if Workplace.base(of: manifest)?.systemID == server.systemID { return }
            } catch is SetError {
                // A damaged set says nothing about the server.
                continue
            }
        }
        throw JobFailure(
            .source, "store the server's log", object: source.endpoint,
            cause: "it is the cluster with the system identifier \(server.systemID); the log that is stored for this "
                + "target is of \(other)",
            hint:
                "check POSTGRES_HOST and POSTGRES_PORT; if the cluster was made anew, take a base backup of it first")
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

    private func plan(_ stream: any WALStream) -> JobResult {
        var result = described(stream)
        result.dryRun = true
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
        if let gap = stream.gap {
            result.details["gap"] = .object([
                "timeline": .integer(Int64(gap.timeline)), "begin": .string(gap.begin.description),
                "end": .string(gap.end.description),
            ])
            result.exitCode = .source
            // Stored as it is, what came after the gap serves nobody before there is a base backup.
            result.snapshotTime = nil
            result.failure = JobFailure(
                .source, "follow the server's log", object: source.endpoint,
                cause: "the log from \(gap.begin) to \(gap.end) on timeline \(gap.timeline) is gone: the server has "
                    + "removed it before it was stored",
                hint:
                    "take a base backup now: until then nothing after \(gap.begin) can be recovered. What the server "
                    + "still had has been stored. Raise max_slot_wal_keep_size, or run this job more often")
        }
        return result
    }
}

extension WALPosition {
    func isAt(_ other: WALPosition) -> Bool { timeline == other.timeline && lsn == other.lsn }
}
