/// How long the sets of a target are kept: by their tier and by the class of what is in them.
///
/// Its keys in a configuration: `dataClass` (`BACKUP_DATA_CLASS`), `retentionDays` (`BACKUP_RETENTION_DAYS`: the daily
/// tier's), and in the file `retention`, days or `forever` by tier, and `dataClasses`, the same by class.
package struct RetentionPolicy: Equatable, Sendable {
    /// Where they are not the usual ones.
    package var tiers: [Tier: RetentionPeriod]
    /// `nil` for a target of no class, whose sets are kept as their tiers say.
    package var dataClass: DataClass?
    /// Where they are not the usual ones.
    package var classes: [DataClass: RetentionPeriod]

    package init(
        tiers: [Tier: RetentionPeriod] = [:], dataClass: DataClass? = nil,
        classes: [DataClass: RetentionPeriod] = [:]
    ) {
        self.tiers = tiers
        self.dataClass = dataClass
        self.classes = classes
    }

    /// How long a set of `tier` is kept: the longer of what its tier and its class ask for.
    package func period(of tier: Tier) -> RetentionPeriod {
        let ofTier = tiers[tier] ?? tier.retention
        guard let ofClass = periodOfClass else { return ofTier }
        return max(ofTier, ofClass)
    }

    /// What the class alone asks for.
    package var periodOfClass: RetentionPeriod? {
        dataClass.map { classes[$0] ?? $0.retention }
    }
}
