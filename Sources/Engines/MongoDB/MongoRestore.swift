import Core
import Streams

/// A restore that has passed every check which changes nothing.
struct MongoRestore: RestorePlan {
    let engine: MongoDatabase
    let request: RestoreRequest
    /// The databases of the set, and those they are restored to.
    let names: [String: String]
    let server: ServerFacts
    let tools: RestoreTools
    /// Of a restore that was cut short while it replaced what stands there.
    let interrupted: Bookkeeping.Note?
    let summary: RestoreSummary

    var endpoint: MongoEndpoint { engine.endpoint }

    /// The databases of the set, and where each is loaded first.
    var stagingNames: [String: String] {
        names.mapValues { Naming.staging(for: $0, requestID: request.requestID.description) }
    }

    static func plan(_ engine: MongoDatabase, _ request: RestoreRequest) async throws -> any RestorePlan {
        try await failedRestore {
            try Examination(parts: request.parts, meter: request.meter).checkNames()
            let session = try await engine.session("restore")
            let server = try await ServerFacts.read(session)
            let note = try await Bookkeeping(session: session, target: engine.endpoint.database).latest()
            if let note, isDone(request, note) { return FinishedRestore(request, of: engine.endpoint.label) }
            var preflight = RestorePreflight(
                engine: engine, session: session, server: server, request: request)
            try await preflight.run(note)
            guard preflight.problems.isEmpty, let tools = preflight.tools else {
                throw MongoError.refused(preflight.problems, at: engine.endpoint.label)
            }
            return MongoRestore(
                engine: engine, request: request, names: preflight.names, server: server, tools: tools,
                interrupted: note?.state == .replacing ? note : nil,
                summary: RestoreSummary(
                    replaces: preflight.replaces, alreadyDone: false, neededBytes: preflight.neededBytes,
                    freeBytes: preflight.freeBytes, notes: preflight.notes))
        }
    }

    private static func isDone(_ request: RestoreRequest, _ note: Bookkeeping.Note) -> Bool {
        request.requestID.isReplayable && note.state == .restored
            && note.requestID == request.requestID.description && note.setKey == request.setKey.description
    }

    func stage() async throws -> any StagedRestore {
        try await failedRestore {
            let session = try await engine.session("stage")
            try await clearLeftovers(with: session)
            let staged = StagedDatabases(self)
            do {
                try await staged.load()
                return staged
            } catch {
                // Nothing may stay beside the original, whatever ended us.
                try await staged.discard()
                throw error
            }
        }
    }

    /// Staging databases of runs that were killed: they have the names that only this program gives, for this target.
    private func clearLeftovers(with session: MongoSession) async throws {
        let databases = try await ServerFacts.read(session).databases
        for database in databases where names.values.contains(where: { Naming.isStaging(database, for: $0) }) {
            try await DatabaseContents(session: session, database: database).remove()
        }
    }
}

/// The two programs.
struct RestoreTools: Sendable {
    let dump: MongoTool
    let restore: MongoTool
}

/// Trouble with server or tools while something is restored is a failed restore, with the original in place.
func failedRestore<Value>(_ body: () async throws -> Value) async throws -> Value {
    do {
        return try await body()
    } catch var error as MongoError where error.exitCode == .source {
        error.exitCode = .restoreFailedOriginalIntact
        throw error
    }
}

/// A restore that was finished by an earlier run of the same request: there is nothing to do.
private struct FinishedRestore: RestorePlan {
    let summary: RestoreSummary
    let label: String

    init(_ request: RestoreRequest, of label: String) {
        self.label = label
        summary = RestoreSummary(
            replaces: nil, alreadyDone: true,
            neededBytes: RestorePreflight.neededBytes(for: request.manifest.sourceSize, replacing: 0), freeBytes: nil,
            notes: ["\(label) holds this very restore already"])
    }

    func stage() async throws -> any StagedRestore {
        throw MongoError.refused(["this request has been carried out already"], at: label)
    }
}

/// The collections of one database, for removing them.
struct DatabaseContents {
    let session: MongoSession
    let database: String

    struct Entry: Sendable {
        var name: String
        var type: String
    }

    func list() async throws -> [Entry] {
        try await session.all(
            [
                "listCollections": 1, "nameOnly": true, "authorizedCollections": false,
                "cursor": .document(["batchSize": 1000]),
            ], in: database, to: "list the collections"
        ).compactMap { document in
            document["name"]?.string.map { Entry(name: $0, type: document["type"]?.string ?? "collection") }
        }
    }

    /// Of a collection that is not there it is success.
    func drop(_ collection: String) async throws {
        do {
            try await session.run(["drop": .string(collection)], in: database, to: "remove a collection")
        } catch let error as MongoError where error.code == 26 {
            return
        }
    }

    /// Everything but `kept`. The server's own collections go with what they belong to; functions (`system.js`) are
    /// emptied, since nobody may drop them.
    func remove(except kept: Set<String>) async throws {
        // Views first: without what they are on they could not be listed.
        for entry in try await list().sorted(by: { $0.type > $1.type }) where !kept.contains(entry.name) {
            if entry.name == "system.js" {
                try await clear(entry.name)
            } else if !entry.name.hasPrefix("system.") {
                try await drop(entry.name)
            }
        }
    }

    func clear(_ collection: String) async throws {
        let all = BSON.document(["q": .document([:]), "limit": 0])
        try await session.run(
            ["delete": .string(collection), "deletes": .array(of: [all])], in: database, to: "empty a collection")
    }

    /// The whole database.
    func remove() async throws {
        do {
            try await session.run(["dropDatabase": 1], in: database, to: "remove the database")
        } catch let error as MongoError where error.kind == .permission {
            // The role `restore` may drop collections only; the last takes the database with it.
            try await remove(except: [])
        }
    }
}
