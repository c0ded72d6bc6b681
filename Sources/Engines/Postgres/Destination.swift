import Core

/// What stands at the place a restore is for, and who we are there. Read once, before anything is decided.
struct Destination: Sendable {
    /// A database that is there.
    struct Existing: Sendable {
        var oid: String
        var owner: String
        var comment: MarkedComment
        /// Bytes.
        var size: Int64
        var isTemplate: Bool
        /// Whether we may do with it what its owner may.
        var isOurs: Bool
    }

    struct Role: Sendable {
        var name: String
        var isSuperuser: Bool
        var mayCreateDatabases: Bool
        var mayCreateRoles: Bool
    }

    /// The database that is to be restored.
    var name: String
    var existing: Existing?
    var role: Role
    var version: String
    var versionNumber: Int

    var major: Int { ServerFacts.major(of: versionNumber) }

    static func read(_ connection: Connection, name: String) async throws -> Destination {
        let purpose = "look at the destination"
        let role = try await connection.row(
            """
            SELECT rolname, rolsuper, rolcreatedb OR rolsuper, rolcreaterole OR rolsuper,
                current_setting('server_version'), current_setting('server_version_num')
            FROM pg_roles WHERE rolname = current_user
            """, to: purpose)
        let rows = try await connection.rows(
            """
            SELECT oid, pg_get_userbyid(datdba), shobj_description(oid, 'pg_database'),
                CASE WHEN has_database_privilege(oid, 'CONNECT') THEN pg_database_size(oid) ELSE 0 END,
                datistemplate, pg_has_role(datdba, 'USAGE')
            FROM pg_database WHERE datname = $1
            """, [name], to: purpose)
        return Destination(
            name: name,
            existing: rows.first.map {
                Existing(
                    oid: $0.text(0), owner: $0.text(1), comment: MarkedComment($0[2]), size: $0.integer(3),
                    isTemplate: $0.bool(4), isOurs: $0.bool(5))
            },
            role: Role(
                name: role.text(0), isSuperuser: role.bool(1), mayCreateDatabases: role.bool(2),
                mayCreateRoles: role.bool(3)),
            version: role.text(4), versionNumber: Int(role.integer(5)))
    }

    /// A session in a database other than the one that is replaced, which nobody may be in at the swap.
    static func openBeside(_ endpoint: PostgresEndpoint) async throws -> Connection {
        let candidates = ["postgres", "template1"].filter { $0 != endpoint.database }
        var refusal: PostgresError?
        for database in candidates {
            do {
                return try await Connection.open(endpoint, database: database, purpose: "restore")
            } catch let error as PostgresError where [.missingDatabase, .permission].contains(error.kind) {
                refusal = error
            }
        }
        throw refusal
            ?? PostgresError.refused(["there is no other database to stand in"], at: endpoint.label)
    }
}
