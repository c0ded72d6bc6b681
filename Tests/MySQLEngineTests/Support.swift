import Core
import MySQLEngine
import TestSupport

/// The engine on a database of a throwaway server.
func engine(
    _ server: MariaDBServer, _ database: String, user: String = "root", options: MySQLOptions = MySQLOptions()
) -> MySQLDatabase {
    MySQLDatabase(
        MySQLEndpoint(
            host: server.host, database: database, user: user, password: server.password.map { Secret($0) }),
        tools: MySQLToolSearch(directories: [MariaDBServer.binaries]), options: options)
}
