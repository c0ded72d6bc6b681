import Core

/// How long a target's sets are kept.
///
/// Environment: `BACKUP_DATA_CLASS`, and `BACKUP_RETENTION_DAYS` for the daily tier. File: `dataClass`,
/// `retentionDays`, and as mappings `retention` by tier and `dataClasses` by class. Audit records: `AUDIT_LEGAL_DAYS`
/// or `source.legalDays`.
extension TargetReader {
    static let tiersKey = "retention"
    static let classesKey = "dataClasses"

    mutating func retention(of source: SourceSettings) throws(ConfigurationError) -> RetentionPolicy {
        var policy = try retentionOfTiersAndClasses()
        if case .auditRecords(let audit) = source { policy.ofSource = try legalTerm(audit, policy) }
        return policy
    }

    /// How long audit records are kept: the word of the source itself, else what the file says of the class of audit
    /// logs, else what the law wants.
    private mutating func legalTerm(
        _ audit: AuditSettings, _ policy: RetentionPolicy
    ) throws(ConfigurationError) -> RetentionPeriod {
        let place: SourcePlace = isOfFile ? .file(["targets", name, "source"]) : .environment
        var said = place.name(AuditSourceReader.legalDays)
        let term: RetentionPeriod
        if let days = audit.legalDays {
            term = .days(days)
        } else if let ofClass = policy.classes[.auditLogs] {
            term = ofClass
            said = try period(Self.classesKey, DataClass.auditLogs.rawValue)?.name ?? said
        } else {
            term = AuditStages.legalTerm
        }
        guard term >= .days(audit.stages.archive) else {
            throw ConfigurationError(
                said, "records would be kept for \(term) days, and archived only after \(audit.stages.archive)",
                hint: "set \(place.name(AuditSourceReader.archiveDays)) to at most that, or keep them longer")
        }
        return term
    }

    private mutating func retentionOfTiersAndClasses() throws(ConfigurationError) -> RetentionPolicy {
        var policy = RetentionPolicy(dataClass: try word(.dataClass, of: DataClass.self, "class of data"))
        for tier in Tier.allCases { policy.tiers[tier] = try period(Self.tiersKey, tier.rawValue)?.period }
        for dataClass in DataClass.allCases {
            policy.classes[dataClass] = try period(Self.classesKey, dataClass.rawValue)?.period
        }
        guard let days = try number(.retentionDays, in: 1...RetentionPeriod.longestDays) else { return policy }
        if let other = try period(Self.tiersKey, Tier.daily.rawValue), other.period != .days(days) {
            throw ConfigurationError(
                other.name, "it contradicts \(try find(.retentionDays)?.name ?? Setting.retentionDays.key)",
                hint: "say it in one of the two places")
        }
        policy.tiers[.daily] = .days(days)
        return policy
    }

    /// The target's own word before the defaults.
    private mutating func period(
        _ mapping: String, _ key: String
    ) throws(ConfigurationError) -> (period: RetentionPeriod, name: String)? {
        var found: ConfigurationValues.Found?
        if isOfFile { found = values.entry(["targets", name, mapping, key]) }
        guard let found = found ?? values.entry(["defaults", mapping, key]) else { return nil }
        guard let period = RetentionPeriod(found.text) else {
            throw ConfigurationError(
                found.name, "it is no time to keep sets for",
                hint: "days, a whole number from 1 to \(RetentionPeriod.longestDays), or forever")
        }
        return (period, found.name)
    }
}
