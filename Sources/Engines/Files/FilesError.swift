package import Core
import Glibc

/// What can go wrong between us and files.
///
/// Paths are named, for nobody could act otherwise; what is in a file never is.
package struct FilesError: Failure {
    package enum Kind: Sendable, Equatable {
        case configuration, missing, empty, unreadable, refused, damagedPart, extraction, exchange, rolledBack
        case rollbackFailed, system
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

extension FilesError {
    static func configuration(_ setting: String, _ problem: String, hint: String) -> FilesError {
        FilesError(
            .configuration, exitCode: .configuration, "use the setting", object: setting, cause: problem, hint: hint)
    }

    /// A system call failed. `operation` says what it was for.
    static func system(_ operation: String, _ path: String, _ code: Int32) -> FilesError {
        system(operation, Array(path.utf8), code)
    }

    static func system(_ operation: String, _ path: [UInt8], _ code: Int32) -> FilesError {
        FilesError(
            [EACCES, EPERM].contains(code) ? .unreadable : .system, operation, object: shown(path),
            cause: systemMessage(code), hint: hint(for: code))
    }

    static func missing(_ path: String) -> FilesError {
        FilesError(
            .missing, "read the files", object: shown(path), cause: "there is no such file or directory",
            hint: "see whether the volume is mounted and FILES_PATHS is right")
    }

    static func damagedPart(_ part: String, _ problem: String) -> FilesError {
        FilesError(
            .damagedPart, exitCode: .verificationFailed, "read the set's part", object: part, cause: problem,
            hint: "take another set or the second copy; keep this one for whoever finds out why")
    }

    /// Everything that stands against a restore, found before anything was touched.
    static func refused(_ problems: [String], at object: String) -> FilesError {
        FilesError(
            .refused, exitCode: .restoreFailedOriginalIntact, "restore", object: object,
            cause: problems.joined(separator: "; "),
            hint: "nothing was touched; put right what is listed and run again")
    }

    private static func hint(for code: Int32) -> String {
        switch code {
        case EACCES, EPERM:
            "run as a user that may, or give the container the capabilities that reading (DAC_READ_SEARCH) or "
                + "restoring (CHOWN, FOWNER, DAC_OVERRIDE) others' files needs"
        case ENOSPC, EDQUOT: "make room on that file system and run again"
        case EROFS: "the file system is mounted read-only; mount it for writing and run again"
        case EIO, ESTALE: "the disk or the file server failed; look at the kernel's log before anything else"
        case EMFILE, ENFILE: "raise the limit on open files and run again"
        case ELOOP: "somebody put a symbolic link in its place; find out who, then run again"
        case ENAMETOOLONG:
            "a name is too long, or directories lie deeper within each other than \(TreeWalk.deepest)"
        case ENOENT: "somebody removed it meanwhile; run again when nobody works there"
        default: "look the error up (errno \(code)) and at the kernel's log, then run again"
        }
    }
}

/// The system's words for an error, in English.
func systemMessage(_ code: Int32) -> String { String(cString: strerror(code)) }

/// A path for people: control characters, which could forge a line of a log, and bytes that are not UTF-8 as `\xNN`.
func shown(_ path: String) -> String {
    var text = ""
    for scalar in path.unicodeScalars {
        if scalar.value < 0x20 || (0x7F..<0xA0).contains(scalar.value) {
            text += "\\x" + hexText([UInt8(scalar.value)])
        } else {
            text.unicodeScalars.append(scalar)
        }
    }
    return "'\(text)'"
}

func shown(_ path: some Collection<UInt8>) -> String {
    if let text = String(validating: path, as: UTF8.self) { return shown(text) }
    let plain = path.map { byte in
        (0x20..<0x7F).contains(byte) ? String(UnicodeScalar(byte)) : "\\x" + hexText([byte])
    }
    return "'\(plain.joined())'"
}
