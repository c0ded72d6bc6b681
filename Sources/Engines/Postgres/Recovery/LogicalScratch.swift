import Core
import Glibc
import Streams

/// An empty server for a database's dump.
final class LogicalScratch: Scratch {
    private static let database = "lifeboat_scratch"
    private static let superuser = "postgres"

    let destination: any Engine
    private let server: RecoveryServer
    private let entrance: Entrance
    private let room: ScratchRoom

    private init(destination: any Engine, server: RecoveryServer, entrance: Entrance, room: ScratchRoom) {
        self.destination = destination
        self.server = server
        self.entrance = entrance
        self.room = room
    }

    /// Makes a cluster in `room` and starts a server on it.
    static func start(
        site: RecoverySite, tools: ServerTools, room: ScratchRoom, meter: ProgressMeter
    ) async throws -> LogicalScratch {
        let cluster = room.cluster
        try await onThread("scratch") {
            try cluster.makeDirectory(cluster.path, mode: 0o700, owner: room.owner)
            try cluster.makeDirectory(cluster.data, mode: 0o700, owner: room.owner)
        }
        let (ending, _) = try await ServerProcess.run(
            tools.command(
                "initdb",
                [
                    "-D", cluster.data, "-U", superuser, "-A", "trust", "--no-sync", "--encoding=UTF8",
                    "--locale=C.UTF-8",
                ], in: cluster.data, owner: room.owner))
        guard ending == .exited(0) else {
            throw PostgresError.recovery(
                "no cluster could be made", hint: "run initdb by hand as the directory's owner to see why",
                on: cluster.path)
        }
        let control = try await ControlData.read(cluster.data, tools: tools, owner: room.owner)
        let sockets = try SocketDirectory(in: site.temporaryDirectory, owner: room.owner)
        let server = try await RecoveryServer.start(
            cluster, tools: tools, owner: room.owner,
            options: ServerLaunch(
                purpose: .run, socketDirectory: sockets.path, preloadLibraries: site.preloadLibraries,
                control: control), sockets: sockets, meter: meter)
        do {
            try await server.waitUntilReady()
            var endpoint = PostgresEndpoint(
                host: server.host, port: ServerLaunch.port, database: database, user: superuser)
            let destination = PostgresDatabase(endpoint, tools: site.tools)
            endpoint.database = "postgres"
            return LogicalScratch(
                destination: destination, server: server, entrance: Entrance(endpoint: endpoint), room: room)
        } catch {
            await uncancelled { await server.kill() }
            throw error
        }
    }

    func check(meter: ProgressMeter) async throws -> [String] {
        try await AmCheck(server: server, entrance: entrance, meter: meter).run([Self.database])
    }

    func close() async {
        await uncancelled { [server, room] in
            await server.kill()
            await room.remove()
        }
    }
}
