package import Core

extension PostgresCluster {
    /// A server's files are restored into a directory, not onto the server that runs.
    package func plan(_ request: RestoreRequest) async throws -> any RestorePlan {
        guard let site else {
            throw PostgresError.configuration(
                endpoint.serverLabel, "a whole server's files are restored into a directory, and none is set",
                hint: "set RESTORE_DIRECTORY to an empty directory on a volume that is large enough")
        }
        return try await PostgresDirectory(site).plan(request)
    }
}
