package import Core

/// What can go wrong between us and a MongoDB server or its tools.
///
/// A server's own messages can hold documents (a duplicate key is printed with its value), so none of them is passed
/// on: `cause` is built from error codes, names of databases and collections, and our own words.
package struct MongoError: Failure {
    package enum Kind: Sendable, Equatable {
        case unreachable, authentication, missingDatabase, permission, notReady, encryption, tool, command, timeout
        case incompleteDump, refused, damagedPart, load, moved, rolledBack, rollbackFailed, configuration
    }

    package var kind: Kind
    package var exitCode: ExitCode
    package var operation: String
    package var object: String
    package var cause: String
    package var hint: String
    /// The server's code where there is one ("Error Codes" in its manual).
    package var code: Int32?

    init(
        _ kind: Kind, exitCode: ExitCode = .source, _ operation: String, object: String, cause: String, hint: String,
        code: Int32? = nil
    ) {
        self.kind = kind
        self.exitCode = exitCode
        self.operation = operation
        self.object = object
        self.cause = cause
        self.hint = hint
        self.code = code
    }
}

// MARK: Plain refusals

extension MongoError {
    static func configuration(_ object: String, _ problem: String, hint: String) -> MongoError {
        MongoError(
            .configuration, exitCode: .configuration, "use the MongoDB settings", object: object, cause: problem,
            hint: hint)
    }

    static func missingDatabase(_ name: String, on hosts: String) -> MongoError {
        MongoError(
            .missingDatabase, "connect", object: "database \(name) on \(hosts)",
            cause: "there is no database '\(name)' on this server, or it has no collection",
            hint: "check MONGODB_URL and MONGODB_DB; 'show dbs' in mongosh lists the databases")
    }

    static func incompleteDump(_ problem: String, of object: String) -> MongoError {
        MongoError(
            .incompleteDump, "dump the database", object: object, cause: problem,
            hint: "run again; if it stays so, run mongodump by hand and see where it stops")
    }

    static func damagedPart(_ part: String, _ problem: String) -> MongoError {
        MongoError(
            .damagedPart, exitCode: .verificationFailed, "read the set's part", object: part, cause: problem,
            hint: "take another set or the second copy; keep this one for whoever finds out why")
    }

    /// Everything that stands against a restore, found before anything was touched.
    static func refused(_ problems: [String], at object: String) -> MongoError {
        MongoError(
            .refused, exitCode: .restoreFailedOriginalIntact, "restore", object: object,
            cause: problems.joined(separator: "; "),
            hint: "nothing was touched; put right what is listed and run again")
    }
}

// MARK: The server

extension MongoError {
    /// The server refused a command. `purpose` completes "cannot …".
    static func command(_ purpose: String, code: Int32, on object: String) -> MongoError {
        let known = meanings[code]
        return MongoError(
            known?.kind ?? .command, purpose, object: object,
            cause: "the server answered with error \(code)" + (known.map { " (\($0.meaning))" } ?? ""),
            hint: known?.hint ?? "look the code up in the manual ('Error Codes'); the server's log has the command",
            code: code)
    }

    static func lostConnection(_ purpose: String, on object: String) -> MongoError {
        MongoError(
            .unreachable, purpose, object: object, cause: "the connection was lost, or no answer came in time",
            hint: "see the server's log and whether it is overloaded, then run again")
    }

    private struct Meaning {
        var kind: Kind
        var meaning: String
        var hint: String
    }

    private static let meanings: [Int32: Meaning] = [
        13: Meaning(
            kind: .permission, meaning: "not authorised",
            hint: "give the user the roles 'backup' and, for a restore, 'restore'; the server's log names the action"),
        18: Meaning(
            kind: .authentication, meaning: "authentication failed",
            hint: "check the user, the password and authSource in MONGODB_URL"),
        11600: Meaning(
            kind: .notReady, meaning: "the server is shutting down", hint: "run again once it accepts connections"),
        91: Meaning(
            kind: .notReady, meaning: "the server is shutting down", hint: "run again once it accepts connections"),
        10107: Meaning(
            kind: .notReady, meaning: "the server is not the primary",
            hint: "name the replica set in MONGODB_URL (replicaSet=…), and run again when it has a primary"),
        13435: Meaning(
            kind: .notReady, meaning: "the server is not the primary",
            hint: "name the replica set in MONGODB_URL (replicaSet=…), and run again when it has a primary"),
        50: Meaning(
            kind: .timeout, meaning: "it took too long",
            hint: "see whether the server is overloaded or a lock is waited for, then run again"),
        11000: Meaning(
            kind: .command, meaning: "a key is there twice", hint: "another run may be at work; run again"),
        14031: Meaning(
            kind: .command, meaning: "the server's disk is full", hint: "make room at the server and run again"),
        26: Meaning(
            kind: .command, meaning: "no such collection", hint: "something was dropped meanwhile; run again"),
    ]
}
