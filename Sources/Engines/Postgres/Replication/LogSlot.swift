import Core

/// The replication slot that keeps the server's log for us from one job to the next.
struct LogSlot: Sendable {
    enum State: Equatable, Sendable {
        case missing
        /// It keeps the log from here on; `nil` where it has never been used.
        case kept(from: LSN?)
        /// The server has removed what it kept (max_slot_wal_keep_size).
        case lost
    }

    let name: String
    let connection: Connection

    private var object: String { "the slot \(name) on \(connection.endpoint.server)" }

    /// How it stands. Another job that follows it is waited for: one that was killed is gone in a moment.
    func state() async throws -> State {
        for attempt in 0..<10 {
            if attempt > 0 { try await Task.sleep(for: .milliseconds(500)) }
            let rows = try await connection.rows(
                """
                SELECT slot_type, active, restart_lsn::text, wal_status FROM pg_catalog.pg_replication_slots
                WHERE slot_name = $1
                """, [name], to: "look at the slot")
            guard let row = rows.first else { return .missing }
            guard row.text(0) == "physical" else {
                throw PostgresError.configuration(
                    object, "it is a slot for logical replication",
                    hint: "name another in BACKUP_WAL_SLOT; it is made by itself")
            }
            if row.text(3) == "lost" { return .lost }
            if !row.bool(1) { return .kept(from: row[2].flatMap { LSN($0) }) }
        }
        throw PostgresError(
            .notReady, exitCode: .locked, "follow the server's log", object: object,
            cause: "another job follows it",
            hint: "let that one end; where it is somebody else's slot, name one of your own in BACKUP_WAL_SLOT")
    }

    /// Makes it, reserving the log from the server's last checkpoint on at once, and returns from where.
    func make() async throws -> LSN {
        do {
            let row = try await connection.row(
                "SELECT lsn::text FROM pg_catalog.pg_create_physical_replication_slot($1, true)", [name],
                to: "make the replication slot")
            guard let lsn = LSN(row.text(0)) else {
                throw PostgresError.protocolViolation("make the replication slot", on: object)
            }
            return lsn
        } catch let error as PostgresError {
            throw explained(error)
        }
    }

    /// Makes it anew in place of one that has lost what it kept.
    func remake() async throws -> LSN {
        try await connection.rows(
            "SELECT pg_catalog.pg_drop_replication_slot($1)", [name], to: "drop the replication slot")
        return try await make()
    }

    private func explained(_ error: PostgresError) -> PostgresError {
        var error = error
        error.object = object
        switch error.sqlState {
        case "42501":
            error.cause = "role \(connection.endpoint.user) has no right to replicate"
            error.hint = "ALTER ROLE … REPLICATION; nothing else is needed to read the log"
        case "53400":
            error.cause = "every slot is in use"
            error.hint = "raise max_replication_slots, or drop a slot that nobody needs: see pg_replication_slots"
        case "55000":
            error.cause = "the server is not set up for replication slots"
            error.hint = "set max_replication_slots and max_wal_senders to 10 or so and restart the server"
        default: break
        }
        return error
    }
}
