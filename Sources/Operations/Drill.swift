package import Core
import Logging
import Sets

/// Rehearses a disaster on the target's sets, and keeps what came of it. Nothing of the source is touched, and nothing in
/// the store is changed but for the records that are added.
package struct Drill: Sendable {
    /// Reads a set back from a store, as `verify` does, and throws what is wrong with it.
    package typealias Verification =
        @Sendable (Workplace, BackupKey, any Store, ProgressMeter) async throws -> Void

    let workplace: Workplace
    let job: DrillJob
    let verification: Verification
    let logVerification: LogVerification

    /// `verification` and `logVerification` are what damaged copies are shown to; tests make them worse to see that the
    /// drill notices.
    package init(
        _ job: DrillJob, at workplace: Workplace, verification: @escaping Verification = Drill.verify,
        logVerification: @escaping LogVerification = Drill.verifyLog
    ) {
        self.job = job
        self.workplace = workplace
        self.verification = verification
        self.logVerification = logVerification
    }

    /// What `verify` does to prove integrity, without the record that it leaves.
    package static let verify: Verification = { workplace, key, store, meter in
        let reader = try await workplace.openWithRecords(key, in: SetCopy(.primary, store))
        _ = try await workplace.proveIntegrity(of: reader, recompute: false, meter: meter)
    }

    package func run() async throws -> JobResult {
        if job.scenario != .keyLoss { _ = try workplace.requireScratch(for: "rehearse \(job.scenario.rawValue)") }
        guard workplace.reader.canOpen else {
            throw JobFailure(
                .configuration, "rehearse \(job.scenario.rawValue)", object: workplace.target,
                cause: "no private key is at hand, and a drill opens sets",
                hint: "run drills where a private key is at hand, with BACKUP_IDENTITIES")
        }
        if job.dryRun { return try await plan() }
        if let record = try await finishedBefore() { return result(of: record, replayed: true) }
        let course = DrillCourse(workplace.clock)
        let meter = ProgressMeter(stage: "drill")
        await workplace.step("drill \(job.scenario.rawValue)")
        // An archived set is asked for, and the drill made another time.
        let end = try await workplace.afterThaw(waiting: 0) { try await goThrough(course, meter) }
        // A drill that is ended leaves its record as any other does: that it was not gone through is worth knowing.
        var result = try await uncancelled { try await finish(course) }
        if let end {
            result.exitCode = end.exitCode
            result.failure = end
        }
        return result
    }

    /// Returns what has ended it from outside; `nil` where it came to its own end, whatever that is.
    private func goThrough(_ course: DrillCourse, _ meter: ProgressMeter) async throws -> JobFailure? {
        do {
            try await workplace.watching(meter) {
                guard job.scenario != .keyLoss else { return try await rehearse(course, meter) }
                try await workplace.havingScratch(for: job.requestID) { try await rehearse(course, meter) }
            }
        } catch let lost as LeaseError where !course.all.steps.isEmpty {
            course.abort(lost)
        } catch is DrillAborted {
            // The record tells.
        } catch let stalled as Stalled {
            course.abort(stalled)
        } catch is CancellationError {
            let end = JobFailure(
                .terminated, "finish the drill", object: workplace.target, cause: "it was ended from outside",
                hint:
                    "run it again with more time: the scratch place has been cleared, and the record says how far it "
                    + "came")
            course.abort(end)
            return end
        }
        return nil
    }

    private func rehearse(_ course: DrillCourse, _ meter: ProgressMeter) async throws {
        switch job.scenario {
        case .keyLoss: try await loseKey(course, meter)
        case .dataCorruption: try await corruptData(course, meter)
        case .systemFailure: try await loseSystem(course, meter)
        }
    }

    // MARK: The set that is rehearsed with

    /// The set, its manifest believed and its segments there.
    func openSet(_ findings: StepFindings, _ course: DrillCourse, _ meter: ProgressMeter) async throws -> SetReader {
        meter.begin("open")
        let notes = ReadingNotes()
        let copies = try workplace.copies(.primary)
        let key = try await workplace.resolve(
            job.key, for: job.requestID, action: "drill", dryRun: job.dryRun, in: copies, notes: notes)
        let reader = try await SetReader.open(
            key, of: workplace.target, in: copies, configuration: workplace.reader, notes: notes)
        course.takes(reader.manifest)
        course.change {
            $0.set = reader.stored
            $0.components = ["store", "keys", "scratch place"]
        }
        if let needed = ThawNeeded(reader.archived, of: key) { throw needed }
        findings.say("\(key) of \(reader.manifest.snapshotTime), \(reader.manifest.storedSize) bytes as stored")
        for note in notes.all { course.change { $0.notes.append(note) } }
        return reader
    }

    // MARK: The record

    /// The same for every try of a request, so that a replay finds what came of it.
    private var testID: String {
        let digest = job.requestID.isReplayable ? Catalog.digest(job.requestID) : workplace.random(8)
        let scenario = job.scenario.rawValue.lowercased().map { $0 == "_" ? "-" : $0 }
        return "\(String(scenario))-\(hexText(digest.prefix(8)))"
    }

    private var records: DrillRecords {
        DrillRecords(
            workplace.store, configuration: workplace.reader,
            seal: RecordSeal(signer: workplace.writer.signer, trustedSigners: workplace.reader.trustedSigners))
    }

    /// What came of this very request before; one that showed nothing is made again.
    private func finishedBefore() async throws -> DrillRecord? {
        guard job.requestID.isReplayable, let record = try await records.newest(testID),
            record.verdict != .inconclusive, record.requestID == job.requestID.description,
            record.scenario == job.scenario, record.target == workplace.target
        else { return nil }
        return record
    }

    private func finish(_ course: DrillCourse) async throws -> JobResult {
        let state = course.all
        guard let set = state.set else {
            // There was nothing to rehearse with, and so nothing that could vouch for a record.
            throw state.failure ?? JobFailure(SetError.noSets("\(job.key)"), as: .store)
        }
        let time = set.manifest.snapshotTime
        let record = DrillRecord(
            testID: testID, scenario: job.scenario, target: workplace.target,
            requestID: job.requestID.description, set: set.link,
            scope: DrillRecord.Scope(
                components: state.components, dataTypes: state.dataTypes.sorted(), from: state.from ?? time,
                until: state.until ?? time),
            status: state.isAborted ? .aborted : .completed, verdict: course.verdict, steps: state.steps,
            validations: state.validations, started: course.started, finished: workplace.clock.now(),
            compared: state.compared, matched: state.matched, recoveryMilliseconds: state.recoveryMilliseconds,
            lossMilliseconds: state.lossMilliseconds)
        let kept: DrillRecord
        do {
            kept = try await records.add(record, of: set)
        } catch let failure as any Failure {
            // What the drill showed is worth more than why its record is not kept.
            var result = result(of: record, replayed: false)
            result.notes += state.notes
            if result.exitCode == .done {
                result.exitCode = failure.exitCode
                result.verdict = .inconclusive
                result.failure = JobFailure(failure, as: failure.exitCode)
            } else {
                result.failure = state.failure ?? result.failure
                result.notes.append("the record was not kept: \(failure)")
            }
            return result
        }
        var result = result(of: kept, replayed: false)
        result.notes += state.notes
        if let failure = state.failure, result.exitCode != .done {
            result.failure = JobFailure(failure, as: result.exitCode)
            if kept.verdict == .inconclusive, failure.exitCode != .done {
                result.exitCode = failure.exitCode
                result.failure = failure
            }
        }
        return result
    }

    // MARK: Results

    private func result(of record: DrillRecord, replayed: Bool) -> JobResult {
        var result = JobResult(action: "drill", target: workplace.target, requestID: job.requestID)
        result.verdict = record.verdict
        result.replayed = replayed
        result.backupKey = record.set.key
        result.tier = record.set.key.tier
        result.drill = record
        if record.verdict == .proven, job.scenario != .keyLoss { result.proofDepth = .restore }
        result.phases = ["drill": Double(record.finished.milliseconds - record.started.milliseconds) / 1000]
        result.details = ["record": .string(DrillRecord.path(record.testID)), "drill": record.json]
        switch record.verdict {
        case .proven: break
        case .failed: result.exitCode = job.scenario == .keyLoss ? .keys : .verificationFailed
        case .inconclusive: result.exitCode = .inconclusive
        }
        if result.exitCode != .done {
            let wrong =
                record.steps.filter { $0.outcome != .passed }.map { Self.text($0.name, $0.outcome, $0.findings) }
                + record.validations.filter { $0.outcome != .passed }
                .map { Self.text($0.name, $0.outcome, $0.findings) }
            result.failure = JobFailure(
                result.exitCode, "rehearse \(job.scenario.rawValue)", object: record.testID,
                cause: wrong.isEmpty ? "it was ended before its first step" : wrong.joined(separator: "; "),
                hint: "the record says which step went wrong; a disaster now would go the same way")
        }
        return result
    }

    private static func text(_ name: String, _ outcome: DrillRecord.Outcome, _ findings: [String]) -> String {
        "\(name) \(outcome.rawValue)" + (findings.isEmpty ? "" : " (\(findings.prefix(5).joined(separator: ", ")))")
    }

    /// What would be rehearsed, without any of it.
    private func plan() async throws -> JobResult {
        var result = JobResult(action: "drill", target: workplace.target, requestID: job.requestID)
        result.dryRun = true
        result.verdict = .inconclusive
        result.details = ["scenario": .string(job.scenario.rawValue)]
        guard job.scenario != .keyLoss else {
            let sets = try await liveSets(StepFindings())
            result.details["sets"] = .integer(Int64(sets.count))
            result.details["lost"] = .string(workplace.writer.recipients.first?.capabilities.name ?? "")
            result.details["remaining"] = .array(remaining.map { .string($0.capabilities.name) })
            return result
        }
        let reader = try await openSet(StepFindings(), DrillCourse(workplace.clock), ProgressMeter())
        result.backupKey = reader.manifest.key
        result.tier = reader.manifest.key.tier
        result.details["scratch"] = (workplace.scratch?.label).map { .string($0) } ?? .null
        result.details["bytes"] = .exact(reader.manifest.plainSize)
        return result
    }
}
