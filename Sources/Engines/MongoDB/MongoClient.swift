import CMongoC
import Core
import Glibc

/// libmongoc's client, used by one thread at a time, with no output of its own: what it would log may quote
/// documents.
final class MongoClient: @unchecked Sendable {
    private static let library: Void = {
        // Its counters would lie in shared memory as a file that stays when the process is killed. Nobody reads them.
        setenv("MONGOC_DISABLE_SHM", "1", 1)
        mongoc_init()
        mongoc_log_set_handler(nil, nil)
    }()

    // Guarded by `mutex`.
    private let client: OpaquePointer
    private let mutex = Guarded(())

    /// `nil` where `uri` is no connection string.
    init?(_ uri: Secret) {
        _ = Self.library
        guard let client = uri.withRevealed({ cmongoc_client($0) }) else { return nil }
        self.client = client
    }

    deinit { mongoc_client_destroy(client) }

    enum Answer {
        case done(BSONDocument)
        case refused(ClientRefusal)
    }

    /// Blocks until there is an answer, for as long as the connection string allows.
    func run(_ command: BSONDocument, in database: String) -> Answer {
        mutex.withLock { _ in
            var error = bson_error_t()
            var length: UInt32 = 0
            var isDone = false
            let bytes = command.bytes.withUnsafeBufferPointer {
                cmongoc_command(client, database, $0.baseAddress, $0.count, &length, &isDone, &error)
            }
            defer { bson_free(bytes) }
            let answer = UnsafeBufferPointer(start: bytes, count: Int(length))
            guard isDone, let document = Self.document(answer) else {
                return .refused(ClientRefusal(error))
            }
            if let problem = ClientRefusal(writeErrorsIn: document) { return .refused(problem) }
            return .done(document)
        }
    }

    /// Extended JSON as a document; `nil` where it is none.
    static func document(extendedJSON text: String) -> BSONDocument? {
        var length: UInt32 = 0
        let json = Array(text.utf8)
        guard let bytes = cmongoc_from_json(json, json.count, &length) else { return nil }
        defer { bson_free(bytes) }
        return document(UnsafeBufferPointer(start: bytes, count: Int(length)))
    }

    private static func document(_ bytes: UnsafeBufferPointer<UInt8>) -> BSONDocument? {
        do {
            return try BSONDocument(Array(bytes))
        } catch {
            // Not even the server's own library makes sense of it: there is no answer.
            return nil
        }
    }

    /// A document as canonical Extended JSON; `nil` where it is damaged.
    static func extendedJSON(_ document: BSONDocument) -> String? {
        let text = document.bytes.withUnsafeBufferPointer { cmongoc_to_json($0.baseAddress, $0.count) }
        guard let text else { return nil }
        defer { bson_free(text) }
        return String(cString: text)
    }
}

/// Why a command got no good answer.
struct ClientRefusal {
    /// The server's own code, where the server answered.
    var serverCode: Int32?
    var domain: UInt32
    /// May quote documents: matched, never shown.
    private var message: String

    init(_ error: bson_error_t) {
        domain = error.domain
        serverCode = error.domain == MONGOC_ERROR_SERVER.rawValue ? Int32(bitPattern: error.code) : nil
        isLogin =
            error.domain == MONGOC_ERROR_CLIENT.rawValue && error.code == MONGOC_ERROR_CLIENT_AUTHENTICATE.rawValue
        message = withUnsafeBytes(of: error.message) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    /// A write that fails leaves the command itself a success.
    init?(writeErrorsIn answer: BSONDocument) {
        let errors = answer["writeErrors"]?.documents ?? []
        let concern = answer["writeConcernError"]?.document
        guard let code = (errors.first ?? concern)?["code"]?.integer else { return nil }
        serverCode = Int32(truncatingIfNeeded: code)
        domain = MONGOC_ERROR_SERVER.rawValue
        isLogin = false
        message = ""
    }

    let isLogin: Bool

    func mentions(_ text: String) -> Bool { message.contains(text) }

    func failure(_ purpose: String, on object: String) -> MongoError {
        if isLogin || serverCode == 18 { return MongoError.command("log in", code: 18, on: object) }
        if let serverCode { return MongoError.command(purpose, code: serverCode, on: object) }
        if let words = Self.encryption.first(where: { mentions($0.pattern) }) {
            return MongoError(
                .encryption, "connect", object: object, cause: words.cause,
                hint: "check tls, tlsCAFile and the server's certificate")
        }
        if domain == MONGOC_ERROR_SERVER_SELECTION.rawValue {
            let cause = Self.network.first { mentions($0.pattern) }?.cause ?? "no suitable server was found in time"
            return MongoError(
                .unreachable, "connect", object: object, cause: cause,
                hint: "check MONGODB_URL, that the server runs, and that a network policy lets us in")
        }
        return MongoError.lostConnection(purpose, on: object)
    }

    private static let encryption = [
        (pattern: "certificate verify failed", cause: "the server's certificate is not trusted"),
        (pattern: "TLS handshake failed", cause: "TLS could not be agreed on"),
        (pattern: "Failed to load", cause: "a certificate file could not be used"),
    ]

    private static let network = [
        (pattern: "onnection refused", cause: "the connection was refused: nothing listens there"),
        (pattern: "Failed to resolve", cause: "the host's name is not known"),
        (pattern: "No suitable servers found", cause: "no suitable server was found in time"),
    ]
}
