package import Core

/// The engine `postgres` with the method `physical`: a whole server's files as its own BASE_BACKUP gives them, with the
/// part of its log that is needed to start from them.
///
/// A snapshot needs a role with REPLICATION that may also log in to a database, a server of version 13 or newer with
/// `wal_level` above minimal, and two places for replicating clients where the log is followed at the same time. It may
/// be taken from a standby. `docs/physical.md` says what it proves and what it leaves out.
package struct PostgresCluster: Engine {
    /// As the manifest's details name it.
    package static let method = "physical"

    /// What a restore reads again in a set's details, beside those of ``PhysicalBase``.
    package enum Detail {
        package static let serverVersion = "serverVersion"
        /// The major version: only programs of the same can start the files.
        package static let major = "major"
        /// The numbers of the tablespaces beside the data directory, joined by commas. Empty where there are none.
        package static let tablespaces = "tablespaces"
        /// `on` where pages have checksums.
        package static let checksums = "checksums"
        package static let standby = "standby"
    }

    let endpoint: PostgresEndpoint
    let timing: Timing
    let site: RecoverySite?

    /// How long to wait for the server.
    package struct Timing: Sendable {
        /// Seconds for the checkpoint that a backup begins with.
        package var checkpoint: Int
        /// Seconds from one message to the next.
        package var message: Int
        /// Between two questions whether the backup's session works.
        package var heartbeat: Duration

        package init(checkpoint: Int = 3600, message: Int = 900, heartbeat: Duration = .seconds(5)) {
            self.checkpoint = checkpoint
            self.message = message
            self.heartbeat = heartbeat
        }
    }

    /// The endpoint's database is only where the sessions are that ask the server about itself. `site` is where its sets
    /// are restored to.
    package init(_ endpoint: PostgresEndpoint, timing: Timing = Timing(), site: RecoverySite? = nil) {
        self.endpoint = endpoint
        self.timing = timing
        self.site = site
    }

    package var capabilities: EngineCapabilities {
        EngineCapabilities(name: "postgres", endpoint: endpoint.serverLabel)
    }

    package func snapshot(_ request: SnapshotRequest) async throws -> SnapshotAnswer {
        .taken(try await ClusterSnapshot.begin(self, meter: request.meter))
    }

    package func examine(_ request: ExamineRequest) async throws -> Examined {
        let examination = try ClusterExamination(request)
        let contents = try await examination.run()
        return Examined(contents: request.recompute ? contents : nil)
    }
}
