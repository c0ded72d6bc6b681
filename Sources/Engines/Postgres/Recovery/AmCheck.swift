import Core
import Glibc
import Streams

/// Has the server's own `pg_amcheck` look through tables and indexes. What it says of them can quote keys: only the
/// names of those that it finds fault with are kept.
struct AmCheck: Sendable {
    /// The first version that has it.
    private static let oldestMajor = 14
    private static let mostTold = 8

    let server: RecoveryServer
    let entrance: Entrance
    let meter: ProgressMeter

    /// Looks through `databases`; with `nil` through all of the server. Throws (exit code 13) where something is damaged,
    /// and (14) where that cannot be found out.
    func run(_ databases: [String]? = nil) async throws -> [String] {
        guard server.tools.major >= Self.oldestMajor else {
            return ["version \(server.tools.major) has no pg_amcheck: the copy was started and read only"]
        }
        guard server.tools.has("pg_amcheck"), server.tools.hasExtension("amcheck") else {
            throw inconclusive("it is not installed beside the server", hint: "install the server's contrib package")
        }
        // What it needs in each database is made for it and taken away again: a database that is then taken out of this
        // server has to be the one that was backed up.
        var made: [String] = []
        let all = try await all()
        for database in databases ?? all where try await makeExtension(in: database) { made.append(database) }
        let notes = try await look(databases.map { $0.flatMap { ["--database", $0] } } ?? ["--all"])
        for database in made {
            try await change("DROP EXTENSION amcheck", in: database, to: "take the extension amcheck away")
        }
        return notes
    }

    private func all() async throws -> [String] {
        let connection = try await Connection.open(entrance.endpoint, purpose: "check")
        defer { connection.close() }
        return try await entrance.databases(connection)
    }

    /// Whether it had to be made.
    private func makeExtension(in database: String) async throws -> Bool {
        let connection = try await Connection.open(entrance.endpoint, database: database, purpose: "check")
        defer { connection.close() }
        let known = try await connection.rows(
            "SELECT 1 FROM pg_catalog.pg_extension WHERE extname = 'amcheck'", to: "look for the extension amcheck")
        guard known.isEmpty else { return false }
        try await change(
            "CREATE EXTENSION amcheck WITH SCHEMA pg_catalog", in: database, to: "make the extension amcheck")
        return true
    }

    private func change(_ statement: String, in database: String, to purpose: String) async throws {
        meter.beat()
        let connection = try await Connection.open(entrance.endpoint, database: database, purpose: "check")
        defer { connection.close() }
        // A database may be set to be read only.
        try await connection.rows("SET default_transaction_read_only = off", to: purpose)
        try await connection.rows(statement, to: purpose)
    }

    private func look(_ selection: [String]) async throws -> [String] {
        let application = "lifeboat amcheck"
        let heartbeat = Heartbeat(
            entrance.endpoint, database: entrance.endpoint.database, application: application, meter: meter,
            every: .seconds(1))
        let result = await Result {
            try await ServerProcess.run(
                server.tools.command(
                    "pg_amcheck",
                    [
                        "--host=\(entrance.endpoint.host)", "--port=\(entrance.endpoint.port)",
                        "--username=\(entrance.endpoint.user)", "--no-password",
                        "--maintenance-db=dbname='\(entrance.endpoint.database)' application_name='\(application)'",
                    ] + selection, in: server.cluster.data, owner: server.owner))
        }
        await heartbeat.stop()
        let (ending, lines) = try result.get()
        switch ending {
        case .exited(0): return ["pg_amcheck \(server.tools.version) found nothing wrong"]
        case .exited(2): throw damaged(Self.names(in: lines))
        case .exited, .signalled:
            throw inconclusive("it did not run to its end", hint: "run pg_amcheck on a restored copy by hand")
        }
    }

    /// `heap table "clinic.public.patients", block 0, offset 3:`
    static func names(in lines: [String]) -> [String] {
        var names: Set<String> = []
        for line in lines {
            for kind in ["heap table \"", "btree index \""] where line.hasPrefix(kind) {
                let rest = line.dropFirst(kind.utf8.count)
                if let end = rest.lastIndex(of: "\"") { names.insert(String(rest[..<end])) }
            }
        }
        return names.sorted()
    }

    private func damaged(_ names: [String]) -> PostgresError {
        let told = names.prefix(Self.mostTold).joined(separator: ", ")
        let more = names.count > Self.mostTold ? " and \(names.count - Self.mostTold) more" : ""
        return PostgresError(
            .damagedPart, exitCode: .verificationFailed, "check tables and indexes", object: "pg_amcheck",
            cause: names.isEmpty ? "something in the copy is damaged" : "damaged in the copy: \(told)\(more)",
            hint: "run pg_amcheck at the source: what is damaged there is damaged in every backup")
    }

    private func inconclusive(_ cause: String, hint: String) -> PostgresError {
        PostgresError(
            .tool, exitCode: .inconclusive, "check tables and indexes", object: "pg_amcheck", cause: cause, hint: hint
        )
    }
}

extension ServerTools {
    func hasExtension(_ name: String) -> Bool {
        ["\(directory)/../share/extension", "/usr/share/postgresql/\(major)/extension"]
            .contains { access("\($0)/\(name).control", F_OK) == 0 }
    }
}
