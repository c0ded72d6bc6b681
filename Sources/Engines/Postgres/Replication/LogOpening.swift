import Core

/// A job's beginning at the server, step by step.
struct LogOpening: Sendable {
    let endpoint: PostgresEndpoint
    let slot: LogSlot
    let connection: ReplicationConnection
    let facts: LogFacts
    let request: WALRequest

    private var object: String { "the server \(endpoint.server)" }

    func run() async throws -> any WALStream {
        request.meter.begin("follow the log")
        let identity = try await onThread("identify") { [connection] in try connection.identify() }
        let (server, history) = try await server(identity)
        let stored = try await request.storedEnd(server)
        if let stored { try check(stored, identity, server) }
        var state = try await slot.state()
        var notes: [String] = []
        if let stored, stored.timeline == server.timeline, case .kept = state,
            PostgresLog.isQuiet(since: stored, at: identity.position, transactions: facts.transactions)
        {
            return nothing(at: stored, of: server, notes)
        }
        if !request.dryRun {
            switch state {
            case .kept: break
            case .missing:
                if stored?.isOfBase == false {
                    notes.append("the slot \(slot.name) was gone and has been made again")
                }
                state = .kept(from: try await slot.make())
            case .lost:
                notes.append("the slot \(slot.name) had lost what it kept and has been made anew")
                state = .kept(from: try await slot.remake())
            }
        }
        let begin = beginning(after: stored, state, identity, server)
        let end = try await end(identity, server, &notes)
        let legs = LogLeg.way(from: begin, to: end.lsn, of: server)
        if legs.isEmpty { return nothing(at: begin, of: server, notes) }
        if request.dryRun { return plan(from: begin, to: end, of: server, state, notes) }
        return try await follow(
            LogWay(begin: begin, end: end, stored: stored, keptFrom: state.keptFrom), server, history, notes)
    }

    // MARK: Steps

    private func server(
        _ identity: ReplicationConnection.Identity
    ) async throws -> (WALServer, history: [UInt8]?) {
        var server = WALServer(
            systemID: identity.systemID, timeline: identity.timeline, lineage: [], segmentSize: facts.segmentSize)
        guard identity.timeline > 1 else { return (server, nil) }
        let history = try await onThread("history") { [connection] in
            try connection.history(of: identity.timeline)
        }
        guard let history, let lineage = TimelineHistory.forks(in: history),
            lineage.allSatisfy({ $0.timeline < identity.timeline })
        else {
            throw PostgresError(
                .query, "read the history of timeline \(identity.timeline)", object: object,
                cause: "the server has none that can be read", hint: "see its pg_wal directory and its log")
        }
        server.lineage = lineage
        return (server, history)
    }

    /// What is stored has to be a beginning of what the server has.
    private func check(
        _ stored: WALPosition, _ identity: ReplicationConnection.Identity, _ server: WALServer
    ) throws {
        guard stored.systemID == server.systemID else {
            throw PostgresError.otherSystem(stored.systemID, found: server.systemID, on: object)
        }
        if stored.timeline == server.timeline, stored.lsn > server.segmentEnd(identity.position) {
            throw PostgresError(
                .refused, "follow the server's log", object: object,
                cause:
                    "it stands at \(identity.position) on timeline \(server.timeline), behind \(stored.lsn), up to "
                    + "where its log is stored: it was put back to an earlier state",
                hint: "a server that is restored has to be promoted to a timeline of its own; restore it that way, "
                    + "or give this target another keyPrefix")
        }
    }

    private func beginning(
        after stored: WALPosition?, _ state: LogSlot.State, _ identity: ReplicationConnection.Identity,
        _ server: WALServer
    ) -> WALPosition {
        if let stored, !stored.isOfBase || stored.lsn < state.keptFrom ?? LSN(UInt64.max) { return stored }
        let lsn = state.keptFrom ?? server.segmentBegin(identity.position)
        return WALPosition(systemID: server.systemID, timeline: server.timeline(at: lsn), lsn: lsn)
    }

    /// Where this job stops: the end of the segment that is closed for it, or how far the log is.
    private func end(
        _ identity: ReplicationConnection.Identity, _ server: WALServer, _ notes: inout [String]
    ) async throws -> WALPosition {
        var end = WALPosition(systemID: server.systemID, timeline: server.timeline, lsn: identity.position)
        if facts.isInRecovery {
            notes.append("the server is a standby: the last segment is stored as far as it goes")
            return end
        }
        guard facts.maySwitch else {
            notes.append(
                "role \(endpoint.user) may not execute pg_switch_wal(): the last segment is stored as far as it goes")
            return end
        }
        if request.dryRun {
            end.lsn = server.segmentEnd(identity.position)
            return end
        }
        if facts.mayMakeRestorePoint {
            try await slot.connection.rows(
                "SELECT pg_catalog.pg_create_restore_point($1)", [request.restorePoint], to: "make a restore point")
        } else {
            notes.append("role \(endpoint.user) may not execute pg_create_restore_point(text): none was made")
        }
        let row = try await slot.connection.row(
            "SELECT pg_catalog.pg_switch_wal()::text", to: "close the log's segment")
        guard let switched = LSN(row.text(0)) else {
            throw PostgresError.protocolViolation("close the log's segment", on: object)
        }
        end.lsn = server.segmentEnd(switched)
        end.mark = facts.transactions
        return end
    }

    private func nothing(at position: WALPosition, of server: WALServer, _ notes: [String]) -> LogStream {
        connection.close()
        return LogStream(server: server, begin: position, end: position, notes: notes)
    }

    private func plan(
        from begin: WALPosition, to end: WALPosition, of server: WALServer, _ state: LogSlot.State, _ notes: [String]
    ) -> LogStream {
        connection.close()
        var notes = notes
        switch state {
        case .kept: break
        case .missing: notes.append("there is no slot \(slot.name) yet: the job makes it")
        case .lost: notes.append("the slot \(slot.name) has lost what it kept: a part of the log may be gone")
        }
        return LogStream(server: server, begin: begin, end: end, notes: notes)
    }

    /// Begins to follow; where the server has removed what comes next, from what it still has.
    private func follow(
        _ way: LogWay, _ server: WALServer, _ history: [UInt8]?, _ notes: [String]
    ) async throws -> LogStream {
        let legs = LogLeg.way(from: way.begin, to: way.end.lsn, of: server)
        let known = way.stored.flatMap { $0.isOfBase ? nil : $0.timeline }
        var histories = history.map { [server.timeline: $0] } ?? [:]
        for leg in legs where leg.timeline > 1 && leg.timeline < server.timeline {
            // A timeline that was left before a job saw it. The server's own history tells of it too: without this file it
            // cannot be chosen as the one to stop on, and that is all.
            histories[leg.timeline] = try await pastHistory(of: leg.timeline)
        }
        if let known { histories[known] = nil }
        do {
            let follower = try await follower(on: connection, legs, server, histories)
            return LogStream(
                server: server, begin: way.begin, end: way.end, notes: notes, follower: follower)
        } catch let error as PostgresError where error.sqlState == "58P01" {
            if let now = try await request.storedEnd(server), !now.isSamePlace(as: way.stored) {
                throw PostgresError(
                    .notReady, exitCode: .locked, "follow the server's log", object: object,
                    cause:
                        "another job has stored what comes next since this one looked, and the server let go of it",
                    hint: "nothing is missing; the next job goes on from there")
            }
            return try await followAfterGap(way, server, histories, notes)
        }
    }

    /// The history of a timeline that was left; `nil` where the server has it no longer.
    private func pastHistory(of timeline: UInt32) async throws -> [UInt8]? {
        try await onThread("history") { [connection] in
            do {
                return try connection.history(of: timeline)
            } catch let error as PostgresError where error.sqlState == "58P01" {
                while try connection.nextAnswer(within: Connection.patience, to: "read a history") != nil {}
                return nil
            }
        }
    }

    private func followAfterGap(
        _ way: LogWay, _ server: WALServer, _ histories: [UInt32: [UInt8]], _ notes: [String]
    ) async throws -> LogStream {
        var kept = way.keptFrom
        if kept.map({ $0 <= way.begin.lsn }) ?? true {
            // It kept what is not there: lost since it was looked at.
            kept = try await slot.remake()
        }
        // Where even the server's own recovery would need what is not there, what follows it.
        let from = max(
            server.segmentBegin(kept ?? way.end.lsn),
            LSN(server.segmentBegin(way.begin.lsn).value + server.segmentSize))
        let begin = WALPosition(systemID: server.systemID, timeline: server.timeline(at: from), lsn: from)
        let gap = way.stored.map { WALRange(timeline: $0.timeline, begin: $0.lsn, end: from) }
        let legs = LogLeg.way(from: begin, to: way.end.lsn, of: server)
        connection.close()
        guard !legs.isEmpty else {
            return LogStream(server: server, begin: way.end, end: way.end, gap: gap, notes: notes)
        }
        let fresh = try await ReplicationConnection.open(endpoint, purpose: "log")
        do {
            let follower = try await follower(on: fresh, legs, server, histories)
            return LogStream(
                server: server, begin: begin, end: way.end, gap: gap, notes: notes, follower: follower)
        } catch {
            fresh.close()
            throw error
        }
    }

    private func follower(
        on connection: ReplicationConnection, _ legs: [LogLeg], _ server: WALServer, _ histories: [UInt32: [UInt8]]
    ) async throws -> LogFollower {
        let (name, meter) = (slot.name, request.meter)
        return try await withTaskCancellationHandler {
            try await onThread("follow") {
                do {
                    return try LogFollower(
                        on: connection, slot: name, server: server, legs: legs, histories: histories, meter: meter)
                } catch let error as PostgresError where error.sqlState == "55006" {
                    throw PostgresError(
                        .notReady, exitCode: .locked, "follow the server's log", object: "the slot \(name)",
                        cause: "another job follows it", hint: "let that one end")
                }
            }
        } onCancel: {
            connection.cancel()
        }
    }
}

/// Where a job begins and ends, and what that rests on.
private struct LogWay: Sendable {
    var begin: WALPosition
    var end: WALPosition
    var stored: WALPosition?
    var keptFrom: LSN?
}

extension WALPosition {
    fileprivate func isSamePlace(as other: WALPosition?) -> Bool {
        timeline == other?.timeline && lsn == other?.lsn
    }
}

extension LogSlot.State {
    fileprivate var keptFrom: LSN? { if case .kept(let lsn) = self { lsn } else { nil } }
}

extension PostgresError {
    static func otherSystem(_ stored: String, found: String, on object: String) -> PostgresError {
        PostgresError(
            .refused, "follow the server's log", object: object,
            cause: "it is the cluster with the system identifier \(found); what is stored is of \(stored)",
            hint: "check POSTGRES_HOST and POSTGRES_PORT; a new cluster begins with a base backup")
    }
}

/// What ``PostgresLog`` gives.
private struct LogStream: WALStream {
    let server: WALServer
    let begin: WALPosition
    let end: WALPosition
    var gap: WALRange?
    let notes: [String]
    var follower: LogFollower?

    func next() async throws -> WALPiece? { try await follower?.next() }
    func acknowledge(_ lsn: LSN) { follower?.acknowledge(lsn) }
    func finish() async throws { try await follower?.finish() }
    func close() async { await follower?.close() }
}
