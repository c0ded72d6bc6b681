import Core

/// What this program notes at the server about its restores, in a database of its own.
///
/// MongoDB has no place for a comment on a database, and a restore ends in place: so that a replay finds its restore
/// done, and a run that was killed while it replaced what stood there is known, each step is a document that is only
/// ever added (the role `restore` may insert, and not update). The one with the highest number counts.
struct Bookkeeping: Sendable {
    static let database = "lifeboat"
    static let collection = "restores"
    private static let purpose = "read the notes of earlier restores"

    let session: MongoSession
    /// The database that is restored; `nil` for the whole deployment.
    let target: String?

    private var targetName: String { target ?? "" }

    struct Note: Sendable, Equatable {
        enum State: String, Sendable {
            /// From before the first collection is dropped until all is in place or back.
            case replacing
            case restored
            case rolledBack
        }

        var number: Int64 = 0
        var state: State
        var requestID: String
        var setKey: String
        /// The set that holds what was there before.
        var safetyKey: String?
        var time: Timestamp
    }

    /// The last word about this target; `nil` where nothing was ever restored here.
    func latest() async throws -> Note? {
        let answer = try await session.run(
            [
                "find": .string(Self.collection), "filter": .document(["_id.target": .string(targetName)]),
                "sort": .document(["_id.number": -1]), "limit": 1, "singleBatch": true,
            ], in: Self.database, to: Self.purpose)
        guard let document = answer.value(at: "cursor", "firstBatch")?.documents.first else { return nil }
        guard let number = document.value(at: "_id", "number")?.integer,
            let state = document["state"]?.string.flatMap({ Note.State(rawValue: $0) }),
            let requestID = document["request"]?.string, let setKey = document["set"]?.string,
            case .date(let time)? = document["time"]
        else {
            throw MongoError(
                .command, Self.purpose, object: "\(Self.database).\(Self.collection) on \(session.endpoint.hosts)",
                cause: "a note is not as this program writes it",
                hint: "find out who changed it; remove it if the restore it is about is over")
        }
        return Note(
            number: number, state: state, requestID: requestID, setKey: setKey,
            safetyKey: document["safety"]?.string, time: Timestamp(milliseconds: time))
    }

    /// Adds a note and waits until a majority of the servers has it. Throws where another run adds one at the same time.
    func add(_ note: Note, to purpose: String) async throws {
        let number = (try await latest()?.number ?? 0) + 1
        var elements: [(String, BSON)] = [
            ("_id", .document(["target": .string(targetName), "number": .int64(number)])),
            ("state", .string(note.state.rawValue)), ("request", .string(note.requestID)),
            ("set", .string(note.setKey)), ("time", .date(note.time.milliseconds)),
        ]
        if let safety = note.safetyKey { elements.append(("safety", .string(safety))) }
        try await session.run(
            [
                "insert": .string(Self.collection), "documents": .array(of: [.document(BSONDocument(elements))]),
                "writeConcern": .document(["w": "majority", "wtimeout": 30000]),
            ], in: Self.database, to: purpose)
    }
}
