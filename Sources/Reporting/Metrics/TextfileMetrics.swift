package import Core
import Glibc

/// Metrics for node-exporter's textfile collector: one file a target in `METRICS_DIR`, replaced whole at the end of
/// each run.
///
/// Counters go on from the file that is there. A damaged one loses what cannot be read of it and nothing else. What
/// counts as what is written down in `docs/metrics.md`. Keys: `METRICS_DIR`, `METRICS_PREFIX`.
package struct TextfileMetrics: Reporter {
    private let directory: String
    private let prefix: String

    /// `prefix` begins every metric's name. Throws ``MetricsError/badPrefix(_:)`` where it cannot.
    package init(directory: String, prefix: String = "lifeboat") throws(MetricsError) {
        let lower = UInt8(ascii: "a")...UInt8(ascii: "z")
        let isName = prefix.utf8.allSatisfy {
            lower.contains($0) || $0 == UInt8(ascii: "_") || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
        }
        guard isName, let first = prefix.utf8.first, lower.contains(first) else { throw .badPrefix(prefix) }
        self.directory = directory
        self.prefix = prefix
    }

    /// Counts a finished run and writes the target's file; other events are not its business. Throws
    /// ``MetricsError``.
    package func record(_ event: RunEvent) async throws {
        guard case .finished(let identity, let outcome) = event, !outcome.dryRun, let kind = RunKind(identity.action)
        else { return }
        try await onThread("metrics") {
            let file = MetricsFile(directory: directory, target: identity.target)
            try file.update { old in
                var values = MetricValues(reading: old, prefix: prefix, target: identity.target)
                values.count(outcome, of: kind, tier: identity.tier?.rawValue ?? Series.unknownTier)
                return Array(values.text(prefix: prefix, target: identity.target).utf8)
            }
        }
    }

    /// Where a target's metrics are: characters that a file's name should not have are written as `%XX`.
    package static func fileName(target: String) -> String { MetricsFile.name(target: target) }
}

/// The actions that are counted.
enum RunKind: String {
    case backup, verify, restore, wal, drill

    init?(_ action: String) { self.init(rawValue: action) }
}

extension MetricValues {
    /// Takes up how a run ended.
    mutating func count(_ outcome: RunOutcome, of kind: RunKind, tier: String) {
        // Another run holds the lock, or a thaw is under way: nothing was tried, so nothing failed. If it goes on
        // like that, the age of the newest backup tells.
        let wasTried = outcome.exitCode != .locked && outcome.exitCode != .thawRequested
        let ended = Double(outcome.finished.milliseconds) / 1000
        switch kind {
        case .backup: countBackup(outcome, wasTried: wasTried, ended: ended, tier: tier)
        case .wal: countLog(outcome, wasTried: wasTried)
        case .verify:
            if outcome.exitCode == .done && outcome.verdict == .proven {
                count(.verificationSuccess, besides: .verificationFailure, tier)
                raise(.verificationLastSuccess, tier, to: ended)
            } else if wasTried {
                count(.verificationFailure, besides: .verificationSuccess, tier)
            }
        case .restore:
            if outcome.exitCode == .done {
                // The run that did it has been counted.
                if outcome.replayed { break }
                count(.restoreSuccess, besides: .restoreFailure, tier)
                self[.restoreDuration, tier] = outcome.duration
                raise(.restoreLastSuccess, tier, to: ended)
            } else if wasTried {
                count(.restoreFailure, besides: .restoreSuccess, tier)
            }
        case .drill: countDrill(outcome, wasTried: wasTried, ended: ended)
        }
        // A verification in depth, a drill or a restore: whichever it was, a copy stood there and was compared. A replay
        // did none of it.
        if outcome.exitCode == .done, outcome.verdict == .proven, outcome.proofDepth == .restore, !outcome.replayed {
            raise(.restoreProofLastSuccess, tier, to: ended)
        }
        if let copies = outcome.copies { count(copies) }
        if let expiries = outcome.keyExpiries { replaceKeyExpiries(expiries) }
        // Every tier's, for a run of one tier is when the others' files are written too.
        for (series, snapshot) in values where series.metric == .backupLastSnapshot {
            self[.backupAge, series.tier] = max(0, ((ended - snapshot) * 1000).rounded() / 1000)
        }
    }

    /// Also of a replay: what it copied nobody has copied before.
    private mutating func count(_ copies: CopyCount) {
        self[.copySuccess, ""] = (self[.copySuccess, ""] ?? 0) + Double(copies.made)
        self[.copyFailure, ""] = (self[.copyFailure, ""] ?? 0) + Double(copies.failed)
        if let missing = copies.missing { self[.copiesMissing, ""] = Double(missing) }
    }

    private mutating func countLog(_ outcome: RunOutcome, wasTried: Bool) {
        // What is in the first store is stored, though the second lacks it.
        if let covered = outcome.snapshotTime, outcome.exitCode == .done || outcome.exitCode == .notReplicated {
            raise(.walLastArchived, "", to: Double(covered.milliseconds) / 1000)
        }
        if let bytes = outcome.sourceBytes {
            self[.walArchivedBytes, ""] = (self[.walArchivedBytes, ""] ?? 0) + Double(bytes)
        }
        if outcome.exitCode == .done {
            count(.walSuccess, besides: .walFailure, "")
        } else if wasTried {
            count(.walFailure, besides: .walSuccess, "")
        }
    }

    /// A drill that ended before its scenario's figures were known counts for none.
    private mutating func countDrill(_ outcome: RunOutcome, wasTried: Bool, ended: Double) {
        guard let drill = outcome.drill, wasTried, !outcome.replayed else { return }
        let isProven = outcome.exitCode == .done && outcome.verdict == .proven
        let (counted, other): (Metric, Metric) =
            isProven ? (.drillSuccess, .drillFailure) : (.drillFailure, .drillSuccess)
        self[counted, drill.scenario] = (self[counted, drill.scenario] ?? 0) + 1
        self[other, drill.scenario] = self[other, drill.scenario] ?? 0
        if isProven {
            self[.drillLastSuccess, drill.scenario] = max(self[.drillLastSuccess, drill.scenario] ?? ended, ended)
        }
        self[.drillLast, drill.scenario] = max(self[.drillLast, drill.scenario] ?? ended, ended)
        for verdict in Verdict.allCases {
            let isIt = verdict == (outcome.verdict ?? .inconclusive)
            values[Series(metric: .drillLastVerdict, tier: "", scenario: drill.scenario, verdict: verdict)] =
                isIt ? 1 : 0
        }
        if let seconds = drill.recoverySeconds { self[.drillRecovery, drill.scenario] = seconds }
        if let seconds = drill.lossSeconds { self[.drillLoss, drill.scenario] = seconds }
        if drill.compared > 0 {
            self[.drillIntegrity, drill.scenario] = Double(drill.matched) / Double(drill.compared)
        }
    }

    private mutating func countBackup(_ outcome: RunOutcome, wasTried: Bool, ended: Double, tier: String) {
        if let head = outcome.chainSequence { self[.chainSequence, ""] = Double(head) }
        // A replay finds a set that exists, and whose own run may have died before it could say so; and a set without
        // its second copy is a set.
        if let snapshot = outcome.snapshotTime, outcome.exitCode == .done || outcome.exitCode == .notReplicated {
            raise(.backupLastSnapshot, tier, to: Double(snapshot.milliseconds) / 1000)
        }
        guard outcome.exitCode == .done else {
            if wasTried { count(.backupFailure, besides: .backupSuccess, tier) }
            return
        }
        if outcome.replayed { return }
        count(.backupSuccess, besides: .backupFailure, tier)
        self[.backupDuration, tier] = outcome.duration
        if let size = outcome.storedBytes { self[.backupSize, tier] = Double(size) }
        raise(.backupLastSuccess, tier, to: ended)
    }
}
