package import Core

/// What came of one rehearsed disaster: `proofs/<testId>.json`, create-only.
///
/// In clear in the store, so nothing in it may name a table, a person or a secret: findings are numbers, names of
/// recipients, and paths of sets.
package struct DrillRecord: Equatable, Sendable {
    package enum Outcome: String, Sendable {
        case passed = "PASSED"
        case failed = "FAILED"
        /// It could not be tried: never a pass.
        case inconclusive = "INCONCLUSIVE"
    }

    package enum Status: String, Sendable {
        /// Every step was gone through, whatever it showed.
        case completed = "COMPLETED"
        /// A step could not be carried out, and those after it were not begun.
        case aborted = "ABORTED"
    }

    package struct Step: Equatable, Sendable {
        /// `RETRIEVE_BACKUP`.
        package var name: String
        /// What the step shows: `KEY_INTEGRITY`; `nil` for one that only leads to the next.
        package var shows: String?
        package var outcome: Outcome
        package var milliseconds: Int64
        package var findings: [String]

        package init(name: String, shows: String?, outcome: Outcome, milliseconds: Int64, findings: [String]) {
            self.name = name
            self.shows = shows
            self.outcome = outcome
            self.milliseconds = milliseconds
            self.findings = findings
        }
    }

    /// What is concluded from the steps together.
    package struct Validation: Equatable, Sendable {
        /// `KEY_VERSION_CHECK`.
        package var name: String
        package var outcome: Outcome
        package var findings: [String]

        package init(name: String, outcome: Outcome, findings: [String]) {
            self.name = name
            self.outcome = outcome
            self.findings = findings
        }
    }

    package struct Scope: Equatable, Sendable {
        /// What took part: `store`, `keys`, `scratch server`.
        package var components: [String]
        /// The kinds of data: the engines of the sets.
        package var dataTypes: [String]
        /// The pictures of the oldest and of the newest set that took part.
        package var from: Timestamp
        package var until: Timestamp

        package init(components: [String], dataTypes: [String], from: Timestamp, until: Timestamp) {
            self.components = components
            self.dataTypes = dataTypes
            self.from = from
            self.until = until
        }
    }

    /// Names the record: lower-case letters, digits and `-`.
    package var testID: String
    package var scenario: DrillJob.Scenario
    package var target: String
    package var requestID: String
    /// The set whose key authenticates the record: the one rehearsed with, or the newest of all that were.
    package var set: ChainLink
    package var scope: Scope
    package var status: Status
    package var verdict: Verdict
    package var steps: [Step]
    package var validations: [Validation]
    package var started: Timestamp
    package var finished: Timestamp
    /// Objects that were compared, and those that were as recorded: tables and statements of a schema, or data keys.
    package var compared: Int64
    package var matched: Int64
    /// From the drill's begin, or from after the search for damage, to the restored copy's being proven; `nil` where
    /// nothing was restored.
    package var recoveryMilliseconds: Int64?
    /// What was written in so long before the drill would have been lost; `nil` where that was not measured.
    package var lossMilliseconds: Int64?

    package init(
        testID: String, scenario: DrillJob.Scenario, target: String, requestID: String, set: ChainLink, scope: Scope,
        status: Status, verdict: Verdict, steps: [Step], validations: [Validation], started: Timestamp,
        finished: Timestamp, compared: Int64, matched: Int64, recoveryMilliseconds: Int64?, lossMilliseconds: Int64?
    ) {
        self.testID = testID
        self.scenario = scenario
        self.target = target
        self.requestID = requestID
        self.set = set
        self.scope = scope
        self.status = status
        self.verdict = verdict
        self.steps = steps
        self.validations = validations
        self.started = started
        self.finished = finished
        self.compared = compared
        self.matched = matched
        self.recoveryMilliseconds = recoveryMilliseconds
        self.lossMilliseconds = lossMilliseconds
    }

    /// Steps and validations that passed.
    package var passed: Int {
        steps.count { $0.outcome == .passed } + validations.count { $0.outcome == .passed }
    }
    /// Steps and validations.
    package var checks: Int { steps.count + validations.count }
}

extension DrillRecord {
    /// Where it lies, relative to the target's prefix.
    package static func path(_ testID: String) -> String { "\(directory)\(testID).json" }

    package static let directory = "proofs/"

    /// As it is stored, without what authenticates it.
    package var json: JSON {
        .object(present: [
            "format": .integer(1), "kind": .string("drill"), "testId": .string(testID),
            "scenario": .string(scenario.rawValue), "target": .string(target), "requestId": .string(requestID),
            "key": .string(set.key.description), "manifestSHA256": .string(hexText(set.sha256)),
            "scope": .object([
                "components": .array(scope.components.map { .string($0) }),
                "dataTypes": .array(scope.dataTypes.map { .string($0) }),
                "timeRange": .object([
                    "from": .string(scope.from.description), "until": .string(scope.until.description),
                ]),
            ]),
            "status": .string(status.rawValue), "verdict": .string(verdict.rawValue),
            "steps": .array(steps.map(\.json)), "validations": .array(validations.map(\.json)),
            "started": .string(started.description), "finished": .string(finished.description),
            "durationMilliseconds": .exact(finished.milliseconds - started.milliseconds),
            "successRate": Self.share(Int64(passed), of: Int64(checks)),
            "dataIntegrity": Self.share(matched, of: compared),
            "recoveryTimeMilliseconds": recoveryMilliseconds.map { .exact($0) },
            "dataLossMilliseconds": lossMilliseconds.map { .exact($0) },
        ])
    }

    /// Exact, with the per cent rounded down: 100 only where it is all.
    private static func share(_ part: Int64, of whole: Int64) -> JSON {
        .object(["passed": .exact(part), "of": .exact(whole), "percent": .integer(percent(part, of: whole))])
    }

    /// Rounded down; 0 of nothing.
    package static func percent(_ part: Int64, of whole: Int64) -> Int64 {
        guard whole > 0 else { return 0 }
        return whole.dividingFullWidth(min(part, whole).multipliedFullWidth(by: 100)).quotient
    }

    package init(json: JSON) throws(JSONFieldError) {
        var fields = try JSONFields(json, path: "")
        guard try fields.integer("format") == 1, try fields.string("kind") == "drill" else {
            throw fields.error("kind", "is not 'drill' of format 1")
        }
        testID = try fields.string("testId")
        scenario = try fields.word("scenario", of: DrillJob.Scenario.self)
        target = try fields.string("target")
        requestID = try fields.string("requestId")
        set = ChainLink(key: try fields.backupKey("key"), sha256: try fields.hex("manifestSHA256", count: 32))
        var inner = try JSONFields(try fields.required("scope"), path: "scope")
        var range = try JSONFields(try inner.required("timeRange"), path: "scope.timeRange")
        scope = Scope(
            components: try inner.strings("components"), dataTypes: try inner.strings("dataTypes"),
            from: try range.timestamp("from"), until: try range.timestamp("until"))
        try range.finish()
        try inner.finish()
        status = try fields.word("status", of: Status.self)
        verdict = try fields.word("verdict", of: Verdict.self)
        var steps: [Step] = []
        for (index, step) in try fields.array("steps").enumerated() {
            steps.append(try Step(json: step, path: "steps[\(index)]"))
        }
        self.steps = steps
        var validations: [Validation] = []
        for (index, validation) in try fields.array("validations").enumerated() {
            validations.append(try Validation(json: validation, path: "validations[\(index)]"))
        }
        self.validations = validations
        started = try fields.timestamp("started")
        finished = try fields.timestamp("finished")
        var integrity = try JSONFields(try fields.required("dataIntegrity"), path: "dataIntegrity")
        matched = try integrity.integer("passed")
        compared = try integrity.integer("of")
        recoveryMilliseconds = try fields.optionalInteger("recoveryTimeMilliseconds")
        lossMilliseconds = try fields.optionalInteger("dataLossMilliseconds")
        // What follows from the rest, and members that are not known, would make it another document.
        guard self.json == json else { throw fields.error("kind", "stands beside members it does not know") }
    }
}

extension DrillRecord.Step {
    fileprivate var json: JSON {
        .object(present: [
            "name": .string(name), "shows": shows.map { .string($0) }, "result": .string(outcome.rawValue),
            "milliseconds": .exact(milliseconds), "findings": .array(findings.map { .string($0) }),
        ])
    }

    fileprivate init(json: JSON, path: String) throws(JSONFieldError) {
        var fields = try JSONFields(json, path: path)
        name = try fields.string("name")
        shows = try fields.optionalString("shows")
        outcome = try fields.word("result", of: DrillRecord.Outcome.self)
        milliseconds = try fields.integer("milliseconds")
        findings = try fields.strings("findings")
        try fields.finish()
    }
}

extension DrillRecord.Validation {
    fileprivate var json: JSON {
        .object([
            "name": .string(name), "result": .string(outcome.rawValue),
            "findings": .array(findings.map { .string($0) }),
        ])
    }

    fileprivate init(json: JSON, path: String) throws(JSONFieldError) {
        var fields = try JSONFields(json, path: path)
        name = try fields.string("name")
        outcome = try fields.word("result", of: DrillRecord.Outcome.self)
        findings = try fields.strings("findings")
        try fields.finish()
    }
}

extension JSONFields {
    /// One of the words that `Word` has.
    fileprivate mutating func word<Word: RawRepresentable>(
        _ field: String, of _: Word.Type
    ) throws(JSONFieldError) -> Word where Word.RawValue == String {
        guard let word = Word(rawValue: try string(field)) else { throw error(field, "is none that is known") }
        return word
    }
}
