/// What kind of data a target holds: how often it is to be backed up, and how long each set is kept at least.
package enum DataClass: String, CaseIterable, Sendable {
    case patientData = "patient-data"
    case medicalRecords = "medical-records"
    case auditLogs = "audit-logs"
    case systemConfiguration = "system-configuration"
    case blockchainData = "blockchain-data"

    /// The tier whose sets data of this class should have; the schedule is the cluster's.
    package var rhythm: Tier {
        switch self {
        case .patientData, .auditLogs, .blockchainData: .daily
        case .medicalRecords: .hourly
        case .systemConfiguration: .weekly
        }
    }

    /// How long its sets are kept where nothing else is configured.
    package var retention: RetentionPeriod {
        switch self {
        case .patientData, .medicalRecords: .days(7 * 365)
        case .auditLogs: .days(365)
        case .systemConfiguration: .days(90)
        case .blockchainData: .forever
        }
    }
}

/// How long a set is kept, counted from its snapshot's time.
package enum RetentionPeriod: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// Of 86,400 seconds each; at least 1.
    case days(Int)
    /// Until a person removes it.
    case forever

    /// The longest that can be asked for in days: a hundred years.
    package static let longestDays = 36_500

    /// Reads a number of days from 1 to ``longestDays``, or `forever`; `nil` for anything else.
    package init?(_ text: String) {
        if text == "forever" {
            self = .forever
        } else if let days = Int(text), (1...Self.longestDays).contains(days), String(days) == text {
            self = .days(days)
        } else {
            return nil
        }
    }

    /// As ``init(_:)`` reads it.
    package var description: String {
        switch self {
        case .days(let days): String(days)
        case .forever: "forever"
        }
    }

    /// When a set whose picture was taken at `time` may go; `nil` for never.
    package func end(from time: Timestamp) -> Timestamp? {
        switch self {
        case .days(let days): time.adding(seconds: Int64(days) * 86_400)
        case .forever: nil
        }
    }
}
