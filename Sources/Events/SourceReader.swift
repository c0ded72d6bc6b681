import Core

/// Reads a source of any kind, and finds out which kind it is.
enum SourceReader {
    static let engineKey = "engine"

    /// The kind that a `BACKUP_ENGINE` or `engine` names.
    static func engine(_ found: ConfigurationValues.Found) throws(ConfigurationError) -> EngineName {
        guard let name = EngineName(rawValue: found.text) else {
            let near = nearest(to: found.text, in: EngineName.allCases.map(\.rawValue))
            throw ConfigurationError(
                found.name, "no such engine is known",
                hint: (near.map { "did you mean '\($0)'? " } ?? "")
                    + "write \(choices(EngineName.allCases.map(\.rawValue))), or leave it out for postgres")
        }
        return name
    }

    static func read(
        _ engine: EngineName, _ place: SourcePlace, _ values: inout ConfigurationValues, allowsUnverifiedTLS: Bool
    ) throws(ConfigurationError) -> SourceSettings {
        switch engine {
        case .postgres:
            .postgres(try PostgresSourceReader.read(place, &values, allowsUnverifiedTLS: allowsUnverifiedTLS))
        case .mysql: .mysql(try MySQLSourceReader.read(place, &values, allowsUnverifiedTLS: allowsUnverifiedTLS))
        case .mongodb:
            .mongodb(try MongoDBSourceReader.read(place, &values, allowsUnverifiedTLS: allowsUnverifiedTLS))
        case .files: .files(try FilesSourceReader.read(place, &values))
        case .keys: .keys(try KeysSourceReader.read(place, &values))
        case .auditRecords:
            .auditRecords(try AuditSourceReader.read(place, &values, allowsUnverifiedTLS: allowsUnverifiedTLS))
        }
    }

    /// The kind of the environment's own source; `nil` where it has none. Settings of another kind are refused: who
    /// made them expects a backup of what they name.
    static func environmentEngine(
        _ values: inout ConfigurationValues
    ) throws(ConfigurationError) -> EngineName? {
        let given = values.variable("BACKUP_ENGINE")
        let engine = try given.map(Self.engine)
        let set = Set(values.variableNames)
        let wanted = engine ?? .postgres
        var allowed = [wanted]
        if wanted == .auditRecords, let database = try AuditSourceReader.database(&values) {
            allowed.append(database)
        }
        for other in EngineName.allCases where !allowed.contains(other) {
            guard let stray = other.marks.sorted().first(where: set.contains) else { continue }
            throw ConfigurationError(
                stray, "it belongs to a source of the engine \(other.rawValue), and this one's is \(wanted.rawValue)",
                hint: given == nil
                    ? "set BACKUP_ENGINE to \(other.rawValue), or unset it"
                    : "unset it, or change BACKUP_ENGINE; several sources go into the file that LIFEBOAT_CONFIG names"
            )
        }
        if wanted.marks.contains(where: set.contains) { return wanted }
        guard let given, engine != .postgres else { return nil }
        throw ConfigurationError(
            given.name, "it names the engine of the environment's source, and no source is set there",
            hint: "set \(wanted.settings.first?.variable ?? ""), or unset it")
    }
}

/// Reads where restores may go beside the source.
enum DestinationReader {
    private static let directoryKey = "path"
    private static let fileScheme = "file://"

    /// The keys that a destination may have in the file, of an `engine` where it names one.
    static func keys(of engine: EngineName?) -> [String] {
        switch engine {
        case nil: [SourceReader.engineKey, directoryKey] + EngineName.postgres.sourceKeys
        case .postgres, .mysql, .mongodb: [SourceReader.engineKey] + (engine?.sourceKeys ?? [])
        case .files, .keys, .auditRecords: [SourceReader.engineKey, directoryKey]
        }
    }

    /// `destinations.NAME`: of its `engine`, else a directory where it has a `path`, else PostgreSQL.
    static func file(
        _ path: [String], _ values: inout ConfigurationValues, allowsUnverifiedTLS: Bool
    ) throws(ConfigurationError) -> DestinationSettings {
        let directory = values.entry(path + [directoryKey])
        let engine = try values.entry(path + [SourceReader.engineKey]).map(SourceReader.engine)
        let place = SourcePlace.file(path)
        switch engine {
        case .mysql:
            return .mysql(try MySQLSourceReader.read(place, &values, allowsUnverifiedTLS: allowsUnverifiedTLS))
        case .mongodb:
            return .mongodb(try MongoDBSourceReader.read(place, &values, allowsUnverifiedTLS: allowsUnverifiedTLS))
        case .files, .keys, .auditRecords:
            guard let directory else {
                throw ConfigurationError(
                    (path + [directoryKey]).joined(separator: "."), "it is missing",
                    hint: "set it to the absolute path of a directory")
            }
            return .directory(path: try AbsolutePath.checked(directory.text, directory.name))
        case .postgres, nil:
            guard let directory else {
                return .postgres(
                    try PostgresSourceReader.read(place, &values, allowsUnverifiedTLS: allowsUnverifiedTLS))
            }
            let others = values.keys(below: path).filter { $0 != directoryKey }
            if let other = others.first {
                throw ConfigurationError(
                    (path + [other]).joined(separator: "."),
                    "it belongs to a database, and \(directory.name) to a "
                        + "directory", hint: "keep one of the two")
            }
            return .directory(path: try AbsolutePath.checked(directory.text, directory.name))
        }
    }

    /// `BACKUP_DESTINATION_NAME`: an address, whose beginning says of what kind.
    static func variable(
        _ found: ConfigurationValues.Found, _ values: inout ConfigurationValues, allowsUnverifiedTLS: Bool
    ) throws(ConfigurationError) -> DestinationSettings {
        let text = found.text
        if text.hasPrefix("mysql:") || text.hasPrefix("mariadb:") {
            return .mysql(try MySQLSourceReader.destination(found, allowsUnverifiedTLS: allowsUnverifiedTLS))
        }
        if text.hasPrefix("mongodb:") || text.hasPrefix("mongodb+srv:") {
            return .mongodb(try MongoDBSourceReader.destination(found, allowsUnverifiedTLS: allowsUnverifiedTLS))
        }
        guard text.hasPrefix(fileScheme) else {
            return .postgres(
                try PostgresSourceReader.connectionString(found, &values, allowsUnverifiedTLS: allowsUnverifiedTLS))
        }
        let path: String
        do {
            path = try ConnectionString.decoded(text.dropFirst(fileScheme.count))
        } catch {
            throw ConfigurationError(found.name, error.cause, hint: "write file:///DIRECTORY")
        }
        return .directory(path: try AbsolutePath.checked(path, found.name))
    }
}
