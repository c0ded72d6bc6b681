package import Core

/// The kinds of sources, as `BACKUP_ENGINE` names them.
package enum EngineName: String, CaseIterable, Sendable {
    case postgres, mysql, mongodb, files, keys
    case auditRecords = "audit-records"

    /// What a restore of it goes to: a database on a server, or a directory.
    package var restoresToDirectory: Bool {
        switch self {
        case .postgres, .mysql, .mongodb: false
        case .files, .keys, .auditRecords: true
        }
    }
}

package enum SourceSettings: Equatable, Sendable {
    case postgres(PostgresSettings)
    case mysql(MySQLSettings)
    case mongodb(MongoDBSettings)
    case files(FilesSettings)
    case keys(KeySetSettings)
    case auditRecords(AuditSettings)

    package var name: EngineName {
        switch self {
        case .postgres: .postgres
        case .mysql: .mysql
        case .mongodb: .mongodb
        case .files: .files
        case .keys: .keys
        case .auditRecords: .auditRecords
        }
    }

    /// As in `BACKUP_ENGINE` and the manifest.
    package var engine: String { name.rawValue }

    /// Checks that were switched off by name for this source.
    package var exceptions: [String] {
        switch self {
        case .postgres(let settings): settings.exceptions
        case .mysql(let settings): settings.exceptions
        case .mongodb(let settings): settings.exceptions
        case .files, .keys: []
        case .auditRecords(let settings):
            if case .table(let table) = settings.source { table.database.exceptions } else { [] }
        }
    }
}

/// A database on a PostgreSQL server, and how it is reached.
package struct PostgresSettings: Equatable, Sendable {
    /// A name, an address, or the directory of a socket, which begins with `/`.
    package var host: String
    package var port: Int
    package var database: String
    package var user: String
    package var password: Secret?
    /// Further parameters by libpq's names: `sslmode`, `sslrootcert`.
    package var parameters: [String: String]
    /// Checks that were switched off by name for this connection.
    package var exceptions: [String] = []

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
}

/// A database on a MySQL or MariaDB server, and how it is reached.
package struct MySQLSettings: Equatable, Sendable {
    /// How much of TLS is asked for, by the words of the servers' own clients.
    package enum TLSMode: String, CaseIterable, Sendable {
        case disabled = "DISABLED"
        /// Encrypted, and anybody may be at the other end.
        case required = "REQUIRED"
        /// The certificate is checked, and that it is the host's.
        case verifyIdentity = "VERIFY_IDENTITY"
    }

    /// What becomes of writes between a restore's safety backup and its exchange.
    package enum RestoreWriters: String, CaseIterable, Sendable {
        /// The restore ends, with the original in place.
        case compare
        /// They stay in the replaced copy.
        case keep
    }

    /// A name, an address, or the path of a socket or its directory, which begins with `/`.
    package var host: String
    package var port: Int
    package var database: String
    package var user: String
    package var password: Secret?
    package var tls: TLSMode
    /// PEM files.
    package var caPath: String?
    package var certificatePath: String?
    package var keyPath: String?
    /// Tables without transactions are locked while they are dumped.
    package var locksTables = false
    package var restoreWriters: RestoreWriters = .compare
    /// Checks that were switched off by name for this connection.
    package var exceptions: [String] = []

    package init(
        host: String, port: Int = 3306, database: String, user: String, password: Secret? = nil,
        tls: TLSMode = .disabled
    ) {
        self.host = host
        self.port = port
        self.database = database
        self.user = user
        self.password = password
        self.tls = tls
    }
}

/// A MongoDB deployment, or one database of it.
package struct MongoDBSettings: Equatable, Sendable {
    /// The connection string; it may hold a password.
    package var url: Secret
    /// For people: the hosts of the connection string.
    package var hosts: String
    /// `nil` for every database of the deployment.
    package var database: String?
    /// Checks that were switched off by name for this connection.
    package var exceptions: [String] = []

    package init(url: Secret, hosts: String, database: String?) {
        self.url = url
        self.hosts = hosts
        self.database = database
    }
}

/// Directories and files.
package struct FilesSettings: Equatable, Sendable {
    /// Absolute paths, none inside another; never empty.
    package var paths: [String]
    /// Patterns of what is left out.
    package var excludes: [String]
    /// What is mounted below a path is left out.
    package var oneFileSystem: Bool
    /// A directory with nothing in it is no mistake.
    package var allowsEmpty: Bool

    package init(
        paths: [String], excludes: [String] = [], oneFileSystem: Bool = false, allowsEmpty: Bool = false
    ) {
        self.paths = paths
        self.excludes = excludes
        self.oneFileSystem = oneFileSystem
        self.allowsEmpty = allowsEmpty
    }
}

/// Encryption keys that lie in files, a mounted Kubernetes Secret among them.
package struct KeySetSettings: Equatable, Sendable {
    package enum Schedule: String, CaseIterable, Sendable {
        case daily = "DAILY"
        /// A set of keys that is the last one's again is not stored again.
        case onChange = "ON_CHANGE"
    }

    /// Absolute paths of directories; never empty.
    package var paths: [String]
    package var schedule: Schedule
    /// Hours from one verify of the keys to the next that is due.
    package var verifyIntervalHours: Int

    package init(paths: [String], schedule: Schedule = .daily, verifyIntervalHours: Int = 24) {
        self.paths = paths
        self.schedule = schedule
        self.verifyIntervalHours = verifyIntervalHours
    }
}

/// An audit trail, and how much of it makes a set.
package struct AuditSettings: Equatable, Sendable {
    package enum Source: Equatable, Sendable {
        case table(AuditTable)
        /// Files of JSON lines: an absolute path whose last step may be a pattern.
        case files(pattern: String)
        /// The event brings the records.
        case event
    }

    package var source: Source
    /// The member of a record that holds its id.
    package var id: String
    /// Ids follow each other without a gap, so that a missing one is a missing record.
    package var idsAreContiguous: Bool
    /// A set is made when so many minutes have passed since the last one,
    package var batchMinutes: Int
    /// or when so many records wait.
    package var batchRecords: Int
    package var stages: AuditStages
    /// How long sets are kept at least; `nil` where that is not said here.
    package var legalDays: Int?

    package init(
        source: Source, id: String = "id", idsAreContiguous: Bool = false, batchMinutes: Int = 60,
        batchRecords: Int = 10_000, stages: AuditStages = AuditStages(), legalDays: Int? = nil
    ) {
        self.source = source
        self.id = id
        self.idsAreContiguous = idsAreContiguous
        self.batchMinutes = batchMinutes
        self.batchRecords = batchRecords
        self.stages = stages
        self.legalDays = legalDays
    }
}

/// A table or collection with an audit trail.
package struct AuditTable: Equatable, Sendable {
    package enum Database: Equatable, Sendable {
        case postgres(PostgresSettings)
        case mysql(MySQLSettings)
        case mongodb(MongoDBSettings)

        package var exceptions: [String] {
            switch self {
            case .postgres(let settings): settings.exceptions
            case .mysql(let settings): settings.exceptions
            case .mongodb(let settings): settings.exceptions
            }
        }
    }

    package var database: Database
    /// `schema.table`, a table's name, or a collection's.
    package var name: String

    package init(database: Database, name: String) {
        self.database = database
        self.name = name
    }
}

/// Where a restore may go, by a name of its own.
package enum DestinationSettings: Equatable, Sendable {
    case postgres(PostgresSettings)
    case mysql(MySQLSettings)
    case mongodb(MongoDBSettings)
    /// An absolute path.
    case directory(path: String)

    /// Whether a set of `engine` can be restored there.
    package func takes(_ engine: EngineName) -> Bool {
        switch self {
        case .postgres: engine == .postgres
        case .mysql: engine == .mysql
        case .mongodb: engine == .mongodb
        case .directory: engine.restoresToDirectory
        }
    }

    var isDirectory: Bool { if case .directory = self { true } else { false } }

    /// For people: `a PostgreSQL database`.
    package var kind: String {
        switch self {
        case .postgres: "a PostgreSQL database"
        case .mysql: "a MySQL database"
        case .mongodb: "a MongoDB database"
        case .directory: "a directory"
        }
    }
}
