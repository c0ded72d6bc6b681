import Core
import Glibc
import TestSupport
import Testing

/// A clinic's database, a store and a key: what one target needs.
struct Site: TestTarget {
    let server: PostgresServer
    let database: String
    let directory: String

    var store: String { directory + "/store" }

    var environment: [String: String] {
        [
            "POSTGRES_HOST": server.host, "POSTGRES_PORT": String(server.port), "POSTGRES_DB": database,
            "POSTGRES_USER": "postgres", "BACKUP_STORE": "file://\(store)",
            "BACKUP_RECIPIENTS": "aes:\(directory)/clinic.key", "BACKUP_LOCK_LEASE": "2",
        ]
    }

    /// Makes a database with `clinic` in it, an empty store and a key, and removes the latter two afterwards.
    static func with<Result>(
        _ clinic: String = Clinic.sql(patients: 50), server: PostgresServer? = nil,
        _ body: (Site) async throws -> Result
    ) async throws -> Result {
        try await withScratchDirectory(mode: 0o711) { directory in
            mkdir(directory + "/store", 0o700)
            try writeFile(directory + "/clinic.key", String(repeating: "5a", count: 32))
            var chosen = server
            if chosen == nil { chosen = try await PostgresServer.shared() }
            let server = try #require(chosen)
            let database = try await server.createDatabase("site")
            try await server.sql(clinic, database: database)
            return try await body(Site(server: server, database: database, directory: directory))
        }
    }

    /// A fingerprint of all rows, computed by the server.
    func fingerprint(_ database: String? = nil) async throws -> String {
        try await server.sql(
            """
            SELECT string_agg(h, ',' ORDER BY h) FROM (
                SELECT format('%s %s', c.oid::regclass,
                    (xpath('/row/h/text()', query_to_xml(format(
                        'SELECT md5(coalesce(string_agg(t::text, E''\\n'' ORDER BY t::text), '''')) AS h FROM %s t',
                        c.oid::regclass), false, true, '')))[1]) AS h
                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')) x
            """, database: database ?? self.database)
    }

    /// The databases whose names carry the mark of a restore that put something beside or aside.
    func leftovers() async throws -> [String] {
        try await server.sql("SELECT datname FROM pg_database WHERE datname LIKE '\(database.prefix(40))__lb_%'")
            .split(separator: "\n").map(String.init)
    }
}
