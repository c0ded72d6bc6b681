import Core
import Streams

/// A base backup of a whole server as it is taken: every tablespace an archive, then the server's own manifest.
///
/// A session of ours asks the server about itself, before and after; another, in its replication protocol, brings the
/// files. Both are over with the snapshot.
final class ClusterSnapshot: Snapshot {
    private struct State {
        var facts: SnapshotFacts
        var end: BackupEnd?
    }

    private let control: Connection
    private let replication: ReplicationConnection
    private let heartbeat: Heartbeat
    private let systemID: String
    private let start: BackupStart
    private let received: BackupParts
    private let inspection: ClusterInspection
    private let state: Guarded<State>

    var facts: SnapshotFacts { state.withLock { $0.facts } }
    var parts: AsyncThrowingStream<Part, any Error> { received.stream }

    private init(
        _ sessions: Sessions, systemID: String, start: BackupStart, facts: SnapshotFacts, segmentSize: UInt64
    ) {
        control = sessions.control
        replication = sessions.replication
        heartbeat = sessions.heartbeat
        self.systemID = systemID
        self.start = start
        let server = sessions.control.endpoint.serverLabel
        inspection = ClusterInspection(segmentSize: segmentSize) { $0.ofServer(server) }
        received = BackupParts(inspection: inspection)
        state = Guarded(State(facts: facts))
    }

    /// What a backup talks to the server by.
    private struct Sessions {
        let control: Connection
        let replication: ReplicationConnection
        let heartbeat: Heartbeat

        /// Has the server end what it is at for us: one that waits for its checkpoint does not see that nobody is there
        /// any more.
        func abandon() async {
            let process = replication.processID
            await uncancelled { [control] in
                // Where the server cannot be asked either, it meets a session that is gone when it sends next.
                _ = await Result {
                    try await control.rows(
                        "SELECT pg_catalog.pg_terminate_backend($1)", [String(process)], to: "end the base backup",
                        seconds: 5)
                }
            }
            await close()
        }

        func close() async {
            replication.close()
            await heartbeat.stop()
            control.close()
        }
    }

    static func begin(_ engine: PostgresCluster, meter: ProgressMeter) async throws -> ClusterSnapshot {
        let endpoint = engine.endpoint
        let control = try await Connection.open(endpoint, purpose: "base backup")
        do {
            let server = try await ClusterFacts.read(control)
            try server.check(endpoint)
            let purpose = "base backup \(control.processID)"
            let replication = try await ReplicationConnection.open(endpoint, purpose: purpose)
            let sessions = Sessions(
                control: control, replication: replication,
                heartbeat: Heartbeat(
                    endpoint, database: endpoint.database, application: "lifeboat \(purpose)", meter: meter,
                    every: engine.timing.heartbeat))
            do {
                return try await begin(sessions, server, timing: engine.timing)
            } catch {
                await sessions.abandon()
                throw error
            }
        } catch {
            control.close()
            throw error
        }
    }

    /// Sends the command, and returns when the server has made its checkpoint and said what it will send.
    private static func begin(
        _ sessions: Sessions, _ server: ClusterFacts, timing: PostgresCluster.Timing
    ) async throws -> ClusterSnapshot {
        let control = sessions.control
        let replication = sessions.replication
        let failures = FailureReader(control: control, wasStandby: server.isInRecovery)
        replication.listen { failures.damaged.note($0) }
        let backup = BaseBackup(
            conversation: ServerConversation(connection: replication, patience: timing.message),
            serverMajor: server.major, server: control.endpoint.serverLabel)
        let (identity, start) = try await withTaskCancellationHandler {
            try await onThread("base backup") {
                do {
                    let identity = try replication.identify()
                    try replication.send(
                        BaseBackup.command(label: "lifeboat", serverMajor: server.major), to: BaseBackup.purpose)
                    let first = BaseBackup(
                        conversation: ServerConversation(connection: replication, patience: timing.checkpoint),
                        serverMajor: backup.serverMajor, server: backup.server)
                    return (identity, try first.start())
                } catch {
                    throw failures.explain(error)
                }
            }
        } onCancel: {
            replication.cancel()
        }
        let snapshot = ClusterSnapshot(
            sessions, systemID: identity.systemID, start: start,
            facts: facts(server, identity, start), segmentSize: server.segmentSize)
        try snapshot.read(backup, failures)
        return snapshot
    }

    private static func facts(
        _ server: ClusterFacts, _ identity: ReplicationConnection.Identity, _ start: BackupStart
    ) -> SnapshotFacts {
        SnapshotFacts(
            time: server.time, sourceSize: start.size,
            details: [
                PhysicalBase.Detail.method: PostgresCluster.method,
                PhysicalBase.Detail.systemID: identity.systemID,
                PhysicalBase.Detail.timeline: String(start.timeline),
                PhysicalBase.Detail.start: start.position.description,
                PhysicalBase.Detail.segmentSize: String(server.segmentSize),
                PostgresCluster.Detail.serverVersion: server.version,
                PostgresCluster.Detail.major: String(server.major),
                PostgresCluster.Detail.tablespaces: start.roots.dropLast().joined(separator: ","),
                PostgresCluster.Detail.checksums: server.hasChecksums ? "on" : "off",
                PostgresCluster.Detail.standby: String(server.isInRecovery),
            ],
            exceptions: server.hasChecksums
                ? [] : ["the server's pages have no checksums: damage on its disk does not show in a base backup"])
    }

    /// Reads what the server sends, on a thread of its own.
    private func read(_ backup: BaseBackup, _ failures: FailureReader) throws {
        try startThread("base backup") { [received, start, control, state] in
            received.read(backup, roots: start.roots) { end in
                let time = try FailureReader.time(control)
                state.withLock { state in
                    state.end = end
                    state.facts.details[PhysicalBase.Detail.end] = end.position.description
                    state.facts.details[PhysicalBase.Detail.endTime] = time.description
                }
            } explain: {
                failures.explain($0)
            }
        }
    }

    func finish() async throws -> Contents {
        guard state.withLock({ $0.end }) != nil else {
            throw PostgresError.unreadParts(of: control.endpoint.serverLabel)
        }
        let (inspection, roots, systemID) = (inspection, start.roots, systemID)
        let contents = try await onThread("compare") { try inspection.finish(roots: roots, systemID: systemID) }
        await cancel()
        return contents
    }

    func cancel() async {
        received.cancel()
        replication.close()
        await heartbeat.stop()
        control.close()
    }
}

/// Finds out why a base backup failed, over the session that stands beside it. Blocks.
private struct FailureReader: Sendable {
    let damaged = DamagedPages()
    let control: Connection
    let wasStandby: Bool

    func explain(_ error: any Error) -> any Error {
        guard let error = error as? PostgresError else { return error }
        return PostgresError.refusedBackup(error, damaged: damaged, wasStandby: wasStandby) {
            try control.rowBlocking(
                "SELECT pg_is_in_recovery()", to: "ask whether the server is a standby",
                object: control.endpoint.serverLabel
            ).bool(0)
        }
    }

    /// By the server's clock.
    static func time(_ control: Connection) throws -> Timestamp {
        let row = try control.rowBlocking(
            "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint", to: "ask the server for the time",
            object: control.endpoint.serverLabel)
        return Timestamp(milliseconds: row.integer(0))
    }
}
