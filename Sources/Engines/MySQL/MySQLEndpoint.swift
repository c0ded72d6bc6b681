package import Core
import Glibc

/// A database on a MariaDB or MySQL server, and how to get in.
package struct MySQLEndpoint: Sendable {
    /// How a connection across a network is protected.
    package struct TLS: Sendable, Equatable {
        package enum Mode: String, CaseIterable, Sendable {
            /// No TLS.
            case disabled
            /// TLS, whoever answers: against those who listen, not against those who stand in between.
            case required
            /// TLS, with a certificate of a trusted authority and for the host's name.
            case verified
        }

        package var mode: Mode
        /// A file of trusted authorities (PEM); `nil` for the system's.
        package var authority: String?
        /// Our own certificate and key (PEM), for servers that ask for them.
        package var certificate: String?
        package var key: String?

        package init(
            mode: Mode = .verified, authority: String? = nil, certificate: String? = nil, key: String? = nil
        ) {
            self.mode = mode
            self.authority = authority
            self.certificate = certificate
            self.key = key
        }
    }

    /// A name or an address; where it begins with `/`, a socket, or the directory of one called `mysqld.sock`.
    package var host: String
    package var port: Int
    package var database: String
    package var user: String
    package var password: Secret?
    /// Not used on a socket.
    package var tls: TLS

    package init(
        host: String, port: Int = 3306, database: String, user: String, password: Secret? = nil, tls: TLS = TLS()
    ) {
        self.host = host
        self.port = port
        self.database = database
        self.user = user
        self.password = password
        self.tls = tls
    }

    /// The socket's path, where it is one.
    var socket: String? {
        guard host.hasPrefix("/") else { return nil }
        var facts = stat()
        let isDirectory = stat(host, &facts) == 0 && facts.st_mode & S_IFMT == S_IFDIR
        return isDirectory ? "\(host)/mysqld.sock" : host
    }

    /// Whether the server runs on this machine, or is at least reached without leaving it.
    var isLocal: Bool {
        host.hasPrefix("/") || host == "localhost" || host == "::1" || host.hasPrefix("127.")
    }

    /// For people: `db.example:3306`, or the socket.
    var server: String { host.hasPrefix("/") ? host : "\(host):\(port)" }

    /// For people: `database clinic on db.example:3306`.
    var label: String { label(of: database) }

    func label(of database: String) -> String { "database \(database) on \(server)" }
}
