import Core

/// What a session says about the server and the database it is in.
struct ServerFacts: Sendable {
    /// `15.20 (Debian 15.20-0+deb12u1)`.
    var version: String
    /// `150020`.
    var versionNumber: Int
    /// By the server's clock.
    var time: Timestamp
    /// Bytes on the server's disk.
    var databaseSize: Int64
    var encoding: String
    var isInRecovery: Bool
    var mayReadPasswords: Bool

    var major: Int { Self.major(of: versionNumber) }

    static func major(of versionNumber: Int) -> Int { versionNumber / 10000 }

    /// The oldest server that is read: what the tools of today still dump and this program has been tried on.
    static let oldestMajor = 13

    static func read(_ connection: Connection) async throws -> ServerFacts {
        let row = try await connection.row(
            """
            SELECT current_setting('server_version'), current_setting('server_version_num'),
                floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint, pg_database_size(current_database()),
                current_setting('server_encoding'), pg_is_in_recovery(),
                has_table_privilege('pg_catalog.pg_authid', 'SELECT')
            """, to: "ask the server about itself")
        let facts = ServerFacts(
            version: row.text(0), versionNumber: Int(row.integer(1)), time: Timestamp(milliseconds: row.integer(2)),
            databaseSize: row.integer(3), encoding: row.text(4), isInRecovery: row.bool(5),
            mayReadPasswords: row.bool(6))
        try checkSupported(facts.version, major: facts.major, server: connection.endpoint.server)
        return facts
    }

    /// Throws where the server is older than what is read.
    static func checkSupported(_ version: String, major: Int, server: String) throws(PostgresError) {
        guard major >= oldestMajor else {
            throw PostgresError(
                .toolVersion, "use the server", object: server,
                cause: "it runs version \(version); the oldest that is supported is \(oldestMajor)",
                hint: "upgrade the server")
        }
    }
}
