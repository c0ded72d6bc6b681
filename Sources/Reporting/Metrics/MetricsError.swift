package import Core
import Glibc

/// What kept the metrics from being written. It never ends a run: the run logs it.
package enum MetricsError: Failure, Equatable {
    case badPrefix(String)
    /// The system refused; `code` is `errno`.
    case system(operation: String, path: String, code: Int32)

    package var exitCode: ExitCode { .configuration }

    package var operation: String {
        switch self {
        case .badPrefix: "use METRICS_PREFIX"
        case .system(let operation, _, _): operation
        }
    }

    package var object: String {
        switch self {
        case .badPrefix(let prefix): prefix
        case .system(_, let path, _): path
        }
    }

    package var cause: String {
        switch self {
        case .badPrefix: "a metric's name begins with a lower-case letter and has only those, digits and '_'"
        case .system(_, _, let code):
            switch code {
            case ENOENT, ENOTDIR: "the directory is not there"
            case EACCES, EPERM: "permission denied"
            case EROFS: "the file system is read-only"
            case ENOSPC, EDQUOT: "the disk is full"
            case EISDIR, ELOOP: "it is not a plain file"
            default: "system error \(code)"
            }
        }
    }

    package var hint: String {
        switch self {
        case .badPrefix: "use a name like 'lifeboat' or 'clinic_backup'"
        case .system:
            "METRICS_DIR has to be an existing directory that this user may write to: the one that node-exporter's "
                + "--collector.textfile.directory names"
        }
    }
}
