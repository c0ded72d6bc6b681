import Core
import Streams

extension MySQLError {
    /// A dump tool that did not end well. Its own words may hold rows: numbers are taken from them, nothing else.
    static func dumpTool(_ failure: ChildFailure, on object: String) -> MySQLError {
        let operation = "dump the database"
        if let plain = plainEnding(failure, operation, on: object) { return plain }
        let words = String(decoding: failure.errorTail, as: UTF8.self)
        guard let number = errorNumber(in: words) else {
            return MySQLError(
                .tool, operation, object: object, cause: failure.summary,
                hint: "its messages may hold rows and are not shown: run \(failure.label) by hand, or see the "
                    + "server's log")
        }
        if ErrorNumber.lostConnection.contains(number) {
            return MySQLError(
                .unreachable, operation, object: object,
                cause: "\(failure.summary): the connection was lost (error \(number))",
                hint: "see the server's log for why it ended the session, then run again", number: number)
        }
        let (cause, hint) = meaning(of: number)
        return MySQLError(
            ErrorNumber.permission.contains(number) ? .permission : .tool, operation, object: object,
            cause: failure.summary + " on error \(number)" + (cause.map { " (\($0))" } ?? ""), hint: hint,
            number: number)
    }

    /// The client stopped while a dump was loaded. It prints the whole statement, with all that is in it; only the
    /// number and the line are taken from it.
    static func load(_ failure: ChildFailure, on object: String) -> MySQLError {
        let operation = "load the dump"
        if var plain = plainEnding(failure, operation, on: object) {
            plain.exitCode = .restoreFailedOriginalIntact
            return plain
        }
        let words = String(decoding: failure.errorTail, as: UTF8.self)
        let number = errorNumber(in: words)
        var cause = failure.summary
        if let number {
            cause += " on error \(number)" + (meaning(of: number).cause.map { " (\($0))" } ?? "")
        }
        if let line = lineNumber(in: words) { cause += " at line \(line) of what it was given" }
        return MySQLError(
            .load, exitCode: .restoreFailedOriginalIntact, operation, object: object, cause: cause,
            hint: number.map { meaning(of: $0).hint } ?? "see the server's log for the time of this run",
            number: number)
    }

    private static func plainEnding(
        _ failure: ChildFailure, _ operation: String, on object: String
    ) -> MySQLError? {
        switch failure.ending {
        case .notStarted:
            MySQLError(
                .tool, operation, object: object, cause: failure.summary,
                hint: "check that the program is there and may be run")
        case .signalled(let signal):
            MySQLError(
                .tool, operation, object: object, cause: failure.summary,
                hint: signal == 9
                    ? "it was killed: look for the memory limit of the pod, then run again"
                    : "find out who ended it, then run again")
        case .exited, .closedInput: nil
        }
    }

    /// The number in one of the forms in which the programs print it:
    ///
    ///     ERROR 1062 (23000) at line 45: …
    ///     mysqldump: Got error: 1045: "…" when trying to connect
    ///     mysqldump: Error 2013: Lost connection … when dumping table
    ///     mariadb-dump: Couldn't execute '…': … (1142)
    static func errorNumber(in words: String) -> Int? {
        for line in words.split(separator: "\n").reversed() {
            for mark in ["ERROR ", "Got error: ", "Error "] {
                guard let found = line.firstRange(of: mark) else { continue }
                let digits = line[found.upperBound...].prefix { $0.isNumber }
                if (4...5).contains(digits.count), let number = Int(digits) { return number }
            }
            if line.contains("Couldn't execute"), line.hasSuffix(")"), let open = line.lastIndex(of: "(") {
                if let number = Int(line[line.index(after: open)...].dropLast()) { return number }
            }
        }
        return nil
    }

    private static func lineNumber(in words: String) -> Int? {
        for line in words.split(separator: "\n").reversed() where line.hasPrefix("ERROR ") {
            guard let found = line.firstRange(of: " at line ") else { continue }
            return Int(line[found.upperBound...].prefix { $0.isNumber })
        }
        return nil
    }
}
