import Core

/// The metrics there are. `docs/metrics.md` explains each; a test keeps the two together.
enum Metric: String, CaseIterable {
    case backupDuration = "backup_duration_seconds"
    case backupSize = "backup_size_bytes"
    case backupSuccess = "backup_success_total"
    case backupFailure = "backup_failure_total"
    case backupAge = "backup_age_seconds"
    case backupLastSnapshot = "backup_last_snapshot_timestamp_seconds"
    case backupLastSuccess = "backup_last_success_timestamp_seconds"
    case verificationSuccess = "backup_verification_success_total"
    case verificationFailure = "backup_verification_failure_total"
    case verificationLastSuccess = "backup_verification_last_success_timestamp_seconds"
    case chainSequence = "backup_chain_sequence"
    case copySuccess = "backup_copy_success_total"
    case copyFailure = "backup_copy_failure_total"
    case copiesMissing = "backup_copies_missing"
    case keyExpiry = "key_expiry_timestamp_seconds"
    case restoreDuration = "restore_duration_seconds"
    case restoreSuccess = "restore_success_total"
    case restoreFailure = "restore_failure_total"
    case restoreLastSuccess = "restore_last_success_timestamp_seconds"
    case walSuccess = "wal_success_total"
    case walFailure = "wal_failure_total"
    case walLastArchived = "wal_last_archived_timestamp_seconds"
    case walArchivedBytes = "wal_archived_bytes_total"
    case restoreProofLastSuccess = "backup_restore_proof_last_success_timestamp_seconds"
    case drillSuccess = "drill_success_total"
    case drillFailure = "drill_failure_total"
    case drillLastSuccess = "drill_last_success_timestamp_seconds"
    case drillLast = "drill_last_timestamp_seconds"
    case drillLastVerdict = "drill_last_verdict"
    case drillRecovery = "drill_recovery_seconds"
    case drillLoss = "drill_data_loss_seconds"
    case drillIntegrity = "drill_integrity_ratio"

    var help: String {
        switch self {
        case .backupDuration: "Wall time of the last successful backup."
        case .backupSize: "Bytes of the last successful backup as stored."
        case .backupSuccess: "Backups that ended with exit code 0."
        case .backupFailure: "Backups that ended with another exit code than 0, 19 or 75."
        case .backupAge: "Age of the newest backup's data when this file was last written."
        case .backupLastSnapshot: "When the data of the newest backup was read, in Unix time."
        case .backupLastSuccess: "When the last successful backup ended, in Unix time."
        case .verificationSuccess: "Verifications that proved their backup."
        case .verificationFailure: "Verifications that did not, the inconclusive ones included."
        case .verificationLastSuccess: "When a verification last proved a backup, in Unix time."
        case .chainSequence: "Number of the newest backup in its target's chain."
        case .copySuccess: "Backups copied to the second store."
        case .copyFailure: "Backups that a run tried to copy to the second store and could not."
        case .copiesMissing: "Backups that are not in the second store yet."
        case .keyExpiry: "When a recipient's key ends, in Unix time."
        case .restoreDuration: "Wall time of the last successful restore, its safety backup included."
        case .restoreSuccess: "Restores that ended with exit code 0."
        case .restoreFailure: "Restores that ended with another exit code than 0, 19 or 75."
        case .restoreLastSuccess: "When the last successful restore ended, in Unix time."
        case .walSuccess: "Jobs of the server's log that ended with exit code 0."
        case .walFailure: "Jobs of the server's log that ended with another exit code than 0 or 75."
        case .walLastArchived: "Until when everything the server has written is stored, in Unix time."
        case .walArchivedBytes: "Bytes of the server's log that were stored, before compression."
        case .restoreProofLastSuccess: "When a backup was last proven by restoring it, in Unix time."
        case .drillSuccess: "Drills that proved what they rehearse."
        case .drillFailure: "Drills that did not, the inconclusive ones included."
        case .drillLastSuccess: "When a drill last proved what it rehearses, in Unix time."
        case .drillLast: "When a drill last ended, whatever it showed, in Unix time."
        case .drillLastVerdict: "1 for the verdict of the last drill, 0 for the others."
        case .drillRecovery: "From the begin of the last drill to the restored copy's being proven."
        case .drillLoss: "What was written in so long before the last drill would have been lost."
        case .drillIntegrity: "Share of the objects that the last drill compared and found as recorded."
        }
    }

    var isCounter: Bool { rawValue.hasSuffix("_total") }
    /// The chain runs over all tiers of a target, a run copies sets of any of them, and a key seals all.
    var hasTier: Bool {
        switch self {
        case .chainSequence, .copySuccess, .copyFailure, .copiesMissing, .keyExpiry: false
        // A log is of no tier.
        case .walSuccess, .walFailure, .walLastArchived, .walArchivedBytes: false
        default: !isOfDrill
        }
    }

    /// Counted by scenario instead: a drill may be about the sets of all tiers.
    var isOfDrill: Bool { rawValue.hasPrefix("drill_") }
}

/// One line of the file: a metric of a tier. `tier` is ``unknownTier`` where the run ended before that was known, and
/// empty for a metric without tiers.
struct Series: Hashable {
    static let unknownTier = "unknown"

    var metric: Metric
    var tier: String
    /// The key's name, for ``Metric/keyExpiry`` alone.
    var key: String?
    /// Of a drill's metrics.
    var scenario: DrillJob.Scenario?
    /// For ``Metric/drillLastVerdict`` alone.
    var verdict: Verdict?
}

/// The values of one target, and the text they are kept in: Prometheus' exposition format 0.0.4.
struct MetricValues: Equatable {
    var values: [Series: Double] = [:]

    subscript(_ metric: Metric, _ tier: String) -> Double? {
        get { values[Series(metric: metric, tier: metric.hasTier ? tier : "")] }
        set { values[Series(metric: metric, tier: metric.hasTier ? tier : "")] = newValue }
    }

    subscript(_ metric: Metric, _ scenario: DrillJob.Scenario) -> Double? {
        get { values[Series(metric: metric, tier: "", scenario: scenario)] }
        set { values[Series(metric: metric, tier: "", scenario: scenario)] = newValue }
    }

    /// Starts both counters of a pair at 0, so that the first increase is seen as one.
    mutating func count(_ counted: Metric, besides other: Metric, _ tier: String) {
        self[counted, tier] = (self[counted, tier] ?? 0) + 1
        if self[other, tier] == nil { self[other, tier] = 0 }
    }

    mutating func raise(_ metric: Metric, _ tier: String, to value: Double) {
        self[metric, tier] = max(self[metric, tier] ?? value, value)
    }

    /// How each line of `metric` begins, up to its value.
    static func lineStart(_ series: Series, prefix: String, target: String) -> String {
        var labels = "target=\"\(escaped(target))\""
        if series.metric.hasTier { labels += ",tier=\"\(series.tier)\",type=\"full\"" }
        if let key = series.key { labels += ",key=\"\(escaped(key))\"" }
        if let scenario = series.scenario { labels += ",scenario=\"\(scenario.rawValue)\"" }
        if let verdict = series.verdict { labels += ",verdict=\"\(verdict.rawValue)\"" }
        return "\(prefix)_\(series.metric.rawValue){\(labels)} "
    }

    static func escaped(_ label: String) -> String {
        var text = ""
        for scalar in label.unicodeScalars {
            switch scalar {
            case "\\": text += "\\\\"
            case "\"": text += "\\\""
            case "\n": text += "\\n"
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text
    }

    private static var tiers: [String] { Tier.allCases.map(\.rawValue) + [Series.unknownTier] }

    /// All that there can be of a metric, but for those that are told apart by a key's name.
    private static func fixedSeries(_ metric: Metric) -> [Series] {
        if metric.isOfDrill {
            let verdicts: [Verdict?] = metric == .drillLastVerdict ? Verdict.allCases : [nil]
            return DrillJob.Scenario.allCases.flatMap { scenario in
                verdicts.map { Series(metric: metric, tier: "", scenario: scenario, verdict: $0) }
            }
        }
        return (metric.hasTier ? tiers : [""]).map { Series(metric: metric, tier: $0) }
    }

    func text(prefix: String, target: String) -> String {
        var text = ""
        for metric in Metric.allCases {
            var lines = ""
            let keys = values.keys.filter { $0.metric == metric && $0.key != nil }
                .sorted { ($0.key ?? "") < ($1.key ?? "") }
            for series in Self.fixedSeries(metric) + keys {
                guard let value = values[series] else { continue }
                lines += Self.lineStart(series, prefix: prefix, target: target) + Self.written(value) + "\n"
            }
            if lines.isEmpty { continue }
            let name = "\(prefix)_\(metric.rawValue)"
            text +=
                "# HELP \(name) \(metric.help)\n# TYPE \(name) \(metric.isCounter ? "counter" : "gauge")\n" + lines
        }
        return text
    }

    private static func written(_ value: Double) -> String {
        if let whole = Int64(exactly: value) { String(whole) } else { value.description }
    }

    /// Takes what ``text(prefix:target:)`` writes, line by line. A line that is anything else is dropped, and so is
    /// one without its end, for half a number is another number.
    init(reading bytes: [UInt8], prefix: String, target: String) {
        var starts: [String: Series] = [:]
        for metric in Metric.allCases {
            for series in Self.fixedSeries(metric) {
                starts[Self.lineStart(series, prefix: prefix, target: target)] = series
            }
        }
        guard let end = bytes.lastIndex(of: UInt8(ascii: "\n")) else { return }
        for line in bytes[..<end].split(separator: UInt8(ascii: "\n")) {
            guard let text = String(validating: line, as: UTF8.self),
                let space = text.utf8.lastIndex(of: UInt8(ascii: " ")),
                let series = starts[String(text[...space])]
                    ?? Self.keySeries(String(text[...space]), prefix: prefix, target: target),
                let value = Self.value(text[text.utf8.index(after: space)...], of: series.metric)
            else { continue }
            values[series] = value
        }
    }

    init() {}

    /// The series of a line about a key, whose name can be any.
    private static func keySeries(_ start: String, prefix: String, target: String) -> Series? {
        let opening = "\(prefix)_\(Metric.keyExpiry.rawValue){target=\"\(escaped(target))\",key=\""
        let closing = "\"} "
        guard start.hasPrefix(opening), start.hasSuffix(closing), start.count > opening.count + closing.count else {
            return nil
        }
        let key = unescaped(start.dropFirst(opening.count).dropLast(closing.count))
        let series = Series(metric: .keyExpiry, tier: "", key: key)
        return lineStart(series, prefix: prefix, target: target) == start ? series : nil
    }

    private static func unescaped(_ label: Substring) -> String {
        var text = ""
        var isEscaped = false
        for scalar in label.unicodeScalars {
            if isEscaped {
                text.unicodeScalars.append(scalar == "n" ? "\n" : scalar)
                isEscaped = false
            } else if scalar == "\\" {
                isEscaped = true
            } else {
                text.unicodeScalars.append(scalar)
            }
        }
        return text
    }

    /// Takes up when keys end, in place of what was known before: a recipient that is none any more warns nobody.
    mutating func replaceKeyExpiries(_ expiries: [KeyExpiry]) {
        for series in values.keys where series.metric == .keyExpiry { values[series] = nil }
        for expiry in expiries {
            values[Series(metric: .keyExpiry, tier: "", key: expiry.key)] =
                Double(expiry.expires.milliseconds) / 1000
        }
    }

    private static func value(_ text: Substring, of metric: Metric) -> Double? {
        let allowed = text.utf8.allSatisfy { byte in
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || "+-.e".utf8.contains(byte)
        }
        guard allowed, let value = Double(text), value.isFinite, value >= 0 else { return nil }
        // Counters count: a fraction is damage.
        return metric.isCounter && Int64(exactly: value) == nil ? nil : value
    }
}
