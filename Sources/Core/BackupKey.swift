/// The rhythm a set belongs to. It stands first in the set's key and decides how long the set is kept.
package enum Tier: String, CaseIterable, Sendable {
    case hourly, daily, weekly, monthly, annual, manual
    /// Made by a restore of what it replaces. Never chosen by a symbolic key.
    case safety

    /// What an event may ask for.
    package static let selectable: [Tier] = allCases.filter { $0 != .safety }

    /// How long a set of this tier is kept where nothing else is configured.
    package var retention: RetentionPeriod {
        switch self {
        case .hourly: .days(7)
        case .daily: .days(90)
        case .weekly: .days(365)
        case .monthly: .days(3 * 365)
        case .annual: .days(7 * 365)
        case .manual: .forever
        case .safety: .days(30)
        }
    }

    package var namePrefix: String { self == .safety ? "safety-backup-" : "backup-" }
}

/// The name of a backup set, relative to its target's prefix in the store:
/// `daily/backup-2025-01-15T07-00-00-000Z`.
package struct BackupKey: Hashable, Sendable, CustomStringConvertible {
    package var tier: Tier
    /// The nominal time.
    package var timestamp: Timestamp

    package init(tier: Tier, timestamp: Timestamp) {
        self.tier = tier
        self.timestamp = timestamp
    }

    /// Reads exactly what ``description`` writes.
    package init?(_ text: String) {
        let pieces = text.split(separator: "/", omittingEmptySubsequences: false)
        guard pieces.count == 2, let tier = Tier(rawValue: String(pieces[0])), pieces[1].hasPrefix(tier.namePrefix),
            let timestamp = Timestamp(String(pieces[1].dropFirst(tier.namePrefix.count)))
        else { return nil }
        self.init(tier: tier, timestamp: timestamp)
        guard description == text else { return nil }
    }

    package var description: String { "\(tier.rawValue)/\(tier.namePrefix)\(timestamp.keyText)" }
}

/// Which set an event means.
package enum KeySelector: Equatable, Sendable, CustomStringConvertible {
    case exact(BackupKey)
    /// The newest set, of one tier or of all but safety.
    case latest(Tier?)
    /// The newest set of a tier whose nominal day is this one, `2025-01-15`.
    case day(Tier, String)
    /// A recent set, the longest unverified first. Never for a restore.
    case random

    package var description: String {
        switch self {
        case .exact(let key): key.description
        case .latest(nil): "latest"
        case .latest(let tier?): "\(tier.rawValue)/latest"
        case .day(let tier, let day): "\(tier.rawValue)/\(day)"
        case .random: "random"
        }
    }
}
