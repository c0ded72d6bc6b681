import Core

/// Puts a staging database in the place of the one it was made for: two renames in one transaction.
///
/// The first rename takes the lock for which new logins have to wait, and waits itself until everybody has left the
/// database; a second session ends those who are in it meanwhile. Whatever kills us, the name belongs to the one
/// database before the commit and to the other after it.
struct Swap {
    let restore: DatabaseRestore
    let staging: String
    let stagingOID: String
    let marker: RestoreMarker

    private var endpoint: PostgresEndpoint { restore.endpoint }
    private var name: String { restore.name }
    private var existing: Destination.Existing? { restore.destination.existing }
    private var replaced: String { restore.temporaryName(.replaced) }
    private var label: String { endpoint.label }

    /// Codes that mean "not now": somebody is still in the database, or holds its lock.
    private static let busy: Set<String> = ["55006", "55P03"]

    func run() async throws -> Promotion {
        let beside = try await Destination.openBeside(endpoint)
        defer { beside.close() }
        var lastCode = ""
        for _ in 0..<max(restore.engine.timing.swapAttempts, 1) {
            do {
                let time = try await attempt()
                return Promotion(time: time, replacedName: existing == nil ? nil : replaced, notes: [])
            } catch let error as PostgresError where Self.busy.contains(error.sqlState ?? "") {
                lastCode = error.sqlState ?? ""
            }
        }
        throw stillInUse(by: try await holders(seenFrom: beside), code: lastCode)
    }

    /// One try. Throws with the original in place, unless it says otherwise.
    private func attempt() async throws -> Timestamp {
        let session = try await Destination.openBeside(endpoint)
        defer { session.close() }
        let purpose = "swap the databases"
        try await session.rows("BEGIN", to: purpose)
        if let existing {
            try await checkIdentity(existing, with: session)
            try await renameAway(existing, with: session)
        }
        try await session.rows(
            "ALTER DATABASE \(quoted(name: staging)) RENAME TO \(quoted(name: name))", to: purpose)
        for statement in statements { try await session.rows(statement, to: purpose) }
        let row = try await session.row(
            "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint", to: purpose)
        // From here on only the server knows which of the two it is.
        let time = Timestamp(milliseconds: row.integer(0))
        return try await uncancelled {
            do {
                try await session.rows("COMMIT", to: purpose)
            } catch {
                session.close()
                try await settle(after: error)
                return time
            }
            try await settle(after: nil)
            return time
        }
    }

    /// Names, owner, privileges, settings and marks, in the transaction of the renames.
    private var statements: [String] {
        let restored = MarkedComment(text: restore.properties.comment, marker: mark(.restored))
        var statements = [restored.statement(for: name)] + restore.properties.statements(for: name)
        if let existing {
            let comment = MarkedComment(text: existing.comment.text, marker: mark(.replaced))
            statements.append(comment.statement(for: replaced))
            statements.append("ALTER DATABASE \(quoted(name: replaced)) WITH ALLOW_CONNECTIONS false")
        }
        return statements
    }

    private func mark(_ kind: Marker.Kind) -> Marker {
        Marker(
            kind: kind, database: name, requestID: marker.requestID.description, setKey: marker.setKey.description,
            safetyKey: marker.safetyKey, time: marker.time)
    }

    /// What is replaced must be what was looked at and saved.
    private func checkIdentity(_ existing: Destination.Existing, with session: Connection) async throws {
        guard try await identity(of: name, with: session) == existing.oid else {
            throw PostgresError(
                .swap, exitCode: .restoreFailedOriginalIntact, "swap the databases", object: label,
                cause: "'\(name)' is another database now than when the restore began",
                hint: "find out who replaced it, then run again")
        }
    }

    private func identity(of name: String, with session: Connection) async throws -> String? {
        try await session.rows(
            "SELECT oid FROM pg_database WHERE datname = $1", [name], to: "see which database has the name"
        ).first?[0]
    }

    private func renameAway(_ existing: Destination.Existing, with session: Connection) async throws {
        let eviction = Task { try await evict(from: existing.oid) }
        do {
            try await session.rows(
                "ALTER DATABASE \(quoted(name: name)) RENAME TO \(quoted(name: replaced))", to: "swap the databases")
            eviction.cancel()
            _ = await eviction.result
        } catch {
            eviction.cancel()
            _ = await eviction.result
            throw error
        }
    }

    /// Ends the sessions in the database again and again, until it is called off. Those that the role may not end stay,
    /// and the rename finds them.
    private func evict(from oid: String) async throws {
        let session = try await Destination.openBeside(endpoint)
        defer { session.close() }
        let purpose = "end the sessions in the database"
        while true {
            let sessions = try await session.rows(
                "SELECT pid FROM pg_stat_activity WHERE datid = $1::oid AND pid <> pg_backend_pid()", [oid],
                to: purpose)
            for row in sessions {
                do {
                    try await session.rows("SELECT pg_terminate_backend($1::int)", [row[0]], to: purpose)
                } catch let error as PostgresError where error.kind == .permission {
                    continue
                }
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    private func holders(seenFrom session: Connection) async throws -> [String] {
        guard let existing else { return [] }
        return try await session.rows(
            """
            SELECT coalesce(usename, backend_type), count(*) FROM pg_stat_activity WHERE datid = $1::oid
            GROUP BY 1 ORDER BY 1
            """, [existing.oid], to: "see who is in the database"
        ).map { "\($0.text(0)) (\($0.text(1)))" }
    }

    private func stillInUse(by holders: [String], code: String) -> PostgresError {
        let who = holders.isEmpty ? "" : "; in it now: \(holders.joined(separator: ", "))"
        return PostgresError(
            .swap, exitCode: .restoreFailedOriginalIntact, "swap the databases", object: label,
            cause: "'\(name)' stayed in use over \(restore.engine.timing.swapAttempts) tries\(who)",
            hint: "stop the applications that use it, or restore with a role that may end their sessions "
                + "(pg_signal_backend); prepared transactions hold it too", sqlState: code)
    }
}

// MARK: After the commit

extension Swap {
    /// Asks, over a new session, which database has the name now; returns where it is the restored one.
    private func settle(after failure: (any Error)?) async throws {
        let found: String?
        do {
            let session = try await Destination.openBeside(endpoint)
            defer { session.close() }
            found = try await identity(of: name, with: session)
        } catch {
            throw PostgresError(
                .rollbackFailed, exitCode: .rollbackFailed, "see which database is in place", object: label,
                cause: "the server cannot be asked after the swap",
                hint: "'\(name)' is either the original or the restored database, whole: its comment says which; "
                    + "run again once the server answers")
        }
        if found == stagingOID { return }
        if let existing, found == existing.oid {
            if let failure { throw failure }
            throw PostgresError(
                .swap, exitCode: .restoreFailedOriginalIntact, "swap the databases", object: label,
                cause: "the server took the swap back", hint: "see the server's log, then run again")
        }
        if existing == nil, found == nil, let failure { throw failure }
        try await rollBack()
    }

    /// The name belongs to neither: put the original back.
    private func rollBack() async throws {
        do {
            let session = try await Destination.openBeside(endpoint)
            defer { session.close() }
            guard let existing, try await identity(of: replaced, with: session) == existing.oid else {
                throw stranded
            }
            let purpose = "put the original back"
            try await session.rows("BEGIN", to: purpose)
            try await session.rows(
                "ALTER DATABASE \(quoted(name: replaced)) WITH ALLOW_CONNECTIONS true", to: purpose)
            try await session.rows(existing.comment.statement(for: replaced), to: purpose)
            try await session.rows(
                "ALTER DATABASE \(quoted(name: replaced)) RENAME TO \(quoted(name: name))", to: purpose)
            try await session.rows("COMMIT", to: purpose)
        } catch {
            throw stranded
        }
        throw PostgresError(
            .rolledBack, exitCode: .restoreFailedRolledBack, "swap the databases", object: label,
            cause: "the name did not lead to the restored database afterwards, so the original was put back",
            hint: "find out who renames databases on this server, then run again")
    }

    private var stranded: PostgresError {
        PostgresError(
            .rollbackFailed, exitCode: .rollbackFailed, "put the original back", object: label,
            cause: "neither the restored nor the original database could be given the name '\(name)'",
            hint: "at once: look for '\(replaced)' and '\(staging)' with 'psql -l' and rename by hand")
    }
}
