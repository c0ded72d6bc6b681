import Core

/// What a session in a database says about the server's log.
struct LogFacts: Sendable {
    var isInRecovery: Bool
    var walLevel: String
    /// Bytes.
    var segmentSize: UInt64
    /// Which transactions have not ended: the server's own text of a snapshot. Where it says the same again, none has
    /// ended since.
    var transactions: String
    var maySwitch: Bool
    var mayMakeRestorePoint: Bool

    /// Longer ones could not be held in memory, of which there is to be little.
    static let largestSegment: UInt64 = 64 << 20

    static func read(_ connection: Connection) async throws -> LogFacts {
        let row = try await connection.row(
            """
            SELECT pg_is_in_recovery(), current_setting('wal_level'),
                pg_size_bytes(current_setting('wal_segment_size')), pg_current_snapshot()::text,
                has_function_privilege('pg_catalog.pg_switch_wal()', 'EXECUTE'),
                has_function_privilege('pg_catalog.pg_create_restore_point(text)', 'EXECUTE')
            """, to: "ask the server about its log")
        let facts = LogFacts(
            isInRecovery: row.bool(0), walLevel: row.text(1), segmentSize: UInt64(clamping: row.integer(2)),
            transactions: row.text(3), maySwitch: row.bool(4), mayMakeRestorePoint: row.bool(5))
        try facts.check(connection)
        return facts
    }

    private func check(_ connection: Connection) throws {
        let server = "the server \(connection.endpoint.server)"
        let major = ServerFacts.major(of: connection.serverVersion)
        guard major >= ServerFacts.oldestMajor else {
            throw PostgresError(
                .toolVersion, "use the server", object: server,
                cause: "it runs version \(major); the oldest that is supported is \(ServerFacts.oldestMajor)",
                hint: "upgrade the server")
        }
        guard walLevel != "minimal" else {
            throw PostgresError(
                .configuration, exitCode: .configuration, "follow the server's log", object: server,
                cause: "its wal_level is minimal: the log does not hold what a recovery needs",
                hint: "set wal_level = replica and restart the server; then take a base backup")
        }
        guard segmentSize >= 1 << 20, segmentSize <= Self.largestSegment else {
            throw PostgresError(
                .configuration, exitCode: .configuration, "follow the server's log", object: server,
                cause: "its log is in segments of \(segmentSize >> 20) MiB; more than 64 MiB are not held in memory",
                hint: "make the cluster anew with 'initdb --wal-segsize' of at most 64")
        }
    }
}
