import CLibpq
import Core
import Glibc

/// A session on the server, through libpq in this process, so that the password never leaves it.
///
/// One statement runs at a time, on a thread of its own. Cancelling the task cancels the statement at the server.
final class Connection: Sendable {
    /// How long a login, and a statement that is no long work, may take.
    static let patience = 30

    let endpoint: PostgresEndpoint
    let database: String
    /// `150020` for 15.20.
    let serverVersion: Int
    /// The session's process at the server.
    let processID: Int32

    let handle: Guarded<Handle?>
    private let isClosing = Guarded(false)

    private init(
        endpoint: PostgresEndpoint, database: String, serverVersion: Int, processID: Int32, handle: sending Handle
    ) {
        self.endpoint = endpoint
        self.database = database
        self.serverVersion = serverVersion
        self.processID = processID
        self.handle = Guarded(handle)
    }

    /// Opens a session in `database`, by default the endpoint's. `purpose` shows in the server's list of sessions.
    static func open(
        _ endpoint: PostgresEndpoint, database: String? = nil, purpose: String
    ) async throws -> Connection {
        let database = database ?? endpoint.database
        let isCancelled = Guarded(false)
        let connection = try await withTaskCancellationHandler {
            try await onThread("connect") {
                let handle = try Handle(
                    endpoint: endpoint, database: database, application: "lifeboat \(purpose)",
                    wait: Wait(seconds: patience) { isCancelled.value })
                return Connection(
                    endpoint: endpoint, database: database, serverVersion: handle.serverVersion,
                    processID: handle.processID, handle: handle)
            }
        } onCancel: {
            isCancelled.withLock { $0 = true }
        }
        do {
            // A role or a database may bring limits along; those of our own sessions are ours. Names that this
            // version does not have drop out.
            _ = try await connection.rows(
                """
                SELECT set_config(name, CASE name WHEN 'lock_timeout' THEN '10s' ELSE '0' END, false)
                FROM pg_catalog.pg_settings WHERE name IN ('statement_timeout', 'lock_timeout',
                'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')
                """, to: "prepare the session")
        } catch {
            connection.close()
            throw error
        }
        return connection
    }

    /// Runs one statement and returns its rows. `purpose` completes "cannot …" where it fails. `seconds` bounds it;
    /// `nil` for work that lasts as long as the data is long.
    @discardableResult
    func rows(
        _ statement: String, _ parameters: [String?] = [], to purpose: String, seconds: Int? = Connection.patience
    ) async throws -> [Row] {
        let isCancelled = Guarded(false)
        let object = endpoint.label(of: database)
        return try await withTaskCancellationHandler {
            try await onThread("query") { [handle, isClosing] in
                try handle.withLock { handle in
                    guard let handle else { throw PostgresError.lostConnection(purpose, on: object) }
                    let wait = Wait(seconds: seconds) { isCancelled.value || isClosing.value }
                    return try handle.run(statement, parameters, purpose: purpose, object: object, wait: wait)
                }
            }
        } onCancel: {
            isCancelled.withLock { $0 = true }
        }
    }

    /// The single row of a statement that always gives one.
    func row(_ statement: String, _ parameters: [String?] = [], to purpose: String) async throws -> Row {
        guard let row = try await rows(statement, parameters, to: purpose).first else {
            throw PostgresError.query(purpose, sqlState: "02000", on: endpoint.label(of: database))
        }
        return row
    }

    /// The same in a thread that may block; only ``close()`` calls it off.
    func rowBlocking(_ statement: String, to purpose: String, object: String) throws -> Row {
        try handle.withLock { handle in
            let wait = Wait(seconds: Self.patience) { [isClosing] in isClosing.value }
            guard let row = try handle?.run(statement, [], purpose: purpose, object: object, wait: wait).first else {
                throw PostgresError.lostConnection(purpose, on: object)
            }
            return row
        }
    }

    /// Ends the session; a statement that runs is cancelled first. Harmless twice.
    func close() {
        isClosing.withLock { $0 = true }
        handle.withLock { $0 = nil }
    }
}

/// One row of text values.
struct Row: Sendable {
    let values: [String?]

    subscript(_ column: Int) -> String? { values.indices.contains(column) ? values[column] : nil }
    func text(_ column: Int) -> String { self[column] ?? "" }
    func integer(_ column: Int) -> Int64 { Int64(text(column)) ?? 0 }
    func bool(_ column: Int) -> Bool { text(column) == "t" }
}

/// A name as it stands in a statement.
func quoted(name: String) -> String { "\"" + doubling("\"", in: name) + "\"" }

/// A text as it stands in a statement, whatever the server thinks of backslashes.
func quoted(literal: String) -> String {
    let doubled = doubling("'", in: literal)
    guard doubled.utf8.contains(UInt8(ascii: "\\")) else { return "'\(doubled)'" }
    return "E'" + doubling("\\", in: doubled) + "'"
}

/// Byte by byte: to Swift a quote with an accent on it is another character, to the server it is a quote.
private func doubling(_ mark: Unicode.Scalar, in text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
        if scalar == mark { result.unicodeScalars.append(mark) }
        result.unicodeScalars.append(scalar)
    }
    return result
}
