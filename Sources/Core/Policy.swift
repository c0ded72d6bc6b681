/// How long the sets of a target are kept: by their tier, by the class of what is in them, and by the kind of source.
///
/// Its keys in a configuration: `dataClass` (`BACKUP_DATA_CLASS`), `retentionDays` (`BACKUP_RETENTION_DAYS`: the daily
/// tier's), and in the file `retention`, days or `forever` by tier, and `dataClasses`, the same by class. Audit records
/// have `legalDays` (`AUDIT_LEGAL_DAYS`) below `source`.
package struct RetentionPolicy: Equatable, Sendable {
    /// Where they are not the usual ones.
    package var tiers: [Tier: RetentionPeriod]
    /// `nil` for a target of no class, whose sets are kept as their tiers say.
    package var dataClass: DataClass?
    /// Where they are not the usual ones.
    package var classes: [DataClass: RetentionPeriod]
    /// What the kind of source asks for, whatever tier and class; `nil` for most.
    package var ofSource: RetentionPeriod?

    package init(
        tiers: [Tier: RetentionPeriod] = [:], dataClass: DataClass? = nil,
        classes: [DataClass: RetentionPeriod] = [:], ofSource: RetentionPeriod? = nil
    ) {
        self.tiers = tiers
        self.dataClass = dataClass
        self.classes = classes
        self.ofSource = ofSource
    }

    /// How long a set of `tier` is kept: the longest of what its tier, its class and its source ask for.
    package func period(of tier: Tier) -> RetentionPeriod {
        [periodOfClass, ofSource].compactMap { $0 }.reduce(tiers[tier] ?? tier.retention, max)
    }

    /// What the class alone asks for.
    package var periodOfClass: RetentionPeriod? {
        dataClass.map { classes[$0] ?? $0.retention }
    }
}
