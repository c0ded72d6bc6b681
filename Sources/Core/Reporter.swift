/// Told what happens in a run: metrics, progress, audit, notifications. A reporter that fails says so by throwing; the
/// run logs that and goes on, for a report never changes a job's outcome.
package protocol Reporter: Sendable {
    func record(_ event: RunEvent) async throws
}

package enum RunEvent: Sendable {
    case started(RunIdentity)
    /// One step of the operation began.
    case step(String)
    case progress(ProgressMeter.Reading, elapsed: Double)
    case finished(RunIdentity, RunOutcome)
}

package struct RunIdentity: Sendable {
    package var action: String
    package var target: String
    /// The tier backed up, verified or restored; `nil` where the run ended before that was known.
    package var tier: Tier?
    package var requestID: RequestID
    package var started: Timestamp

    package init(action: String, target: String, tier: Tier?, requestID: RequestID, started: Timestamp) {
        self.action = action
        self.target = target
        self.tier = tier
        self.requestID = requestID
        self.started = started
    }
}

/// How a run ended, as far as reporters need it.
package struct RunOutcome: Sendable {
    package var exitCode: ExitCode
    package var verdict: Verdict?
    package var finished: Timestamp
    /// Seconds.
    package var duration: Double
    /// Bytes of the set as stored.
    package var storedBytes: Int64?
    /// Bytes read from the source.
    package var sourceBytes: Int64?
    /// When the set's picture was taken.
    package var snapshotTime: Timestamp?
    package var replayed: Bool
    /// Nothing was done, only looked at: no counter may move.
    package var dryRun: Bool
    /// The newest set's number in the target's chain.
    package var chainSequence: Int64?
    /// `nil` where the run copied nothing to a second store, nor had to.
    package var copies: CopyCount?
    /// When keys end, of those that do: the recipients', and the first of those that are stored. `nil` where the run did
    /// not look.
    package var keyExpiries: [KeyExpiry]?
    /// How deep the proof of the verdict went.
    package var proofDepth: ProofDepth?
    /// What a drill measured; `nil` for other jobs.
    package var drill: DrillOutcome?

    package init(
        exitCode: ExitCode, verdict: Verdict? = nil, finished: Timestamp, duration: Double, storedBytes: Int64? = nil,
        sourceBytes: Int64? = nil, snapshotTime: Timestamp? = nil, replayed: Bool = false, dryRun: Bool = false,
        chainSequence: Int64? = nil, copies: CopyCount? = nil, keyExpiries: [KeyExpiry]? = nil,
        proofDepth: ProofDepth? = nil, drill: DrillOutcome? = nil
    ) {
        self.proofDepth = proofDepth
        self.drill = drill
        self.exitCode = exitCode
        self.verdict = verdict
        self.finished = finished
        self.duration = duration
        self.storedBytes = storedBytes
        self.sourceBytes = sourceBytes
        self.snapshotTime = snapshotTime
        self.replayed = replayed
        self.dryRun = dryRun
        self.chainSequence = chainSequence
        self.copies = copies
        self.keyExpiries = keyExpiries
    }
}

/// What a drill measured.
package struct DrillOutcome: Equatable, Sendable {
    package var scenario: DrillJob.Scenario
    /// From the drill's begin to the restored copy's being proven; `nil` where that was not reached.
    package var recoverySeconds: Double?
    /// What was written in so long before the drill would have been lost.
    package var lossSeconds: Double?
    /// Objects that were compared, and those that matched.
    package var compared: Int64
    package var matched: Int64

    package init(
        scenario: DrillJob.Scenario, recoverySeconds: Double?, lossSeconds: Double?, compared: Int64, matched: Int64
    ) {
        self.scenario = scenario
        self.recoverySeconds = recoverySeconds
        self.lossSeconds = lossSeconds
        self.compared = compared
        self.matched = matched
    }
}

/// What a run did for the second store, in sets.
package struct CopyCount: Equatable, Sendable {
    package var made: Int
    package var failed: Int
    /// Committed sets that are not there yet; `nil` where a store could not be listed.
    package var missing: Int?

    package init(made: Int = 0, failed: Int = 0, missing: Int? = nil) {
        self.made = made
        self.failed = failed
        self.missing = missing
    }
}
