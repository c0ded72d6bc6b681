import Core
import Streams

extension MongoError {
    /// mongodump did not end well. Its own words may quote documents: they are matched, never shown.
    static func dumpTool(_ failure: ChildFailure, on object: String) -> MongoError {
        tool(failure, "dump the database", .tool, .source, on: object)
    }

    /// mongorestore did not end well.
    static func load(_ failure: ChildFailure, on object: String) -> MongoError {
        tool(failure, "load the archive", .load, .restoreFailedOriginalIntact, on: object)
    }

    private static func tool(
        _ failure: ChildFailure, _ operation: String, _ kind: Kind, _ exitCode: ExitCode, on object: String
    ) -> MongoError {
        if case .notStarted = failure.ending {
            return MongoError(
                .tool, exitCode: exitCode, operation, object: object, cause: failure.summary,
                hint: "check that the program is there and may be run")
        }
        if case .signalled(let signal) = failure.ending {
            return MongoError(
                kind, exitCode: exitCode, operation, object: object, cause: failure.summary,
                hint: signal == 9
                    ? "it was killed: look for the memory limit of the pod, then run again"
                    : "find out who ended it, then run again")
        }
        let words = String(decoding: failure.errorTail, as: UTF8.self)
        let known = patterns.first { words.contains($0.pattern) }
        return MongoError(
            known?.kind ?? kind, exitCode: exitCode, operation, object: object,
            cause: failure.summary + (known.map { ": \($0.cause)" } ?? ""),
            hint: known?.hint
                ?? "its messages may quote documents and are not shown: run \(failure.label) by hand, or see the "
                + "server's log")
    }

    private struct Known {
        let pattern: String
        let kind: Kind
        let cause: String
        let hint: String
    }

    private static let patterns = [
        Known(
            pattern: "server selection error", kind: .unreachable, cause: "no suitable server was found in time",
            hint: "check MONGODB_URL, that the server runs, and that a network policy lets us in"),
        Known(
            pattern: "AuthenticationFailed", kind: .authentication, cause: "the password was refused",
            hint: "check the user, the password and authSource in MONGODB_URL"),
        Known(
            pattern: "not authorized", kind: .permission, cause: "the user lacks a privilege",
            hint: "give the user the roles 'backup' and, for a restore, 'restore'"),
        Known(
            pattern: "received signal", kind: .tool, cause: "it was told to end",
            hint: "find out who ended it, then run again"),
        Known(
            pattern: "oplog overflow", kind: .tool,
            cause: "the server's oplog was too short for what was written meanwhile",
            hint: "enlarge the oplog (replSetResizeOplog), or run at a quieter time"),
        Known(
            pattern: "No space left on device", kind: .command, cause: "a disk is full",
            hint: "make room at the server and run again"),
        Known(
            pattern: "connection(", kind: .unreachable, cause: "the connection to the server was lost",
            hint: "see the server's log, then run again"),
        Known(
            pattern: "CRC mismatch", kind: .load, cause: "a checksum in the archive does not hold",
            hint: "take another set or the second copy"),
    ]
}

/// What mongorestore says at its end: `12 document(s) restored successfully. 0 document(s) failed to restore.`
struct LoadSummary: Equatable {
    var restored: Int64
    var failed: Int64

    /// `nil` where it says no such thing.
    init?(_ errorTail: [UInt8]) {
        let restoredMark = " document(s) restored successfully. "
        let text = String(decoding: errorTail, as: UTF8.self)
        guard let line = text.split(separator: "\n").last(where: { $0.contains(restoredMark) }),
            let mark = line.firstRange(of: restoredMark),
            let restored = Int64(String(line[..<mark.lowerBound].reversed().prefix { $0.isNumber }.reversed())),
            let failed = Int64(line[mark.upperBound...].prefix { $0.isNumber }),
            line[mark.upperBound...].contains(" document(s) failed to restore")
        else { return nil }
        self.restored = restored
        self.failed = failed
    }
}
