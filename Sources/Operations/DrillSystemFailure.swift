import Core
import Sets
import WALArchive

extension Drill {
    /// Everything but the store and the identities is gone: a scratch server is made of them, its contents are proven,
    /// and for a whole server it is brought forward through the log, to its end and to a point between two commits.
    func loseSystem(_ course: DrillCourse, _ meter: ProgressMeter) async throws {
        let reader = try await course.step("RETRIEVE_BACKUP", shows: "BACKUP_AVAILABILITY") { findings in
            try await openSet(findings, course, meter)
        }
        let log = try await followedLog(after: reader, course)
        let recovered = try await restore(reader, following: log, course, meter)
        // Whichever of them is known and latest: nothing of before that would be lost.
        let covered = [
            log?.path.stored, try await coveredUntil(log), recovered?.lastCommit, reader.manifest.snapshotTime,
        ].compactMap { $0 }.max()
        course.change {
            $0.lossMilliseconds = covered.map { max(0, course.started.milliseconds - $0.milliseconds) }
        }
        guard PhysicalBase.isPhysical(reader.manifest) else { return }
        try await recoverToPoint(reader, log, recovered, course, meter)
    }

    /// The log from the set to the end of what is stored; `nil` where none is.
    private func followedLog(after reader: SetReader, _ course: DrillCourse) async throws -> RecoveryBase? {
        guard PhysicalBase.isPhysical(reader.manifest), workplace.log != nil else { return nil }
        course.change { $0.components.append("write-ahead log") }
        return try await course.step("RETRIEVE_LOG", shows: "LOG_AVAILABILITY") { findings in
            let notes = ReadingNotes()
            let found = try await BaseSearch(workplace, to: RecoveryTarget(.latest), notes: notes)
                .base(reader.manifest)
            findings.say(
                "\(found.needed.segments) segments after \(found.base.end), without a gap until \(found.path.end)")
            for note in notes.all { course.change { $0.notes.append(note) } }
            return found
        }
    }

    /// Until when all that the server has written is stored, as the job that stored the end of `log` noted it; `nil` where
    /// it noted nothing.
    private func coveredUntil(_ log: RecoveryBase?) async throws -> Timestamp? {
        guard let log else { return nil }
        var latest: Timestamp?
        for store in [workplace.store] + (workplace.secondary.map { [$0] } ?? []) {
            do {
                let found = try await workplace.logArchive(in: store).coveredUntil(
                    of: log.base.systemID, log.path.timeline, storedTo: log.path.end)
                latest = [latest, found].compactMap { $0 }.max()
            } catch let failure as any Failure where failure.exitCode == .store && !Task.isCancelled {
                // The other one may say; without a word of either the last commit counts.
                continue
            }
        }
        return latest
    }

    /// Restores the set to the scratch place and proves it; what that showed is kept beside the set as well. `since`: the
    /// milliseconds of the drill after which the recovery is held to begin.
    @discardableResult
    func restore(
        _ reader: SetReader, following log: RecoveryBase?, since: Int64 = 0, _ course: DrillCourse,
        _ meter: ProgressMeter
    ) async throws -> RecoveredPoint? {
        let phases = Phases(workplace.clock)
        let follows = log.map { !$0.path.legs.isEmpty } ?? false
        let promotion: Promotion? = try await course.step("RESTORE_SYSTEM", shows: "RECOVERABILITY") { findings in
            do {
                return try await workplace.withScratch { holder in
                    let restored = try await workplace.restoreToScratch(
                        reader, following: follows ? log?.recovery : nil, in: holder, phases, meter)
                    course.change { $0.recoveryMilliseconds = course.elapsed - since }
                    course.change { $0.notes += restored.notes }
                    try await judge(
                        restored, reader,
                        phases.measurement(
                            of: reader.manifest, log: follows ? log?.needed.bytes : nil), findings, course)
                    return restored.promotion
                }
            } catch let failure as any Failure where failure.exitCode == .verificationFailed && !Task.isCancelled {
                try await prove(.failed, reader, nil)
                throw failure
            }
        }
        return promotion?.recovered
    }

    private func judge(
        _ restored: ScratchRestore, _ reader: SetReader, _ measured: RestoreMeasurement, _ findings: StepFindings,
        _ course: DrillCourse
    ) async throws {
        let proof = RestoreProof(restored.comparison, measured, workplace.thresholds)
        let comparison = proof.comparison
        course.change {
            $0.compared = Int64(comparison.objects)
            $0.matched = Int64(comparison.matched)
        }
        let text = "\(comparison.matched) of \(comparison.objects) objects are as they were recorded"
        if proof.isEqual {
            findings.say(text)
        } else if proof.isEmpty {
            findings.doubt("nothing is recorded of the set that could be compared")
        } else {
            // The record names none of them.
            findings.fail(
                text,
                JobFailure(
                    .verificationFailed, "prove the restored copy", object: reader.manifest.key.description,
                    cause: proof.differences.joined(separator: "; "),
                    hint: "do not use this set; restore one that is proven, and keep this one for examination"))
        }
        course.validate(
            "CONTENTS_CHECK", proof.isEqual ? .passed : proof.isEmpty ? .inconclusive : .failed, [text])
        let late = proof.isOfSet ? [] : proof.shortfalls
        course.validate("RECOVERY_TIME", late.isEmpty ? .passed : .failed, late)
        try await prove(
            proof.isEqual ? .proven : proof.isEmpty ? .inconclusive : .failed, reader,
            proof.isEqual ? measured : nil)
    }

    private func prove(_ verdict: Verdict, _ reader: SetReader, _ measured: RestoreMeasurement?) async throws {
        try await reader.add(
            Proof(
                depth: .restore, verdict: verdict, time: workplace.clock.now(),
                requestID: job.requestID.description, contentsCompared: true, measured: measured))
    }

    // MARK: A point in time

    /// Recovers once more, to just before the last commit that the log holds: what is there then ends with the commit
    /// before it, and neither later nor at the base.
    private func recoverToPoint(
        _ reader: SetReader, _ log: RecoveryBase?, _ latest: RecoveredPoint?, _ course: DrillCourse,
        _ meter: ProgressMeter
    ) async throws {
        let outcome = try await course.step("RECOVER_TO_POINT", shows: "POINT_IN_TIME") { findings in
            guard let log, !log.path.legs.isEmpty else {
                findings.doubt("no log after the base is stored")
                return findings.all.outcome
            }
            guard let latest, let last = latest.lastCommit, last > log.base.endTime else {
                findings.doubt("no commit after the base was found in the log, and so no point before one")
                return findings.all.outcome
            }
            var before = log.recovery
            before.target.point = .time(microseconds: last.milliseconds * 1000)
            before.target.isInclusive = false
            let recovery = before
            let reached = try await workplace.withScratch { holder in
                try await workplace.restoreToScratch(
                    reader, following: recovery, in: holder, Phases(workplace.clock), meter
                ).promotion?.recovered
            }
            guard let reached else {
                findings.doubt("the recovered server did not say where it ended")
                return findings.all.outcome
            }
            let place = "\(reached.lsn), after the commit of \(reached.lastCommit?.description ?? "none")"
            if reached.lastCommit ?? log.base.endTime < last, reached.lsn < latest.lsn, reached.lsn >= log.base.end {
                findings.say("recovered to \(place) and before that of \(last)")
            } else {
                findings.fail("recovered to \(place), and that is not before \(last) (\(latest.lsn))")
            }
            return findings.all.outcome
        }
        course.validate("POINT_IN_TIME_CHECK", outcome)
    }
}
