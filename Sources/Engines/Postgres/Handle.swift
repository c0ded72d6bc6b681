import CLibpq
import Core
import Glibc

/// How long a thread may wait, and who may call it off.
struct Wait {
    /// How often the calling-off is looked at, in milliseconds.
    private static let slice: Int32 = 50

    let seconds: Int?
    private let end: ContinuousClock.Instant?
    private let isCancelled: () -> Bool

    init(seconds: Int?, isCancelled: @escaping () -> Bool) {
        self.seconds = seconds
        end = seconds.map { .now + .seconds($0) }
        self.isCancelled = isCancelled
    }

    enum Outcome { case ready, expired, cancelled }

    func until(_ descriptor: Int32, _ events: Int32) -> Outcome {
        while true {
            if isCancelled() { return .cancelled }
            if let end, .now > end { return .expired }
            var poller = pollfd(fd: descriptor, events: Int16(truncatingIfNeeded: events), revents: 0)
            if poll(&poller, 1, Self.slice) > 0 { return .ready }
        }
    }
}

/// libpq's own connection, used by one thread at a time.
final class Handle {
    let connection: OpaquePointer

    var serverVersion: Int { Int(PQserverVersion(connection)) }
    var processID: Int32 { PQbackendPID(connection) }

    private var listener: NoticeListener?

    deinit { PQfinish(connection) }

    /// `forReplication` asks for a session that speaks the replication protocol, in no database.
    init(
        endpoint: PostgresEndpoint, database: String, application: String, forReplication: Bool = false, wait: Wait
    ) throws {
        let keywords =
            forReplication
            ? endpoint.replicationKeywords(application: application)
            : endpoint.keywords(database: database, application: application)
        let started = withTextPointers(keywords.map(\.name)) { names in
            withTextPointers(keywords.map(\.value)) { values in PQconnectStartParams(names, values, 0) }
        }
        guard let started else {
            throw PostgresError.connection("out of memory", endpoint: endpoint, database: database)
        }
        connection = started
        // Notices go to standard error by default, and may quote rows.
        PQsetNoticeProcessor(connection, { _, _ in }, nil)
        // Leaves nothing but the code of what the server says: no names, no data, no language.
        PQsetErrorVerbosity(connection, PQERRORS_SQLSTATE)
        var events = POLLOUT
        while PQstatus(connection) != CONNECTION_BAD {
            switch wait.until(PQsocket(connection), events) {
            case .ready: break
            case .cancelled: throw CancellationError()
            case .expired:
                throw PostgresError.connection("timeout expired", endpoint: endpoint, database: database)
            }
            let state = PQconnectPoll(connection)
            if state == PGRES_POLLING_OK { return }
            if state == PGRES_POLLING_FAILED { break }
            events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT
        }
        throw PostgresError.connection(
            String(cString: PQerrorMessage(connection)), endpoint: endpoint, database: database)
    }

    /// Tells `listener` from now on what the server says beside its answers.
    func listen(_ listener: NoticeListener) {
        self.listener = listener
        PQsetNoticeReceiver(
            connection,
            { context, result in
                guard let context, let text = PQresultErrorField(result, Int32(UInt8(ascii: "M"))) else { return }
                Unmanaged<NoticeListener>.fromOpaque(context).takeUnretainedValue().told(String(cString: text))
            }, Unmanaged.passUnretained(listener).toOpaque())
    }

    func run(
        _ statement: String, _ parameters: [String?], purpose: String, object: String, wait: Wait
    ) throws -> [Row] {
        let sent = withTextPointers(parameters) { values in
            PQsendQueryParams(connection, statement, Int32(parameters.count), nil, values, nil, nil, 0)
        }
        guard sent == 1 else { throw PostgresError.lostConnection(purpose, on: object) }
        var rows: [Row] = []
        var failure: PostgresError?
        while let result = try nextResult(purpose: purpose, object: object, wait: wait) {
            defer { PQclear(result) }
            switch PQresultStatus(result) {
            case PGRES_TUPLES_OK: rows = Self.rows(of: result)
            case PGRES_COMMAND_OK: break
            default:
                let code = PQresultErrorField(result, Int32(UInt8(ascii: "C"))).map { String(cString: $0) }
                failure =
                    code.map { .query(purpose, sqlState: $0, on: object) }
                    ?? .lostConnection(purpose, on: object)
            }
        }
        if let failure { throw failure }
        return rows
    }

    func nextResult(purpose: String, object: String, wait: Wait) throws -> OpaquePointer? {
        while PQisBusy(connection) == 1 {
            switch wait.until(PQsocket(connection), POLLIN) {
            case .ready: break
            case .cancelled:
                cancelStatement()
                throw CancellationError()
            case .expired:
                cancelStatement()
                throw PostgresError.timeout(purpose, seconds: wait.seconds ?? 0, on: object)
            }
            guard PQconsumeInput(connection) == 1 else { throw PostgresError.lostConnection(purpose, on: object) }
        }
        return PQgetResult(connection)
    }

    /// Asks the server to stop, and takes what still comes, so that the session can be used for cleaning up.
    func cancelStatement() {
        if let cancel = PQgetCancel(connection) {
            var message = [CChar](repeating: 0, count: 256)
            _ = PQcancel(cancel, &message, Int32(message.count))
            PQfreeCancel(cancel)
        }
        let wait = Wait(seconds: 5) { false }
        while true {
            while PQisBusy(connection) == 1 {
                guard wait.until(PQsocket(connection), POLLIN) == .ready, PQconsumeInput(connection) == 1 else {
                    return
                }
            }
            guard let result = PQgetResult(connection) else { return }
            PQclear(result)
        }
    }

    static func rows(of result: OpaquePointer) -> [Row] {
        let columns = PQnfields(result)
        return (0..<PQntuples(result)).map { row in
            Row(
                values: (0..<columns).map { column in
                    guard PQgetisnull(result, row, column) == 0, let value = PQgetvalue(result, row, column) else {
                        return nil
                    }
                    let bytes = UnsafeRawBufferPointer(start: value, count: Int(PQgetlength(result, row, column)))
                    return String(decoding: bytes, as: UTF8.self)
                })
        }
    }
}

/// Is told a server's notices and warnings, which may quote rows: what becomes of them has to be known.
final class NoticeListener: Sendable {
    let told: @Sendable (String) -> Void

    init(_ told: @escaping @Sendable (String) -> Void) { self.told = told }
}

struct Keyword {
    var name: String
    var value: String
}

extension PostgresEndpoint {
    /// What holds for every session of ours, the tools' too, whatever role and database say. Only settings that every
    /// supported version has; the newer ones are added by whoever knows the version.
    static let sessionOptions =
        "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c default_transaction_read_only=off"

    /// Everything libpq needs for a session, the password too.
    fileprivate func keywords(database: String, application: String) -> [Keyword] {
        keywords([
            "dbname": database, "application_name": application, "client_encoding": "UTF8",
            "options": options(adding: "\(Self.sessionOptions) -c lock_timeout=10s -c search_path="),
        ])
    }

    /// The same for a session that speaks the replication protocol. The database's name is what the server's rules of
    /// who may log in (pg_hba.conf) call such sessions.
    fileprivate func replicationKeywords(application: String) -> [Keyword] {
        keywords([
            "dbname": "replication", "replication": "true", "application_name": application,
            "options": options(adding: "-c statement_timeout=0 -c wal_sender_timeout=60s"),
        ])
    }

    private func keywords(_ own: [String: String]) -> [Keyword] {
        var all = parameters.merging(own) { $1 }
        all["host"] = host
        all["port"] = String(port)
        all["user"] = user
        // An empty password would be taken for none, and the environment be asked.
        all["password"] = password?.withRevealed { $0.isEmpty ? nil : $0 }
        // A peer that has gone without a word is noticed within a minute or so.
        for (name, value) in ["keepalives_idle": "20", "keepalives_interval": "10", "keepalives_count": "3"]
        where all[name] == nil {
            all[name] = value
        }
        return all.map { Keyword(name: $0.key, value: $0.value) }
    }

    /// The user's own `options`, then ours, which win.
    func options(adding ours: String) -> String {
        parameters["options"].map { "\($0) \(ours)" } ?? ours
    }
}

/// Gives `body` a null-terminated array of C strings, as libpq takes them.
private func withTextPointers<Result>(
    _ texts: [String?], _ body: (UnsafePointer<UnsafePointer<CChar>?>?) -> Result
) -> Result {
    let copies = texts.map { text in text.flatMap { strdup($0) } }
    defer {
        for case let copy? in copies {
            explicit_bzero(copy, strlen(copy))
            free(copy)
        }
    }
    let pointers = copies.map { copy in copy.map { UnsafePointer($0) } } + [nil]
    return pointers.withUnsafeBufferPointer { body($0.baseAddress) }
}
