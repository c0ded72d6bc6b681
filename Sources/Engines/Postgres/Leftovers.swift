import Core

/// What earlier runs have left on the server for one database: staging databases of runs that were killed, and what
/// earlier restores put aside.
struct Leftovers {
    /// What a staging database's connection limit is set to in the statement that makes it: the sign by which a run
    /// that was killed before it could write its marker is known.
    static let stagingConnectionLimit = 977

    private let connection: Connection
    private let database: String

    init(_ connection: Connection, database: String) {
        self.connection = connection
        self.database = database
    }

    struct Aside: Sendable {
        var name: String
        var marker: Marker
    }

    /// The databases that earlier restores of this one have replaced: under the name and with the marker that the swap
    /// gives them. One that a person has renamed is the person's.
    func replaced() async throws -> [Aside] {
        try await all().compactMap { row in
            guard Naming.isName(row.text(0), .replaced, for: database), let marker = MarkedComment(row[1]).marker,
                marker.kind == .replaced, marker.database == database
            else { return nil }
            return Aside(name: row.text(0), marker: marker)
        }
    }

    /// Removes what may go, and says what stays and why.
    func clear(for restore: DatabaseRestore) async throws -> [String] {
        for row in try await all() where isStaging(row) {
            try await Self.drop(row.text(0), with: connection)
        }
        var kept: [String] = []
        for aside in try await replaced() where aside.marker.requestID != restore.request.requestID.description {
            if let reason = try await reasonToKeep(aside, restore) {
                kept.append("'\(aside.name)', replaced by an earlier restore, is kept: \(reason)")
            } else {
                try await Self.drop(aside.name, with: connection)
            }
        }
        return kept
    }

    private func all() async throws -> [Row] {
        try await connection.rows(
            """
            SELECT datname, shobj_description(oid, 'pg_database'), datconnlimit FROM pg_database ORDER BY 1
            """, to: "look for what earlier runs left over")
    }

    private func isStaging(_ row: Row) -> Bool {
        guard Naming.isName(row.text(0), .staging, for: database) else { return false }
        let comment = MarkedComment(row[1])
        if let marker = comment.marker { return marker.kind == .staging && marker.database == database }
        return comment.text == nil && row.integer(2) == Int64(Self.stagingConnectionLimit)
    }

    /// `nil` where a proven set holds exactly what is in the database at this moment.
    private func reasonToKeep(_ aside: Aside, _ restore: DatabaseRestore) async throws -> String? {
        guard let key = aside.marker.safetyKey else { return "no safety backup was made of it" }
        guard let verified = try await restore.request.verifiedContents(key) else {
            return "its safety backup \(key) is not there or not proven"
        }
        let found = try await contents(of: aside.name, restore)
        return ContentsComparison(recorded: verified, found: found).isEqual
            ? nil : "it is not what its safety backup \(key) holds"
    }

    private func contents(of name: String, _ restore: DatabaseRestore) async throws -> Contents {
        let connection = connection
        let purpose = "look into what an earlier restore replaced"
        let gate = "ALTER DATABASE \(quoted(name: name)) WITH ALLOW_CONNECTIONS"
        try await connection.rows("\(gate) true", to: purpose)
        do {
            let found = try await restore.programs.dump.contents(
                of: name, watchedFrom: connection.database, application: "lifeboat compare \(connection.processID)",
                timing: restore.engine.timing, meter: restore.request.meter)
            try await connection.rows("\(gate) false", to: purpose)
            return found
        } catch {
            _ = try await uncancelled { try await connection.rows("\(gate) false", to: purpose) }
            throw error
        }
    }

    /// Removes a database and ends whoever is in it. One that is not there is success.
    static func drop(_ name: String, with connection: Connection) async throws {
        let purpose = "remove the database '\(name)'"
        let exists = try await !connection.rows(
            "SELECT 1 FROM pg_database WHERE datname = $1", [name], to: purpose
        ).isEmpty
        guard exists else { return }
        try await detachSubscriptions(of: name, with: connection)
        try await connection.rows(
            "DROP DATABASE IF EXISTS \(quoted(name: name)) WITH (FORCE)", to: purpose, seconds: 600)
    }

    /// A database with subscriptions cannot be dropped. Those in a copy share their slot with the original's, so they
    /// are made to forget it first: dropping them would otherwise drop the slot at the publisher.
    private static func detachSubscriptions(of name: String, with connection: Connection) async throws {
        let purpose = "take the subscriptions out of '\(name)'"
        let names = try await connection.rows(
            """
            SELECT s.subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = $1
            """, [name], to: purpose
        ).map { quoted(name: $0.text(0)) }
        guard !names.isEmpty else { return }
        try await connection.rows(
            "ALTER DATABASE \(quoted(name: name)) WITH ALLOW_CONNECTIONS true", to: purpose)
        let inside = try await Connection.open(connection.endpoint, database: name, purpose: "clear")
        defer { inside.close() }
        for subscription in names {
            try await inside.rows("ALTER SUBSCRIPTION \(subscription) DISABLE", to: purpose)
            try await inside.rows("ALTER SUBSCRIPTION \(subscription) SET (slot_name = NONE)", to: purpose)
            try await inside.rows("DROP SUBSCRIPTION \(subscription)", to: purpose)
        }
    }
}
