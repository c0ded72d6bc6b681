import Core

/// A session on the server, through libmongoc in this process, so that the password never leaves it.
///
/// One command runs at a time, on a thread of its own. Cancelling the task lets go of the command at once; the server
/// ends it by its own limit.
final class MongoSession: Sendable {
    /// Seconds that a command may take at the server.
    static let patience = 30
    /// Seconds after which a connection without a word is taken for lost.
    private static let silence = 120

    let endpoint: MongoEndpoint
    private let client: MongoClient

    private init(endpoint: MongoEndpoint, client: MongoClient) {
        self.endpoint = endpoint
        self.client = client
    }

    /// Opens a session and says hello. `purpose` shows in the server's list of operations.
    static func open(
        _ endpoint: MongoEndpoint, timing: MongoDatabase.Timing, purpose: String
    ) async throws -> MongoSession {
        let uri = endpoint.connectionString(adding: [
            ("appName", "lifeboat \(purpose)"), ("serverSelectionTimeoutMS", String(timing.serverSelection * 1000)),
            ("serverSelectionTryOnce", "false"), ("socketTimeoutMS", String(silence * 1000)),
        ])
        guard let client = MongoClient(uri) else {
            throw MongoError.configuration(
                "connection string", "libmongoc does not take it",
                hint: "check the options in MONGODB_URL ('Connection String Options' in MongoDB's manual)")
        }
        let session = MongoSession(endpoint: endpoint, client: client)
        try await session.run(["hello": 1], in: "admin", to: "connect")
        return session
    }

    /// Runs one command and returns its answer. `purpose` completes "cannot …" where it fails.
    @discardableResult
    func run(_ command: BSONDocument, in database: String, to purpose: String) async throws -> BSONDocument {
        let object = database == "admin" ? endpoint.hosts : endpoint.label(of: database)
        let answer = Awaited<BSONDocument>()
        return try await withTaskCancellationHandler {
            try await answer.value { [client] in
                switch client.run(command, in: database) {
                case .done(let document): return document
                case .refused(let refusal): throw refusal.failure(purpose, on: object)
                }
            }
        } onCancel: {
            answer.give(.failure(CancellationError()))
        }
    }

    /// The same for a thread that may block.
    @discardableResult
    func runBlocking(_ command: BSONDocument, in database: String, to purpose: String) throws -> BSONDocument {
        switch client.run(command, in: database) {
        case .done(let document): return document
        case .refused(let refusal): throw refusal.failure(purpose, on: endpoint.label(of: database))
        }
    }

    /// Everything a command with a cursor gives, for what is known to be little: at most `limit` documents.
    func all(
        _ command: BSONDocument, in database: String, to purpose: String, limit: Int = 100_000
    ) async throws -> [BSONDocument] {
        var batch = try await run(command, in: database, to: purpose)
        var documents: [BSONDocument] = batch.value(at: "cursor", "firstBatch")?.documents ?? []
        while let cursor = batch.value(at: "cursor", "id")?.integer, cursor != 0 {
            guard documents.count <= limit, let name = batch.value(at: "cursor", "ns")?.string,
                let dot = name.firstIndex(of: ".")
            else {
                throw MongoError(
                    .command, purpose, object: endpoint.label(of: database),
                    cause: "the server's list is longer than \(limit) entries",
                    hint: "see what fills it; nothing was changed")
            }
            let collection = String(name[name.index(after: dot)...])
            batch = try await run(
                ["getMore": .int64(cursor), "collection": .string(collection)], in: database, to: purpose)
            documents += batch.value(at: "cursor", "nextBatch")?.documents ?? []
        }
        return documents
    }
}

/// What a thread answers to a task, unless the task is told otherwise before.
private final class Awaited<Value: Sendable>: Sendable {
    private enum State {
        case open
        case waiting(CheckedContinuation<Value, any Error>)
        case given(Result<Value, any Error>)
        case over
    }

    private let state = Guarded(State.open)

    func value(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            let early: Result<Value, any Error>? = state.withLock { state in
                if case .given(let result) = state {
                    state = .over
                    return result
                }
                state = .waiting(continuation)
                return nil
            }
            if let early { return continuation.resume(with: early) }
            do {
                try startThread("mongo") { self.give(Result { try body() }) }
            } catch {
                give(.failure(error))
            }
        }
    }

    /// Only the first counts.
    func give(_ result: Result<Value, any Error>) {
        let waiting: CheckedContinuation<Value, any Error>? = state.withLock { state in
            switch state {
            case .open:
                state = .given(result)
                return nil
            case .waiting(let continuation):
                state = .over
                return continuation
            case .given, .over: return nil
            }
        }
        waiting?.resume(with: result)
    }
}
