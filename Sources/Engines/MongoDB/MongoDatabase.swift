package import Core

/// The engine `mongodb`: archives of one database, or of a whole deployment, made by mongodump.
///
/// A snapshot changes nothing at the server. A restore loads beside what stands there, compares, and then loads in
/// place, because MongoDB cannot rename a database; it is rolled back from the safety set where that fails.
package struct MongoDatabase: Engine {
    /// The names of a set's parts.
    enum PartName {
        static let archive = "mongodb.archive"
    }

    let endpoint: MongoEndpoint
    let tools: MongoToolSearch
    let timing: Timing

    /// How long to wait.
    package struct Timing: Sendable {
        /// Seconds in which a server must be found, by our sessions and by the tools.
        package var serverSelection: Int
        /// Between two questions whether a tool's session works.
        package var heartbeat: Duration

        package init(serverSelection: Int = 15, heartbeat: Duration = .seconds(5)) {
            self.serverSelection = serverSelection
            self.heartbeat = heartbeat
        }
    }

    package init(_ endpoint: MongoEndpoint, tools: MongoToolSearch, timing: Timing = Timing()) {
        self.endpoint = endpoint
        self.tools = tools
        self.timing = timing
    }

    package var capabilities: EngineCapabilities {
        EngineCapabilities(name: "mongodb", endpoint: endpoint.label, promotesInPlace: true)
    }

    package func snapshot(_ request: SnapshotRequest) async throws -> SnapshotAnswer {
        .taken(try await MongoSnapshot.begin(self, request))
    }

    package func examine(_ request: ExamineRequest) async throws -> Examined {
        let found = try await Examination(parts: request.parts, meter: request.meter).run()
        return Examined(contents: request.recompute ? found.contents : nil)
    }

    package func plan(_ request: RestoreRequest) async throws -> any RestorePlan {
        try await MongoRestore.plan(self, request)
    }

    func session(_ purpose: String) async throws -> MongoSession {
        try await MongoSession.open(endpoint, timing: timing, purpose: purpose)
    }
}
