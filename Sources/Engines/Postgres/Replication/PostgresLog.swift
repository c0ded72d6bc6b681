package import Core

/// The write-ahead log of a PostgreSQL server, followed over its replication protocol: through memory, from the end of
/// what is stored to where the log stands when the job begins.
///
/// The role needs REPLICATION. Where it may also execute `pg_switch_wal()` (and `pg_create_restore_point(text)`) the
/// last segment is closed first and so is whole; else, and at a standby, the end is a segment's beginning alone.
package struct PostgresLog: WALSource {
    /// A log that has grown by less than this, without a transaction's end, is the server talking to itself.
    private static let murmur: UInt64 = 64 << 10

    private let server: PostgresEndpoint
    private let slot: String

    /// `slot` holds lower-case letters, digits and underscores, at most 63.
    package init(_ endpoint: PostgresEndpoint, slot: String) throws {
        let isName = slot.utf8.allSatisfy { byte in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || byte == UInt8(ascii: "_")
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        }
        guard isName, (1...63).contains(slot.utf8.count) else {
            throw PostgresError.configuration(
                "BACKUP_WAL_SLOT", "'\(slot)' is no name for a replication slot",
                hint: "use lower-case letters, digits and underscores, at most 63")
        }
        server = endpoint
        self.slot = slot
    }

    package var endpoint: String { "the server \(server.server)" }

    package func open(_ request: WALRequest) async throws -> any WALStream {
        let session = try await Connection.open(server, purpose: "log")
        defer { session.close() }
        // The transactions first: what had ended by then lies before every place that is asked for after this.
        let facts = try await LogFacts.read(session)
        let opening = LogOpening(
            endpoint: server, slot: LogSlot(name: slot, connection: session),
            connection: try await ReplicationConnection.open(server, purpose: "log"), facts: facts, request: request)
        do {
            return try await opening.run()
        } catch {
            opening.connection.close()
            throw error
        }
    }

    /// Whether nothing worth storing has happened since `stored`.
    static func isQuiet(since stored: WALPosition, at position: LSN, transactions: String) -> Bool {
        stored.mark == transactions
            && (position <= stored.lsn || position.value - stored.lsn.value < murmur)
    }
}
