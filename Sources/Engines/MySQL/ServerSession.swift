import CMariaDB
import Core
import Glibc

/// A session on the server, through libmariadb in this process, so that the password never leaves it.
///
/// One statement runs at a time, on a thread of its own. Cancelling the task ends the session and the statement at the
/// server; it cannot be used afterwards.
final class ServerSession: Sendable {
    /// Seconds that a login, and a statement that is no long work, may take.
    static let patience = 30

    let endpoint: MySQLEndpoint
    let database: String?
    /// The server's number for it.
    let identifier: UInt
    let version: ServerVersion

    private let handle: Guarded<SessionHandle?>
    private let descriptor: Guarded<Int32?>

    private init(
        endpoint: MySQLEndpoint, database: String?, identifier: UInt, version: ServerVersion, descriptor: Int32,
        handle: sending SessionHandle
    ) {
        self.endpoint = endpoint
        self.database = database
        self.identifier = identifier
        self.version = version
        self.descriptor = Guarded(descriptor)
        self.handle = Guarded(handle)
    }

    deinit { close() }

    /// Opens a session in `database`, or in none. `patience` bounds each answer of the server, `lockWait` each wait for
    /// a lock, both in seconds.
    static func open(
        _ endpoint: MySQLEndpoint, database: String?, patience: Int = ServerSession.patience, lockWait: Int = 10
    ) async throws -> ServerSession {
        let session = try await onThread("connect") {
            let handle = try SessionHandle(endpoint: endpoint, database: database, patience: patience)
            return ServerSession(
                endpoint: endpoint, database: database, identifier: handle.identifier, version: handle.version,
                descriptor: handle.descriptor, handle: handle)
        }
        do {
            try Task.checkCancellation()
            // Server and user may bring modes and limits along; those of our own sessions are ours.
            try await session.rows(
                """
                SET SESSION sql_mode = '', SESSION time_zone = '+00:00', SESSION autocommit = 1,
                SESSION lock_wait_timeout = \(lockWait), SESSION innodb_lock_wait_timeout = \(lockWait),
                SESSION wait_timeout = 28800, SESSION net_read_timeout = 600, SESSION net_write_timeout = 600,
                SESSION \(session.version.isMariaDB ? "max_statement_time = 0" : "max_execution_time = 0")
                """, to: "prepare the session")
            return session
        } catch {
            session.close()
            throw error
        }
    }

    /// Runs one statement and returns its rows. `purpose` completes "cannot …" where it fails.
    @discardableResult
    func rows(_ statement: String, to purpose: String) async throws -> [TextRow] {
        let object = endpoint.label(of: database ?? endpoint.database)
        let isCancelled = Guarded(false)
        return try await withTaskCancellationHandler {
            try await onThread("query") { [handle] in
                try handle.withLock { handle in
                    guard let handle else { throw MySQLError.lostConnection(purpose, on: object) }
                    do {
                        return try handle.rows(statement, purpose: purpose, object: object)
                    } catch {
                        throw isCancelled.value ? CancellationError() : error
                    }
                }
            }
        } onCancel: {
            isCancelled.withLock { $0 = true }
            abort()
        }
    }

    /// The single row of a statement that always gives one.
    func row(_ statement: String, to purpose: String) async throws -> TextRow {
        guard let row = try await rows(statement, to: purpose).first else {
            throw MySQLError.query(purpose, number: ErrorNumber.noSuchTable, on: endpoint.label)
        }
        return row
    }

    /// Ends whatever runs: the thread that waits finds the connection shut, and the server is told by another session,
    /// because it would not look before the statement has ended.
    func abort() {
        descriptor.withLock { descriptor in
            if let descriptor { _ = shutdown(descriptor, Int32(SHUT_RDWR)) }
        }
        let (endpoint, identifier) = (endpoint, identifier)
        // Nothing waits for it; where even a thread is not to be had the server's own limits end the statement.
        Task.detached {
            _ = try await onThread("kill") {
                let other = try SessionHandle(endpoint: endpoint, database: nil, patience: 5)
                return try other.rows("KILL \(identifier)", purpose: "end a statement", object: endpoint.server).count
            }
        }
    }

    /// Ends the session. Harmless twice; waits for a statement that runs.
    func close() {
        handle.withLock { handle in
            descriptor.withLock { $0 = nil }
            handle = nil
        }
    }
}

/// One row of text values.
struct TextRow: Sendable {
    let values: [String?]

    subscript(_ column: Int) -> String? { values.indices.contains(column) ? values[column] : nil }
    func text(_ column: Int) -> String { self[column] ?? "" }
    func integer(_ column: Int) -> Int64 { Int64(text(column)) ?? 0 }
    func bool(_ column: Int) -> Bool { integer(column) != 0 }
}

/// A name as it stands in a statement.
func backticked(_ name: String) -> String { "`" + escaping(["`": "``"], in: name) + "`" }

/// A text as it stands in a statement of our sessions, whose mode has no part in what a backslash means.
func quotedText(_ text: String) -> String {
    "'" + escaping(["'": "''", "\\": "\\\\", "\0": "\\0", "\n": "\\n", "\r": "\\r", "\u{1A}": "\\Z"], in: text) + "'"
}

/// Scalar by scalar: to Swift a quote with an accent on it is another character, to the server it is a quote.
private func escaping(_ marks: [Unicode.Scalar: String], in text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
        if let replacement = marks[scalar] {
            result += replacement
        } else {
            result.unicodeScalars.append(scalar)
        }
    }
    return result
}
