package import Core

/// The engine `postgres` for a directory: where the physical sets of a server are restored to and recovered. It has no
/// server that could be backed up.
package struct PostgresDirectory: Engine {
    let site: RecoverySite

    package init(_ site: RecoverySite) { self.site = site }

    package var capabilities: EngineCapabilities { EngineCapabilities(name: "postgres", endpoint: site.label) }

    package func snapshot(_ request: SnapshotRequest) async throws -> SnapshotAnswer {
        throw PostgresError.configuration(
            site.label, "a directory that is restored into has no server that could be backed up",
            hint: "back up the server that runs on it")
    }

    package func examine(_ request: ExamineRequest) async throws -> Examined {
        let contents = try await ClusterExamination(request).run()
        return Examined(contents: request.recompute ? contents : nil)
    }

    package func plan(_ request: RestoreRequest) async throws -> any RestorePlan {
        try await failedRestore { try await PhysicalRestore.plan(site, request) }
    }
}
