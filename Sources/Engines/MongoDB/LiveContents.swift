import Core
import Streams

/// What databases at the server hold, by dumping them only to look.
struct LiveContents {
    let engine: MongoDatabase
    let tool: MongoTool
    let meter: ProgressMeter

    /// `names` are the databases at the server and what they are to be called.
    func read(_ names: [String: String]) async throws -> Contents {
        var data: [DataEntry] = []
        var schema: [SchemaEntry] = []
        for database in names.keys.sorted() {
            let contents = try await read(database, scope: ArchiveScope(names: names))
            data += contents.data
            schema += contents.schema
        }
        return Contents(data: data, schema: schema)
    }

    private func read(_ database: String, scope: ArchiveScope) async throws -> Contents {
        let application = "lifeboat compare \(database)"
        let commands = try MongoCommands(endpoint: engine.endpoint, timing: engine.timing, application: application)
        let output = try ArchiveOutput(
            commands.dump(tool, database: database, withOplog: false), of: commands, scope: scope, meter: meter,
            object: engine.endpoint.label(of: database))
        let heartbeat = MongoHeartbeat(
            engine.endpoint, application: application, tool: tool.name, databases: [database], meter: meter,
            timing: engine.timing)
        do {
            try await drain(output.source)
        } catch {
            await output.end()
            await heartbeat.stop()
            throw error
        }
        await heartbeat.stop()
        return try output.contents().contents
    }
}

/// Two pictures compared where time may have taken documents from one of them.
struct ExpiringComparison {
    /// `recorded`, where what was found differs by documents that have expired only; else what was found.
    let found: Contents
    let notes: [String]

    /// Documents with a TTL vanish within a minute of being restored. Fewer of them than recorded is as it should be;
    /// more, or others in equal number, is not.
    init(recorded: Contents, found: Contents, expiring: Set<ArchiveName>) {
        let before = Dictionary(grouping: recorded.data, by: \.label)
        var notes: [String] = []
        let data = found.data.map { entry in
            let name = ArchiveName(database: entry.schema, collection: entry.name)
            guard expiring.contains(name), let old = before[entry.label]?.first, entry.rows < old.rows else {
                return entry
            }
            notes.append("\(old.rows - entry.rows) documents of \(name) have expired since (TTL)")
            return old
        }
        self.found = Contents(data: data, schema: found.schema)
        self.notes = notes
    }
}
