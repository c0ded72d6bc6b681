package import Core

/// Reads the configuration out of the environment and, where `LIFEBOAT_CONFIG` names one, a YAML file.
///
/// `docs/configuration.md` lists every variable and key. Nothing is opened here but through `readFile`.
package struct ConfigurationReader {
    private let environment: [String: String]
    private let readFile: (String) throws -> [UInt8]

    /// `readFile` gives the bytes of the file at a path: the configuration, and secrets that are mounted as files.
    /// Its errors' descriptions are shown, so they must name no content.
    package init(environment: [String: String], readFile: @escaping (_ path: String) throws -> [UInt8]) {
        self.environment = environment
        self.readFile = readFile
    }

    /// The secrets that lie in AWS and that settings refer to, each once, to be fetched before ``read(secrets:)``.
    package func secretReferences() throws(ConfigurationError) -> [SecretReference] {
        let file = try configurationFile()
        let values = ConfigurationValues(environment: environment, file: file, readFile: readFile)
        return try SecretReferences.all(environment: environment, file: file, values: values)
    }

    /// `secrets`: what the references among the settings stand for. One that is missing there is an error.
    package func read(
        secrets: [SecretReference: Secret] = [:]
    ) throws(ConfigurationError) -> (settings: Settings, summary: ConfigurationSummary) {
        let file = try configurationFile()
        var values = ConfigurationValues(environment: environment, file: file, secrets: secrets, readFile: readFile)
        try VariableNames.check(values.variableNames)
        try SecretReferences.refuseAmongOthers(environment: environment, file: file)
        let debug = try flag("DEBUG", &values)
        let dryRun = try flag("DRY_RUN", &values)
        let runID = try runID(&values)
        let engine = try SourceReader.environmentEngine(&values)
        let destinations = try destinations(&values, file)
        var targets: [TargetSettings] = []
        if let own = try environmentTarget(engine, &values, destinations, file) { targets.append(own) }
        for name in file?.targets ?? [] {
            targets.append(try fileTarget(name, &values, destinations))
        }
        guard !targets.isEmpty else {
            throw ConfigurationError(
                "POSTGRES_HOST", "there is nothing to back up: no source is configured",
                hint:
                    "set POSTGRES_HOST, POSTGRES_DB and POSTGRES_USER, or POSTGRES_URL, or BACKUP_ENGINE and another "
                    + "source, or name a file with targets in LIFEBOAT_CONFIG")
        }
        try refuseOverlap(targets)
        try refuseSharedSlots(targets)
        try refuseIdleKeys(&values, targets)
        try demandOwnAuditKeys(targets)
        noteAWS(&values, targets)
        targets.sort { $0.name < $1.name }
        return (Settings(targets: targets, debug: debug, dryRun: dryRun, runID: runID), values.summary)
    }

    private func configurationFile() throws(ConfigurationError) -> ConfigurationFile? {
        guard let path = environment["LIFEBOAT_CONFIG"], !path.isEmpty else { return nil }
        let bytes: [UInt8]
        do {
            bytes = try readFile(path)
        } catch {
            throw ConfigurationError(
                "LIFEBOAT_CONFIG", "the file \(shown(path)) cannot be read: \(error)",
                hint: "check that it is mounted and that this user may read it")
        }
        return try ConfigurationFile(name: path, bytes: bytes)
    }

    // MARK: For the whole program

    private func flag(_ name: String, _ values: inout ConfigurationValues) throws(ConfigurationError) -> Bool {
        guard let found = values.variable(name) else { return false }
        return try Self.flag(found)
    }

    static func flag(_ found: ConfigurationValues.Found) throws(ConfigurationError) -> Bool {
        switch found.text {
        case "1", "true": return true
        case "0", "false": return false
        default:
            throw ConfigurationError(found.name, "it is neither on nor off", hint: "write 1 or 0")
        }
    }

    private func runID(_ values: inout ConfigurationValues) throws(ConfigurationError) -> String? {
        guard let found = values.variable("LIFEBOAT_RUN_ID") else { return nil }
        guard found.text.utf8.count <= 128, found.text.utf8.allSatisfy({ (0x21..<0x7F).contains($0) }) else {
            throw ConfigurationError(
                found.name, "it is no identity of a run",
                hint: "the UID of the Kubernetes Job: up to 128 visible ASCII characters")
        }
        return found.text
    }

    // MARK: Targets

    private func environmentTarget(
        _ engine: EngineName?, _ values: inout ConfigurationValues, _ destinations: [String: DestinationSettings],
        _ file: ConfigurationFile?
    ) throws(ConfigurationError) -> TargetSettings? {
        let given = values.variable("BACKUP_TARGET")
        guard let engine else {
            if let given {
                throw ConfigurationError(
                    given.name, "it names the environment's target, and no source is set there",
                    hint: "set POSTGRES_HOST, POSTGRES_DB and POSTGRES_USER; an event chooses with its field target")
            }
            return nil
        }
        let name = given?.text ?? "default"
        guard TargetName.isValid(name) else { throw TargetName.refusal("BACKUP_TARGET") }
        if file?.targets.contains(name) == true {
            throw ConfigurationError(
                given?.name ?? engine.settings.first?.variable ?? "",
                "the environment's target has the name of targets.\(name) in the file",
                hint: "give it another name with BACKUP_TARGET, or take its variables away")
        }
        let unverified = try TargetReader.allowsUnverifiedTLS(&values, target: nil)
        let source = try SourceReader.read(engine, .environment, &values, allowsUnverifiedTLS: unverified)
        var reader = TargetReader(values: values, name: name, isOfFile: false)
        let target = try reader.target(source: source, keyPrefix: "", destinations: destinations)
        values = reader.values
        return target
    }

    private func fileTarget(
        _ name: String, _ values: inout ConfigurationValues, _ destinations: [String: DestinationSettings]
    ) throws(ConfigurationError) -> TargetSettings {
        let path = ["targets", name]
        let engine = try values.entry(path + [SourceReader.engineKey]).map(SourceReader.engine) ?? .postgres
        let unverified = try TargetReader.allowsUnverifiedTLS(&values, target: name)
        let source = try SourceReader.read(
            engine, .file(path + ["source"]), &values, allowsUnverifiedTLS: unverified)
        var prefix = name
        if let found = values.entry(path + ["keyPrefix"]) { prefix = try TargetReader.keyPrefix(found) }
        var reader = TargetReader(values: values, name: name, isOfFile: true)
        let target = try reader.target(source: source, keyPrefix: prefix, destinations: destinations)
        values = reader.values
        return target
    }

    private func destinations(
        _ values: inout ConfigurationValues, _ file: ConfigurationFile?
    ) throws(ConfigurationError) -> [String: DestinationSettings] {
        let unverified = try TargetReader.allowsUnverifiedTLS(&values, target: nil)
        var result: [String: DestinationSettings] = [:]
        for name in file?.destinations ?? [] {
            result[name] = try DestinationReader.file(
                ["destinations", name], &values, allowsUnverifiedTLS: unverified)
        }
        for variable in try VariableNames.destinations(values.variableNames) {
            guard let found = try values.secretVariable(variable) else { continue }
            let name = variable.dropFirst(SecretVariables.destinationPrefix.count).lowercased()
            guard TargetName.isValid(name) else { throw TargetName.refusal(variable) }
            guard result[name] == nil else {
                throw ConfigurationError(
                    variable, "destinations.\(name) in the file has the same name",
                    hint: "say it in one of the two places")
            }
            result[name] = try DestinationReader.variable(found, &values, allowsUnverifiedTLS: unverified)
        }
        return result
    }

    /// Two targets in one place would take each other's sets and locks for their own, and a second copy in the place of
    /// the first is none.
    private func refuseOverlap(_ targets: [TargetSettings]) throws(ConfigurationError) {
        var owners: [String: String] = [:]
        for target in targets {
            let place = target.store.place(of: target.keyPrefix)
            let second = target.secondary?.store.place(of: target.keyPrefix)
            if place == second {
                throw ConfigurationError(
                    Setting.secondaryStore.variable, "the second store of \(target.name) is the first one",
                    hint: "name another directory or bucket, best in another building or with another provider")
            }
            for place in [place, second].compactMap({ $0 }) {
                if let other = owners.updateValue(target.name, forKey: place) {
                    throw ConfigurationError(
                        "targets.\(target.name).keyPrefix",
                        "the targets \(other) and \(target.name) have the same store and prefix",
                        hint: "give each a keyPrefix or a store of its own")
                }
            }
        }
    }

    /// A slot keeps the log from where its one reader has come to: of two, each would let go what the other needs.
    private func refuseSharedSlots(_ targets: [TargetSettings]) throws(ConfigurationError) {
        var owners: [String: String] = [:]
        for target in targets {
            guard let slot = target.recovery.slot, case .postgres(let source) = target.source else { continue }
            guard let other = owners.updateValue(target.name, forKey: "\(source.host) \(source.port) \(slot)") else {
                continue
            }
            throw ConfigurationError(
                Setting.walSlot.variable, "the targets \(other) and \(target.name) have the same server and slot",
                hint: "give each a walSlot of its own, or keep one of the two targets")
        }
    }

    /// Settings for kinds of keys that no target has, and for audit records where nobody keeps any.
    private func refuseIdleKeys(
        _ values: inout ConfigurationValues, _ targets: [TargetSettings]
    ) throws(ConfigurationError) {
        var idle: [(setting: Setting, reason: String)] = []
        for (scheme, settings) in [
            (KeySpecification.Scheme.pkcs11, [Setting.pkcs11Module, .pkcs11PIN]),
            (.gpg, [.gpgHome, .gpgKeys, .gpgPassphrase]),
        ] where !targets.contains(where: { $0.hasKey(scheme) }) {
            idle += settings.map { ($0, "there is no \(scheme.rawValue): key") }
        }
        if !targets.contains(where: { $0.source.name == .auditRecords }) {
            idle.append((.auditRecipients, "no source is one of audit records"))
        }
        for (setting, reason) in idle {
            guard let found = try values.find(setting, target: nil), !found.isDefault else { continue }
            throw ConfigurationError(
                found.name, "it means nothing here: \(reason)", hint: "leave it out, or set what it is for")
        }
    }

    /// Somebody who can open every backup of a source must not be everybody who can open the trail of what was done
    /// with it.
    private func demandOwnAuditKeys(_ targets: [TargetSettings]) throws(ConfigurationError) {
        for audit in targets where audit.source.name == .auditRecords {
            let own = Set(audit.recipients)
            guard
                let other = targets.first(where: {
                    $0.source.name != .auditRecords && own.isSubset(of: $0.recipients)
                })
            else { continue }
            throw ConfigurationError(
                Setting.auditRecipients.variable,
                "every recipient of \(audit.name) is one of \(other.name) too, and audit records have recipients of "
                    + "their own", hint: "give it at least one key that opens nothing else")
        }
    }

    /// AWS' own variables are in force where anything lies in AWS.
    private func noteAWS(_ values: inout ConfigurationValues, _ targets: [TargetSettings]) {
        guard targets.contains(where: { !$0.buckets.isEmpty || !$0.kmsKeys.isEmpty || $0.awsBackup != nil }) else {
            return
        }
        for name in VariableNames.aws { _ = values.variable(name) }
    }
}
