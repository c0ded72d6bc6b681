import Core

/// How a target is recovered and rehearsed.
///
/// Environment: `BACKUP_METHOD`, `BACKUP_WAL_SLOT`, `RESTORE_DIRECTORY`, `SCRATCH_DIRECTORY`,
/// `BACKUP_SCRATCH_DESTINATION`, `POSTGRES_PRELOAD_LIBRARIES`, `VERIFY_MIN_INTEGRITY`, `VERIFY_MIN_ACCESSIBILITY`, `VERIFY_MAX_SECONDS`,
/// `VERIFY_MIN_RATE`, `AWS_BACKUP_VAULT`, `AWS_BACKUP_RESOURCE_ARN`, `AWS_BACKUP_ROLE_ARN`. File: `method`, `walSlot`,
/// `restoreDirectory`, `scratchDirectory`, `scratchDestination`, `verifyMinIntegrity` and so on.
extension TargetReader {
    /// Bytes of a slot's name (PostgreSQL documentation, "Replication Slots", section 27.2.6).
    private static let longestSlot = 63
    private static let thresholdSettings: [Setting] = [
        .minimumIntegrity, .minimumAccessibility, .maximumSeconds, .minimumRate,
    ]

    mutating func recovery(
        of source: SourceSettings, _ destinations: [String: DestinationSettings]
    ) throws(ConfigurationError) -> RecoverySettings {
        let engine = source.name
        var recovery = RecoverySettings()
        recovery.method = try method(of: engine)
        if recovery.method == .physical {
            recovery.slot = try slot()
            recovery.restoreDirectory = try directory(.restoreDirectory)
        } else {
            try refuse([.walSlot, .restoreDirectory], because: "the method is not physical")
        }
        if engine.hasScratchServer {
            recovery.scratchDirectory = try directory(.scratchDirectory)
            try refuse(
                [.scratchDestination],
                because: "sets of \(engine.rawValue) are proven below \(Setting.scratchDirectory.variable)")
        } else {
            recovery.scratchDestination = try scratchDestination(engine, destinations)
            try refuse(
                [.scratchDirectory],
                because: "sets of \(engine.rawValue) are proven at \(Setting.scratchDestination.variable)")
        }
        recovery.preloadLibraries = try preloadLibraries(engine, recovery)
        try refuseOverlap(recovery)
        try refuseSource(recovery, RehearsalPlace(source: source), destinations)
        if recovery.hasScratch {
            recovery.thresholds = try thresholds()
        } else {
            try refuse(Self.thresholdSettings, because: "there is no place to prove a set in by restoring it")
        }
        return recovery
    }

    private mutating func method(of engine: EngineName) throws(ConfigurationError) -> RecoverySettings.Method {
        guard engine == .postgres else {
            try refuse([.method], because: "the engine is \(engine.rawValue)")
            return .logical
        }
        guard let method = try word(.method, of: RecoverySettings.Method.self, "method") else {
            values.noteDefault(.method, RecoverySettings.Method.logical.rawValue)
            return .logical
        }
        return method
    }

    private mutating func slot() throws(ConfigurationError) -> String {
        let hint = "1 to \(Self.longestSlot) small letters, digits and '_'"
        guard let found = try find(.walSlot) else {
            let slot = "lifeboat_" + String(name.map { $0 == "-" ? "_" : Character($0.lowercased()) })
            guard slot.utf8.count <= Self.longestSlot else {
                throw ConfigurationError(
                    Setting.walSlot.variable, "it is missing, and \(name) is too long a name to make one of",
                    hint: hint)
            }
            values.noteDefault(.walSlot, slot)
            return slot
        }
        let isName = found.text.utf8.allSatisfy { byte in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || byte == UInt8(ascii: "_")
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        }
        guard isName, (1...Self.longestSlot).contains(found.text.utf8.count) else {
            throw ConfigurationError(found.name, "no replication slot can have that name", hint: hint)
        }
        return found.text
    }

    private mutating func directory(_ setting: Setting) throws(ConfigurationError) -> String? {
        guard let found = try find(setting) else { return nil }
        let path = try AbsolutePath.checked(found.text, found.name)
        guard path != "/" else {
            throw ConfigurationError(found.name, "it is the root", hint: "name a directory of its own")
        }
        return path
    }

    private mutating func scratchDestination(
        _ engine: EngineName, _ destinations: [String: DestinationSettings]
    ) throws(ConfigurationError) -> String? {
        guard let found = try find(.scratchDestination) else { return nil }
        guard let destination = destinations[found.text] else {
            let near = nearest(to: found.text, in: destinations.keys.sorted()).map { "did you mean '\($0)'? " } ?? ""
            throw ConfigurationError(
                found.name, "no destination of that name is configured",
                hint: "\(near)set BACKUP_DESTINATION_… or name one under destinations in the file")
        }
        guard destination.takes(engine) else {
            throw ConfigurationError(
                found.name, "that destination is \(destination.kind), and the engine is \(engine.rawValue)",
                hint: "name a destination of the target's own kind")
        }
        return found.text
    }

    /// Libraries for the servers that recoveries and proofs start.
    private mutating func preloadLibraries(
        _ engine: EngineName, _ recovery: RecoverySettings
    ) throws(ConfigurationError) -> [String] {
        guard engine == .postgres else {
            try refuse([.preloadLibraries], because: "the engine is \(engine.rawValue)")
            return []
        }
        guard recovery.method == .physical || recovery.scratchDirectory != nil else {
            try refuse([.preloadLibraries], because: "no server is started to recover or to prove a set")
            return []
        }
        guard let found = try find(.preloadLibraries) else { return [] }
        for library in found.values {
            // The server reads a list, in which blanks, commas and quotes mean something.
            let isName = library.utf8.allSatisfy { Self.libraryBytes.contains($0) } && !library.contains("..")
            guard isName, (1...Self.longestLibrary).contains(library.utf8.count) else {
                throw ConfigurationError(
                    found.name, "a library in it has no name that a server could load",
                    hint: "as in shared_preload_libraries: timescaledb,pg_stat_statements")
            }
        }
        guard Set(found.values).count == found.values.count else {
            throw ConfigurationError(found.name, "it names a library twice", hint: "name each once")
        }
        return found.values
    }

    private static let longestLibrary = 255
    private static let libraryBytes = Set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+./$".utf8)

    /// What is left of a scratch server is removed, and what was restored is not.
    private func refuseOverlap(_ recovery: RecoverySettings) throws(ConfigurationError) {
        guard let restored = recovery.restoreDirectory, let scratch = recovery.scratchDirectory,
            AbsolutePath.contains(restored, scratch) || AbsolutePath.contains(scratch, restored)
        else { return }
        throw ConfigurationError(
            Setting.scratchDirectory.variable, "it and \(Setting.restoreDirectory.variable) are in one place",
            hint: "name two directories, neither inside the other")
    }

    /// Where a set is proven has to be another place than where it comes from.
    private func refuseSource(
        _ recovery: RecoverySettings, _ place: RehearsalPlace, _ destinations: [String: DestinationSettings]
    ) throws(ConfigurationError) {
        if let name = recovery.scratchDestination, let destination = destinations[name], place.isSource(destination) {
            throw ConfigurationError(
                Setting.scratchDestination.variable, "the destination \(name) is the database that is backed up",
                hint: "name one on a server that sets may be restored to for a while")
        }
        if let scratch = recovery.scratchDirectory, let own = place.directory(holding: scratch) {
            throw ConfigurationError(
                Setting.scratchDirectory.variable, "it is, or lies in, \(own), which is backed up",
                hint: "name a directory beside it")
        }
    }

    private mutating func thresholds() throws(ConfigurationError) -> ProofThresholds {
        ProofThresholds(
            integrity: try number(.minimumIntegrity, in: 1...100) ?? defaulted(.minimumIntegrity, 100),
            accessibility: try number(.minimumAccessibility, in: 1...100) ?? defaulted(.minimumAccessibility, 100),
            seconds: try number(.maximumSeconds, in: 1...604_800),
            bytesPerSecond: try number(.minimumRate, in: 1...(1 << 53)).map { Int64($0) })
    }

    // MARK: AWS Backup

    mutating func awsBackup() throws(ConfigurationError) -> AWSBackupSettings? {
        let vault = try find(.awsBackupVault)
        let resource = try find(.awsBackupResource)
        let role = try find(.awsBackupRole)
        let all = [(Setting.awsBackupVault, vault), (.awsBackupResource, resource), (.awsBackupRole, role)]
        guard let given = all.compactMap(\.1).first else { return nil }
        guard let vault, let resource, let role else {
            throw ConfigurationError(
                all.first { $0.1 == nil }?.0.variable ?? "", "it is missing, and \(given.name) is set",
                hint: "AWS Backup needs a vault, a resource and a role: set all three, or none")
        }
        do {
            try AWSNames.checkVault(vault.text)
        } catch {
            throw ConfigurationError(vault.name, error.cause, hint: error.hint)
        }
        do {
            try AWSNames.checkResource(resource.text)
        } catch {
            throw ConfigurationError(resource.name, error.cause, hint: error.hint)
        }
        do {
            try AWSNames.checkRole(role.text)
        } catch {
            throw ConfigurationError(role.name, error.cause, hint: error.hint)
        }
        return AWSBackupSettings(vault: vault.text, resourceARN: resource.text, roleARN: role.text)
    }
}

extension EngineName {
    /// Whether a set of it can be brought to life inside the job: a server of its own, or a directory.
    package var hasScratchServer: Bool {
        switch self {
        case .postgres, .files, .keys, .auditRecords: true
        case .mysql, .mongodb: false
        }
    }
}
