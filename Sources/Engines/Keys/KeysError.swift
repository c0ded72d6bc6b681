package import Core
import Glibc

/// What can be wrong with keys that are backed up. Files and ids of keys are named, never a byte of a key.
package struct KeysError: Failure, Equatable {
    package enum Kind: Equatable, Sendable {
        case configuration, unreadable, empty, changing, invalid, recipients, damaged, refused, restore
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

extension KeysError {
    private static let reading = "read the keys"

    static func configuration(_ setting: String, _ problem: String, hint: String) -> KeysError {
        KeysError(
            .configuration, exitCode: .configuration, "use the setting", object: setting, cause: problem, hint: hint)
    }

    static func system(_ path: String, _ code: Int32) -> KeysError {
        KeysError(
            .unreadable, reading, object: path, cause: "\(String(cString: strerror(code))) (error \(code))",
            hint: "check KEYS_PATHS, that the volume is mounted, and that the user lifeboat runs as may read it")
    }

    static func notAFile(_ path: String, _ what: String) -> KeysError {
        KeysError(
            .unreadable, reading, object: path, cause: "it is \(what), and not a key file",
            hint: "move it out of the directory, or name its own directory in KEYS_PATHS")
    }

    static func tooMuch(_ path: String, _ problem: String) -> KeysError {
        KeysError(
            .unreadable, reading, object: path, cause: problem,
            hint: "a directory of keys holds nothing else; back up other files with BACKUP_ENGINE=files")
    }

    static func empty(_ path: String) -> KeysError {
        KeysError(
            .empty, reading, object: path, cause: "there is no key in it",
            hint: "check KEYS_PATHS, and that the Secret or volume is mounted")
    }

    static func changing(_ path: String, attempts: Int) -> KeysError {
        KeysError(
            .changing, reading, object: path, cause: "the keys changed each of the \(attempts) times they were read",
            hint: "run again when they are no longer being changed")
    }

    /// Everything that is wrong with the keys' metadata, each with its file.
    static func invalid(_ problems: [String], in object: String) -> KeysError {
        let more = problems.count > 20 ? "; and \(problems.count - 20) more" : ""
        return KeysError(
            .invalid, reading, object: object, cause: problems.prefix(20).joined(separator: "; ") + more,
            hint: "put the metadata beside the keys right; docs/keys.md has its members")
    }

    static func everyRecipient(_ found: [String], in object: String) -> KeysError {
        KeysError(
            .recipients, exitCode: .keys, "back up the keys", object: object,
            cause:
                "every recipient is itself among the keys that are to be stored (\(found.joined(separator: ", "))): "
                + "whoever loses the keys could open no backup of them",
            hint: "add a recipient to BACKUP_RECIPIENTS whose key is kept elsewhere")
    }

    static func damaged(_ object: String, _ problem: String) -> KeysError {
        KeysError(
            .damaged, exitCode: .verificationFailed, "read the set's keys", object: object, cause: problem,
            hint: "take the second copy; keep this one for whoever finds out why")
    }

    static func refused(_ problem: String, at location: String, hint: String) -> KeysError {
        KeysError(
            .refused, exitCode: .restoreFailedOriginalIntact, "restore the keys", object: location, cause: problem,
            hint: hint)
    }

    static func restore(_ path: String, _ code: Int32) -> KeysError {
        KeysError(
            .restore, exitCode: .restoreFailedOriginalIntact, "write the restored keys", object: path,
            cause: "\(String(cString: strerror(code))) (error \(code))",
            hint: "check the disk and who may write there, then run again")
    }
}
