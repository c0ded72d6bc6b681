import Core
import Glibc

// What can go wrong between a stored set and a server that runs on it. A server's log can hold rows: of what it says
// only known words are looked for, and our own are shown.
extension PostgresError {
    static func cannotStart(_ program: String, error: Int32) -> PostgresError {
        PostgresError(
            .tool, exitCode: .restoreFailedOriginalIntact, "start the program", object: program,
            cause: "the system gave no process for it (error \(error))",
            hint: "look at the pod's limits of processes and memory")
    }

    /// Something about the directory or its files, by the system's own number.
    static func directory(_ purpose: String, _ path: String, error: Int32) -> PostgresError {
        let (cause, hint) =
            switch error {
            case ENOSPC, EDQUOT: ("the disk is full", "give the volume more room and run again")
            case EACCES, EPERM: ("this user may not", "check the owner of the directory and of the volume")
            case EROFS: ("it is mounted read-only", "mount the volume writable")
            case EIO: ("the disk failed", "replace the volume; the set itself is as it was")
            default: ("the system says error \(error)", "see 'errno -l' for the number, and the kernel's log")
            }
        return PostgresError(
            .staging, exitCode: .restoreFailedOriginalIntact, purpose, object: path, cause: cause, hint: hint)
    }

    /// A set that does not hold what it says.
    static func damagedCluster(_ object: String, _ problem: String) -> PostgresError {
        damagedPart(object, problem)
    }

    static func recovery(_ cause: String, hint: String, on object: String) -> PostgresError {
        PostgresError(
            .recovery, exitCode: .restoreFailedOriginalIntact, "recover the cluster", object: object, cause: cause,
            hint: hint)
    }

    static func serverProgram(_ name: String, major: Int, found: [String]) -> PostgresError {
        let others = found.isEmpty ? "" : "; there is only \(found.joined(separator: ", "))"
        return PostgresError(
            .toolVersion, exitCode: .restoreFailedOriginalIntact, "find the program", object: name,
            cause: "the files of a cluster need a server of exactly version \(major), and none is here\(others)",
            hint:
                "use an image with the package postgresql-\(major), or set POSTGRES_BIN to the directory that has it")
    }
}
