import Core
import Streams

/// One consistent picture of a database: users and grants, the database's own properties, and its dump.
final class DatabaseSnapshot: Snapshot {
    /// The names of a set's parts.
    enum PartName {
        static let globals = SchemaAccounts.partName
        static let properties = SchemaProperties.partName
        static let database = "database.sql"
        static let all = [globals, properties, database]
    }

    /// The names of the facts that a restore reads again.
    enum Detail {
        static let database = "database"
        static let serverVersion = "server_version"
        static let product = "server_product"
        static let lowerCaseTableNames = "lower_case_table_names"
        static let longestStatement = "longest_statement"
        static let binlogFile = "binlog_file"
        static let binlogPosition = "binlog_position"
        static let gtid = "gtid"
    }

    private struct State {
        var handedOut = 0
        var output: ToolOutput?
        var watch: SessionWatch?
        var found: SQLDumpFacts?
        var isOver = false
    }

    private let engine: MySQLDatabase
    private let programs: ClientPrograms
    private let properties: [UInt8]
    private let accounts: [UInt8]
    private let scope: ClientPrograms.DumpScope
    private let knownSessions: Set<Int64>
    private let base: SnapshotFacts
    private let meter: ProgressMeter
    private let contents: SQLContentsReader
    private let state = Guarded(State())

    private init(
        engine: MySQLDatabase, programs: ClientPrograms, properties: SchemaProperties, accounts: SchemaAccounts,
        scope: ClientPrograms.DumpScope, knownSessions: Set<Int64>, facts: SnapshotFacts, meter: ProgressMeter
    ) {
        self.engine = engine
        self.programs = programs
        self.properties = properties.json.canonicalBytes
        self.accounts = accounts.text
        self.scope = scope
        self.knownSessions = knownSessions
        base = facts
        self.meter = meter
        contents = SQLContentsReader(database: engine.endpoint.database)
    }

    static func begin(_ engine: MySQLDatabase, _ request: SnapshotRequest) async throws -> DatabaseSnapshot {
        let endpoint = engine.endpoint
        let session = try await ServerSession.open(endpoint, database: endpoint.database)
        defer { session.close() }
        try await refuseHalfRestored(engine, session, waits: request.isForced, meter: request.meter)
        let privileges = try await Privileges.read(session)
        let missing = privileges.missingForDump(
            of: endpoint.database, locks: engine.options.locksTables, isMariaDB: session.version.isMariaDB)
        guard missing.isEmpty else {
            throw MySQLError(
                .permission, "dump the database", object: endpoint.label,
                cause: "user \(endpoint.user) may not see all of it: \(missing.joined(separator: ", ")) is missing",
                hint: "GRANT what is missing to the user: a dump would leave out what it may not see")
        }
        let programs = try await ClientPrograms(engine, server: session.version)
        let server = try await DatabaseFacts.read(session, database: endpoint.database)
        let properties = try await SchemaProperties.read(session, database: endpoint.database)
        let accounts = try await SchemaAccounts.read(
            session, database: endpoint.database, definers: properties.definers)
        var scope = ClientPrograms.DumpScope()
        scope.locksTables = engine.options.locksTables
        scope.hasGTID = session.version >= ServerVersion(isMariaDB: true, 10, 0)
        // MariaDB knows the position of a transaction's picture; MySQL has to stop writers for a moment to tell it.
        let maySee =
            session.version.isMariaDB
            || (privileges.holdsEverywhere("RELOAD") && privileges.holdsEverywhere("REPLICATION CLIENT"))
        scope.hasPosition = server.hasBinaryLog && maySee && !scope.locksTables
        return DatabaseSnapshot(
            engine: engine, programs: programs, properties: properties, accounts: accounts, scope: scope,
            knownSessions: try await SessionWatch.sessions(in: endpoint.database, seenFrom: session),
            facts: describe(engine, session.version, server, programs, accounts, scope), meter: request.meter)
    }

    /// A safety backup waits for its own run, which puts right what an interrupted restore has left; any other ends.
    private static func refuseHalfRestored(
        _ engine: MySQLDatabase, _ session: ServerSession, waits: Bool, meter: ProgressMeter
    ) async throws {
        let database = engine.endpoint.database
        let end = ContinuousClock.now + (waits ? engine.options.recoveryWait : .zero)
        while try await ExchangeSign.stands(in: database, seenFrom: session) {
            guard ContinuousClock.now < end else {
                throw MySQLError.interruptedRestore(at: engine.endpoint.label)
            }
            meter.beat()
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    private static func describe(
        _ engine: MySQLDatabase, _ version: ServerVersion, _ server: DatabaseFacts, _ programs: ClientPrograms,
        _ accounts: SchemaAccounts, _ scope: ClientPrograms.DumpScope
    ) -> SnapshotFacts {
        var exceptions = accounts.exceptions
        var notes: [String] = []
        let plain = server.nonTransactional
        if !plain.isEmpty, !scope.locksTables {
            exceptions.append(
                counted(
                    plain.count, "table takes part in no transaction and was",
                    "tables take part in no transaction and were")
                    + " dumped without a lock: what was written there during the dump may be in the set in part")
            notes.append(
                "not transactional, and so not of one instant: \(plain.joined(separator: ", ")) "
                    + "(MYSQL_LOCK_TABLES holds them, or convert them to InnoDB)")
        }
        if server.hasBinaryLog, !scope.hasPosition {
            exceptions.append(
                scope.locksTables
                    ? "the binary log's position is not recorded: the tables were locked instead"
                    : "the binary log's position is not recorded: the user lacks RELOAD or REPLICATION CLIENT")
        }
        if !programs.dump.version.isSeries(of: version) {
            exceptions.append(
                "dumped with \(programs.dump.name) \(programs.dump.version.text), newer than the server's "
                    + "\(version.text)")
        }
        var details = [
            Detail.database: engine.endpoint.database, Detail.serverVersion: version.text,
            Detail.product: version.product, Detail.lowerCaseTableNames: String(server.lowerCaseTableNames),
            "dump_version": programs.dump.version.text, "locked": String(scope.locksTables),
            "read_only": String(server.isReplica),
        ]
        details[Detail.gtid] = server.gtidExecuted
        return SnapshotFacts(
            time: server.time, sourceSize: server.size, details: details, exceptions: exceptions, notes: notes)
    }

    /// With the position and what else is only known when the dump has been read.
    var facts: SnapshotFacts {
        var facts = base
        guard let found = state.value.found else { return facts }
        facts.details[Detail.binlogFile] = found.binlogFile
        facts.details[Detail.binlogPosition] = found.binlogPosition
        if let gtid = found.gtid { facts.details[Detail.gtid] = gtid }
        facts.details[Detail.longestStatement] = String(found.longestStatement)
        return facts
    }

    var parts: AsyncThrowingStream<Part, any Error> {
        AsyncThrowingStream { try await self.nextPart() }
    }

    /// The tool is started only when its part is asked for.
    private func nextPart() async throws -> Part? {
        let number = state.withLock { state in
            defer { state.handedOut += 1 }
            return state.isOver ? PartName.all.count : state.handedOut
        }
        switch number {
        case 0: return Part(name: PartName.globals, source: MemorySource(accounts))
        case 1: return Part(name: PartName.properties, source: MemorySource(properties))
        case 2: return Part(name: PartName.database, source: try database())
        default: return nil
        }
    }

    private func database() throws -> any ByteSource {
        let endpoint = engine.endpoint
        let output = try ToolOutput(
            programs.dumpCommand(database: endpoint.database, scope), of: programs, object: endpoint.label)
        state.withLock {
            $0.output = output
            $0.watch = SessionWatch(
                endpoint, database: endpoint.database, known: knownSessions, meter: meter,
                every: engine.options.heartbeat)
        }
        // On a thread of its own: in the one that compresses, digesting would make that the slowest stage.
        return try ObservedSource(output, name: "contents") { [contents] in try contents.read($0) }
    }

    func finish() async throws -> Contents {
        guard let output = state.value.output, output.isComplete else {
            throw MySQLError.unreadParts(of: engine.endpoint.label)
        }
        let found = try sourceFailure { try contents.finish() }
        state.withLock { $0.found = found.facts }
        await cancel()
        // A restore that began meanwhile would have taken tables away under the dump.
        let session = try await ServerSession.open(engine.endpoint, database: engine.endpoint.database)
        defer { session.close() }
        guard try await !ExchangeSign.stands(in: engine.endpoint.database, seenFrom: session) else {
            throw MySQLError.interruptedRestore(at: engine.endpoint.label)
        }
        return found.contents
    }

    func cancel() async {
        let (output, watch) = state.withLock { state in
            defer { state.watch = nil }
            state.isOver = true
            return (state.output, state.watch)
        }
        await output?.end()
        await watch?.stop()
    }
}

/// What the reader of dumps finds wrong with a dump that is being made is trouble with the source, not with a set.
func sourceFailure<Value>(_ body: () throws -> Value) throws -> Value {
    do {
        return try body()
    } catch let error as SQLDumpError {
        throw JobFailure(error, as: .source)
    }
}

/// The empty table that stands in a database while its tables are exchanged, so that whoever may read the database sees
/// that it is neither the old nor the new one.
enum ExchangeSign {
    static let table = "__lifeboat_exchanging"

    static func stands(in database: String, seenFrom session: ServerSession) async throws -> Bool {
        try await !session.rows(
            """
            SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = \(quotedText(database))
            AND TABLE_NAME = \(quotedText(table))
            """, to: "look for an interrupted restore"
        ).isEmpty
    }
}
