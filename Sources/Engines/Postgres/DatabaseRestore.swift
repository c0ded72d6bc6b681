import Core
import Streams

/// A restore of one database that has passed every check which changes nothing.
struct DatabaseRestore: RestorePlan {
    let engine: PostgresDatabase
    let request: RestoreRequest
    let properties: DatabaseProperties
    let destination: Destination
    let programs: RestorePrograms
    let missingRoles: [String]
    let summary: RestoreSummary

    var endpoint: PostgresEndpoint { engine.endpoint }
    var name: String { destination.name }

    func temporaryName(_ use: Naming.Use) -> String {
        Naming.name(use, for: name, requestID: request.requestID.description)
    }

    static func plan(_ engine: PostgresDatabase, _ request: RestoreRequest) async throws -> any RestorePlan {
        try await failedRestore {
            let examination = Examination(parts: request.parts, meter: request.meter)
            try examination.checkNames()
            let properties = try await examination.properties()
            let connection = try await Destination.openBeside(engine.endpoint)
            defer { connection.close() }
            let destination = try await Destination.read(connection, name: engine.endpoint.database)
            if isDone(request.requestID, request.setKey, destination) {
                return FinishedRestore(
                    summary: RestoreSummary(
                        replaces: nil, alreadyDone: true,
                        neededBytes: DiskCheck.needed(for: request.manifest.sourceSize), freeBytes: nil,
                        notes: ["'\(destination.name)' holds this very restore already"]),
                    database: engine.endpoint.label)
            }
            var preflight = RestorePreflight(
                connection: connection, destination: destination, request: request, properties: properties)
            let (programs, missing) = try await findPrograms(engine, destination)
            if let missing { preflight.add(problem: missing) }
            try await preflight.run()
            let aside = try await Leftovers(connection, database: destination.name).replaced()
            guard preflight.problems.isEmpty, let programs else {
                throw PostgresError.refused(preflight.problems, at: engine.endpoint.label)
            }
            return DatabaseRestore(
                engine: engine, request: request, properties: properties, destination: destination,
                programs: programs, missingRoles: preflight.missingRoles,
                summary: RestoreSummary(
                    replaces: destination.existing.map { "\(engine.endpoint.label), \(DiskCheck.text($0.size))" },
                    alreadyDone: false, neededBytes: preflight.neededBytes, freeBytes: preflight.freeBytes,
                    notes: preflight.notes
                        + aside.map { "'\($0.name)' is still there from an earlier restore" }))
        }
    }

    /// Whether the database that stands there says that it is what this request made.
    static func isDone(_ requestID: RequestID, _ setKey: BackupKey, _ destination: Destination) -> Bool {
        guard requestID.isReplayable, let marker = destination.existing?.comment.marker else { return false }
        return marker.kind == .restored && marker.requestID == requestID.description
            && marker.setKey == setKey.description && marker.database == destination.name
    }

    /// What is missing stands in the list with the other problems.
    static func findPrograms(
        _ engine: PostgresDatabase, _ destination: Destination
    ) async throws -> (programs: RestorePrograms?, missing: String?) {
        do {
            return (try await RestorePrograms(engine, serverMajor: destination.major), nil)
        } catch let error as PostgresError where [.tool, .toolVersion].contains(error.kind) {
            return (nil, "\(error.object): \(error.cause) (\(error.hint))")
        }
    }

    func stage() async throws -> any StagedRestore {
        try await failedRestore {
            let connection = try await Destination.openBeside(endpoint)
            defer { connection.close() }
            let kept = try await Leftovers(connection, database: name).clear(for: self)
            let staging = StagingDatabase(self, keptNotes: kept)
            do {
                try await staging.make(with: connection)
                try await staging.load()
                return staging
            } catch {
                // Nothing may stay beside the original, whatever ended us.
                try await staging.discard()
                throw error
            }
        }
    }
}

/// Trouble with server or tools while something is restored is a failed restore, with the original in place.
func failedRestore<Value>(_ body: () async throws -> Value) async throws -> Value {
    do {
        return try await body()
    } catch var error as PostgresError where error.exitCode == .source {
        error.exitCode = .restoreFailedOriginalIntact
        throw error
    }
}

/// A restore that was finished by an earlier run of the same request: there is nothing to do.
private struct FinishedRestore: RestorePlan {
    let summary: RestoreSummary
    let database: String

    func stage() async throws -> any StagedRestore {
        throw PostgresError.refused(["this request has been carried out already"], at: database)
    }
}

/// What a restore needs at run time.
struct RestorePrograms: Sendable {
    let psql: Tool
    let dump: DumpPrograms
    private let tools: ClientTools

    init(_ engine: PostgresDatabase, serverMajor: Int) async throws {
        psql = try await engine.toolSearch.find("psql", serverMajor: serverMajor, server: engine.endpoint.server)
        dump = try await DumpPrograms(engine, serverMajor: serverMajor)
        tools = try ClientTools(endpoint: engine.endpoint, serverMajor: serverMajor)
    }

    /// psql, reading a dump from its standard input into `database`: the first error ends it, and of errors it prints
    /// the line and the code only.
    func loadCommand(database: String, application: String) throws -> ChildCommand {
        try tools.command(
            psql,
            [
                "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=sqlstate", "--output=/dev/null",
                "--file=-",
            ], database: database, application: application,
            // Nobody relies on the staging database before the swap's commit, which flushes everything before it.
            settings: ["synchronous_commit": "off", "lock_timeout": "0"])
    }
}
