package import Core
package import Sets

/// How a job ended and what it found: the one JSON object on standard output.
package struct JobResult: Sendable {
    package var action: String
    package var target: String
    package var requestID: RequestID
    package var exitCode: ExitCode
    package var verdict: Verdict?
    package var proofDepth: ProofDepth?
    package var backupKey: BackupKey?
    package var safetyBackupKey: BackupKey?
    package var origin: Origin?
    package var replayed = false
    package var dryRun = false
    package var tier: Tier?
    package var snapshotTime: Timestamp?
    package var storedBytes: Int64?
    package var sourceBytes: Int64?
    package var chainSequence: Int64?
    /// What was done for the second store; `nil` where there is none, or nothing to do.
    package var copies: CopyCount?
    /// When keys end, of those that do: the recipients', and the first of those that are stored. `nil` where the job did
    /// not look.
    package var keyExpiries: [KeyExpiry]?
    /// What a drill came to; `nil` for other jobs.
    package var drill: DrillRecord?
    /// Seconds by step.
    package var phases: [String: Double] = [:]
    /// Sizes, counts and what else is particular to the action.
    package var details: [String: JSON] = [:]
    /// What an operator should read although the job succeeded.
    package var notes: [String] = []
    package var failure: JobFailure?

    package init(
        action: String, target: String, requestID: RequestID, exitCode: ExitCode = .done,
        failure: JobFailure? = nil
    ) {
        self.action = action
        self.target = target
        self.requestID = requestID
        self.exitCode = exitCode
        self.failure = failure
    }

    package var json: JSON {
        .object(present: [
            "action": .string(action),
            "target": .string(target),
            "requestId": .string(requestID.description),
            "outcome": .string(exitCode == .done ? "succeeded" : "failed"),
            "exitCode": .integer(Int64(exitCode.rawValue)),
            "meaning": .string(exitCode.meaning),
            "verdict": verdict.map { .string($0.rawValue) },
            "proofDepth": proofDepth.map { .string($0.rawValue) },
            "backupKey": backupKey.map { .string($0.description) },
            "safetyBackupKey": safetyBackupKey.map { .string($0.description) },
            "origin": origin.map { .string($0.rawValue) },
            "replayed": .bool(replayed),
            "dryRun": dryRun ? .bool(true) : nil,
            "snapshotTime": snapshotTime.map { .string($0.description) },
            "figures": .object(present: [
                "storedBytes": storedBytes.map { .exact($0) },
                "sourceBytes": sourceBytes.map { .exact($0) },
                "chainSequence": chainSequence.map { .exact($0) },
                "copiesMade": copies.map { .integer(Int64($0.made)) },
                "copiesFailed": copies.map { .integer(Int64($0.failed)) },
                "copiesMissing": copies?.missing.map { .integer(Int64($0)) },
            ]),
            "keyExpiries": keyExpiries.flatMap { expiries in
                expiries.isEmpty
                    ? nil
                    : .array(
                        expiries.map {
                            .object(["key": .string($0.key), "expires": .string($0.expires.description)])
                        })
            },
            // Milliseconds, for JSON here has no fractions.
            "phases": .object(phases.mapValues { .integer(Int64(($0 * 1000).rounded())) }),
            "details": details.isEmpty ? nil : .object(details),
            "notes": notes.isEmpty ? nil : .array(notes.map { .string($0) }),
            "error": failure.map {
                .object([
                    "operation": .string($0.operation), "object": .string($0.object), "cause": .string($0.cause),
                    "hint": .string($0.hint),
                ])
            },
        ])
    }

    package func outcome(started: Timestamp, finished: Timestamp) -> RunOutcome {
        RunOutcome(
            exitCode: exitCode, verdict: verdict, finished: finished, duration: finished.seconds(since: started),
            storedBytes: storedBytes, sourceBytes: sourceBytes, snapshotTime: snapshotTime, replayed: replayed,
            dryRun: dryRun,
            chainSequence: chainSequence, copies: copies, keyExpiries: keyExpiries, proofDepth: proofDepth,
            drill: drill.map {
                DrillOutcome(
                    scenario: $0.scenario, recoverySeconds: $0.recoveryMilliseconds.map { Double($0) / 1000 },
                    lossSeconds: $0.lossMilliseconds.map { Double($0) / 1000 }, compared: $0.compared,
                    matched: $0.matched)
            })
    }
}

/// Measures the steps of a job, some of which run side by side.
final class Phases: Sendable {
    private let clock: any WallClock
    private let seconds = Guarded<[String: Double]>([:])

    init(_ clock: any WallClock) { self.clock = clock }

    var all: [String: Double] { seconds.value }

    func measure<Result: Sendable>(
        _ name: String, _ body: () async throws -> Result
    ) async rethrows -> Result {
        let began = clock.now()
        defer {
            let passed = clock.now().seconds(since: began)
            seconds.withLock { $0[name, default: 0] += passed }
        }
        return try await body()
    }
}
