import Core

/// What would stop a restore as far as the destination alone shows it: nothing of the database that is to be restored is
/// known but where it comes from.
struct DestinationPreflight {
    /// What is asked for.
    struct Restore {
        var requestID: RequestID
        /// What the database is called where it comes from; `nil` where the set does not say.
        var database: String?
        /// Major version of the server that it comes from; `nil` where the set does not say.
        var major: Int?
        var createDatabase: Bool
        var acknowledgeBoundObjects: Bool
    }

    let connection: Connection
    let destination: Destination
    let restore: Restore

    private(set) var problems: [String] = []
    private(set) var notes: [String] = []

    init(connection: Connection, destination: Destination, restore: Restore) {
        self.connection = connection
        self.destination = destination
        self.restore = restore
    }

    mutating func run() async throws {
        checkDestination()
        checkVersion()
        checkRight()
        try await checkNames()
        try await checkBoundObjects()
    }

    private mutating func checkDestination() {
        let name = destination.name
        if name.utf8.count > Naming.longestName {
            problems.append("'\(name)' is longer than the \(Naming.longestName) bytes a name may have")
        }
        if let existing = destination.existing {
            if name == "template0" || name == "template1" {
                problems.append("'\(name)' is a template of the server and is not replaced")
            } else if existing.isTemplate {
                notes.append("'\(name)' is a template: databases made from it from now on have the restored content")
            }
        } else if !restore.createDatabase, name != restore.database {
            problems.append(
                "there is no database '\(name)' (set createDatabase to have it made, or correct the name)")
        }
    }

    private mutating func checkVersion() {
        guard let major = restore.major else {
            problems.append("the set does not say which version of the server it is from")
            return
        }
        if destination.major < major {
            problems.append(
                "the set is from version \(major), and the server here is \(destination.major): restore on "
                    + "\(major) or newer")
        } else if destination.major > major {
            notes.append("the set is from version \(major), the server here is \(destination.major)")
        }
    }

    private mutating func checkRight() {
        let role = destination.role
        if !role.mayCreateDatabases {
            problems.append(
                "role \(role.name) may not create databases (ALTER ROLE … CREATEDB, or use another role)")
        }
        if let existing = destination.existing, !existing.isOurs {
            problems.append(
                "role \(role.name) does not own '\(destination.name)' and is no member of its owner "
                    + "\(existing.owner), so it may not rename it")
        }
    }

    /// The names the restore needs for itself.
    private mutating func checkNames() async throws {
        let replaced = Naming.name(
            .replaced, for: destination.name, requestID: restore.requestID.description)
        let taken = try await connection.rows(
            "SELECT 1 FROM pg_database WHERE datname = $1", [replaced], to: "look for the name to put aside under")
        if destination.existing != nil, !taken.isEmpty {
            problems.append(
                "'\(replaced)' stands where the replaced database is to be put (this request has been run before and "
                    + "its result was replaced since): drop or rename it, or use another timestamp")
        }
    }

    /// What is tied to the database that is replaced, by its identity and not by its name.
    private mutating func checkBoundObjects() async throws {
        guard let existing = destination.existing else { return }
        let purpose = "look for what is bound to the database"
        let prepared = try await connection.row(
            "SELECT count(*) FROM pg_prepared_xacts WHERE database = $1", [destination.name], to: purpose)
        if prepared.integer(0) > 0 {
            problems.append(
                "\(prepared.integer(0)) prepared transactions are open in '\(destination.name)', and it cannot be "
                    + "renamed before they end (COMMIT PREPARED or ROLLBACK PREPARED)")
        }
        let slots = try await connection.rows(
            "SELECT slot_name FROM pg_replication_slots WHERE database = $1 ORDER BY 1", [destination.name],
            to: purpose
        ).map { "logical slot \($0.text(0))" }
        let subscriptions = try await connection.rows(
            "SELECT subname FROM pg_subscription WHERE subdbid = $1::oid ORDER BY 1", [existing.oid], to: purpose
        ).map { "subscription \($0.text(0))" }
        let cron = try await connection.rows(
            "SELECT 1 WHERE current_setting('cron.database_name', true) = $1", [destination.name], to: purpose
        ).map { _ in "the jobs of pg_cron" }
        let bound = slots + subscriptions + cron
        guard !bound.isEmpty else { return }
        let list = bound.joined(separator: ", ")
        if restore.acknowledgeBoundObjects {
            notes.append("bound to the replaced database and to be set up anew: \(list)")
        } else {
            problems.append(
                "bound to '\(destination.name)' and lost to the restored one: \(list) "
                    + "(set acknowledgeBoundObjects to go on, and set them up anew afterwards)")
        }
    }
}

extension DestinationPreflight.Restore {
    init(_ request: RestoreRequest) {
        let details = request.manifest.details
        self.init(
            requestID: request.requestID, database: details[LogicalSnapshot.Detail.database],
            major: details[LogicalSnapshot.Detail.serverVersionNumber].flatMap { Int($0) }
                .map { ServerFacts.major(of: $0) },
            createDatabase: request.createDatabase, acknowledgeBoundObjects: request.acknowledgeBoundObjects)
    }

    init(_ request: SurveyRequest) {
        self.init(
            requestID: request.requestID, database: request.database,
            major: request.manifest.details[PostgresCluster.Detail.major].flatMap { Int($0) },
            createDatabase: request.createDatabase, acknowledgeBoundObjects: request.acknowledgeBoundObjects)
    }
}
