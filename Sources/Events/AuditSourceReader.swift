import Core

/// Reads where audit records come from and how many make a set.
///
/// Environment: `AUDIT_SOURCE` and so on. File: `from`, `table`, `id`, `ids`, `batchMinutes`, `batchRecords`,
/// `activeDays`, `archiveDays`, `legalDays`. A database is reached as its own engine's settings beside them say, or as
/// another target of the file is.
enum AuditSourceReader {
    private static let from = SourceSetting(variable: "AUDIT_SOURCE", key: "from")
    private static let table = SourceSetting(variable: "AUDIT_TABLE", key: "table")
    private static let id = SourceSetting(variable: "AUDIT_ID", key: "id")
    private static let ids = SourceSetting(variable: "AUDIT_IDS", key: "ids")
    private static let batchMinutes = SourceSetting(variable: "AUDIT_BATCH_MINUTES", key: "batchMinutes")
    private static let batchRecords = SourceSetting(variable: "AUDIT_BATCH_RECORDS", key: "batchRecords")
    static let activeDays = SourceSetting(variable: "AUDIT_ACTIVE_DAYS", key: "activeDays")
    static let archiveDays = SourceSetting(variable: "AUDIT_ARCHIVE_DAYS", key: "archiveDays")
    static let legalDays = SourceSetting(variable: "AUDIT_LEGAL_DAYS", key: "legalDays")

    static let settings = [
        from, table, id, ids, batchMinutes, batchRecords, activeDays, archiveDays, legalDays,
    ]

    private enum Order: String, CaseIterable {
        case increasing, contiguous
    }

    /// Where the records are, as `AUDIT_SOURCE` says it.
    private enum Origin {
        case event
        /// The pattern.
        case files(String)
        /// Reached as the settings beside say.
        case own(EngineName)
        /// Reached as that target of the file is.
        case target(EngineName, path: [String])
    }

    private static let databases: [EngineName] = [.postgres, .mysql, .mongodb]
    private static let forms =
        "postgres, mysql or mongodb, with that engine's own settings beside it; the name of a target of the file; a "
        + "file's absolute path like /var/log/clinic/audit.jsonl*; or event"
    /// Bytes that a table's or member's name may have.
    private static let longestName = 255

    /// The engine whose variables say where the environment's records are; `nil` where none do.
    static func database(_ values: inout ConfigurationValues) throws(ConfigurationError) -> EngineName? {
        guard let found = try SourcePlace.environment.find(from, &values),
            case .own(let engine) = try origin(found, &values)
        else { return nil }
        return engine
    }

    static func read(
        _ place: SourcePlace, _ values: inout ConfigurationValues, allowsUnverifiedTLS: Bool
    ) throws(ConfigurationError) -> AuditSettings {
        guard let found = try place.find(from, &values) else {
            throw ConfigurationError(place.name(from), "it is missing", hint: "write \(forms)")
        }
        let origin = try origin(found, &values)
        try refuseIdle(origin, place, &values)
        let source: AuditSettings.Source
        var usualID = "id"
        switch origin {
        case .event: source = .event
        case .files(let pattern): source = .files(pattern: pattern)
        case .own(let engine), .target(let engine, _):
            var home = place
            if case .target(_, let path) = origin { home = .file(path) }
            let database = try database(engine, home, &values, allowsUnverifiedTLS)
            guard let name = try name(table, place, &values) else {
                throw ConfigurationError(
                    place.name(table), "it is missing", hint: "set it to the name of the table or collection")
            }
            source = .table(AuditTable(database: database, name: name))
            if engine == .mongodb { usualID = "_id" }
        }
        return AuditSettings(
            source: source, id: try name(id, place, &values) ?? usualID,
            idsAreContiguous: try place.word(ids, of: Order.self, "order of ids", &values) == .contiguous,
            batchMinutes: try place.number(batchMinutes, in: 0...525_600, default: 60, &values),
            batchRecords: try place.number(batchRecords, in: 1...1_000_000_000, default: 10_000, &values),
            stages: try stages(place, &values), legalDays: try days(legalDays, place, &values))
    }

    /// Their order with the legal term is checked where that is known (``TargetReader/retention(of:)``).
    private static func stages(
        _ place: SourcePlace, _ values: inout ConfigurationValues
    ) throws(ConfigurationError) -> AuditStages {
        let usual = AuditStages()
        let active = try days(activeDays, place, &values)
        let archive = try days(archiveDays, place, &values)
        let stages = AuditStages(active: active ?? usual.active, archive: archive ?? usual.archive)
        guard stages.active < stages.archive else {
            throw ConfigurationError(
                place.name(active == nil ? archiveDays : activeDays),
                "records would be archived after \(stages.archive) days, before their \(stages.active) active ones end",
                hint: "set \(place.name(activeDays)) to less than \(place.name(archiveDays))")
        }
        return stages
    }

    /// `nil` where the setting is not there.
    private static func days(
        _ setting: SourceSetting, _ place: SourcePlace, _ values: inout ConfigurationValues
    ) throws(ConfigurationError) -> Int? {
        guard try place.find(setting, &values) != nil else { return nil }
        return try place.number(setting, in: 1...RetentionPeriod.longestDays, default: 0, &values)
    }

    private static func origin(
        _ found: ConfigurationValues.Found, _ values: inout ConfigurationValues
    ) throws(ConfigurationError) -> Origin {
        if found.text == "event" { return .event }
        if found.text.hasPrefix("/") { return .files(try pattern(found)) }
        if let engine = databases.first(where: { $0.rawValue == found.text }) { return .own(engine) }
        let path = ["targets", found.text]
        guard !values.keys(below: path).isEmpty else {
            throw ConfigurationError(
                found.name, "it is neither a kind of source nor a target of the file", hint: "write \(forms)")
        }
        let engine = try values.entry(path + [SourceReader.engineKey]).map(SourceReader.engine) ?? .postgres
        guard databases.contains(engine) else {
            throw ConfigurationError(
                found.name, "the target that it names is no database", hint: "write \(forms)")
        }
        return .target(engine, path: path + ["source"])
    }

    private static func pattern(_ found: ConfigurationValues.Found) throws(ConfigurationError) -> String {
        let pattern = try AbsolutePath.checked(found.text, found.name)
        let steps = pattern.split(separator: "/")
        guard !steps.isEmpty, !steps.dropLast().contains(where: { $0.contains { "*?[".contains($0) } }) else {
            throw ConfigurationError(
                found.name, "a '*', '?' or '[' in it stands before the last step, or there is no step",
                hint: "a pattern may stand in a file's name, not in its directory's")
        }
        return pattern
    }

    private static func database(
        _ engine: EngineName, _ place: SourcePlace, _ values: inout ConfigurationValues, _ allowsUnverifiedTLS: Bool
    ) throws(ConfigurationError) -> AuditTable.Database {
        switch engine {
        case .mysql:
            return .mysql(try MySQLSourceReader.read(place, &values, allowsUnverifiedTLS: allowsUnverifiedTLS))
        case .mongodb:
            let settings = try MongoDBSourceReader.read(place, &values, allowsUnverifiedTLS: allowsUnverifiedTLS)
            guard settings.database != nil else {
                throw ConfigurationError(
                    place.name(MongoDBSourceReader.database), "it is missing",
                    hint: "set it to the database of the collection")
            }
            return .mongodb(settings)
        case .postgres, .files, .keys, .auditRecords:
            return .postgres(try PostgresSourceReader.read(place, &values, allowsUnverifiedTLS: allowsUnverifiedTLS))
        }
    }

    /// What stands there for another kind of source: who wrote it expects something of it.
    private static func refuseIdle(
        _ origin: Origin, _ place: SourcePlace, _ values: inout ConfigurationValues
    ) throws(ConfigurationError) {
        var idle: [SourceSetting] = []
        var own: EngineName?
        switch origin {
        // Records that an event brings are stored at once.
        case .event: idle = [table, batchMinutes, batchRecords]
        case .files: idle = [table]
        case .own(let engine): own = engine
        case .target: break
        }
        for setting in idle {
            guard let found = try place.find(setting, &values) else { continue }
            throw ConfigurationError(
                found.name, "it means nothing to records that come from where these do",
                hint: "leave it out, or change \(place.name(from))")
        }
        guard case .file(let path) = place else { return }
        let known = Set(settings.flatMap(\.keys) + (own?.sourceKeys ?? []))
        if let key = values.keys(below: path).first(where: { !known.contains($0) }) {
            throw ConfigurationError(
                (path + [key]).joined(separator: "."), "it means nothing to records that come from where these do",
                hint: "leave it out, or change \(place.name(from))")
        }
    }

    /// `nil` where the setting is not there.
    private static func name(
        _ setting: SourceSetting, _ place: SourcePlace, _ values: inout ConfigurationValues
    ) throws(ConfigurationError) -> String? {
        guard let found = try place.find(setting, &values) else { return nil }
        guard found.text.utf8.count <= longestName, !hasControlCharacter(found.text) else {
            throw ConfigurationError(
                found.name, "it is longer than \(longestName) bytes or has a control character",
                hint: "write the name as the source spells it")
        }
        return found.text
    }
}
