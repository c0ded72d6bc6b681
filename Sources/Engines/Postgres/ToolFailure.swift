import Core
import Streams

extension PostgresError {
    /// A dump tool that did not end well. Its own words may quote rows: they are matched, never shown.
    static func dumpTool(_ failure: ChildFailure, on object: String) -> PostgresError {
        let operation = "dump the database"
        if case .notStarted = failure.ending {
            return PostgresError(
                .tool, operation, object: object, cause: failure.summary,
                hint: "check that the program is there and may be run")
        }
        if case .signalled(let signal) = failure.ending {
            return PostgresError(
                .tool, operation, object: object, cause: failure.summary,
                hint: signal == 9
                    ? "it was killed: look for the memory limit of the pod, then run again"
                    : "find out who ended it, then run again")
        }
        let words = String(decoding: failure.errorTail, as: UTF8.self)
        let known = dumpPatterns.first { words.contains($0.pattern) }
        return PostgresError(
            known?.kind ?? .tool, operation, object: object,
            cause: failure.summary + (known.map { ": \($0.cause)" } ?? ""),
            hint: known?.hint
                ?? "its messages may quote rows and are not shown: run \(failure.label) by hand, or see the server's log"
        )
    }

    private struct Known {
        let pattern: String
        let kind: Kind
        let cause: String
        let hint: String
    }

    private static let dumpPatterns = [
        Known(
            pattern: "row-level security", kind: .permission, cause: "row-level security hides rows from this role",
            hint: "use a role with BYPASSRLS, so that the dump holds every row"),
        Known(
            pattern: "permission denied", kind: .permission, cause: "the role may not read something",
            hint: "grant the role pg_read_all_data, or use the owner or a superuser"),
        Known(
            pattern: "lock timeout", kind: .timeout, cause: "a table stayed locked",
            hint: "find the session that holds the lock in pg_locks, or run at another time"),
        Known(
            pattern: "server version mismatch", kind: .toolVersion, cause: "the server is newer than the program",
            hint: "install the client of the server's version"),
        Known(
            pattern: "password authentication failed", kind: .authentication, cause: "the password was refused",
            hint: "check POSTGRES_PASSWORD"),
        Known(
            pattern: "server closed the connection", kind: .unreachable, cause: "the server closed the connection",
            hint: "see the server's log, then run again"),
        Known(
            pattern: "terminating connection", kind: .unreachable, cause: "the server ended the session",
            hint: "somebody ended it or the server was stopped; run again"),
        Known(
            pattern: "No space left on device", kind: .query, cause: "a disk is full",
            hint: "make room at the server and run again"),
    ]

    /// psql stopped while a dump was loaded. At its verbosity `sqlstate` it prints the line and the code, and nothing
    /// of what is in either.
    static func load(_ failure: ChildFailure, on object: String) -> PostgresError {
        let words = String(decoding: failure.errorTail, as: UTF8.self)
        let code = sqlState(in: words)
        var cause = failure.summary
        if let code { cause += " on SQLSTATE \(code)" }
        if let line = lineNumber(in: words) { cause += " at line \(line) of the dump" }
        let hint =
            switch code {
            case "42501": "the role lacks a privilege that the dump's statements need: restore as a superuser"
            case "53100": "the server's disk is full: make room and run again"
            case "08006", "57P01", "57P02": "the server ended the session: see its log, then run again"
            case nil: "see the server's log for the time of this run"
            default: "the server's log has the statement; the staging database has been removed"
            }
        return PostgresError(
            .load, exitCode: .restoreFailedOriginalIntact, "load the dump", object: object, cause: cause, hint: hint,
            sqlState: code)
    }

    /// The number in `psql:<stdin>:123: ERROR:`, of the last such message.
    private static func lineNumber(in words: String) -> Int? {
        for line in words.split(separator: "\n").reversed() where line.hasPrefix("psql:<stdin>:") {
            return Int(line.dropFirst("psql:<stdin>:".count).prefix { $0.isNumber })
        }
        return nil
    }
}
