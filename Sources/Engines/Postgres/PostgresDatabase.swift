package import Core

/// The engine `postgres`: logical dumps of one database, restored beside it and swapped in by name.
///
/// A snapshot reads with the server's own pg_dump; it changes nothing there. A restore needs a role that may create
/// databases and owns the one it replaces, and one other database (`postgres` or `template1`) to stand in meanwhile.
package struct PostgresDatabase: Engine {
    /// The names of a set's parts.
    enum PartName {
        static let globals = "globals.sql"
        static let properties = DatabaseProperties.partName
        static let database = "database.sql"
        static let all = [globals, properties, database]
    }

    let endpoint: PostgresEndpoint
    let toolSearch: ToolSearch
    let timing: Timing

    /// How long to wait for what others hold.
    package struct Timing: Sendable {
        /// Seconds that the dump waits for a table's lock.
        package var dumpLock: Int
        /// How often a swap is tried while others keep coming back to the database.
        package var swapAttempts: Int
        /// Between two questions whether a tool's session works.
        package var heartbeat: Duration

        package init(dumpLock: Int = 120, swapAttempts: Int = 10, heartbeat: Duration = .seconds(5)) {
            self.dumpLock = dumpLock
            self.swapAttempts = swapAttempts
            self.heartbeat = heartbeat
        }
    }

    package init(_ endpoint: PostgresEndpoint, tools: ToolSearch, timing: Timing = Timing()) {
        self.endpoint = endpoint
        toolSearch = tools
        self.timing = timing
    }

    package var capabilities: EngineCapabilities { EngineCapabilities(name: "postgres", endpoint: endpoint.label) }

    package func snapshot(_ request: SnapshotRequest) async throws -> SnapshotAnswer {
        .taken(try await LogicalSnapshot.begin(self, meter: request.meter))
    }

    package func examine(_ request: ExamineRequest) async throws -> Examined {
        try Self.refuseOtherKind(request.manifest)
        let examination = Examination(parts: request.parts, meter: request.meter)
        return Examined(contents: try await examination.run(recompute: request.recompute))
    }

    package func plan(_ request: RestoreRequest) async throws -> any RestorePlan {
        try Self.refuseOtherKind(request.manifest)
        return try await DatabaseRestore.plan(self, request)
    }

    /// A whole server's files are not a damaged dump, and nothing may say so of them.
    private static func refuseOtherKind(_ manifest: Manifest) throws(PostgresError) {
        guard !PhysicalBase.isPhysical(manifest) else {
            throw .configuration(
                "the set \(manifest.key)", "it holds a whole server's files, and no dump of a database",
                hint: "sets that were made with BACKUP_METHOD=physical are read with it")
        }
    }
}
