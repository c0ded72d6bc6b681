import Core
import Streams

/// One consistent picture of a database: roles, the database's own properties, and its dump.
///
/// A session of ours exports the picture (`pg_export_snapshot`) that both the properties and pg_dump read, and stays
/// open until the end.
final class LogicalSnapshot: Snapshot {
    let facts: SnapshotFacts

    private struct State {
        var handedOut = 0
        var outputs: [ToolOutput] = []
        var heartbeat: Heartbeat?
        var isOver = false
    }

    private let engine: PostgresDatabase
    private let control: Connection
    private let programs: DumpPrograms
    private let properties: [UInt8]
    private let picture: String?
    private let mayReadPasswords: Bool
    private let meter: ProgressMeter
    private let contents = ContentsReader()
    private let state = Guarded(State())

    private init(
        engine: PostgresDatabase, control: Connection, programs: DumpPrograms, properties: [UInt8], picture: String?,
        server: ServerFacts, facts: SnapshotFacts, meter: ProgressMeter
    ) {
        self.engine = engine
        self.control = control
        self.programs = programs
        self.properties = properties
        self.picture = picture
        mayReadPasswords = server.mayReadPasswords
        self.facts = facts
        self.meter = meter
    }

    static func begin(_ engine: PostgresDatabase, meter: ProgressMeter) async throws -> LogicalSnapshot {
        let control = try await Connection.open(engine.endpoint, purpose: "snapshot")
        do {
            let server = try await ServerFacts.read(control)
            let programs = try await DumpPrograms(engine, serverMajor: server.major)
            let picture = try await exportPicture(control)
            let properties = try await DatabaseProperties.capture(control)
            return LogicalSnapshot(
                engine: engine, control: control, programs: programs, properties: properties.json.canonicalBytes,
                picture: picture, server: server,
                facts: describe(server, properties, programs, hasPicture: picture != nil), meter: meter)
        } catch {
            control.close()
            throw error
        }
    }

    /// Begins the transaction whose picture is dumped. `nil` where the server cannot share it, as some standbys cannot.
    private static func exportPicture(_ control: Connection) async throws -> String? {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        let purpose = "begin the picture"
        try await control.rows(begin, to: purpose)
        do {
            return try await control.row("SELECT pg_export_snapshot()", to: purpose).text(0)
        } catch let error as PostgresError where error.kind == .query {
            try await control.rows("ROLLBACK", to: purpose)
            try await control.rows(begin, to: purpose)
            return nil
        }
    }

    private static func describe(
        _ server: ServerFacts, _ properties: DatabaseProperties, _ programs: DumpPrograms, hasPicture: Bool
    ) -> SnapshotFacts {
        var exceptions: [String] = []
        if !hasPicture {
            exceptions.append("the server could not share its picture: properties and dump are of two instants")
        }
        if !server.mayReadPasswords {
            exceptions.append("role passwords are not in the set: the role may not read pg_authid")
        }
        if programs.dump.major != server.major {
            exceptions.append(
                "dumped with pg_dump \(programs.dump.major), newer than the server's \(server.major): "
                    + "an older server may not take the dump")
        }
        return SnapshotFacts(
            time: server.time, sourceSize: server.databaseSize,
            details: [
                Detail.database: properties.name, Detail.serverVersion: server.version,
                Detail.serverVersionNumber: String(server.versionNumber), "encoding": properties.encoding,
                "pg_dump_version": programs.dump.version, "pg_dumpall_version": programs.dumpAll.version,
                "standby": String(server.isInRecovery),
            ], exceptions: exceptions)
    }

    /// The names of the facts that a restore reads again.
    enum Detail {
        static let database = "database"
        static let serverVersion = "server_version"
        static let serverVersionNumber = "server_version_num"
    }

    var parts: AsyncThrowingStream<Part, any Error> {
        AsyncThrowingStream { try await self.nextPart() }
    }

    /// Each tool is started only when its part is asked for.
    private func nextPart() async throws -> Part? {
        let number = state.withLock { state in
            defer { state.handedOut += 1 }
            return state.isOver ? PostgresDatabase.PartName.all.count : state.handedOut
        }
        let names = PostgresDatabase.PartName.all
        guard number < names.count else { return nil }
        return try source(of: names[number]).map { Part(name: names[number], source: $0) }
    }

    /// One part by itself; `nil` where a picture has none of this name. Its tool is started.
    func source(of part: String) throws -> (any ByteSource)? {
        switch part {
        case PostgresDatabase.PartName.globals: try globals()
        case PostgresDatabase.PartName.properties: MemorySource(properties)
        case PostgresDatabase.PartName.database: try database()
        default: nil
        }
    }

    private func globals() throws -> any ByteSource {
        let command = try programs.globalsCommand(
            withPasswords: mayReadPasswords, application: application, lockTimeout: engine.timing.dumpLock)
        return try start(command, CompletionLine.globals)
    }

    private func database() throws -> any ByteSource {
        let command = try programs.dumpCommand(
            database: engine.endpoint.database, application: application, lockTimeout: engine.timing.dumpLock,
            picture: picture)
        let output = try start(command, CompletionLine.database)
        state.withLock {
            $0.heartbeat = Heartbeat(
                engine.endpoint, database: engine.endpoint.database, application: application, meter: meter,
                every: engine.timing.heartbeat)
        }
        // On a thread of its own: in the one that compresses, digesting would make that the slowest stage.
        return try ObservedSource(output, name: "contents") { [contents] in try contents.read($0) }
    }

    private func start(_ command: ChildCommand, _ completionLine: String) throws -> ToolOutput {
        let output = try ToolOutput(command, completionLine: completionLine, object: engine.endpoint.label)
        state.withLock { $0.outputs.append(output) }
        return output
    }

    private var application: String { "lifeboat dump \(control.processID)" }

    func finish() async throws -> Contents {
        let outputs = state.withLock { $0.outputs }
        guard outputs.count == 2, outputs.allSatisfy(\.isComplete) else {
            throw PostgresError.unreadParts(of: engine.endpoint.label)
        }
        let contents = try sourceError { try self.contents.finish() }
        await cancel()
        return contents
    }

    func cancel() async {
        let (outputs, heartbeat) = state.withLock { state in
            defer { state.heartbeat = nil }
            state.isOver = true
            return (state.outputs, state.heartbeat)
        }
        for output in outputs { await output.end() }
        await heartbeat?.stop()
        control.close()
    }
}

/// What the reader of dumps finds wrong with a dump that is being made is trouble with the source, not with a set.
func sourceError<Value>(_ body: () throws -> Value) throws -> Value {
    do {
        return try body()
    } catch let error as DumpError {
        throw JobFailure(error, as: .source)
    }
}
