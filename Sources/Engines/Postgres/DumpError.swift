package import Core

/// Why bytes are not a dump that may be kept or loaded.
///
/// It ends a verification; the operation that dumps or restores gives it its own exit code with
/// `JobFailure(_:as:)`. Only line numbers and our own words are in it: the text of a dump can be patients' data.
package enum DumpError: Failure, Equatable {
    /// Which program's output was being read.
    package enum Kind: Sendable, Equatable {
        case database, globals

        var program: String { self == .database ? "pg_dump" : "pg_dumpall" }
    }

    /// The first line of text is not that of such a dump.
    case notADump(Kind)
    /// The line with which such a dump ends never came.
    case incomplete(Kind, line: Int)
    /// Something stands after the line with which such a dump ends.
    case trailing(Kind, line: Int)
    /// A psql command, or what psql takes for one: loading it would run it on the machine that restores.
    case command(Kind, line: Int)
    /// Something that no such dump contains, and why it is not read over.
    case malformed(Kind, line: Int, reason: String)

    package var exitCode: ExitCode { .verificationFailed }

    package var operation: String {
        switch kind {
        case .database: "read the database dump"
        case .globals: "read the dump of roles and tablespaces"
        }
    }

    package var object: String {
        switch self {
        case .notADump: "line 1"
        case .incomplete(_, let line), .trailing(_, let line), .command(_, let line), .malformed(_, let line, _):
            "line \(line)"
        }
    }

    package var cause: String {
        switch self {
        case .notADump(let kind): "it does not begin as the output of \(kind.program) does"
        case .incomplete(let kind, _): "it ends without the line with which \(kind.program) completes a dump"
        case .trailing: "there is more after the line that completes the dump"
        case .command: "it contains a psql command, which a dump never does"
        case .malformed(_, _, let reason): reason
        }
    }

    package var hint: String {
        switch self {
        case .incomplete:
            "take the backup again; if it is a stored set, verify it and restore an older one meanwhile"
        case .command, .trailing:
            "do not load it by hand: it may have been written by somebody else than your backup job; "
                + "restore another set and find out who can write to the store"
        case .notADump, .malformed:
            "check that the client's version is 13 to 17 and its output plain; verify the set, or restore another"
        }
    }

    private var kind: Kind {
        switch self {
        case .notADump(let kind), .incomplete(let kind, _), .trailing(let kind, _), .command(let kind, _),
            .malformed(let kind, _, _):
            kind
        }
    }
}
