import Core
import PostgresEngine

/// `lifeboat wal push`, `fetch` and `hand-over`: single files of a server's log, as PostgreSQL's own commands ask for
/// them. They run in the server's data directory.
extension Run {
    func handOver(_ name: String, to path: String, from socket: String) async throws -> Int32 {
        try await onThread("hand-over") { WALHandOver.fetch(socket: socket, name: name, path: path) }.rawValue
    }

    /// The status for a run that ended with `code`.
    func status(of code: ExitCode) -> Int32 {
        guard code != .done, code != .terminated, case .wal(let call) = invocation else { return code.rawValue }
        switch call {
        case .push: return code.rawValue
        case .fetch, .handOver: return WALCall.endsRecovery
        }
    }
}
