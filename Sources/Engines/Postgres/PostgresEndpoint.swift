package import Core

/// A database on a PostgreSQL server, and how to get in.
package struct PostgresEndpoint: Sendable {
    /// A name or an address; the directory of a socket where it begins with `/`.
    package var host: String
    package var port: Int
    package var database: String
    package var user: String
    package var password: Secret?
    /// Further key words of libpq ("Parameter Key Words" in its manual), such as `sslmode` and `sslrootcert`. They
    /// hold for our own sessions and for the tools alike; those that the fields above and this program set are
    /// overruled, except `options`, which is put before our own.
    package var parameters: [String: String]

    package init(
        host: String, port: Int = 5432, database: String, user: String, password: Secret? = nil,
        parameters: [String: String] = [:]
    ) {
        self.host = host
        self.port = port
        self.database = database
        self.user = user
        self.password = password
        self.parameters = parameters
    }

    /// Whether the server runs on this machine, or is at least reached without leaving it.
    var isLocal: Bool {
        host.hasPrefix("/") || host == "localhost" || host == "::1" || host.hasPrefix("127.")
    }

    /// For people: `db.example:5432`.
    var server: String { "\(host):\(port)" }

    /// For people: `database clinic on db.example:5432`.
    var label: String { label(of: database) }

    func label(of database: String) -> String { "database \(database) on \(server)" }
}
