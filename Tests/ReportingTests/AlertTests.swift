import Foundation
import TestSupport
import Testing

/// The expressions that `docs/metrics.md` gives to begin with, as Prometheus takes them.
@Suite("Alerts of the documentation") struct AlertTests {
    private struct Rule {
        var name: String
        var expression: String
    }

    /// What a series is at first and for ever, and when the alert is quiet and when it fires, in minutes since 1970.
    private struct Trial {
        var rule: String
        /// Without the prefix; the value is the series' from the beginning on.
        var series: [(series: String, value: Int)]
        var quiet: Int?
        var firing: Int?
        var labels: [String: String] = ["target": "clinic"]
    }

    private static let drill = "{target=\"clinic\",scenario=\"KEY_LOSS\"}"
    private static let proof =
        "backup_restore_proof_last_success_timestamp_seconds{target=\"clinic\",tier=\"daily\",type=\"full\"}"
    private static let backup =
        "backup_last_success_timestamp_seconds{target=\"clinic\",tier=\"daily\",type=\"full\"}"
    private static let scenario = ["target": "clinic", "scenario": "KEY_LOSS"]

    private static func verdict(_ verdict: String) -> String {
        "drill_last_verdict{target=\"clinic\",scenario=\"KEY_LOSS\",verdict=\"\(verdict)\"}"
    }

    private static let trials: [Trial] = [
        Trial(
            rule: "nothing proven by restoring it for long", series: [(proof, 0)], quiet: 8 * 1440,
            firing: 8 * 1440 + 1),
        Trial(rule: "never proven by restoring it", series: [(backup, 1)], firing: 5),
        Trial(rule: "never proven by restoring it", series: [(backup, 1), (proof, 0)], quiet: 5),
        Trial(
            rule: "the log falls behind", series: [("wal_last_archived_timestamp_seconds{target=\"clinic\"}", 0)],
            quiet: 15, firing: 16),
        Trial(
            rule: "the last drill did not pass", series: [(verdict("proven"), 0), (verdict("failed"), 1)], firing: 5,
            labels: scenario.merging(["verdict": "proven"]) { $1 }),
        Trial(
            rule: "the last drill did not pass", series: [(verdict("proven"), 1), (verdict("failed"), 0)], quiet: 5),
        Trial(
            rule: "no drill for long", series: [("drill_last_success_timestamp_seconds\(drill)", 0)],
            quiet: 35 * 1440, firing: 35 * 1440 + 1, labels: scenario),
        Trial(rule: "recovery takes too long", series: [("drill_recovery_seconds\(drill)", 14400)], quiet: 5),
        Trial(
            rule: "recovery takes too long", series: [("drill_recovery_seconds\(drill)", 14401)], firing: 5,
            labels: scenario),
        Trial(rule: "too much would be lost", series: [("drill_data_loss_seconds\(drill)", 900)], quiet: 5),
        Trial(
            rule: "too much would be lost", series: [("drill_data_loss_seconds\(drill)", 901)], firing: 5,
            labels: scenario),
    ]

    /// The page, and the rows of its table of alerts.
    private func documented() throws -> (page: String, rules: [Rule]) {
        let path = #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 } + "/docs/metrics.md"
        let page = try String(contentsOfFile: path, encoding: .utf8)
        let table = try #require(page.components(separatedBy: "## Alerts to begin with").dropFirst().first)
        let rules = table.split(separator: "\n").compactMap { line -> Rule? in
            let cells = line.components(separatedBy: "|")
            guard cells.count >= 4, let expression = line.components(separatedBy: "`").dropFirst().first else {
                return nil
            }
            return Rule(name: cells[1].trimmingCharacters(in: .whitespaces), expression: expression)
        }
        return (page, rules)
    }

    @Test("every metric that an alert asks for is one that there is")
    func names() throws {
        let (page, rules) = try documented()
        #expect(rules.count > 15)
        for rule in rules {
            for word in rule.expression.split(whereSeparator: { !$0.isLetter && !$0.isNumber && $0 != "_" })
            where word.hasPrefix("lifeboat_") {
                #expect(page.contains("| `\(word)` | "), "\(word) of '\(rule.name)'")
            }
        }
    }

    @Test(
        "Prometheus takes every alert, and those of proofs, drills and the log are quiet at their limit and fire past it",
        .needs(.program("promtool")))
    func promtool() async throws {
        let rules = try documented().rules
        try await withScratchDirectory { directory in
            let texts = rules.map { rule in
                "  - alert: '\(rule.name)'\n    expr: '\(rule.expression.replacing("'", with: "''"))'\n"
            }
            try writeFile("\(directory)/rules.yml", "groups:\n- name: lifeboat\n  rules:\n" + texts.joined())
            let check = try Program(["promtool", "check", "rules", "\(directory)/rules.yml"])
            let said = check.read()
            #expect(check.wait() == 0, "\(said)")
            for trial in Self.trials { #expect(rules.contains { $0.name == trial.rule }, "\(trial.rule)") }
            let tests = Self.trials.map(text).joined()
            try writeFile(
                "\(directory)/tests.yml", "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n" + tests)
            let run = try Program(["promtool", "test", "rules", "\(directory)/tests.yml"])
            let found = run.read()
            #expect(run.wait() == 0, "\(found)")
        }
    }

    private func text(_ trial: Trial) -> String {
        let last = max(trial.quiet ?? 0, trial.firing ?? 0)
        var text = "- interval: 1m\n  input_series:\n"
        for (series, value) in trial.series {
            text += "  - series: 'lifeboat_\(series)'\n    values: '\(value)x\(last)'\n"
        }
        text += "  alert_rule_test:\n"
        for (time, isFiring) in [(trial.quiet, false), (trial.firing, true)] {
            guard let time else { continue }
            text += "  - eval_time: \(time)m\n    alertname: '\(trial.rule)'\n"
            if isFiring {
                text += "    exp_alerts:\n    - exp_labels:\n"
                for (label, value) in trial.labels.sorted(by: { $0.key < $1.key }) {
                    text += "        \(label): '\(value)'\n"
                }
            }
        }
        return text
    }
}
