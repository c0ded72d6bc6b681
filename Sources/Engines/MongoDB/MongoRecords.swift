package import Core

/// A collection of records with an id that only grows, as audit trails have them.
///
/// Ids are whole numbers, ObjectIds (as 24 hexadecimal digits) or strings, of one kind throughout; a record whose id is
/// of another kind would sort away from where it belongs, so it is an error that says so. Only what a majority of a
/// replica set has is read: the rest could still be taken back.
package struct MongoRecords: RecordTable {
    private let endpoint: MongoEndpoint
    private let timing: MongoDatabase.Timing
    private let database: String
    private let collection: String
    private let field: String

    /// `idField` is the field of the id, at the top level of each document. Throws ``MongoError`` (configuration) where
    /// the endpoint names no database, or the field is none.
    package init(
        _ endpoint: MongoEndpoint, collection: String, idField: String = "_id",
        timing: MongoDatabase.Timing = MongoDatabase.Timing()
    ) throws {
        guard let database = endpoint.database else {
            throw MongoError.configuration(
                "database", "the connection string names no database", hint: "put it into the path of MONGODB_URL")
        }
        guard !collection.isEmpty, !idField.isEmpty, !idField.contains("."), !idField.hasPrefix("$") else {
            throw MongoError.configuration(
                "collection", "a collection and a field at the top level of its documents are needed",
                hint: "check the collection of the audit records and the field of their id")
        }
        self.endpoint = endpoint
        self.timing = timing
        self.database = database
        self.collection = collection
        field = idField
    }

    package var label: String { "collection \(collection) of \(endpoint.label)" }

    package func waiting(after id: RecordID?) async throws -> WaitingRecords {
        let session = try await MongoSession.open(endpoint, timing: timing, purpose: "records")
        guard let kind = try await kind(session) else { return WaitingRecords(count: 0, last: nil) }
        let groups = try await session.all(
            [
                "aggregate": .string(collection),
                "pipeline": .array(of: [
                    .document(["$match": .document(filter(after: try after(id, kind), kind: kind))]),
                    .document([
                        "$group": .document([
                            "_id": .document(["$type": .string("$\(field)")]), "count": .document(["$sum": 1]),
                            "last": .document(["$max": .string("$\(field)")]),
                        ])
                    ]),
                ]),
                "cursor": .document([:]), "readConcern": .document(["level": "majority"]), "allowDiskUse": true,
            ], in: database, to: "count the records that wait")
        var waiting = WaitingRecords(count: 0, last: nil)
        for group in groups {
            guard kind.types.contains(group["_id"]?.string ?? ""), let last = group["last"].flatMap(kind.recordID)
            else { throw mixedKinds(kind, found: group["_id"]?.string ?? "nothing") }
            waiting.count += group["count"]?.integer ?? 0
            waiting.last = waiting.last.map { max($0, last) } ?? last
        }
        return waiting
    }

    package func records(after id: RecordID?, through: RecordID) async throws -> any ByteSource {
        let session = try await MongoSession.open(endpoint, timing: timing, purpose: "records")
        guard let kind = try await kind(session) else { return MemorySource([]) }
        var range: [(String, BSON)] = [("$lte", try bound(through, kind))]
        if let lower = try after(id, kind) { range.append(("$gt", lower)) }
        let command: BSONDocument = [
            "find": .string(collection), "filter": .document(BSONDocument([(field, .document(BSONDocument(range)))])),
            "sort": .document(BSONDocument([(field, 1)])), "batchSize": 1000, "allowDiskUse": true,
            "readConcern": .document(["level": "majority"]),
        ]
        return RecordCursor(
            session: session, database: database, collection: collection, command: command, field: field, kind: kind)
    }

    // MARK: Ids

    /// Of the newest record; `nil` where there is none.
    private func kind(_ session: MongoSession) async throws -> RecordKind? {
        let newest = try await session.all(
            [
                "find": .string(collection), "sort": .document(BSONDocument([(field, -1)])), "limit": 1,
                "singleBatch": true,
                "projection": .document(BSONDocument([(field, 1)])), "readConcern": .document(["level": "majority"]),
            ], in: database, to: "look at the newest record")
        guard let document = newest.first else { return nil }
        guard let kind = document[field].flatMap({ RecordKind($0) }) else {
            throw MongoError(
                .command, "read the records", object: label,
                cause: "the newest record has no whole number, ObjectId or string in its field '\(field)'",
                hint: "check the field of the records' id")
        }
        return kind
    }

    private func after(_ id: RecordID?, _ kind: RecordKind) throws -> BSON? { try id.map { try bound($0, kind) } }

    private func bound(_ id: RecordID, _ kind: RecordKind) throws -> BSON {
        guard let bound = kind.bound(id) else { throw mixedKinds(kind, found: "the last set's \(id)") }
        return bound
    }

    /// Past `after`, and whatever has an id of another kind, so that it is seen.
    private func filter(after: BSON?, kind: RecordKind) -> BSONDocument {
        guard let after else { return [:] }
        let types = BSON.array(of: kind.types.map { .string($0) })
        return [
            "$or": .array(of: [
                .document(BSONDocument([(field, .document(["$gt": after]))])),
                .document(BSONDocument([(field, .document(["$not": .document(["$type": types])]))])),
            ])
        ]
    }

    private func mixedKinds(_ kind: RecordKind, found: String) -> MongoError {
        MongoError(
            .command, "read the records", object: label,
            cause: "the newest id is of type \(kind.types.joined(separator: " or ")), and there is \(found) too",
            hint: "ids of several kinds have no order: find out which records are wrong")
    }
}

/// What the ids of a trail are.
enum RecordKind: Sendable {
    case number, objectID, text

    init?(_ value: BSON) {
        switch value {
        case .int32, .int64: self = .number
        case .double(let number) where Int64(exactly: number) != nil: self = .number
        case .objectID: self = .objectID
        case .string: self = .text
        default: return nil
        }
    }

    /// As `$type` calls them.
    var types: [String] {
        switch self {
        case .number: ["int", "long", "double"]
        case .objectID: ["objectId"]
        case .text: ["string"]
        }
    }

    func recordID(_ value: BSON) -> RecordID? {
        switch (self, value) {
        case (.number, .int32(let number)): .number(Int64(number))
        case (.number, .int64(let number)): .number(number)
        case (.number, .double(let number)): Int64(exactly: number).map { .number($0) }
        case (.objectID, .objectID(let bytes)): .text(hexText(bytes))
        case (.text, .string(let text)): .text(text)
        default: nil
        }
    }

    func bound(_ id: RecordID) -> BSON? {
        switch (self, id) {
        case (.number, .number(let number)): .int64(number)
        case (.objectID, .text(let text)):
            bytes(hexText: text).flatMap { $0.count == 12 ? .objectID($0) : nil }
        case (.text, .text(let text)): .string(text)
        default: nil
        }
    }
}

/// The records of a cursor, a line of canonical JSON each.
private final class RecordCursor: ByteSource {
    private struct State {
        var cursor: Int64?
        var isOver = false
        /// Lines that have not been given yet.
        var lines: [UInt8] = []
        var offset = 0
    }

    private static let purpose = "read the records"

    private let session: MongoSession
    private let database: String
    private let collection: String
    private let command: BSONDocument
    private let field: String
    private let kind: RecordKind
    private let state = Guarded(State())
    private let isCancelled = Guarded(false)

    init(
        session: MongoSession, database: String, collection: String, command: BSONDocument, field: String,
        kind: RecordKind
    ) {
        self.session = session
        self.database = database
        self.collection = collection
        self.command = command
        self.field = field
        self.kind = kind
    }

    func next() throws -> Chunk? {
        try state.withLock { state in
            while state.offset == state.lines.count {
                if isCancelled.value { throw CancellationError() }
                if state.isOver { return nil }
                state.lines.removeAll(keepingCapacity: true)
                state.offset = 0
                try fetch(&state)
            }
            let end = min(state.offset + Chunk.size, state.lines.count)
            defer { state.offset = end }
            return Chunk(state.lines[state.offset..<end])
        }
    }

    func cancel() { isCancelled.withLock { $0 = true } }

    private func fetch(_ state: inout State) throws {
        let request: BSONDocument =
            state.cursor.map {
                ["getMore": .int64($0), "collection": .string(collection), "batchSize": 1000]
            } ?? command
        let answer = try session.runBlocking(request, in: database, to: Self.purpose)
        let batch = answer.value(at: "cursor", state.cursor == nil ? "firstBatch" : "nextBatch")
        for document in batch?.documents ?? [] {
            state.lines += try line(document)
            state.lines.append(UInt8(ascii: "\n"))
        }
        let cursor = answer.value(at: "cursor", "id")?.integer ?? 0
        state.cursor = cursor
        state.isOver = cursor == 0
    }

    private func line(_ document: BSONDocument) throws -> [UInt8] {
        guard let value = document[field], let id = kind.recordID(value),
            let text = MongoClient.extendedJSON(document), case .object(var members) = try parsed(text, id)
        else { throw unwritable("one without an id that was expected", "it cannot be written as JSON") }
        switch id {
        case .number(let number): members[field] = .exact(number)
        case .text(let text): members[field] = .string(text)
        }
        return JSON.object(members).canonicalBytes
    }

    private func parsed(_ text: String, _ id: RecordID) throws -> JSON {
        do {
            return try JSON(parsing: text.utf8).withPlainNumbers
        } catch {
            throw unwritable("\(id)", error.problem)
        }
    }

    private func unwritable(_ id: String, _ problem: String) -> MongoError {
        MongoError(
            .command, Self.purpose, object: "record \(id) of \(database).\(collection)", cause: problem,
            hint: "look at this record: it has a field twice, or is nested deeper than 64")
    }
}

extension JSON {
    /// Whole numbers of canonical Extended JSON as numbers, where every reader takes them exactly.
    fileprivate var withPlainNumbers: JSON {
        switch self {
        case .array(let elements): return .array(elements.map(\.withPlainNumbers))
        case .object(let members):
            if members.count == 1, let member = members.first, ["$numberInt", "$numberLong"].contains(member.key),
                case .string(let digits) = member.value, let number = Int64(digits),
                number.magnitude <= UInt64(JSON.largestInteger)
            {
                return .integer(number)
            }
            // A date keeps the form in which it is known for one.
            if members.count == 1, members["$date"] != nil { return self }
            return .object(members.mapValues(\.withPlainNumbers))
        default: return self
        }
    }
}
