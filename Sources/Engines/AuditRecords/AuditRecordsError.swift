package import Core

/// What can be wrong with a trail of audit records. Only ids and places are named: what a record says may be about
/// patients.
package struct AuditRecordsError: Failure, Equatable {
    package enum Kind: Equatable, Sendable {
        case configuration, event, unreadable, badRecord, gap, overlap, late, rewritten, disorder, damaged, foreign,
            refused
    }

    package var kind: Kind
    package var exitCode: ExitCode
    package var operation: String
    package var object: String
    package var cause: String
    package var hint: String

    init(
        _ kind: Kind, exitCode: ExitCode = .source, _ operation: String, object: String, cause: String, hint: String
    ) {
        self.kind = kind
        self.exitCode = exitCode
        self.operation = operation
        self.object = object
        self.cause = cause
        self.hint = hint
    }
}

extension AuditRecordsError {
    private static let reading = "read the audit records"

    static func configuration(_ setting: String, _ problem: String, hint: String) -> AuditRecordsError {
        AuditRecordsError(
            .configuration, exitCode: .configuration, "use the setting", object: setting, cause: problem, hint: hint)
    }

    static func event(_ problem: String, hint: String) -> AuditRecordsError {
        AuditRecordsError(
            .event, exitCode: .eventRefused, "store the event's records", object: "records", cause: problem,
            hint: hint)
    }

    static func badRecord(_ place: String, _ problem: String) -> AuditRecordsError {
        AuditRecordsError(
            .badRecord, reading, object: place, cause: problem,
            hint: "put the record right, or move it out of the trail and write down why; records after it wait")
    }

    // MARK: The order of ids

    static func gap(after id: RecordID, found: RecordID?, in place: String) -> AuditRecordsError {
        AuditRecordsError(
            .gap, reading, object: place,
            cause: "the last set ends with id \(id), and the source no longer has that record: "
                + (found.map { "what it has after it begins with id \($0)" } ?? "it has none up to there"),
            hint:
                "find what was deleted or rotated away between the two, bring it back and run again; to begin a new "
                + "trail after a loss that is accounted for, use a new target")
    }

    static func missing(_ first: RecordID, through last: RecordID, in place: String) -> AuditRecordsError {
        AuditRecordsError(
            .gap, reading, object: place,
            cause: first == last ? "the record of id \(first) is missing" : "ids \(first) to \(last) are missing",
            hint: "find out where they are; where ids may be left out, set AUDIT_IDS=increasing")
    }

    static func overlap(_ id: RecordID, in place: String) -> AuditRecordsError {
        AuditRecordsError(
            .overlap, reading, object: place, cause: "id \(id) is there twice",
            hint: "find out which of the two records is the true one; an id may never be used again")
    }

    static func stored(_ id: RecordID, through last: RecordID, in place: String) -> AuditRecordsError {
        AuditRecordsError(
            .overlap, exitCode: .source, reading, object: place,
            cause: "id \(id) does not follow on id \(last), with which the last set ends",
            hint: "send records in the order of their ids, each once; those of sets are listed by 'lifeboat list'")
    }

    static func late(_ found: Int64, _ facts: TrailFacts, in place: String) -> AuditRecordsError {
        let range = facts.after.map { "after id \($0)" } ?? "from the beginning"
        return AuditRecordsError(
            .late, reading, object: place,
            cause:
                "\(range) up to id \(facts.end) the source has \(counted(found, "record")), and the set of these ids holds "
                + "\(facts.count): the others came after it was stored",
            hint:
                "compare the two to find them; ids have to be given in the order in which records can be seen, which "
                + "ids that clients make by themselves are not")
    }

    static func rewritten(_ id: RecordID, in place: String) -> AuditRecordsError {
        AuditRecordsError(
            .rewritten, reading, object: place,
            cause: "the record of id \(id) is not what it was when the last set stored it",
            hint: "find out who changed it: an audit record may never change; the set holds what it was")
    }

    static func disorder(_ id: RecordID, after last: RecordID, in place: String) -> AuditRecordsError {
        AuditRecordsError(
            .disorder, reading, object: place, cause: "id \(id) stands after id \(last)",
            hint: "records have to stand in the order of their ids, which only grow")
    }

    static func otherKind(_ id: RecordID, after last: RecordID, in place: String) -> AuditRecordsError {
        AuditRecordsError(
            .disorder, reading, object: place, cause: "id \(id) is of another kind than id \(last)",
            hint: "ids are whole numbers throughout, or texts of one length; see AUDIT_ID")
    }

    // MARK: Sets

    static func foreign(_ key: BackupKey, _ problem: String) -> AuditRecordsError {
        AuditRecordsError(
            .foreign, exitCode: .configuration, "go on after the last set", object: key.description, cause: problem,
            hint: "give audit records a target of their own, with a keyPrefix that nothing else uses")
    }

    static func damaged(_ key: BackupKey, _ problem: String) -> AuditRecordsError {
        AuditRecordsError(
            .damaged, exitCode: .verificationFailed, "read the set's records", object: key.description,
            cause: problem, hint: "take the second copy; keep this one for whoever finds out why")
    }

    static func refused(_ problem: String, at place: String, hint: String) -> AuditRecordsError {
        AuditRecordsError(
            .refused, exitCode: .restoreFailedOriginalIntact, "restore", object: place, cause: problem, hint: hint)
    }
}
