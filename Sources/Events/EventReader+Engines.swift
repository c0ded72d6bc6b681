import Core

/// What an event may say depends on what kind of source its target is.
extension EventReader {
    /// PostgreSQL's limit for a name, in bytes.
    static let longestPostgresName = 63

    /// Where a restore goes: a configured destination, else for a database one on the source's own server, and for
    /// files a directory by its absolute path; `nil` for the source itself.
    func destination(_ fields: EventFields, _ target: EventTarget) throws(EventError) -> String? {
        if isOfWholeServer(fields, target) { return try serverDirectory(fields, target) }
        if isOfSafetySet(fields), target.isPhysical, !fields.has(.targetDatabase) {
            throw fields.error(
                .targetDatabase, "it is missing, and the safety set is of one database of the server",
                hint: "name the database, or the configured destination, that the set was made of")
        }
        guard let name = fields.text(.targetDatabase) else {
            guard target.engine == .auditRecords else { return nil }
            throw fields.error(
                .targetDatabase, "it is missing, and audit records are not put back into their trail",
                hint: "name a directory that they go to: \(directoryForms(target))")
        }
        if target.destinations.contains(name) { return name }
        if let kind = target.foreignDestinations[name] {
            throw fields.error(
                .targetDatabase, "that destination is \(kind), and the target's engine is \(target.engine.rawValue)",
                hint: "name a destination of the target's own kind")
        }
        if target.engine.restoresToDirectory { return try directory(name, fields, target) }
        guard isDatabaseName(name, of: target.engine) else {
            throw fields.error(
                .targetDatabase, "it is neither a configured destination nor a database's name",
                hint: "the name of a configured destination, or of a database on the source's server: "
                    + limit(of: target.engine))
        }
        return name
    }

    /// A restore of a whole server's files, rather than of a database.
    func isOfWholeServer(_ fields: EventFields, _ target: EventTarget) -> Bool {
        target.isPhysical && !fields.has(.sourceDatabase) && !isOfSafetySet(fields)
    }

    /// Safety sets are of what a restore replaced: of a database, for a whole server goes into an empty directory.
    private func isOfSafetySet(_ fields: EventFields) -> Bool {
        fields.text(.backupKey)?.hasPrefix(Tier.safety.rawValue + "/") == true
    }

    /// Where a whole server goes; `nil` for the directory that the settings name.
    private func serverDirectory(_ fields: EventFields, _ target: EventTarget) throws(EventError) -> String? {
        let forms =
            "an absolute path like /srv/restored"
            + (target.directories.isEmpty
                ? "" : ", or a configured directory: \(target.directories.joined(separator: ", "))")
            + "; to restore one database of the server, name it in sourceDatabase"
        guard let name = fields.text(.targetDatabase) else {
            guard !target.hasRestoreDirectory else { return nil }
            throw fields.error(
                .targetDatabase, "it is missing, and no RESTORE_DIRECTORY is set for a whole server's files",
                hint: "write \(forms)")
        }
        if target.directories.contains(name) { return name }
        guard !target.destinations.contains(name), let path = AbsolutePath.normal(name), path != "/" else {
            throw fields.error(
                .targetDatabase, "a whole server's files go into a directory, and it names none",
                hint: "write \(forms)")
        }
        return path
    }

    private func directory(
        _ text: String, _ fields: EventFields, _ target: EventTarget
    ) throws(EventError) -> String {
        guard let path = AbsolutePath.normal(text), path != "/" else {
            let near = nearest(to: text, in: target.destinations).map { "did you mean '\($0)'? " } ?? ""
            throw fields.error(
                .targetDatabase, "it is neither a configured destination nor a directory's absolute path",
                hint: "\(near)write \(directoryForms(target))")
        }
        return path
    }

    private func directoryForms(_ target: EventTarget) -> String {
        "an absolute path like /srv/restored"
            + (target.destinations.isEmpty
                ? "" : ", or a configured destination: \(target.destinations.joined(separator: ", "))")
    }

    private func isDatabaseName(_ name: String, of engine: EngineName) -> Bool {
        switch engine {
        case .postgres: name.utf8.count <= Self.longestPostgresName
        case .mysql: name.unicodeScalars.count <= MySQLSourceReader.longestName && !name.contains("/")
        case .mongodb: MongoDBSourceReader.isDatabaseName(name)
        case .files, .keys, .auditRecords: false
        }
    }

    private func limit(of engine: EngineName) -> String {
        switch engine {
        case .postgres: "at most \(Self.longestPostgresName) bytes"
        case .mysql: "at most \(MySQLSourceReader.longestName) characters"
        case .mongodb: "at most \(MongoDBSourceReader.longestName) bytes, without blanks and / \\ . \" $ * < > : | ?"
        case .files, .keys, .auditRecords: "none"
        }
    }

    /// Fields of a restore that only a database server has something to make of.
    func refuseForOthers(_ fields: EventFields, _ target: EventTarget) throws(EventError) {
        let foreign: [EventField] = target.engine == .postgres ? [] : [.restoreRoles, .acknowledgeBoundObjects]
        for field in foreign where fields.has(field) {
            throw fields.error(
                field, "it means nothing to the engine \(target.engine.rawValue)",
                hint: "leave it out; it belongs to postgres")
        }
        if target.isPhysical, isOfSafetySet(fields) {
            for field in [EventField.recoveryTarget, .sourceDatabase] where fields.has(field) {
                throw fields.error(
                    field, "a safety set is of one database, at one moment", hint: "leave it out, or give another key"
                )
            }
        }
        guard isOfWholeServer(fields, target) else { return }
        // A whole server goes into an empty directory: there is nothing to make, to save or to lose.
        let ofDatabases: [EventField] = [
            .createDatabase, .skipSafetyBackup, .reason, .restoreRoles, .acknowledgeBoundObjects,
        ]
        for field in ofDatabases where fields.has(field) {
            throw fields.error(
                field, "it means nothing where a whole server is restored into an empty directory",
                hint: "leave it out, or name the one database that is meant in sourceDatabase")
        }
    }

    /// What the event brings to be stored, where the target is one that takes it.
    func records(_ fields: EventFields, _ target: EventTarget) throws(EventError) -> [JSON] {
        if fields.has(.records), !target.takesRecords {
            throw fields.error(
                .records, "\(target.name) does not take its records from events",
                hint: "leave it out; only a target with BACKUP_ENGINE=audit-records and AUDIT_SOURCE=event does")
        }
        if target.takesRecords, !fields.has(.records) {
            throw fields.error(
                .records, "it is missing, and \(target.name) takes its records from events",
                hint: "give the records as a list of objects, each with its id")
        }
        return fields.records
    }
}
