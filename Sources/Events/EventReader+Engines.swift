import Core

/// What an event may say depends on what kind of source its target is.
extension EventReader {
    /// PostgreSQL's limit for a name, in bytes.
    private static let longestPostgresName = 63

    /// Where a restore goes: a configured destination, else for a database one on the source's own server, and for
    /// files a directory by its absolute path; `nil` for the source itself.
    func destination(_ fields: EventFields, _ target: EventTarget) throws(EventError) -> String? {
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
