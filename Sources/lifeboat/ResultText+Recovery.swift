import Core

/// What recoveries, drills and the job for the log have to say beyond every other job.
extension ResultText {
    /// Whether the log was followed after a set, or would be.
    var isRecovery: Bool { object("details")["recoveryTarget"] != nil }

    var recovery: [String] {
        let details = object("details")
        var lines: [String] = []
        if let target = text(details["recoveryTarget"]) { lines.append(row("target", target)) }
        if case .object(let base)? = details["base"], let key = text(base["key"]), let end = text(base["endTime"]) {
            lines.append(row("base", "\(key), of \(end)"))
        }
        if case .object(let log)? = details["log"], let segments = integer(log["segments"]),
            let bytes = integer(log["bytes"]), let until = text(log["until"])
        {
            lines.append(
                row("log", "\(counted(segments, "segment")), \(size(bytes)); stored until \(stored(log) ?? until)"))
        }
        if case .object(let recovered)? = details["recovered"], let place = text(recovered["lsn"]),
            let timeline = integer(recovered["timeline"])
        {
            let commit = text(recovered["lastCommit"]).map { "the commit of \($0), " } ?? ""
            lines.append(row("recovered to", "\(commit)\(place) on timeline \(timeline)"))
        }
        // Of a proof by restore; a drill says it with its steps.
        if let matched = integer(details["objectsMatched"]), let compared = integer(details["objectsCompared"]) {
            lines.append(row("restored", "\(matched) of \(counted(compared, "object")) as recorded"))
        }
        return lines + log(details) + drill(details)
    }

    private func stored(_ log: [String: JSON]) -> String? {
        guard let time = text(log["stored"]), let until = text(log["until"]) else { return nil }
        return "\(time) (\(until))"
    }

    private func log(_ details: [String: JSON]) -> [String] {
        guard let begin = text(details["begin"]), let end = text(details["end"]) else { return [] }
        guard begin != end else { return [row("log", "nothing new after \(end)")] }
        let files = integer(details["files"]).map { ", \(counted($0, "file"))" } ?? ""
        return [row("log", "\(begin) to \(end)\(files)")]
    }

    /// What a dry run says.
    private func plannedDrill(_ details: [String: JSON]) -> [String] {
        guard let scenario = text(details["scenario"]) else { return [] }
        var lines = [row("scenario", scenario)]
        if let place = text(details["scratch"]) { lines.append(row("restored to", place)) }
        if let bytes = integer(details["bytes"]) { lines.append(row("size", size(bytes))) }
        if let sets = integer(details["sets"]), case .array(let remaining)? = details["remaining"] {
            lines.append(row("sets to open", String(sets)))
            lines.append(row("without", text(details["lost"]) ?? ""))
            lines.append(row("by", remaining.compactMap { text($0) }.joined(separator: ", ")))
        }
        return lines
    }

    private func drill(_ details: [String: JSON]) -> [String] {
        guard case .object(let drill)? = details["drill"], let scenario = text(drill["scenario"]) else {
            return plannedDrill(details)
        }
        var lines = [row("scenario", scenario)]
        for member in ["steps", "validations"] {
            guard case .array(let checks)? = drill[member], !checks.isEmpty else { continue }
            lines.append("  \(member)")
            for case .object(let check) in checks {
                // What it shows stands last, where its length does no harm.
                let name = padded(text(check["name"]) ?? "", 30)
                let outcome = text(check["result"]) ?? ""
                lines.append(
                    "    " + (text(check["shows"]).map { name + padded(outcome, 14) + $0 } ?? name + outcome))
            }
        }
        for (label, member, what) in [
            ("passed", "successRate", "steps and validations"), ("integrity", "dataIntegrity", "objects as recorded"),
        ] {
            if case .object(let share)? = drill[member], let percent = integer(share["percent"]),
                let passed = integer(share["passed"]), let all = integer(share["of"])
            {
                lines.append(row(label, "\(percent) %, \(passed) of \(all) \(what)"))
            }
        }
        for (label, member) in [("RTO", "recoveryTimeMilliseconds"), ("RPO", "dataLossMilliseconds")] {
            if let milliseconds = integer(drill[member]) {
                let what = label == "RTO" ? "until all was back and proven" : "of writes would have been lost"
                lines.append(row(label, "\(Double(milliseconds / 100) / 10) s \(what)"))
            }
        }
        if let record = text(details["record"]) { lines.append(row("record", record)) }
        return lines
    }
}
