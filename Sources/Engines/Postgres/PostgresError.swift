package import Core

/// What can go wrong between us and a PostgreSQL server or its tools.
///
/// The server's own messages can hold rows (a duplicate key is printed with its value), so none of them is passed on:
/// `cause` is built from SQLSTATE codes, names of databases and roles, and our own words.
package struct PostgresError: Failure {
    package enum Kind: Sendable, Equatable {
        case unreachable, authentication, missingDatabase, permission, notReady, encryption, tool, toolVersion
        case query, timeout, incompleteDump, refused, damagedPart, load, swap, rolledBack, rollbackFailed
        case configuration, staging, recovery
    }

    package var kind: Kind
    package var exitCode: ExitCode
    package var operation: String
    package var object: String
    package var cause: String
    package var hint: String
    /// The server's code where there is one ("PostgreSQL Error Codes" in its manual).
    package var sqlState: String?

    init(
        _ kind: Kind, exitCode: ExitCode = .source, _ operation: String, object: String, cause: String, hint: String,
        sqlState: String? = nil
    ) {
        self.kind = kind
        self.exitCode = exitCode
        self.operation = operation
        self.object = object
        self.cause = cause
        self.hint = hint
        self.sqlState = sqlState
    }
}

// MARK: The server

extension PostgresError {
    /// A statement failed. `purpose` says what it was for.
    static func query(_ purpose: String, sqlState: String, on object: String) -> PostgresError {
        let hint =
            switch sqlState {
            case "42501": "give the role the privilege it lacks, or use one that has it; the server's log names it"
            case "55P03": "another session holds a lock; find it in pg_locks, or run again when it is done"
            case "55006": "something else is using the database; find it in pg_stat_activity"
            case "53100": "the server's disk is full; make room and run again"
            case "53200", "53300": "the server is out of memory or connections; free some and run again"
            case "08006", "57P01", "57P02": "the session was ended; see the server's log, then run again"
            default: "look the code up in the manual ('PostgreSQL Error Codes'); the server's log has the statement"
            }
        return PostgresError(
            sqlState == "42501" ? .permission : .query, purpose, object: object,
            cause: "the server answered with SQLSTATE \(sqlState) (\(meaning(of: sqlState)))", hint: hint,
            sqlState: sqlState)
    }

    static func timeout(_ purpose: String, seconds: Int, on object: String) -> PostgresError {
        PostgresError(
            .timeout, purpose, object: object, cause: "no answer within \(seconds) s",
            hint: "see whether the server is overloaded or the session waits for a lock, then run again")
    }

    static func lostConnection(_ purpose: String, on object: String) -> PostgresError {
        PostgresError(
            .unreachable, purpose, object: object, cause: "the connection was lost",
            hint: "see the server's log for why it ended the session, then run again", sqlState: "08006")
    }

    /// The part of a code that says what kind of trouble it is.
    private static func meaning(of sqlState: String) -> String {
        switch sqlState {
        case "42501": return "permission denied"
        case "55P03": return "lock not available"
        case "55006": return "object in use"
        case "42P04": return "database exists already"
        case "3D000": return "no such database"
        case "42704": return "no such object"
        case "57014": return "cancelled"
        default: break
        }
        return switch sqlState.prefix(2) {
        case "08": "connection trouble"
        case "0A": "not supported"
        case "22": "data that does not fit its type"
        case "23": "a constraint is violated"
        case "25": "wrong state of the transaction"
        case "28": "not authorised"
        case "42": "a name or the syntax is wrong"
        case "53": "out of resources"
        case "54": "a limit of the server is exceeded"
        case "55": "wrong state of an object"
        case "57": "ended by an operator"
        case "58": "the server's own system failed"
        case "XX": "an internal error of the server"
        default: "see the manual"
        }
    }
}

// MARK: Plain refusals

extension PostgresError {
    static func incompleteDump(_ tool: String, of object: String) -> PostgresError {
        PostgresError(
            .incompleteDump, "dump the database", object: object,
            cause: "what \(tool) wrote does not end with its completion line",
            hint: "run again; if it stays so, run \(tool) by hand and see where it stops")
    }

    static func unreadParts(of object: String) -> PostgresError {
        PostgresError(
            .incompleteDump, "finish the dump", object: object, cause: "not every part was read to its end",
            hint: "run again; see the first error of this run for what stopped it")
    }

    static func damagedPart(_ part: String, _ problem: String) -> PostgresError {
        PostgresError(
            .damagedPart, exitCode: .verificationFailed, "read the set's part", object: part, cause: problem,
            hint: "take another set or the second copy; keep this one for whoever finds out why")
    }

    static func configuration(_ object: String, _ problem: String, hint: String) -> PostgresError {
        PostgresError(
            .configuration, exitCode: .configuration, "use the PostgreSQL settings", object: object, cause: problem,
            hint: hint)
    }

    /// Everything that stands against a restore, found before anything was touched.
    static func refused(_ problems: [String], at object: String) -> PostgresError {
        PostgresError(
            .refused, exitCode: .restoreFailedOriginalIntact, "restore", object: object,
            cause: problems.joined(separator: "; "),
            hint: "nothing was touched; put right what is listed and run again")
    }
}
