package import Core

/// Why bytes are not a dump that may be kept or loaded.
///
/// It ends a verification; the operation that dumps or restores gives it its own exit code with
/// `JobFailure(_:as:)`. Only line numbers and our own words are in it: the text of a dump can be patients' data.
package enum SQLDumpError: Failure, Equatable {
    /// It ends within a statement.
    case incomplete(line: Int)
    /// A command of the client, or what it takes for one: loading it would run it on the machine that restores.
    case command(line: Int)
    /// Something that no such dump contains, and why it is not read over.
    case malformed(line: Int, reason: String)

    package var exitCode: ExitCode { .verificationFailed }

    package var operation: String { "read the database dump" }

    package var object: String {
        switch self {
        case .incomplete(let line), .command(let line), .malformed(let line, _): "line \(line)"
        }
    }

    package var cause: String {
        switch self {
        case .incomplete: "it ends in the middle of a statement"
        case .command: "it contains a command of the client, which a dump never does"
        case .malformed(_, let reason): reason
        }
    }

    package var hint: String {
        switch self {
        case .incomplete: "take the backup again; if it is a stored set, verify it and restore an older one meanwhile"
        case .command, .malformed:
            "do not load it by hand: it may have been written by somebody else than your backup job; "
                + "restore another set and find out who can write to the store"
        }
    }
}

/// A statement that no dump contains, before its line is known.
struct SQLRefusal: Error {
    var reason: String

    init(_ reason: String) { self.reason = reason }
}
