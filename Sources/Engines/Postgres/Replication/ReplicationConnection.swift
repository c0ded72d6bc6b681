import CLibpq
import Core
import Glibc

/// A session in which the server speaks its replication protocol ("Streaming Replication Protocol" in its manual).
///
/// Every call but ``open(_:purpose:)`` blocks and belongs on a thread of its own. One thread reads; another may put or
/// cancel meanwhile. What a call waits for is bounded by its `seconds`, which count from one message to the next, and
/// ended within 50 ms by ``cancel()``.
final class ReplicationConnection: Sendable {
    /// What IDENTIFY_SYSTEM answers.
    struct Identity: Sendable {
        var systemID: String
        var timeline: UInt32
        /// How far the server's log is on its disk.
        var position: LSN
    }

    /// One answer to a command; BASE_BACKUP gives several.
    enum Answer: Sendable {
        case rows([Row])
        /// Data comes, to be read by ``message(within:to:_:)`` to its end.
        case copyOut
        /// Data comes, and goes by ``put(_:to:)``.
        case copyBoth
    }

    let endpoint: PostgresEndpoint
    /// `150020` for 15.20.
    let serverVersion: Int
    /// The session's process at the server.
    let processID: Int32

    private let handle: Guarded<Handle?>
    private let socket: Int32
    private let isCancelled = Guarded(false)

    private init(
        _ endpoint: PostgresEndpoint, serverVersion: Int, processID: Int32, socket: Int32, handle: sending Handle
    ) {
        self.endpoint = endpoint
        self.serverVersion = serverVersion
        self.processID = processID
        self.socket = socket
        self.handle = Guarded(handle)
    }

    /// Opens a session. `purpose` shows in the server's list of sessions.
    static func open(_ endpoint: PostgresEndpoint, purpose: String) async throws -> ReplicationConnection {
        let isCancelled = Guarded(false)
        return try await withTaskCancellationHandler {
            try await onThread("connect") {
                do {
                    let handle = try Handle(
                        endpoint: endpoint, database: "replication", application: "lifeboat \(purpose)",
                        forReplication: true, wait: Wait(seconds: Connection.patience) { isCancelled.value })
                    return ReplicationConnection(
                        endpoint, serverVersion: handle.serverVersion, processID: handle.processID,
                        socket: PQsocket(handle.connection), handle: handle)
                } catch let error as PostgresError {
                    throw PostgresError.replicationLogin(error, endpoint: endpoint)
                }
            }
        } onCancel: {
            isCancelled.withLock { $0 = true }
        }
    }

    /// Tells `listener`, in whichever thread reads, what the server says beside its answers.
    func listen(_ listener: @escaping @Sendable (String) -> Void) {
        handle.withLock { $0?.listen(NoticeListener(listener)) }
    }

    // MARK: Commands

    func identify() throws -> Identity {
        let purpose = "ask the server who it is"
        guard let row = try rows("IDENTIFY_SYSTEM", to: purpose).first, let timeline = UInt32(row.text(1)),
            let position = LSN(row.text(2)), !row.text(0).isEmpty
        else { throw PostgresError.protocolViolation(purpose, on: label) }
        return Identity(systemID: row.text(0), timeline: timeline, position: position)
    }

    /// The history of `timeline`, byte for byte as the server keeps it; `nil` where it gives none.
    func history(of timeline: UInt32) throws -> [UInt8]? {
        let purpose = "read the history of timeline \(timeline)"
        try send("TIMELINE_HISTORY \(timeline)", to: purpose)
        let wait = self.wait(Connection.patience)
        var history: [UInt8]?
        while true {
            // The name and the content; the latter in no encoding, so that it is taken as bytes.
            let taken: Taken<[UInt8]??> = try withHandle(purpose) { handle in
                guard PQisBusy(handle.connection) == 0 else { return .nothingYet }
                guard let result = PQgetResult(handle.connection) else { return .taken(nil) }
                defer { PQclear(result) }
                guard case .rows = try answer(result, handle, purpose), PQntuples(result) == 1,
                    PQnfields(result) == 2, let value = PQgetvalue(result, 0, 1)
                else { return .taken(.some(nil)) }
                return .taken(Array(UnsafeRawBufferPointer(start: value, count: Int(PQgetlength(result, 0, 1)))))
            }
            switch taken {
            case .nothingYet: try receive(wait, purpose)
            case .taken(nil): return history
            case .taken(let content?): history = content ?? history
            }
        }
    }

    /// Runs a command that answers at once. `purpose` completes "cannot …" where it fails.
    @discardableResult
    func rows(_ command: String, to purpose: String, within seconds: Int = Connection.patience) throws -> [Row] {
        try send(command, to: purpose)
        var all: [Row] = []
        while let answer = try nextAnswer(within: seconds, to: purpose) {
            guard case .rows(let rows) = answer else { throw PostgresError.protocolViolation(purpose, on: label) }
            all += rows
        }
        return all
    }

    /// Sends a command whose answers are to be taken by ``nextAnswer(within:to:)`` until there is none.
    func send(_ command: String, to purpose: String) throws {
        try withHandle(purpose) { handle in
            guard PQsendQuery(handle.connection, command) == 1 else {
                throw PostgresError.lostConnection(purpose, on: label)
            }
        }
    }

    /// The next answer; `nil` after the last, when another command may be sent.
    func nextAnswer(within seconds: Int, to purpose: String) throws -> Answer? {
        let wait = self.wait(seconds)
        while true {
            let taken: Taken<Answer?> = try withHandle(purpose) { handle in
                guard PQisBusy(handle.connection) == 0 else { return .nothingYet }
                guard let result = PQgetResult(handle.connection) else { return .taken(nil) }
                defer { PQclear(result) }
                return .taken(try answer(result, handle, purpose))
            }
            if case .taken(let answer) = taken { return answer }
            try receive(wait, purpose)
        }
    }

    private func answer(_ result: OpaquePointer, _ handle: Handle, _ purpose: String) throws -> Answer {
        switch PQresultStatus(result) {
        case PGRES_TUPLES_OK: return .rows(Handle.rows(of: result))
        case PGRES_COMMAND_OK: return .rows([])
        case PGRES_COPY_OUT: return .copyOut
        case PGRES_COPY_BOTH: return .copyBoth
        default:
            guard let code = PQresultErrorField(result, Int32(UInt8(ascii: "C"))) else {
                throw PostgresError.lostConnection(purpose, on: label)
            }
            throw PostgresError.query(purpose, sqlState: String(cString: code), on: label)
        }
    }

    // MARK: Copied data

    /// Gives the next message of a copy to `body`, for as long as it runs; `nil` at the copy's end, whose outcome is
    /// the next answer. A message of the log or of a base backup has some 128 KiB at most.
    func message<Result>(
        within seconds: Int, to purpose: String, _ body: (UnsafeRawBufferPointer) throws -> Result
    ) throws -> Result? {
        let wait = self.wait(seconds)
        while true {
            switch try poll(purpose) {
            case .taken(let message):
                guard let message else { return nil }
                defer { PQfreemem(message.start) }
                return try body(UnsafeRawBufferPointer(start: message.start, count: message.count))
            case .nothingYet: try receive(wait, purpose)
            }
        }
    }

    enum Taken<Value> {
        case taken(Value)
        case nothingYet
    }

    private struct Message {
        var start: UnsafeMutablePointer<CChar>
        var count: Int
    }

    private func poll(_ purpose: String) throws -> Taken<Message?> {
        // The lock is held for this call only, so that another thread can put between two messages.
        let polled: (address: UInt, count: Int32) = try withHandle(purpose) { handle in
            var start: UnsafeMutablePointer<CChar>?
            let count = PQgetCopyData(handle.connection, &start, 1)
            return (UInt(bitPattern: start), count)
        }
        switch polled.count {
        case 0: return .nothingYet
        case -1: return .taken(nil)
        default:
            guard polled.count > 0, let start = UnsafeMutablePointer<CChar>(bitPattern: polled.address) else {
                throw PostgresError.lostConnection(purpose, on: label)
            }
            return .taken(Message(start: start, count: Int(polled.count)))
        }
    }

    /// Sends a message into a copy that goes both ways.
    func put(_ bytes: [UInt8], to purpose: String) throws {
        try withHandle(purpose) { handle in
            let sent = bytes.withUnsafeBytes { bytes in
                PQputCopyData(
                    handle.connection, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count))
            }
            guard sent == 1, PQflush(handle.connection) == 0 else {
                throw PostgresError.lostConnection(purpose, on: label)
            }
        }
    }

    /// Ends our side of a copy. The server's messages still come until it ends its own.
    func endCopy(to purpose: String) throws {
        try withHandle(purpose) { handle in
            guard PQputCopyEnd(handle.connection, nil) == 1, PQflush(handle.connection) == 0 else {
                throw PostgresError.lostConnection(purpose, on: label)
            }
        }
    }

    // MARK: The end

    /// Makes a call that waits, and every later one, throw `CancellationError`. From any thread.
    func cancel() { isCancelled.withLock { $0 = true } }

    /// Ends the session. Harmless twice.
    func close() {
        cancel()
        handle.withLock { $0 = nil }
    }

    // MARK: Under it

    var label: String { "the server \(endpoint.server)" }

    private func wait(_ seconds: Int) -> Wait { Wait(seconds: seconds) { [isCancelled] in isCancelled.value } }

    /// Waits outside the lock until something has come, and takes it in.
    private func receive(_ wait: Wait, _ purpose: String) throws {
        switch wait.until(socket, POLLIN) {
        case .ready: break
        case .cancelled: throw CancellationError()
        case .expired: throw PostgresError.timeout(purpose, seconds: wait.seconds ?? 0, on: label)
        }
        try withHandle(purpose) { handle in
            guard PQconsumeInput(handle.connection) == 1 else {
                throw PostgresError.lostConnection(purpose, on: label)
            }
        }
    }

    private func withHandle<Result: Sendable>(
        _ purpose: String, _ body: (Handle) throws -> Result
    ) throws -> Result {
        try handle.withLock { handle in
            guard !isCancelled.value else { throw CancellationError() }
            guard let handle else { throw PostgresError.lostConnection(purpose, on: label) }
            return try body(handle)
        }
    }
}

extension ReplicationConnection.Taken: Sendable where Value: Sendable {}

extension PostgresError {
    /// A login for replication that was refused means other things than one into a database.
    static func replicationLogin(_ error: PostgresError, endpoint: PostgresEndpoint) -> PostgresError {
        var error = error
        error.object = "the server \(endpoint.server)"
        switch error.sqlState {
        case "42501":
            error.cause = "role \(endpoint.user) has no right to replicate"
            error.hint = "ALTER ROLE … REPLICATION; nothing else is needed to read the log"
        case "28000":
            error.cause = "the server lets no role \(endpoint.user) in from here for replication"
            error.hint = """
                add a line 'host replication ROLE ADDRESS scram-sha-256' to the server's pg_hba.conf: 'all' does not \
                mean replication there
                """
        case "53300":
            error.cause = "every place for a replicating client is taken"
            error.hint = "raise max_wal_senders (and max_connections), or end the clients in pg_stat_replication"
        default: break
        }
        return error
    }

    /// The server said something that its protocol does not allow there.
    static func protocolViolation(_ purpose: String, on object: String) -> PostgresError {
        PostgresError(
            .query, purpose, object: object, cause: "the answer is not what the replication protocol says",
            hint: "check that this is a PostgreSQL server of a supported version and no pooler stands between",
            sqlState: "08P01")
    }
}
