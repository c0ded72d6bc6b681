package import Core

extension PostgresCluster {
    package func plan(_ request: RestoreRequest) async throws -> any RestorePlan {
        throw PostgresError.configuration(
            endpoint.serverLabel, "a whole server's files are not restored by this version",
            hint: "restore them by hand: docs/physical.md")
    }
}
