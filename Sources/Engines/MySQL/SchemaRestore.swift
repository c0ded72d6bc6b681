import Core
import Streams

/// A restore of one database that has passed every check which changes nothing.
struct SchemaRestore: RestorePlan {
    let engine: MySQLDatabase
    let request: RestoreRequest
    let properties: SchemaProperties
    let accounts: [String]
    let missingAccounts: [SchemaAccounts.Account]
    let programs: ClientPrograms
    let exists: Bool
    let summary: RestoreSummary

    var endpoint: MySQLEndpoint { engine.endpoint }
    var name: String { endpoint.database }
    var label: String { endpoint.label }
    var identity: String { SchemaNaming.identity(of: name, requestID: request.requestID.description) }
    var staging: String {
        SchemaNaming.name(.staging, for: name, requestID: request.requestID.description)
    }
    var replaced: String {
        SchemaNaming.name(.replaced, for: name, requestID: request.requestID.description)
    }

    static func plan(_ engine: MySQLDatabase, _ request: RestoreRequest) async throws -> any RestorePlan {
        try await failedSchemaRestore {
            let examination = SetExamination(manifest: request.manifest, parts: request.parts, meter: request.meter)
            try examination.checkNames()
            let properties = try await examination.properties()
            let accounts = try await examination.accounts()
            let session = try await ServerSession.open(engine.endpoint, database: nil)
            defer { session.close() }
            let destination = try await DestinationSchema.read(session, name: engine.endpoint.database)
            let books = RestoreBooks(session: session, database: destination.name)
            let entries = try await books.exist() ? try await books.entries() : []
            if let done = finished(request, entries) {
                return FinishedSchemaRestore(
                    summary: RestoreSummary(
                        replaces: nil, alreadyDone: true, neededBytes: 0, freeBytes: nil,
                        notes: ["'\(done.database)' holds this very restore already"]),
                    database: engine.endpoint.label)
            }
            var preflight = SchemaPreflight(
                session: session, destination: destination, request: request, properties: properties,
                accounts: accounts)
            let programs = try await findPrograms(engine, destination, &preflight)
            try await preflight.run()
            note(entries, &preflight)
            guard preflight.problems.isEmpty, let programs else {
                throw MySQLError.refused(preflight.problems, at: engine.endpoint.label)
            }
            return SchemaRestore(
                engine: engine, request: request, properties: properties, accounts: accounts,
                missingAccounts: preflight.missingAccounts, programs: programs, exists: destination.exists,
                summary: RestoreSummary(
                    replaces: destination.exists ? "\(engine.endpoint.label), \(destination.size) bytes" : nil,
                    alreadyDone: false, neededBytes: preflight.neededBytes, freeBytes: preflight.freeBytes,
                    notes: preflight.notes))
        }
    }

    /// The entry that says that what stands there is what this request made.
    private static func finished(
        _ request: RestoreRequest, _ entries: [RestoreBooks.Entry]
    ) -> RestoreBooks.Entry? {
        guard request.requestID.isReplayable else { return nil }
        return entries.first {
            $0.state == .restored && $0.requestID == request.requestID.description
                && $0.setKey == request.setKey.description
        }
    }

    /// A missing program stands in the list with the other problems.
    private static func findPrograms(
        _ engine: MySQLDatabase, _ destination: DestinationSchema, _ preflight: inout SchemaPreflight
    ) async throws -> ClientPrograms? {
        do {
            return try await ClientPrograms(engine, server: destination.version)
        } catch let error as MySQLError where [.tool, .toolVersion].contains(error.kind) {
            preflight.add(problem: "\(error.object): \(error.cause) (\(error.hint))")
            return nil
        }
    }

    private static func note(_ entries: [RestoreBooks.Entry], _ preflight: inout SchemaPreflight) {
        for entry in entries {
            switch entry.state {
            case .exchanging, .verified:
                preflight.add(
                    note:
                        "an earlier restore (\(entry.requestID)) was interrupted while it exchanged the tables: that "
                        + "is put right first")
            case .staging: preflight.add(note: "'\(entry.staging)' is left over from an earlier restore and goes")
            case .restored, .past: break
            }
        }
    }

    func stage() async throws -> any StagedRestore {
        try await failedSchemaRestore {
            let session = try await ServerSession.open(endpoint, database: nil, patience: 600)
            // Held until the restore has ended, in whatever way.
            try await ExchangeLock.take(
                for: name, with: session, waiting: engine.options.lockWait, object: label)
            let kept = try await putRight(with: session)
            let staging = StagingSchema(self, keptNotes: kept, lock: session)
            do {
                try await staging.make(with: session)
                try await staging.load()
                return staging
            } catch {
                // Nothing may stay beside the original, whatever ended us.
                try await staging.discard()
                throw error
            }
        }
    }

    /// Ends what earlier runs have left half done, and removes what may go. Returns what stays and why.
    private func putRight(with session: ServerSession) async throws -> [String] {
        let books = RestoreBooks(session: session, database: name)
        try await books.open()
        var kept: [String] = []
        for entry in try await books.entries() {
            switch entry.state {
            case .exchanging:
                try await undoing(entry, with: session)
            case .verified:
                try await session.rows(ExchangeSign.drop(in: name), to: "end an interrupted restore")
                try await books.close(entry)
                try await drop(entry.staging, with: session)
            case .staging:
                try await drop(entry.staging, with: session)
                try await books.remove(entry.identity)
            case .restored, .past:
                if let reason = try await clearReplaced(entry, with: session, books) { kept.append(reason) }
            }
        }
        return kept
    }

    private func undoing(_ entry: RestoreBooks.Entry, with session: ServerSession) async throws {
        do {
            try await ExchangeUndo(restore: self, entry: entry, meter: request.meter).run(with: session)
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            throw ExchangeUndo.failure(error, entry, at: label)
        }
        try await drop(entry.staging, with: session)
    }

    /// Removes what an earlier restore put aside where a proven set holds exactly that; else says why it stays.
    private func clearReplaced(
        _ entry: RestoreBooks.Entry, with session: ServerSession, _ books: RestoreBooks
    ) async throws -> String? {
        let inventory = try await SchemaInventory.read(session, database: entry.replaced)
        if !inventory.tables.isEmpty, let reason = try await reasonToKeep(entry) {
            return "'\(entry.replaced)', replaced by an earlier restore, is kept: \(reason)"
        }
        try await drop(entry.replaced, with: session)
        if entry.state == .past { try await books.remove(entry.identity) }
        return nil
    }

    private func reasonToKeep(_ entry: RestoreBooks.Entry) async throws -> String? {
        guard let key = entry.safetyKey else { return "no safety backup was made of it" }
        guard let verified = try await request.verifiedContents(key) else {
            return "its safety backup \(key) is not there or not proven"
        }
        let found = try await contents(of: entry.replaced, as: name, .tables)
        return ContentsComparison(recorded: verified.tablesOnly, found: found.tablesOnly).isEqual
            ? nil : "it is not what its safety backup \(key) holds"
    }

    func drop(_ schema: String, with session: ServerSession) async throws {
        try await session.rows(
            "DROP DATABASE IF EXISTS \(backticked(schema))", to: "remove the database '\(schema)'")
    }

    /// What of a database is looked at.
    enum Depth { case everything, tables, schema }

    /// Dumps `schema` only to see what is in it. `database` is the name its own names are read as; `heldEvents` are
    /// read as switched on.
    func contents(
        of schema: String, as database: String, _ depth: Depth, heldEvents: Set<String> = []
    ) async throws -> Contents {
        var scope = ClientPrograms.DumpScope()
        scope.hasRows = depth != .schema
        scope.hasCode = depth != .tables
        let reader = SQLContentsReader(database: database, heldEvents: heldEvents)
        let probe = try await ServerSession.open(endpoint, database: nil)
        let known = try await SessionWatch.sessions(in: schema, seenFrom: probe)
        probe.close()
        let output = try ToolOutput(
            programs.dumpCommand(database: schema, scope), of: programs, object: endpoint.label(of: schema))
        let watch = SessionWatch(
            endpoint, database: schema, known: known, meter: request.meter, every: engine.options.heartbeat)
        do {
            let source = MeteredSource(output, meter: request.meter)
            try await drain(try ObservedSource(source, name: "contents") { try reader.read($0) })
        } catch {
            await output.end()
            await watch.stop()
            throw error
        }
        await watch.stop()
        return try reader.finish().contents
    }
}

/// Trouble with server or tools while something is restored is a failed restore, with the original in place.
func failedSchemaRestore<Value>(_ body: () async throws -> Value) async throws -> Value {
    do {
        return try await body()
    } catch var error as MySQLError where error.exitCode == .source {
        error.exitCode = .restoreFailedOriginalIntact
        throw error
    }
}

/// A restore that was finished by an earlier run of the same request: there is nothing to do.
private struct FinishedSchemaRestore: RestorePlan {
    let summary: RestoreSummary
    let database: String

    func stage() async throws -> any StagedRestore {
        throw MySQLError.refused(["this request has been carried out already"], at: database)
    }
}

extension Contents {
    /// Without views, triggers, routines and events, which are not moved with the tables.
    var tablesOnly: Contents {
        Contents(data: data, schema: schema.filter { $0.type == "TABLE" || $0.type == "SEQUENCE" })
    }

    /// The schema alone, with what an event that ran out leaves out.
    func schemaOnly(completedBy recorded: Contents, expiring: Set<String>) -> Contents {
        Contents(data: [], schema: schema).completed(by: recorded, expiring: expiring)
    }

    /// With the recorded entries of those `expiring` events that a server no longer makes.
    func completed(by recorded: Contents, expiring: Set<String>) -> Contents {
        let present = Set(schema.filter { $0.type == "EVENT" }.map(\.name))
        let gone = recorded.schema.filter {
            $0.type == "EVENT" && expiring.contains($0.name) && !present.contains($0.name)
        }
        return Contents(data: data, schema: schema + gone)
    }
}
