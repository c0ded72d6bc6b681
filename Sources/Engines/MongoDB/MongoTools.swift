import Core
import Glibc
import Streams

/// Where `mongodump` and `mongorestore` are looked for.
package struct MongoToolSearch: Sendable {
    /// In this order.
    package var directories: [String]

    package init(directories: [String]) { self.directories = directories }

    /// `override` (`MONGODB_BIN`) alone where it is set, else `path` (`PATH`).
    package static func standard(path: String?, override: String?) -> MongoToolSearch {
        if let override, !override.isEmpty { return MongoToolSearch(directories: [override]) }
        return MongoToolSearch(
            directories: (path ?? "").split(separator: ":").map(String.init).filter { $0.hasPrefix("/") })
    }
}
