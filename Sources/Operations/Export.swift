package import Core
import Logging
import Sets

/// Writes a set out into a directory, sealed anew for the recipients that are configured now: for stock tools, for
/// another place, or because a key that opens the set itself is no longer to be trusted.
///
/// The directory comes to be whole or not at all, and nothing in it is in clear.
package struct Export: Sendable {
    private let workplace: Workplace
    private let job: ExportJob
    private let directory: any StagedDirectory

    package init(_ job: ExportJob, into directory: any StagedDirectory, at workplace: Workplace) {
        self.job = job
        self.directory = directory
        self.workplace = workplace
    }

    package func run() async throws -> JobResult {
        let notes = ReadingNotes()
        // The hours of a thaw are the next run's.
        var result = try await workplace.afterThaw(waiting: 0) { try await export(notes) }
        result.notes += notes.all
        return result
    }

    private func export(_ notes: ReadingNotes) async throws -> JobResult {
        let copies = try workplace.copies(job.store)
        let key = try await workplace.resolve(
            job.key, for: job.requestID, action: "export", dryRun: job.dryRun, in: copies, notes: notes)
        if case .filled(let there) = try await directory.standing() { return try await replay(key, there) }
        let phases = Phases(workplace.clock)
        let reader = try await phases.measure("check") {
            try await SetReader.open(
                key, of: workplace.target, in: copies, configuration: workplace.reader, notes: notes)
        }
        try await requireRoom(for: reader.manifest)
        if job.dryRun { return try await plan(reader).with(phases) }
        if let needed = ThawNeeded(reader.archived, of: key) { throw needed }
        let written = try await phases.measure("export") { try await fill(with: reader) }
        var result = result(of: reader)
        result.verdict = .proven
        result.proofDepth = .integrity
        result.notes = written.notes
        result.details["files"] = .array(written.files.map { .string($0) })
        result.details["exportedBytes"] = .exact(written.sealedSize)
        result.details["recipients"] = .array(written.recipients.map { .string($0) })
        return result.with(phases)
    }

    // MARK: Steps

    /// What this very request exported before is not exported again; anything else that stands there is left alone.
    private func replay(_ key: BackupKey, _ there: any Store) async throws -> JobResult {
        guard try await SetExport.isExport(of: key, requestID: job.requestID, in: there) else {
            throw JobFailure(
                .eventRefused, "export the set", object: directory.path, cause: "the directory is not empty",
                hint: "name one that does not exist yet, or an empty one")
        }
        var result = JobResult(action: "export", target: workplace.target, requestID: job.requestID)
        result.backupKey = key
        result.tier = key.tier
        result.replayed = true
        result.details["directory"] = .string(directory.path)
        return result
    }

    /// Sealed anew a set takes as much as it does now, but for the headers.
    private func requireRoom(for manifest: Manifest) async throws {
        let needed = manifest.storedSize + manifest.storedSize / 100 + Self.overhead
        let free = try await directory.freeBytes()
        guard free >= needed else {
            throw JobFailure(
                .store, "export the set", object: directory.path,
                cause: "it takes \(needed) bytes, and the disk has \(free) free",
                hint: "free space, or name a directory on another disk")
        }
    }

    /// Bytes: headers, the program and the texts.
    private static let overhead: Int64 = 1 << 20

    private func fill(with reader: SetReader) async throws -> SetExport.Written {
        await workplace.step("export")
        let meter = ProgressMeter(stage: "export")
        let store = try await directory.begin()
        do {
            return try await workplace.watching(meter) {
                let export = try await SetExport(reader, into: store, configuration: workplace.writer)
                meter.begin("export", expected: reader.manifest.plainSize)
                let written = try await export.write(
                    requestID: job.requestID, at: workplace.clock.now(), meter: meter)
                meter.begin("publish")
                try Task.checkCancellation()
                try await directory.publish()
                return written
            }
        } catch {
            let (directory, logger) = (directory, workplace.logger)
            await uncancelled {
                do {
                    try await directory.discard()
                } catch let failure {
                    logger.warning(
                        "what was exported so far stays until the next export to this place",
                        metadata: ["directory": "\(directory.path)", "why": "\(failure)"])
                }
            }
            throw error
        }
    }

    /// Everything was looked at as an export does, and nothing of the parts was read.
    private func plan(_ reader: SetReader) async throws -> JobResult {
        await workplace.step("plan")
        let recipients = try await SetExport.recipients(of: reader, configuration: workplace.writer)
        var result = result(of: reader)
        result.dryRun = true
        result.verdict = .inconclusive
        result.details["recipients"] = .array(recipients.map { .string($0) })
        result.details["freeBytes"] = .exact(try await directory.freeBytes())
        if let needed = ThawNeeded(reader.archived, of: reader.manifest.key) { result.note(needed) }
        return result
    }

    private func result(of reader: SetReader) -> JobResult {
        let manifest = reader.manifest
        var result = JobResult(action: "export", target: workplace.target, requestID: job.requestID)
        result.backupKey = manifest.key
        result.tier = manifest.key.tier
        result.origin = reader.origin
        result.snapshotTime = manifest.snapshotTime
        result.storedBytes = manifest.storedSize
        result.sourceBytes = manifest.plainSize
        result.details["directory"] = .string(directory.path)
        return result
    }
}
