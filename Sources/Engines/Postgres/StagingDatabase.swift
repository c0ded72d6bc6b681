import Core
import Streams

/// The database a restore is loaded into, beside the one it will replace.
final class StagingDatabase: StagedRestore {
    private let restore: DatabaseRestore
    private let keptNotes: [String]
    private let madeRoles = Guarded<[String]>([])
    private let name: String

    init(_ restore: DatabaseRestore, keptNotes: [String]) {
        self.restore = restore
        self.keptNotes = keptNotes
        name = restore.temporaryName(.staging)
    }

    private var endpoint: PostgresEndpoint { restore.endpoint }
    private var request: RestoreRequest { restore.request }

    /// Makes the missing roles, and the database, empty and closed to everybody else.
    func make(with connection: Connection) async throws {
        let roles = RoleMaker(connection: connection, destination: restore.destination)
        let statements =
            request.restoreRoles == .full
            ? try await roles.fullStatements(from: request.parts, needed: restore.missingRoles)
            : roles.powerlessStatements(for: restore.missingRoles)
        for statement in statements {
            try await connection.rows(statement.text, to: "make the role \(statement.role)")
            if statement.makesRole { madeRoles.withLock { $0.append(statement.role) } }
        }
        let purpose = "make the staging database"
        try await connection.rows(
            restore.properties.creation(
                as: name, connectionLimit: Leftovers.stagingConnectionLimit, serverMajor: restore.destination.major),
            to: purpose, seconds: 600)
        let marker = Marker(
            kind: .staging, database: restore.name, requestID: request.requestID.description,
            setKey: request.setKey.description)
        // Anybody may connect to a new database.
        try await connection.rows("REVOKE ALL ON DATABASE \(quoted(name: name)) FROM PUBLIC", to: purpose)
        try await connection.rows(
            MarkedComment(text: nil, marker: marker).statement(for: name), to: purpose)
    }

    /// Feeds the dump to psql. Each piece is read by us before psql gets it, and the end only reaches psql when the
    /// dump has turned out to hold what the set says; until then it would be killed.
    func load() async throws {
        let watch = try await Destination.openBeside(endpoint)
        defer { watch.close() }
        let beside = watch.database
        let application = "lifeboat load \(watch.processID)"
        let random = try await watch.row("SELECT replace(gen_random_uuid()::text, '-', '')", to: "make a token")
        let token = RestrictedDump.isKnown(to: restore.programs.psql.version) ? random.text(0) : nil
        let command = try restore.programs.loadCommand(database: name, application: application)
        let opened = try await request.parts.open(PostgresDatabase.PartName.database)
        let vetted = VettedDump(
            try PrefetchedSource(opened, depth: 4, name: "open"), expected: request.contents)
        let source = RestrictedDump(vetted, token: token)
        let heartbeat = Heartbeat(
            endpoint, database: beside, application: application, meter: request.meter,
            every: restore.engine.timing.heartbeat)
        do {
            try await feedChild(command, from: source, meter: request.meter)
        } catch let failure as ChildFailure {
            await heartbeat.stop()
            throw PostgresError.load(failure, on: endpoint.label(of: name))
        } catch {
            await heartbeat.stop()
            throw error
        }
        await heartbeat.stop()
    }

    func inspect() async throws -> Contents {
        try await failedRestore {
            let watch = try await Destination.openBeside(endpoint)
            let (beside, application) = (watch.database, "lifeboat inspect \(watch.processID)")
            watch.close()
            return try await restore.programs.dump.contents(
                of: name, watchedFrom: beside, application: application, timing: restore.engine.timing,
                meter: request.meter)
        }
    }

    func promote(_ request: PromotionRequest) async throws -> Promotion {
        try await failedRestore {
            let oid = try await analyze()
            let swap = Swap(restore: restore, staging: name, stagingOID: oid, marker: request.marker)
            var promotion = try await swap.run()
            promotion.notes = restore.summary.notes + keptNotes + promotion.notes
            return promotion
        }
    }

    /// A freshly loaded database has no statistics, and the first queries after the swap would be planned blindly.
    /// Returns the database's identity.
    private func analyze() async throws -> String {
        // The digest at the end of the name tells this restore's session from others'.
        let purpose = "analyze \(name.suffix(8))"
        let connection = try await Connection.open(endpoint, database: name, purpose: purpose)
        defer { connection.close() }
        let beside = try await Destination.openBeside(endpoint)
        let watchFrom = beside.database
        beside.close()
        let heartbeat = Heartbeat(
            endpoint, database: watchFrom, application: "lifeboat \(purpose)", meter: request.meter,
            every: restore.engine.timing.heartbeat)
        do {
            try await connection.rows("ANALYZE", to: "gather statistics", seconds: nil)
            let row = try await connection.row(
                "SELECT oid FROM pg_database WHERE datname = current_database()", to: "identify the staging database")
            await heartbeat.stop()
            return row.text(0)
        } catch {
            await heartbeat.stop()
            throw error
        }
    }

    /// Also where the task has been cancelled: that is when it is needed most.
    func discard() async throws {
        let roles = madeRoles.withLock { roles in
            defer { roles = [] }
            return roles
        }
        try await uncancelled { [endpoint, name] in
            let connection = try await Destination.openBeside(endpoint)
            defer { connection.close() }
            try await Leftovers.drop(name, with: connection)
            for role in roles.reversed() { try await Self.drop(role: role, with: connection) }
        }
    }

    private static func drop(role: String, with connection: Connection) async throws {
        do {
            try await connection.rows(
                "DROP ROLE IF EXISTS \(quoted(name: role))", to: "remove the role '\(role)' again")
        } catch let error as PostgresError where error.sqlState == "2BP01" {
            // Somebody has come to need it meanwhile; a role without login does no harm.
            return
        }
    }
}

/// A dump on its way to psql, read by us first.
final class VettedDump: ByteSource {
    private let base: any ByteSource
    private let expected: Contents
    private let reader = ContentsReader()

    init(_ base: any ByteSource, expected: Contents) {
        self.base = base
        self.expected = expected
    }

    /// Throws, before psql sees it, at what no dump contains, such as psql's own commands; and at the end where the
    /// dump does not hold what the set says.
    func next() throws -> Chunk? {
        if let chunk = try base.next() {
            try reader.read(chunk)
            return chunk
        }
        let comparison = ContentsComparison(recorded: expected, found: try reader.finish())
        guard comparison.isEqual else {
            throw PostgresError.damagedPart(
                PostgresDatabase.PartName.database,
                "it does not hold what the set says: \(comparison.failures.prefix(3).joined(separator: "; "))")
        }
        return nil
    }

    func cancel() { base.cancel() }
}
