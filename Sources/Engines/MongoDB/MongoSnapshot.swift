import Core
import Streams

/// One archive of a database, or of the whole deployment, as mongodump writes it.
final class MongoSnapshot: Snapshot {
    /// The names of the facts that a restore reads again.
    enum Detail {
        static let database = "database"
        static let serverVersion = "server_version"
        static let featureVersion = "feature_compatibility_version"
        static let position = "oplog_position"
    }

    private struct State {
        var isHandedOut = false
        var isOver = false
        var output: ArchiveOutput?
        var heartbeat: MongoHeartbeat?
        /// What only the end of the dump shows.
        var lateExceptions: [String] = []
    }

    private let engine: MongoDatabase
    private let session: MongoSession
    private let tool: MongoTool
    private let server: ServerFacts
    private let baseFacts: SnapshotFacts
    private let meter: ProgressMeter
    private let state = Guarded(State())

    private init(
        engine: MongoDatabase, session: MongoSession, tool: MongoTool, server: ServerFacts, facts: SnapshotFacts,
        meter: ProgressMeter
    ) {
        self.engine = engine
        self.session = session
        self.tool = tool
        self.server = server
        baseFacts = facts
        self.meter = meter
    }

    var facts: SnapshotFacts {
        var facts = baseFacts
        facts.exceptions += state.withLock { $0.lateExceptions }
        return facts
    }

    /// `--oplog` makes a dump of one instant, and works for a whole replica set only.
    private var withOplog: Bool { engine.endpoint.database == nil && server.topology == .replicaSet }

    static func begin(_ engine: MongoDatabase, _ request: SnapshotRequest) async throws -> MongoSnapshot {
        let endpoint = engine.endpoint
        let session = try await engine.session("snapshot")
        let server = try await ServerFacts.read(session)
        let databases = endpoint.database.map { [$0] } ?? server.databases.filter { !ArchiveScope.isForeign($0) }
        // mongodump of a database that does not exist writes a valid archive with nothing in it.
        guard let first = databases.first, databases.allSatisfy(server.databases.contains) else {
            throw MongoError.missingDatabase(endpoint.database ?? "of anybody's", on: endpoint.hosts)
        }
        var exceptions = try await interrupted(session, endpoint, isForced: request.isForced)
        let tool = try await engine.tools.find("mongodump")
        let size = try await ServerFacts.size(of: databases, with: session)
        exceptions += instantExceptions(server, endpoint)
        var details = [
            "topology": server.topology.rawValue, Detail.serverVersion: server.version,
            "mongodump_version": tool.version,
        ]
        details[Detail.database] = endpoint.database == nil ? nil : first
        details[Detail.featureVersion] = server.featureVersion
        details[Detail.position] = server.position?.text
        let facts = SnapshotFacts(
            time: server.time, sourceSize: size, details: details, exceptions: exceptions)
        return MongoSnapshot(
            engine: engine, session: session, tool: tool, server: server, facts: facts, meter: request.meter)
    }

    /// A restore that was killed while it replaced what stood there leaves neither the old nor the new: only the safety
    /// set of the next restore may be of that.
    private static func interrupted(
        _ session: MongoSession, _ endpoint: MongoEndpoint, isForced: Bool
    ) async throws -> [String] {
        let latest: Bookkeeping.Note?
        do {
            latest = try await Bookkeeping(session: session, target: endpoint.database).latest()
        } catch let error as MongoError where error.kind == .permission {
            return [
                "whether a restore was cut short here cannot be seen: the user may not read '\(Bookkeeping.database)'"
            ]
        }
        guard let note = latest, note.state == .replacing else { return [] }
        let state = "a restore of \(note.setKey) was cut short here while it replaced what stood there"
        let before =
            note.safetyKey.map { "\($0) holds what was there before" } ?? "nothing holds what was there before"
        guard isForced else {
            throw MongoError(
                .refused, "dump the database", object: endpoint.label, cause: "\(state); \(before)",
                hint: "run the restore again, or restore \(note.safetyKey ?? "an older set"), before the next backup")
        }
        return ["\(state); \(before)"]
    }

    private static func instantExceptions(_ server: ServerFacts, _ endpoint: MongoEndpoint) -> [String] {
        switch server.topology {
        case .replicaSet: []
        case .standalone:
            ["a standalone server has no oplog: what was written during the dump may be in it or not"]
        case .sharded:
            ["a sharded cluster is dumped without its oplogs: what was written meanwhile may be in it or not"]
        }
    }

    var parts: AsyncThrowingStream<Part, any Error> {
        AsyncThrowingStream { try await self.nextPart() }
    }

    private func nextPart() async throws -> Part? {
        let isFirst = state.withLock { state in
            defer { state.isHandedOut = true }
            return !state.isHandedOut && !state.isOver
        }
        guard isFirst else { return nil }
        let application = "lifeboat dump \(baseFacts.time.milliseconds)"
        let commands = try MongoCommands(endpoint: engine.endpoint, timing: engine.timing, application: application)
        let output = try ArchiveOutput(
            commands.dump(tool, database: engine.endpoint.database, withOplog: withOplog), of: commands,
            scope: ArchiveScope(), meter: nil, object: engine.endpoint.label)
        let heartbeat = MongoHeartbeat(
            engine.endpoint, application: application, tool: tool.name,
            databases: engine.endpoint.database.map { [$0] } ?? server.databases, meter: meter, timing: engine.timing)
        state.withLock {
            $0.output = output
            $0.heartbeat = heartbeat
        }
        return Part(name: MongoDatabase.PartName.archive, source: output.source)
    }

    func finish() async throws -> Contents {
        guard let output = state.withLock({ $0.output }) else {
            throw MongoError.incompleteDump("it was not read to its end", of: engine.endpoint.label)
        }
        let found = try output.contents()
        // It may have been dropped since we looked.
        guard !found.restorable.isEmpty else {
            throw MongoError.incompleteDump("there is no collection in it", of: engine.endpoint.label)
        }
        let late = try await consistency()
        state.withLock { $0.lateExceptions = late }
        await cancel()
        return found.contents
    }

    /// Whether the dump is of one instant after all, because nobody wrote.
    private func consistency() async throws -> [String] {
        guard let position = server.position, !withOplog else { return [] }
        switch try await OplogWatch(session: session, database: engine.endpoint.database).verdict(since: position) {
        case .unmoved: return []
        case .moved:
            return ["the database was written to while it was dumped: its collections are of different instants"]
        case .unknown(let why):
            return ["whether the database was written to while it was dumped cannot be seen: \(why)"]
        }
    }

    func cancel() async {
        let (output, heartbeat) = state.withLock { state in
            defer { state.heartbeat = nil }
            state.isOver = true
            return (state.output, state.heartbeat)
        }
        await output?.end()
        await heartbeat?.stop()
    }
}
