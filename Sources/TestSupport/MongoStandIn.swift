import Core
import Glibc

/// The stand-in for mongodump and mongorestore, which neither Debian nor PyPI has: a program of the tests that has
/// their names, options, archives and bad habits and talks to a real mongod. What it does is said in `stand_in.py`.
package enum MongoStandIn {
    /// Where the two are: what `MONGODB_BIN` is set to.
    package static var directory: String { "\(repositoryRoot)/Tests/MongoDBEngineTests/StandIn" }

    /// A server to try it on, and the Python it is written in.
    package static var part: RealPart {
        let python = "\(repositoryRoot)/.cache/python/mongo-tools/.complete"
        return RealPart(
            "mongod and pymongo, fetched by scripts/mongod and scripts/python-env mongo-tools pymongo==4.10.1",
            isPresent: MongoServer.part.isPresent && access(python, R_OK) == 0)
    }

    /// Makes a directory of the two that fall into `traps` (see `stand_in.py`), and returns it: the tools themselves are
    /// started without an environment. `marker` is a text that they put into every message of a failure. `once` is a
    /// file that notes that a trap has sprung, for those that do so once.
    package static func make(
        in directory: String, traps: [String], marker: String = "", once: String = ""
    ) throws -> String {
        let place = "\(directory)/mongo-tools-\(traps.joined(separator: "-"))"
        mkdir(place, 0o755)
        for tool in ["mongodump", "mongorestore"] {
            let path = "\(place)/\(tool)"
            try writeFile(
                path,
                """
                #!/bin/sh
                export MONGO_STAND_IN_TRAP='\(traps.joined(separator: ","))' MONGO_STAND_IN_MARKER='\(marker)' \
                MONGO_STAND_IN_ONCE='\(once)'
                exec '\(self.directory)/\(tool)' "$@"

                """)
            chmod(path, 0o755)
        }
        return place
    }
}
