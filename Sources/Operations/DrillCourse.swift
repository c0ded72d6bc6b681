import Core
import Sets

/// A drill as it is gone through: its steps, what they found, and what is measured.
final class DrillCourse: Sendable {
    struct State: Sendable {
        var steps: [DrillRecord.Step] = []
        var validations: [DrillRecord.Validation] = []
        /// The set whose key authenticates the record; `nil` until one is known.
        var set: StoredManifest?
        var components: [String] = []
        var dataTypes: Set<String> = []
        /// Pictures of the oldest and of the newest set that takes part.
        var from: Timestamp?
        var until: Timestamp?
        var compared: Int64 = 0
        var matched: Int64 = 0
        var recoveryMilliseconds: Int64?
        var lossMilliseconds: Int64?
        /// For the result alone, where tables may be named.
        var notes: [String] = []
        /// The first thing that went wrong, for the result alone.
        var failure: JobFailure?
        var isAborted = false
    }

    let started: Timestamp
    private let clock: any WallClock
    private let state = Guarded(State())

    init(_ clock: any WallClock) {
        self.clock = clock
        started = clock.now()
    }

    var all: State { state.value }

    func change(_ body: @Sendable (inout State) -> Void) { state.withLock { body(&$0) } }

    /// Milliseconds since the drill began.
    var elapsed: Int64 { clock.now().milliseconds - started.milliseconds }

    /// A set takes part.
    func takes(_ manifest: Manifest) {
        state.withLock {
            $0.dataTypes.insert(manifest.engine)
            $0.from = min($0.from ?? manifest.snapshotTime, manifest.snapshotTime)
            $0.until = max($0.until ?? manifest.snapshotTime, manifest.snapshotTime)
        }
    }

    /// Goes through one step, whose findings `body` takes down. What it throws is found out, too: a failure of what is
    /// rehearsed fails the step, any other leaves it inconclusive, and either ends the drill with ``DrillAborted``. What
    /// asks for a thaw stays what it is and leaves no step.
    ///
    /// Where the drill is being ended whatever is thrown shows nothing but that: the step is inconclusive, and
    /// `CancellationError` is thrown.
    func step<Result: Sendable>(
        _ name: String, shows: String? = nil, _ body: (StepFindings) async throws -> Result
    ) async throws -> Result {
        let began = clock.now()
        let findings = StepFindings()
        do {
            let result = try await body(findings)
            add(name, shows, findings, since: began)
            return result
        } catch let thaw as ThawNeeded {
            throw thaw
        } catch  where Task.isCancelled || error is CancellationError {
            findings.doubt("it was ended here")
            add(name, shows, findings, since: began)
            state.withLock { $0.isAborted = true }
            throw CancellationError()
        } catch let failure as any Failure {
            findings.take(failure)
            add(name, shows, findings, since: began)
            state.withLock { $0.isAborted = true }
            throw DrillAborted()
        }
    }

    private func add(_ name: String, _ shows: String?, _ findings: StepFindings, since began: Timestamp) {
        let found = findings.all
        let milliseconds = clock.now().milliseconds - began.milliseconds
        state.withLock {
            $0.steps.append(
                DrillRecord.Step(
                    name: name, shows: shows, outcome: found.outcome, milliseconds: milliseconds,
                    findings: found.texts))
            if $0.failure == nil { $0.failure = found.failure }
        }
    }

    func validate(_ name: String, _ outcome: DrillRecord.Outcome, _ findings: [String] = []) {
        state.withLock {
            $0.validations.append(DrillRecord.Validation(name: name, outcome: outcome, findings: findings))
        }
    }

    /// Something outside the steps has ended the drill: it stood still, or was asked to end.
    func abort(_ failure: any Failure) {
        let findings = StepFindings()
        findings.take(failure)
        add("END", nil, findings, since: clock.now())
        state.withLock { $0.isAborted = true }
    }

    /// Failed where anything has; proven where everything was gone through and passed.
    var verdict: Verdict {
        state.withLock { state in
            let outcomes = state.steps.map(\.outcome) + state.validations.map(\.outcome)
            if outcomes.contains(.failed) { return .failed }
            return state.isAborted || outcomes.isEmpty || outcomes.contains(.inconclusive) ? .inconclusive : .proven
        }
    }
}

/// The rest of the drill cannot be gone through. What ended it stands in the course.
struct DrillAborted: Error {}

/// What one step finds. Its texts stand in clear in the record: numbers, names of recipients, paths of sets.
final class StepFindings: Sendable {
    struct State: Sendable {
        var outcome = DrillRecord.Outcome.passed
        var texts: [String] = []
        /// Beyond those that are kept.
        var further = 0
        var failure: JobFailure?
    }

    /// Texts that a record keeps of one step.
    static let most = 50

    private let state = Guarded(State())

    var all: State {
        state.withLock { state in
            var found = state
            if state.further > 0 { found.texts.append("and \(state.further) more") }
            return found
        }
    }

    func say(_ text: String) { add(text, .passed, nil) }
    /// What is rehearsed does not hold. `failure` is for the result.
    func fail(_ text: String, _ failure: JobFailure? = nil) { add(text, .failed, failure) }
    /// It could not be found out.
    func doubt(_ text: String, _ failure: JobFailure? = nil) { add(text, .inconclusive, failure) }

    /// What was thrown. Of a stranger's failure only the kind is taken down, for its words may name what is in the data.
    func take(_ failure: any Failure) {
        let text =
            failure is SetError ? failure.description : "cannot \(failure.operation): \(failure.exitCode.meaning)"
        let isFailed = failure.exitCode == .verificationFailed || failure.exitCode == .keys
        add(text, isFailed ? .failed : .inconclusive, JobFailure(failure, as: failure.exitCode))
    }

    private func add(_ text: String, _ outcome: DrillRecord.Outcome, _ failure: JobFailure?) {
        state.withLock { state in
            if state.texts.count < Self.most { state.texts.append(text) } else { state.further += 1 }
            if outcome == .failed || (outcome == .inconclusive && state.outcome == .passed) {
                state.outcome = outcome
            }
            if state.failure == nil { state.failure = failure }
        }
    }
}
