package import Core

/// What can be wrong with a log in the store, or with what is to go there.
package struct WALArchiveError: Failure, Equatable {
    package var exitCode: ExitCode
    package var operation: String
    package var object: String
    package var cause: String
    package var hint: String

    init(_ exitCode: ExitCode, _ operation: String, object: String, cause: String, hint: String) {
        self.exitCode = exitCode
        self.operation = operation
        self.object = object
        self.cause = cause
        self.hint = hint
    }

    /// The file itself is not what its name says, before it is stored.
    static func unusable(_ name: String, _ problem: String) -> WALArchiveError {
        WALArchiveError(
            .source, "store the file of the log", object: name, cause: problem,
            hint: "it was not stored; see whether the server and its disk are sound, and that it is the right server")
    }

    /// What is stored is not what it should be.
    static func damaged(_ key: String, _ problem: String) -> WALArchiveError {
        WALArchiveError(
            .verificationFailed, "read the file of the log", object: key, cause: problem,
            hint: "take the second copy, or recover to a point before it; a base backup is due")
    }

    static func different(_ key: String) -> WALArchiveError {
        WALArchiveError(
            .store, "store the file of the log", object: key,
            cause: "a different file of the same name is stored already; it was left as it is",
            hint:
                "two servers write the same timeline, or one was put back: give the other target a keyPrefix of its "
                + "own, or promote it to a new timeline")
    }

    static func notAName(_ name: String) -> WALArchiveError {
        WALArchiveError(
            .source, "store the file of the log", object: name,
            cause: "that is no name of a segment, a timeline's history or a backup's note",
            hint: "in archive_command, write 'lifeboat wal push %p'")
    }
}
