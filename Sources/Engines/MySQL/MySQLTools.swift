import Core
import Glibc
import Streams

/// Where the programs of MariaDB or MySQL are looked for.
package struct MySQLToolSearch: Sendable {
    /// In this order. A program in an earlier one wins over an equally fitting one in a later.
    package var directories: [String]

    package init(directories: [String]) { self.directories = directories }

    /// `override` (`MYSQL_BIN`) alone where it is set, else `path` (`PATH`) and the usual places.
    package static func standard(path: String?, override: String?) -> MySQLToolSearch {
        if let override, !override.isEmpty { return MySQLToolSearch(directories: [override]) }
        let onPath = (path ?? "").split(separator: ":").map(String.init).filter { $0.hasPrefix("/") }
        let usual = ["/usr/bin", "/usr/local/bin", "/usr/local/mysql/bin", "/usr/local/mariadb/bin"]
        return MySQLToolSearch(directories: onPath + usual.filter { !onPath.contains($0) })
    }
}
