import Core
import Streams

/// pg_dump and pg_dumpall for one server, and how they are called.
struct DumpPrograms: Sendable {
    let dump: Tool
    let dumpAll: Tool
    private let tools: ClientTools

    init(_ engine: PostgresDatabase, serverMajor: Int) async throws {
        let search = engine.toolSearch
        let server = engine.endpoint.server
        dump = try await search.find("pg_dump", serverMajor: serverMajor, server: server)
        dumpAll = try await search.find("pg_dumpall", serverMajor: serverMajor, server: server)
        tools = try ClientTools(endpoint: engine.endpoint, serverMajor: serverMajor)
    }

    /// Everything in `database`, as text. Nothing is left out: no option that names or excludes objects.
    func dumpCommand(
        database: String, application: String, lockTimeout: Int, picture: String?
    ) throws -> ChildCommand {
        var arguments = ["--format=plain", "--lock-wait-timeout=\(lockTimeout * 1000)"]
        if let picture { arguments.append("--snapshot=\(picture)") }
        return try tools.command(dump, arguments, database: database, application: application)
    }

    /// Roles and tablespaces of the whole server.
    func globalsCommand(withPasswords: Bool, application: String, lockTimeout: Int) throws -> ChildCommand {
        var arguments = ["--globals-only", "--lock-wait-timeout=\(lockTimeout * 1000)"]
        if !withPasswords { arguments.append("--no-role-passwords") }
        // pg_dumpall ignores the database of a connection string and asks for the one to begin in by itself.
        let start = try tools.endpoint.connectionString(database: tools.endpoint.database)
        return try tools.command(
            dumpAll, arguments + ["--database=\(start)"], database: tools.endpoint.database, application: application)
    }

    /// Dumps `database` only to see what is in it.
    func contents(
        of database: String, watchedFrom other: String, application: String, timing: PostgresDatabase.Timing,
        meter: ProgressMeter
    ) async throws -> Contents {
        let command = try dumpCommand(
            database: database, application: application, lockTimeout: timing.dumpLock, picture: nil)
        let output = try ToolOutput(
            command, completionLine: CompletionLine.database, object: tools.endpoint.label(of: database))
        let heartbeat = Heartbeat(
            tools.endpoint, database: other, application: application, meter: meter, every: timing.heartbeat)
        let reader = ContentsReader()
        do {
            try await drain(
                try ObservedSource(MeteredSource(output, meter: meter), name: "contents") { try reader.read($0) })
        } catch {
            await output.end()
            await heartbeat.stop()
            throw error
        }
        await heartbeat.stop()
        return try sourceError { try reader.finish() }
    }
}
