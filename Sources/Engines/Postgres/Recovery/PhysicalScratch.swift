import Core
import Glibc
import Streams

/// A whole server's files brought to life: restored and recovered into the room by the engine, then started again for
/// whoever wants to look at them.
final class PhysicalScratch: Scratch {
    private struct State {
        var server: RecoveryServer?
        var entrance: Entrance?
    }

    let destination: any Engine
    private let site: RecoverySite
    private let tools: ServerTools
    private let room: ScratchRoom
    private let state = Guarded(State())

    init(site: RecoverySite, tools: ServerTools, room: ScratchRoom) {
        self.site = site
        self.tools = tools
        self.room = room
        destination = PostgresDirectory(site)
    }

    func check(meter: ProgressMeter) async throws -> [String] {
        let (server, entrance) = try await running(meter)
        return try await AmCheck(server: server, entrance: entrance, meter: meter).run()
    }

    func database(_ name: String, meter: ProgressMeter) async throws -> RecoveredDatabase {
        let (_, entrance) = try await running(meter)
        var endpoint = entrance.endpoint
        endpoint.database = name
        return try await DatabaseTaking(endpoint: endpoint, tools: site.tools).take(meter: meter)
    }

    func close() async {
        let server = state.withLock { state in
            defer { state = State() }
            return state.server
        }
        await uncancelled { [room] in
            await server?.kill()
            await room.remove()
        }
    }

    /// The server on what was restored, started when it is first wanted.
    private func running(_ meter: ProgressMeter) async throws -> (RecoveryServer, Entrance) {
        let known = state.withLock { ($0.server, $0.entrance) }
        if let server = known.0, let entrance = known.1 { return (server, entrance) }
        let control = try await ControlData.read(room.cluster.data, tools: tools, owner: room.owner)
        let sockets = try SocketDirectory(in: site.temporaryDirectory, owner: room.owner)
        let launch = ServerLaunch(
            purpose: .run, socketDirectory: sockets.path, preloadLibraries: site.preloadLibraries, control: control)
        let first = try await RecoveryServer.start(
            room.cluster, tools: tools, owner: room.owner, options: launch, sockets: sockets, meter: meter)
        do {
            try await first.waitUntilReady()
            let (server, entrance) = try await Entrance.find(first, launch: launch, meter: meter)
            state.withLock {
                $0.server = server
                $0.entrance = entrance
            }
            return (server, entrance)
        } catch {
            await uncancelled { await first.kill() }
            throw error
        }
    }
}

/// Dumps one database out of a server that nobody else is connected to.
struct DatabaseTaking: Sendable {
    let endpoint: PostgresEndpoint
    let tools: ToolSearch

    /// Reads the database once, to know what is in it; each opening of a part reads that again.
    func take(meter: ProgressMeter) async throws -> RecoveredDatabase {
        let engine = PostgresDatabase(endpoint, tools: tools)
        let snapshot = try await LogicalSnapshot.begin(engine, meter: meter)
        do {
            for try await part in snapshot.parts { try await drain(MeteredSource(part.source, meter: meter)) }
            let contents = try await snapshot.finish()
            return RecoveredDatabase(
                facts: snapshot.facts, contents: contents, parts: DumpedParts(engine: engine, meter: meter))
        } catch {
            await uncancelled { await snapshot.cancel() }
            throw error
        }
    }
}

/// The parts of a database, dumped anew at each opening.
private struct DumpedParts: PartOpener {
    let engine: PostgresDatabase
    let meter: ProgressMeter

    var partNames: [String] { PostgresDatabase.PartName.all }

    func open(_ part: String) async throws -> any ByteSource {
        let snapshot = try await LogicalSnapshot.begin(engine, meter: meter)
        do {
            guard let source = try snapshot.source(of: part) else {
                throw PostgresError.damagedPart(part, "a database has no such part")
            }
            return SnapshotSource(source, of: snapshot)
        } catch {
            await uncancelled { await snapshot.cancel() }
            throw error
        }
    }
}

/// One part of a picture, which is given up with it.
private final class SnapshotSource: ByteSource {
    private let base: any ByteSource
    private let snapshot: LogicalSnapshot

    init(_ base: any ByteSource, of snapshot: LogicalSnapshot) {
        self.base = base
        self.snapshot = snapshot
    }

    deinit {
        Task { [snapshot] in await snapshot.cancel() }
    }

    func next() throws -> Chunk? { try base.next() }
    func cancel() { base.cancel() }
}
