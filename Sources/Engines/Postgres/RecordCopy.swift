import CLibpq
import Core
import Glibc

/// What a COPY statement sends, line by line, in full chunks. The session is its own and ends with it.
final class RecordCopy: ByteSource {
    private let connection: Connection
    private let statement: String
    private let object: String
    private let isCancelled = Guarded(false)
    private let state = Guarded(State())

    private struct State {
        var hasBegun = false
        /// What did not fit into the chunk before.
        var rest: [UInt8] = []
        var isOver = false
    }

    private static let purpose = "read the records"

    init(_ connection: Connection, _ statement: String, object: String) {
        self.connection = connection
        self.statement = statement
        self.object = object
    }

    deinit { connection.close() }

    func next() throws -> Chunk? {
        guard !isCancelled.value else { throw CancellationError() }
        let chunk = Chunk()
        var state = self.state.value
        if !state.hasBegun {
            state.hasBegun = true
            try onServer { [statement, object] in
                try $0.send(statement, purpose: Self.purpose, object: object)
            }
        }
        take(&state.rest, into: chunk)
        while chunk.remaining > 0, !state.isOver {
            guard var line = try line() else {
                state.isOver = true
                connection.close()
                break
            }
            take(&line, into: chunk)
            state.rest = line
        }
        self.state.withLock { [state] in $0 = state }
        return chunk.count > 0 ? chunk : nil
    }

    private func line() throws -> [UInt8]? {
        let wait = Wait(seconds: nil) { [isCancelled] in isCancelled.value }
        return try onServer { [object] in
            try $0.copied(purpose: Self.purpose, object: object, wait: wait)
        }
    }

    private func onServer<Value: Sendable>(_ body: (Handle) throws -> Value) throws -> Value {
        try connection.handle.withLock { handle in
            guard let handle else { throw PostgresError.lostConnection(Self.purpose, on: object) }
            return try body(handle)
        }
    }

    /// Moves what fits.
    private func take(_ bytes: inout [UInt8], into chunk: Chunk) {
        let count = bytes.withUnsafeBytes { chunk.append($0) }
        bytes.removeFirst(count)
    }

    func cancel() {
        isCancelled.withLock { $0 = true }
    }
}

extension Handle {
    /// Sends a statement whose rows come by ``copied(purpose:object:wait:)``.
    func send(_ statement: String, purpose: String, object: String) throws {
        guard PQsendQuery(connection, statement) == 1 else {
            throw PostgresError.lostConnection(purpose, on: object)
        }
    }

    /// The next message of a COPY, which is one line; `nil` when the server has said that this was all.
    func copied(purpose: String, object: String, wait: Wait) throws -> [UInt8]? {
        while true {
            var buffer: UnsafeMutablePointer<CChar>?
            let count = PQgetCopyData(connection, &buffer, 1)
            if count > 0, let buffer {
                defer { PQfreemem(buffer) }
                return Array(UnsafeRawBufferPointer(start: buffer, count: Int(count)))
            }
            if count == 0 {
                try awaitInput(purpose: purpose, object: object, wait: wait)
                continue
            }
            // Before its first line as well as after its last: the result says which.
            guard let result = try nextResult(purpose: purpose, object: object, wait: wait) else { return nil }
            defer { PQclear(result) }
            switch PQresultStatus(result) {
            case PGRES_COPY_OUT, PGRES_COMMAND_OK: continue
            default:
                let code = PQresultErrorField(result, Int32(UInt8(ascii: "C"))).map { String(cString: $0) }
                throw code.map { PostgresError.query(purpose, sqlState: $0, on: object) }
                    ?? .lostConnection(purpose, on: object)
            }
        }
    }

    private func awaitInput(purpose: String, object: String, wait: Wait) throws {
        switch wait.until(PQsocket(connection), POLLIN) {
        case .ready: break
        case .cancelled, .expired:
            cancelStatement()
            throw CancellationError()
        }
        guard PQconsumeInput(connection) == 1 else { throw PostgresError.lostConnection(purpose, on: object) }
    }
}
