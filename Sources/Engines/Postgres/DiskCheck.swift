import Core
import Glibc

/// How much room there is where a database's files would be.
enum DiskCheck {
    /// What a restore takes for each byte the source took: the data, and the log of writing it.
    static func needed(for sourceSize: Int64) -> Int64 { sourceSize / 10 * 13 + sourceSize % 10 * 13 / 10 }

    /// Free bytes where the server keeps `tablespace`; `nil` where that cannot be known from here.
    static func free(_ connection: Connection, tablespace: String) async throws -> Int64? {
        guard connection.endpoint.isLocal, let place = try await place(connection, tablespace) else { return nil }
        return isSameDirectory(place) ? freeBytes(at: place.path) : nil
    }

    private struct Place {
        var path: String
        /// When the server says the directory was last changed, in seconds since 1970.
        var modified: Int64
        var changed: Int64
    }

    private static func place(_ connection: Connection, _ tablespace: String) async throws -> Place? {
        do {
            let rows = try await connection.rows(
                """
                SELECT path, extract(epoch FROM f.modification)::bigint, extract(epoch FROM f.change)::bigint
                FROM (SELECT coalesce(nullif((SELECT pg_tablespace_location(oid) FROM pg_tablespace
                    WHERE spcname = $1), ''), current_setting('data_directory')) AS path) p
                CROSS JOIN LATERAL pg_stat_file(path) f
                """, [tablespace], to: "find the server's disk")
            return rows.first.map {
                Place(path: $0.text(0), modified: $0.integer(1), changed: $0.integer(2))
            }
        } catch let error as PostgresError where [.permission, .query].contains(error.kind) {
            return nil
        }
    }

    /// A path means something only where the server's directory is mounted here too: a container can have a directory
    /// of that name that is another one. The times tell them apart.
    private static func isSameDirectory(_ place: Place) -> Bool {
        var facts = stat()
        guard stat(place.path, &facts) == 0 else { return false }
        return Int64(facts.st_mtim.tv_sec) == place.modified && Int64(facts.st_ctim.tv_sec) == place.changed
    }

    private static func freeBytes(at path: String) -> Int64? {
        var facts = statvfs()
        guard statvfs(path, &facts) == 0 else { return nil }
        return Int64(clamping: UInt64(facts.f_bavail) * UInt64(facts.f_frsize))
    }

    /// `1.5 GB`, for people.
    static func text(_ bytes: Int64) -> String {
        let units = ["B", "kB", "MB", "GB", "TB"]
        var value = bytes
        var tenths: Int64 = 0
        var unit = 0
        while value >= 1000, unit < units.count - 1 {
            tenths = value % 1000 / 100
            value /= 1000
            unit += 1
        }
        return unit == 0 ? "\(value) B" : "\(value).\(tenths) \(units[unit])"
    }
}
