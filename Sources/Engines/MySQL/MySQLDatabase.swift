package import Core

/// The engine `mysql`: logical dumps of one database of a MariaDB or MySQL server, restored into a staging schema
/// beside it and exchanged with it table by table.
///
/// A snapshot reads with the server's own dump program; it changes nothing there. A restore needs a user that may make
/// and drop databases and everything in the one it replaces; it keeps its books in the database `__lifeboat`.
package struct MySQLDatabase: Engine {
    let endpoint: MySQLEndpoint
    let toolSearch: MySQLToolSearch
    let options: MySQLOptions

    package init(_ endpoint: MySQLEndpoint, tools: MySQLToolSearch, options: MySQLOptions = MySQLOptions()) {
        self.endpoint = endpoint
        toolSearch = tools
        self.options = options
    }

    package var capabilities: EngineCapabilities {
        EngineCapabilities(name: "mysql", endpoint: endpoint.label, promotesInPlace: true)
    }

    package func snapshot(_ request: SnapshotRequest) async throws -> SnapshotAnswer {
        .taken(try await DatabaseSnapshot.begin(self, request))
    }

    package func examine(_ request: ExamineRequest) async throws -> Examined {
        let examination = SetExamination(manifest: request.manifest, parts: request.parts, meter: request.meter)
        return Examined(contents: try await examination.run(recompute: request.recompute))
    }

    package func plan(_ request: RestoreRequest) async throws -> any RestorePlan {
        try await SchemaRestore.plan(self, request)
    }
}
