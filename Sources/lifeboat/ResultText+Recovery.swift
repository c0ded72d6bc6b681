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

    private func drill(_ details: [String: JSON]) -> [String] {
        guard case .object(let drill)? = details["drill"], let scenario = text(drill["scenario"]) else { return [] }
        var lines = [row("disaster", scenario)]
        for member in ["steps", "validations"] {
            guard case .array(let checks)? = drill[member] else { continue }
            for case .object(let check) in checks {
                let shows = text(check["shows"]).map { " (\($0))" } ?? ""
                lines.append(
                    "    " + padded((text(check["name"]) ?? "") + shows, 50) + (text(check["result"]) ?? ""))
            }
        }
        if case .object(let integrity)? = drill["dataIntegrity"], let percent = integer(integrity["percent"]) {
            lines.append(row("integrity", "\(percent) %"))
        }
        for (label, member) in [("recovery time", "recoveryTimeMilliseconds"), ("data loss", "dataLossMilliseconds")]
        {
            if let milliseconds = integer(drill[member]) {
                lines.append(row(label, "\(Double(milliseconds / 100) / 10) s"))
            }
        }
        if let record = text(details["record"]) { lines.append(row("record", record)) }
        return lines
    }
}
