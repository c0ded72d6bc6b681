import CMariaDB
import Core
import Glibc

/// The rows of a query as lines of JSON, read from the server as they are asked for. The session is opened by the first
/// `next`, on its thread.
final class RecordRows: ByteSource {
    private enum State {
        case waiting
        case open(RecordQuery)
        case over
    }

    private let endpoint: MySQLEndpoint
    private let statement: String
    private let object: String
    private let state = Guarded(State.waiting)
    private let descriptor = Guarded<Int32?>(nil)
    private let isCancelled = Guarded(false)

    init(_ endpoint: MySQLEndpoint, _ statement: String, object: String) {
        self.endpoint = endpoint
        self.statement = statement
        self.object = object
    }

    func next() throws -> Chunk? {
        try state.withLock { state in
            do {
                guard !isCancelled.value else { throw CancellationError() }
                let query: RecordQuery
                switch state {
                case .waiting:
                    query = try RecordQuery(endpoint, statement, object: object)
                    descriptor.withLock { $0 = query.descriptor }
                    state = .open(query)
                case .open(let open): query = open
                case .over: throw CancellationError()
                }
                let chunk = try query.next()
                if chunk == nil { close(&state) }
                return chunk
            } catch {
                close(&state)
                throw isCancelled.value ? CancellationError() : error
            }
        }
    }

    private func close(_ state: inout State) {
        descriptor.withLock { $0 = nil }
        state = .over
    }

    func cancel() {
        isCancelled.withLock { $0 = true }
        // Ends a wait for the server.
        descriptor.withLock { descriptor in
            if let descriptor { _ = shutdown(descriptor, Int32(SHUT_RDWR)) }
        }
    }
}

/// A query whose rows the server still has.
private final class RecordQuery {
    private let handle: SessionHandle
    private let result: UnsafeMutablePointer<MYSQL_RES>
    private let columns: [RecordColumn]
    private let object: String
    private var pending: [UInt8] = []
    private var isAtEnd = false

    private static let purpose = "read the records"
    /// Seconds that the server may take for the next rows.
    private static let patience = 300

    var descriptor: Int32 { handle.descriptor }

    init(_ endpoint: MySQLEndpoint, _ statement: String, object: String) throws {
        handle = try SessionHandle(endpoint: endpoint, database: endpoint.database, patience: Self.patience)
        self.object = object
        _ = try handle.rows(
            "SET SESSION sql_mode = '', SESSION time_zone = '+00:00', SESSION net_write_timeout = 600",
            purpose: Self.purpose, object: object)
        result = try handle.begin(statement, purpose: Self.purpose, object: object)
        columns = RecordColumn.all(of: result)
    }

    deinit { mysql_free_result(result) }

    /// A mebibyte of lines, or what there is.
    func next() throws -> Chunk? {
        while pending.count < Chunk.size, !isAtEnd {
            guard let row = RowValues(nextOf: result) else {
                try handle.check(Self.purpose, object)
                isAtEnd = true
                break
            }
            var members: [String: JSON] = [:]
            for (index, column) in columns.enumerated() {
                members[column.name] = row.bytes(index).map { column.value($0) } ?? .null
            }
            pending += JSON.object(members).canonicalBytes
            pending.append(UInt8(ascii: "\n"))
        }
        guard !pending.isEmpty else { return nil }
        let chunk = Chunk(pending.prefix(Chunk.size))
        pending.removeFirst(chunk.count)
        return chunk
    }
}

/// How a column's values become JSON: whole numbers as such, bytes as hexadecimal digits, all else as the server's text.
private struct RecordColumn {
    private enum Form { case number, bytes, text }

    /// The number of the character set `binary`.
    private static let binary: UInt32 = 63

    let name: String
    private let form: Form

    static func all(of result: UnsafeMutablePointer<MYSQL_RES>) -> [RecordColumn] {
        guard let fields = mysql_fetch_fields(result) else { return [] }
        return (0..<Int(mysql_num_fields(result))).map { RecordColumn(fields[$0]) }
    }

    private init(_ field: MYSQL_FIELD) {
        name = field.name.map { String(cString: $0) } ?? ""
        switch field.type {
        case MYSQL_TYPE_TINY, MYSQL_TYPE_SHORT, MYSQL_TYPE_INT24, MYSQL_TYPE_LONG, MYSQL_TYPE_LONGLONG,
            MYSQL_TYPE_YEAR:
            form = .number
        case MYSQL_TYPE_BIT, MYSQL_TYPE_GEOMETRY: form = .bytes
        case MYSQL_TYPE_STRING, MYSQL_TYPE_VAR_STRING, MYSQL_TYPE_VARCHAR, MYSQL_TYPE_BLOB, MYSQL_TYPE_TINY_BLOB,
            MYSQL_TYPE_MEDIUM_BLOB, MYSQL_TYPE_LONG_BLOB:
            form = field.charsetnr == Self.binary ? .bytes : .text
        default: form = .text
        }
    }

    func value(_ bytes: UnsafeRawBufferPointer) -> JSON {
        switch form {
        case .bytes: return .string(hexText(Array(bytes)))
        case .number:
            let text = String(decoding: bytes, as: UTF8.self)
            return Int64(text).map { .exact($0) } ?? .string(text)
        case .text: return .string(String(decoding: bytes, as: UTF8.self))
        }
    }
}
