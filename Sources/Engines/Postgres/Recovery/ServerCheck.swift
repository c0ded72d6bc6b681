import Core
import Glibc

/// Looks a server over that has just been recovered: whether it is what was asked for, and every database can be used.
struct ServerCheck: Sendable {
    /// The server that runs now: another one where a first had to be ended to find a role to log in with.
    var server: RecoveryServer
    /// For people: how many databases and tables there are.
    var notes: [String]

    static func run(
        _ server: RecoveryServer, launch: ServerLaunch, systemID: String, meter: ProgressMeter
    ) async throws -> ServerCheck {
        let (server, entrance) = try await Entrance.find(server, launch: launch, meter: meter)
        do {
            return ServerCheck(server: server, notes: try await look(entrance, systemID: systemID, meter: meter))
        } catch {
            await uncancelled { await server.kill() }
            throw error
        }
    }

    private static func look(_ entrance: Entrance, systemID: String, meter: ProgressMeter) async throws -> [String] {
        let connection = try await Connection.open(entrance.endpoint, purpose: "check")
        defer { connection.close() }
        let row = try await connection.row(
            "SELECT pg_is_in_recovery(), (SELECT system_identifier FROM pg_control_system())::text",
            to: "look at the recovered server")
        guard !row.bool(0), row.text(1) == systemID else {
            throw PostgresError.recovery(
                row.bool(0) ? "the server is still in recovery" : "it is another server than the set's",
                hint: "take another set", on: entrance.endpoint.host)
        }
        var tables: Int64 = 0
        let databases = try await entrance.databases(connection)
        for database in databases {
            tables += try await countTables(entrance, database)
            meter.beat()
        }
        return ["the recovered server has \(counted(databases.count, "database")) with \(counted(tables, "table"))"]
    }

    /// How many tables of its own a database has; throws where the file of one is not there.
    private static func countTables(_ entrance: Entrance, _ database: String) async throws -> Int64 {
        let connection = try await Connection.open(entrance.endpoint, database: database, purpose: "check")
        defer { connection.close() }
        let row = try await connection.row(
            """
            SELECT count(*) FILTER (WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname <> 'information_schema'
                    AND n.nspname NOT LIKE 'pg\\_%'),
                count(*) FILTER (WHERE f.path IS NOT NULL AND c.relpersistence = 'p'
                    AND (pg_stat_file(f.path, true)).size IS NULL)
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            CROSS JOIN LATERAL (SELECT pg_relation_filepath(c.oid) AS path) f
            """, to: "count the tables")
        guard row.integer(1) == 0 else {
            throw PostgresError.recovery(
                "the files of \(row.integer(1)) tables or indexes are missing",
                hint: "take another set; this one does not hold all of the server's files",
                on: entrance.endpoint.label(of: database))
        }
        return row.integer(0)
    }
}

/// How to get into a server of our own, whatever its roles are called: as a superuser, over its private socket.
struct Entrance: Sendable {
    let endpoint: PostgresEndpoint

    /// The names that are tried before the cluster itself is asked.
    private static let usual = ["postgres"]
    private static let databases = ["postgres", "template1"]

    /// Where no usual name fits the server is ended, and asked without a login; another one is then started.
    static func find(
        _ server: RecoveryServer, launch: ServerLaunch, meter: ProgressMeter
    ) async throws -> (RecoveryServer, Entrance) {
        for role in usual {
            if let found = try await enter(server, role) { return (server, found) }
        }
        try await server.stop()
        let role = try await askWithoutLogin(server, launch)
        var launch = launch
        launch.purpose = .run
        let second = try await server.again(launch, meter: meter)
        do {
            try await second.waitUntilReady()
            guard let found = try await enter(second, role) else { throw noRole(server) }
            return (second, found)
        } catch {
            await uncancelled { await second.kill() }
            throw error
        }
    }

    /// `nil` where there is no superuser of this name.
    static func enter(_ server: RecoveryServer, _ role: String) async throws -> Entrance? {
        var missing: PostgresError?
        for database in databases {
            let endpoint = PostgresEndpoint(
                host: server.host, port: ServerLaunch.port, database: database, user: role)
            do {
                let connection = try await Connection.open(endpoint, purpose: "look")
                defer { connection.close() }
                let row = try await connection.row(
                    "SELECT rolsuper FROM pg_roles WHERE rolname = current_user", to: "look at the role")
                return row.bool(0) ? Entrance(endpoint: endpoint) : nil
            } catch let error as PostgresError where error.sqlState == "28000" {
                return nil
            } catch let error as PostgresError where error.sqlState == "3D000" || error.sqlState == "55000" {
                missing = error
            }
        }
        if let missing { throw missing }
        return nil
    }

    /// The databases that can be connected to.
    func databases(_ connection: Connection) async throws -> [String] {
        try await connection.rows(
            "SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2 ORDER BY 1",
            to: "list the databases"
        ).map { $0.text(0) }
    }

    /// In single-user mode the server is whoever made the cluster, and needs no name for it.
    private static func askWithoutLogin(_ server: RecoveryServer, _ launch: ServerLaunch) async throws -> String {
        var command = server.tools.command(
            "postgres",
            ["--single"] + launch.arguments(data: server.cluster.data, major: server.tools.major)
                + ["template1"],
            in: server.cluster.data, owner: server.owner)
        command.input = Array(
            "SELECT rolname FROM pg_authid WHERE rolsuper AND rolcanlogin ORDER BY oid <> 10, oid LIMIT 1\n".utf8)
        let (ending, lines) = try await ServerProcess.run(command)
        // ` 1: rolname = "clinic"	(typeid = 19, …)`
        let mark = "1: rolname = \""
        for line in lines {
            guard let begin = line.firstRange(of: mark), let end = line.firstRange(of: "\"\t(typeid") else {
                continue
            }
            return String(line[begin.upperBound..<end.lowerBound])
        }
        throw ending == .exited(0) ? noRole(server) : unreadable(server)
    }

    private static func noRole(_ server: RecoveryServer) -> PostgresError {
        .recovery(
            "the cluster has no superuser who may log in", hint: "give one LOGIN at the source and back up again",
            on: server.cluster.path)
    }

    private static func unreadable(_ server: RecoveryServer) -> PostgresError {
        .recovery(
            "the cluster could not be asked for its superuser",
            hint: "the user that the server runs as needs a name (an entry in /etc/passwd)", on: server.cluster.path)
    }
}
