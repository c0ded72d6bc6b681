package import Core

/// What can go wrong between us and a MariaDB or MySQL server or its programs.
///
/// The server's own messages hold rows (a duplicate key is printed with its value) and its client prints whole
/// statements, so none of them is passed on: `cause` is built from error numbers, names of databases and users, and our
/// own words.
package struct MySQLError: Failure {
    package enum Kind: Sendable, Equatable {
        case unreachable, authentication, missingDatabase, permission, notReady, encryption, tool, toolVersion
        case query, timeout, incompleteDump, refused, damagedPart, load, moved, interrupted, exchange, rolledBack
        case rollbackFailed, configuration
    }

    package var kind: Kind
    package var exitCode: ExitCode
    package var operation: String
    package var object: String
    package var cause: String
    package var hint: String
    /// The server's number where there is one ("Error Codes" in its manual).
    package var number: Int?

    init(
        _ kind: Kind, exitCode: ExitCode = .source, _ operation: String, object: String, cause: String, hint: String,
        number: Int? = nil
    ) {
        self.kind = kind
        self.exitCode = exitCode
        self.operation = operation
        self.object = object
        self.cause = cause
        self.hint = hint
        self.number = number
    }
}

/// Error numbers of server and client that mean something particular here.
enum ErrorNumber {
    static let lockWaitTimeout = 1205
    static let deadlock = 1213
    static let unknownDatabase = 1049
    static let noSuchTable = 1146
    static let lostConnection: Set<Int> = [1053, 1152, 1158, 1159, 1160, 1161, 1927, 2006, 2013, 2055]
    static let permission: Set<Int> = [1044, 1142, 1143, 1227, 1370, 1419]
}

// MARK: The server

extension MySQLError {
    /// A statement failed. `purpose` says what it was for.
    static func query(_ purpose: String, number: Int, on object: String) -> MySQLError {
        if ErrorNumber.lostConnection.contains(number) { return lostConnection(purpose, on: object, number: number) }
        let (cause, hint) = meaning(of: number)
        return MySQLError(
            kind(of: number), purpose, object: object,
            cause: "the server answered with error \(number)" + (cause.map { " (\($0))" } ?? ""), hint: hint,
            number: number)
    }

    static func lostConnection(_ purpose: String, on object: String, number: Int? = nil) -> MySQLError {
        MySQLError(
            .unreachable, purpose, object: object, cause: "the connection was lost",
            hint: "see the server's log for why it ended the session, then run again", number: number)
    }

    private static func kind(of number: Int) -> Kind {
        if ErrorNumber.permission.contains(number) { return .permission }
        switch number {
        case ErrorNumber.unknownDatabase: return .missingDatabase
        case ErrorNumber.lockWaitTimeout, 3024, 1969: return .timeout
        default: return .query
        }
    }

    /// What a number means in our words, and what to do about it.
    static func meaning(of number: Int) -> (cause: String?, hint: String) {
        switch number {
        case 1044, 1142, 1143, 1227, 1370:
            ("permission denied", "give the user the privilege it lacks, or use one that has it")
        case 1419:
            (
                "the server lets only an administrator make functions and triggers while it writes a binary log",
                "restore as an administrator, or set log_bin_trust_function_creators"
            )
        case 1021, 1114, 1030:
            ("the server's disk or a table is full", "make room at the server and run again")
        case 1040, 1203, 1226:
            ("the server has no connection to spare", "raise max_connections or the user's limit, or run later")
        case 1049: ("no such database", "check MYSQL_DB")
        case 1146: ("no such table", "somebody may have changed the schema meanwhile: run again")
        case 1153, 2020:
            (
                "a row is longer than max_allowed_packet",
                "raise max_allowed_packet at the server to more than the longest row needs, then run again"
            )
        case 1205: ("a lock was held too long", "find the session that holds it (SHOW PROCESSLIST), or run later")
        case 1213: ("a deadlock", "run again")
        case 1290, 1836: ("the server is read-only", "restore on the primary, or switch read_only off")
        case 1317: ("cancelled", "somebody ended the statement: run again")
        case 1412: ("a table was changed while it was dumped", "run again when nobody changes the schema")
        case 1356: ("a view refers to what is not there any more", "repair or drop the view, then run again")
        case 1273, 1115: ("an unknown collation or character set", "restore on a server of the set's version")
        case 1062: ("a key is there twice", "the dump does not fit the server: see its log")
        case 1180:
            (
                "what was written could not be committed",
                "a key may be there twice, or the disk be full: see the server's log"
            )
        default:
            (nil, "look the number up in the manual ('Error Codes'); the server's log may say more")
        }
    }
}

// MARK: Plain refusals

extension MySQLError {
    static func incompleteDump(_ tool: String, of object: String) -> MySQLError {
        MySQLError(
            .incompleteDump, "dump the database", object: object,
            cause: "what \(tool) wrote does not end with its completion line",
            hint: "run again; if it stays so, run \(tool) by hand and see where it stops")
    }

    static func unreadParts(of object: String) -> MySQLError {
        MySQLError(
            .incompleteDump, "finish the dump", object: object, cause: "not every part was read to its end",
            hint: "run again; see the first error of this run for what stopped it")
    }

    static func damagedPart(_ part: String, _ problem: String) -> MySQLError {
        MySQLError(
            .damagedPart, exitCode: .verificationFailed, "read the set's part", object: part, cause: problem,
            hint: "take another set or the second copy; keep this one for whoever finds out why")
    }

    static func configuration(_ object: String, _ problem: String, hint: String) -> MySQLError {
        MySQLError(
            .configuration, exitCode: .configuration, "use the MySQL settings", object: object, cause: problem,
            hint: hint)
    }

    /// Everything that stands against a restore, found before anything was touched.
    static func refused(_ problems: [String], at object: String) -> MySQLError {
        MySQLError(
            .refused, exitCode: .restoreFailedOriginalIntact, "restore", object: object,
            cause: problems.joined(separator: "; "),
            hint: "nothing was touched; put right what is listed and run again")
    }

    /// What stands there is half a restore: a picture of it would be a picture of nothing.
    static func interruptedRestore(at object: String) -> MySQLError {
        MySQLError(
            .interrupted, "dump the database", object: object,
            cause: "a restore was interrupted while it exchanged the tables, so this is neither the old nor the new",
            hint: "run the restore again: it first brings back what was there before")
    }
}
