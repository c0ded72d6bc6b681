/// What a destination is asked before it is known what is to be restored into it: one database of a whole server, which
/// has yet to be recovered.
package struct SurveyRequest: Sendable {
    package var requestID: RequestID
    /// Of the set that the recovery begins with.
    package var manifest: Manifest
    /// What the database is called on that server.
    package var database: String
    package var createDatabase: Bool
    package var acknowledgeDisk: Bool
    package var acknowledgeBoundObjects: Bool

    package init(
        requestID: RequestID, manifest: Manifest, database: String, createDatabase: Bool, acknowledgeDisk: Bool,
        acknowledgeBoundObjects: Bool
    ) {
        self.requestID = requestID
        self.manifest = manifest
        self.database = database
        self.createDatabase = createDatabase
        self.acknowledgeDisk = acknowledgeDisk
        self.acknowledgeBoundObjects = acknowledgeBoundObjects
    }
}

extension Engine {
    /// For the places that no database of a PostgreSQL server is restored to.
    package func survey(_ request: SurveyRequest) async throws -> RestoreSummary {
        throw JobFailure(
            .eventRefused, "take one database out of the set", object: request.database,
            cause: "\(capabilities.endpoint) takes no database of a PostgreSQL server",
            hint: "leave sourceDatabase out of the event, or name a PostgreSQL destination")
    }
}
