import AuditRecordsEngine
import Core
import Events
import FilesEngine
import KeysEngine
import MongoDBEngine
import MySQLEngine
import PostgresEngine

/// The engines of one target: its source's, and those that its restores may go to.
struct Sources: Sendable {
    let target: TargetSettings
    let environment: [String: String]
    let keys: KeyHolders

    /// May throw with exit code 4. Opens nothing.
    func engine() throws -> any Engine { try engine(isPhysical: target.isPhysical) }

    /// `isPhysical`: of the whole PostgreSQL server, rather than of its database.
    func engine(isPhysical: Bool) throws -> any Engine {
        guard isPhysical, case .postgres(let settings) = target.source else { return try engine(for: target.source) }
        return PostgresCluster(Self.endpoint(settings))
    }

    /// `name` is a configured destination; else a database on the source's own server, or a directory's absolute path,
    /// whichever the source restores to; `nil` is the source itself. For a whole server that is a directory, unless the
    /// errand is about one database.
    func destination(_ name: String?, for errand: Errand) throws -> any Engine {
        guard target.isPhysical, case .postgres(var settings) = target.source else { return try destination(name) }
        if errand.isOfOneDatabase {
            guard name == nil, let database = errand.sourceDatabase else { return try destination(name) }
            settings.database = database
            return try engine(for: .postgres(settings))
        }
        return PostgresDirectory(try recoverySite(at: try directory(name)))
    }

    private func destination(_ name: String?) throws -> any Engine {
        guard let name else { return try engine(for: target.source) }
        switch (target.source, target.destinations[name]) {
        case (.postgres, .postgres(let settings)?): return try engine(for: .postgres(settings))
        case (.mysql(let own), .mysql(var settings)?):
            // How a restore behaves is the target's matter, not the place's.
            settings.restoreWriters = own.restoreWriters
            return try engine(for: .mysql(settings))
        case (.mongodb, .mongodb(let settings)?): return try engine(for: .mongodb(settings))
        case (.files(let settings), .directory(let path)?): return try files(settings, base: path)
        case (.postgres(var settings), nil):
            settings.database = name
            return try engine(for: .postgres(settings))
        case (.mysql(var settings), nil):
            settings.database = name
            return try engine(for: .mysql(settings))
        case (.mongodb(var settings), nil):
            settings.database = name
            return try engine(for: .mongodb(settings))
        case (.files(let settings), nil): return try files(settings, base: name)
        case (.auditRecords(let settings), .directory(let path)?):
            return try auditRecords(settings, restoreDirectory: path)
        case (.auditRecords(let settings), nil): return try auditRecords(settings, restoreDirectory: name)
        case (.keys(var settings), .directory(let path)?):
            settings.paths = [path]
            return try keySet(settings)
        case (.keys(var settings), nil):
            settings.paths = [name]
            return try keySet(settings)
        case (_, let other?):
            throw JobFailure(
                .configuration, "find the destination", object: name,
                cause: "it is \(other.kind), and the target's engine is \(target.source.engine)",
                hint: "name a destination of the target's own kind")
        }
    }

    func engine(for source: SourceSettings) throws -> any Engine {
        switch source {
        case .postgres(let settings):
            PostgresDatabase(Self.endpoint(settings), tools: postgresTools)
        case .mysql(let settings):
            MySQLDatabase(
                endpoint(settings), tools: .standard(path: environment["PATH"], override: environment["MYSQL_BIN"]),
                options: MySQLOptions(
                    locksTables: settings.locksTables,
                    writers: settings.restoreWriters == .keep ? .keep : .compare))
        case .mongodb(let settings):
            MongoDatabase(
                try endpoint(settings),
                tools: .standard(path: environment["PATH"], override: environment["MONGODB_BIN"]))
        case .files(let settings): try files(settings, base: "")
        case .keys(let settings): try keySet(settings)
        case .auditRecords(let settings): try auditRecords(settings, restoreDirectory: nil)
        }
    }

    // MARK: How each is reached

    var postgresTools: ToolSearch {
        .standard(path: environment["PATH"], override: environment["POSTGRES_BIN"])
    }

    static func endpoint(_ settings: PostgresSettings) -> PostgresEndpoint {
        PostgresEndpoint(
            host: settings.host, port: settings.port, database: settings.database, user: settings.user,
            password: settings.password, parameters: settings.parameters)
    }

    private func endpoint(_ settings: MySQLSettings) -> MySQLEndpoint {
        let mode: MySQLEndpoint.TLS.Mode =
            switch settings.tls {
            case .disabled: .disabled
            case .required: .required
            case .verifyIdentity: .verified
            }
        return MySQLEndpoint(
            host: settings.host, port: settings.port, database: settings.database, user: settings.user,
            password: settings.password,
            tls: MySQLEndpoint.TLS(
                mode: mode, authority: settings.caPath, certificate: settings.certificatePath, key: settings.keyPath))
    }

    private func endpoint(_ settings: MongoDBSettings) throws -> MongoEndpoint {
        try MongoEndpoint(uri: settings.url, database: settings.database)
    }

    func keySet(_ settings: KeySetSettings) throws -> KeysEngine {
        let schedule: KeysSettings.Schedule =
            switch settings.schedule {
            case .daily: .daily
            case .onChange: .onChange
            }
        return KeysEngine(
            KeysSettings(
                directories: settings.paths, schedule: schedule,
                verifyInterval: Int64(settings.verifyIntervalHours) * 3600),
            recipients: try Composition.providers(target.recipients, of: target, keys),
            candidates: Composition.keyCandidates(of: target, keys), clock: SystemClock(), random: systemRandom)
    }

    func files(_ settings: FilesSettings, base: String) throws -> FileTrees {
        FileTrees(
            try FilesSource(
                paths: settings.paths, excludes: settings.excludes, oneFileSystem: settings.oneFileSystem,
                allowsEmpty: settings.allowsEmpty, base: base), clock: SystemClock(), random: systemRandom)
    }

    func auditRecords(_ settings: AuditSettings, restoreDirectory: String?) throws -> AuditRecordsEngine {
        let source: AuditRecordsSettings.Source
        switch settings.source {
        case .event: source = .event
        case .files(let pattern): source = .table(FileRecords(pattern: pattern, idMember: settings.id))
        case .table(let table):
            switch table.database {
            case .postgres(let database):
                source = .table(PostgresRecords(Self.endpoint(database), table: table.name, id: settings.id))
            case .mysql(let database):
                source = .table(MySQLRecords(endpoint(database), table: table.name, id: settings.id))
            case .mongodb(let database):
                source = .table(
                    try MongoRecords(endpoint(database), collection: table.name, idField: settings.id))
            }
        }
        return AuditRecordsEngine(
            AuditRecordsSettings(
                source: source, idMember: settings.id, idsAreContiguous: settings.idsAreContiguous,
                batchSeconds: Int64(settings.batchMinutes) * 60, batchRecords: Int64(settings.batchRecords),
                restoreDirectory: restoreDirectory), clock: SystemClock(), random: systemRandom)
    }
}
