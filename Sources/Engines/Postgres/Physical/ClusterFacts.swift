import Core

/// What a session says about the server before it is backed up as a whole.
struct ClusterFacts: Sendable {
    /// `15.20 (Debian 15.20-0+deb12u1)`.
    var version: String
    /// `150020`.
    var versionNumber: Int
    /// By the server's clock.
    var time: Timestamp
    var isInRecovery: Bool
    /// Pages have checksums, which the server verifies as it sends them.
    var hasChecksums: Bool
    /// Bytes of a segment of the log.
    var segmentSize: UInt64
    /// `minimal`, `replica` or `logical`.
    var walLevel: String
    var replicatingClients: Int64

    var major: Int { ServerFacts.major(of: versionNumber) }

    static func read(_ connection: Connection) async throws -> ClusterFacts {
        let row = try await connection.row(
            """
            SELECT current_setting('server_version'), current_setting('server_version_num'),
                floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint, pg_is_in_recovery(),
                current_setting('data_checksums') = 'on', pg_size_bytes(current_setting('wal_segment_size')),
                current_setting('wal_level'), current_setting('max_wal_senders')
            """, to: "ask the server about itself")
        return ClusterFacts(
            version: row.text(0), versionNumber: Int(row.integer(1)), time: Timestamp(milliseconds: row.integer(2)),
            isInRecovery: row.bool(3), hasChecksums: row.bool(4), segmentSize: UInt64(max(1, row.integer(5))),
            walLevel: row.text(6), replicatingClients: row.integer(7))
    }

    /// Throws where the server could not be backed up, in words that its refusal would not have.
    func check(_ endpoint: PostgresEndpoint) throws {
        try ServerFacts.checkSupported(version, major: major, server: endpoint.server)
        let server = endpoint.serverLabel
        guard walLevel != "minimal" else { throw PostgresError.minimalLog(server) }
        guard replicatingClients > 0 else { throw PostgresError.noReplicatingClients(server) }
    }
}

extension PostgresEndpoint {
    /// For people, of what concerns the server as a whole: `the server db.example:5432`.
    var serverLabel: String { "the server \(server)" }
}
