import CMariaDB
import Core
import Glibc

/// libmariadb's own connection, used by one thread at a time.
final class SessionHandle {
    private let connection: UnsafeMutablePointer<MYSQL>

    var identifier: UInt { UInt(mysql_thread_id(connection)) }
    var descriptor: Int32 { Int32(mysql_get_socket(connection)) }
    let version: ServerVersion

    /// The library's own beginning is not safe from several threads at once.
    private static let isReady = mysql_server_init(0, nil, nil) == 0

    deinit { mysql_close(connection) }

    init(endpoint: MySQLEndpoint, database: String?, patience: Int) throws {
        guard Self.isReady, let connection = mysql_init(nil) else {
            throw MySQLError.connection(2008, endpoint: endpoint, database: database)
        }
        Self.set(connection, MYSQL_OPT_CONNECT_TIMEOUT, UInt32(ServerSession.patience))
        Self.set(connection, MYSQL_OPT_READ_TIMEOUT, UInt32(patience))
        Self.set(connection, MYSQL_OPT_WRITE_TIMEOUT, UInt32(patience))
        // No statement of a server may ask for a file of ours.
        Self.set(connection, MYSQL_OPT_LOCAL_INFILE, 0)
        Self.set(connection, MYSQL_OPT_PROTOCOL, endpoint.socket == nil ? MYSQL_PROTOCOL_TCP.rawValue : 2)
        Self.set(connection, MYSQL_SET_CHARSET_NAME, "utf8mb4")
        if endpoint.socket == nil { Self.protect(connection, endpoint.tls) }
        let opened = Self.connect(connection, endpoint, database)
        guard opened else {
            let number = Int(mysql_errno(connection))
            let isTLS = mysql_error(connection).map { Self.isAboutTLS(String(cString: $0)) } ?? false
            mysql_close(connection)
            throw MySQLError.connection(number, isAboutTLS: isTLS, endpoint: endpoint, database: database)
        }
        let text = mysql_get_server_info(connection).map { String(cString: $0) } ?? ""
        guard let version = ServerVersion(text) else {
            mysql_close(connection)
            throw MySQLError(
                .query, "connect", object: endpoint.label, cause: "the server does not say its version",
                hint: "connect to the server itself, not to a proxy in between")
        }
        self.version = version
        self.connection = connection
    }

    private static func connect(
        _ connection: UnsafeMutablePointer<MYSQL>, _ endpoint: MySQLEndpoint, _ database: String?
    ) -> Bool {
        let socket = endpoint.socket
        func connect(_ password: String?) -> Bool {
            mysql_real_connect(
                connection, socket == nil ? endpoint.host : nil, endpoint.user, password, database,
                UInt32(socket == nil ? endpoint.port : 0), socket, 0) != nil
        }
        guard let password = endpoint.password else { return connect(nil) }
        return password.withRevealed { connect($0) }
    }

    private static func protect(_ connection: UnsafeMutablePointer<MYSQL>, _ tls: MySQLEndpoint.TLS) {
        // A my_bool, of one byte.
        setFlag(connection, MYSQL_OPT_SSL_ENFORCE, tls.mode != .disabled)
        setFlag(connection, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, tls.mode == .verified)
        guard tls.mode != .disabled else { return }
        if let authority = tls.authority { set(connection, MYSQL_OPT_SSL_CA, authority) }
        if let certificate = tls.certificate { set(connection, MYSQL_OPT_SSL_CERT, certificate) }
        if let key = tls.key { set(connection, MYSQL_OPT_SSL_KEY, key) }
    }

    private static func set(_ connection: UnsafeMutablePointer<MYSQL>, _ option: mysql_option, _ value: UInt32) {
        withUnsafePointer(to: value) { _ = mysql_options(connection, option, $0) }
    }

    private static func set(_ connection: UnsafeMutablePointer<MYSQL>, _ option: mysql_option, _ value: String) {
        value.withCString { _ = mysql_options(connection, option, $0) }
    }

    private static func setFlag(_ connection: UnsafeMutablePointer<MYSQL>, _ option: mysql_option, _ value: Bool) {
        withUnsafePointer(to: UInt8(value ? 1 : 0)) { _ = mysql_options(connection, option, $0) }
    }

    /// The library reports a refused certificate under a general number, so its words are looked at; they are its own,
    /// not the server's.
    private static func isAboutTLS(_ words: String) -> Bool {
        ["TLS", "SSL", "certificate"].contains { words.contains($0) }
    }

    func rows(_ statement: String, purpose: String, object: String) throws -> [TextRow] {
        try send(statement, purpose: purpose, object: object)
        guard let result = mysql_store_result(connection) else {
            try check(purpose, object)
            return []
        }
        defer { mysql_free_result(result) }
        var rows: [TextRow] = []
        while let values = RowValues(nextOf: result) { rows.append(TextRow(values: values.texts)) }
        return rows
    }

    /// Begins a query whose rows stay at the server until each is asked for.
    func begin(
        _ statement: String, purpose: String, object: String
    ) throws -> UnsafeMutablePointer<MYSQL_RES> {
        try send(statement, purpose: purpose, object: object)
        guard let result = mysql_use_result(connection) else {
            try check(purpose, object)
            throw MySQLError.lostConnection(purpose, on: object)
        }
        return result
    }

    private func send(_ statement: String, purpose: String, object: String) throws {
        var statement = statement
        let status = statement.withUTF8 { bytes in
            bytes.withMemoryRebound(to: CChar.self) { text in
                mysql_real_query(connection, text.baseAddress, UInt(text.count))
            }
        }
        if status != 0 { try check(purpose, object) }
    }

    /// Throws where the last thing done has failed.
    func check(_ purpose: String, _ object: String) throws {
        let number = Int(mysql_errno(connection))
        if number != 0 { throw MySQLError.query(purpose, number: number, on: object) }
    }
}

/// The values of one row where the library keeps them; only until the next is asked for.
struct RowValues: ~Copyable {
    private let row: MYSQL_ROW
    private let lengths: UnsafeMutablePointer<UInt>
    let count: Int

    init?(nextOf result: UnsafeMutablePointer<MYSQL_RES>) {
        guard let row = mysql_fetch_row(result), let lengths = mysql_fetch_lengths(result) else { return nil }
        self.row = row
        self.lengths = lengths
        count = Int(mysql_num_fields(result))
    }

    /// `nil` for NULL.
    func bytes(_ column: Int) -> UnsafeRawBufferPointer? {
        row[column].map { UnsafeRawBufferPointer(start: $0, count: Int(lengths[column])) }
    }

    fileprivate var texts: [String?] {
        var texts: [String?] = []
        for column in 0..<count { texts.append(bytes(column).map { String(decoding: $0, as: UTF8.self) }) }
        return texts
    }
}
