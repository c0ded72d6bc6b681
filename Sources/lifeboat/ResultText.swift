import Core
import Operations

/// The result as a person at a terminal reads it; programs get the JSON.
struct ResultText {
    private let members: [String: JSON]

    init(_ result: JobResult) {
        if case .object(let members) = result.json { self.members = members } else { members = [:] }
    }

    var lines: [String] {
        var lines = [headline]
        for (label, member) in [
            ("set", "backupKey"), ("safety backup", "safetyBackupKey"), ("data as of", "snapshotTime"),
            ("origin", "origin"),
        ] {
            // The data of a recovery is as of its target, and not of the set that it begins with.
            if member == "snapshotTime", isRecovery { continue }
            if let text = text(members[member]) { lines.append(row(label, text)) }
        }
        if let verdict = text(members["verdict"]) {
            lines.append(row("verdict", verdict + (text(members["proofDepth"]).map { " (\($0))" } ?? "")))
        }
        lines += figures + sets + recovery + details
        for note in array("notes") { lines.append(row("note", text(note) ?? "")) }
        return lines + error
    }

    private var headline: String {
        let action = text(members["action"]) ?? ""
        let how =
            members["dryRun"] == .bool(true) ? " (dry run)" : members["replayed"] == .bool(true) ? " (replayed)" : ""
        guard case .integer(let code)? = members["exitCode"], code != 0 else { return "\(action)\(how): done" }
        return "\(action)\(how): exit \(code), \(text(members["meaning"]) ?? "")"
    }

    private var figures: [String] {
        var lines: [String] = []
        let figures = object("figures")
        if let source = integer(figures["sourceBytes"]), let stored = integer(figures["storedBytes"]) {
            lines.append(row("size", "\(size(source)), stored as \(size(stored))"))
        }
        let details = object("details")
        if let contents = contents(details) { lines.append(row("contents", contents)) }
        let phases = object("phases").compactMap { name, value in
            integer(value).map { "\(name) \(Double($0 / 100) / 10) s" }
        }
        if !phases.isEmpty { lines.append(row("time", phases.sorted().joined(separator: ", "))) }
        return lines
    }

    /// What is counted of each kind of source, the larger things first.
    private static let kinds: [(member: String, one: String, inside: (member: String, one: String)?)] = [
        ("tables", "table", ("rows", "row")), ("collections", "collection", ("documents", "document")),
        ("trees", "tree", ("entries", "entry")), ("trails", "trail", ("records", "record")), ("keys", "key", nil),
        ("tablespaces", "tablespace", ("files", "file")),
    ]

    private func contents(_ members: [String: JSON]) -> String? {
        for kind in Self.kinds {
            guard let number = integer(members[kind.member]) else { continue }
            let things = counted(number, kind.one, kind.member)
            guard let inside = kind.inside, let parts = integer(members[inside.member]) else { return things }
            return "\(counted(parts, inside.one, inside.member)) in \(things)"
        }
        return nil
    }

    private var sets: [String] {
        guard case .array(let sets)? = object("details")["sets"] else { return [] }
        guard !sets.isEmpty else { return [row("sets", "none")] }
        return sets.map { set in
            guard case .object(let set) = set else { return "" }
            if let action = text(set["action"]) { return planned(set, action) }
            let verdict = (text(set["verdict"]) ?? "") + (text(set["proofDepth"]).map { " by \($0)" } ?? "")
            let stored = integer(set["storedSize"]).map(size) ?? ""
            var counts = ""
            if case .object(let members)? = set["contents"] { counts = contents(members) ?? "" }
            let hold = set["legalHold"] == .bool(true) ? "held" : nil
            let tail = [hold, text(set["origin"]), text(set["problem"])].compactMap { $0 }.joined(separator: ", ")
            return "  " + padded(text(set["key"]) ?? "", 50) + padded(stored, 11) + padded(counts, 34)
                + padded(verdict, 24) + tail
        }
    }

    /// A line of a prune's plan.
    private func planned(_ set: [String: JSON], _ action: String) -> String {
        "  " + padded(action, 8) + padded(text(set["key"]) ?? "", 50) + printable(text(set["why"]) ?? "")
    }

    private var details: [String] {
        let details = object("details")
        var lines: [String] = []
        if case .object(let job)? = details["vaultJob"], let id = text(job["jobId"]), let vault = text(job["vault"]) {
            lines.append(row("in the vault", "job \(id) in \(vault)"))
        }
        if let replaced = text(details["replaced"]) { lines.append(row("replaced", "kept as \(replaced)")) }
        if let directory = text(details["dataDirectory"]) { lines.append(row("start it on", directory)) }
        if let directory = text(details["directory"]) { lines.append(row("directory", directory)) }
        if case .array(let deleted)? = details["deleted"] {
            let bytes = integer(details["deletedBytes"]).map { ", \(size($0))" } ?? ""
            lines.append(row("deleted", counted(deleted.count, "set") + bytes))
            lines += deleted.compactMap { text($0).map { "    \($0)" } }
        }
        for (label, member) in [
            ("rewrapped", "rewrapped"), ("up to date", "current"), ("not rewrapped", "failed"), ("to rewrap", "due"),
            ("waiting", "waiting"),
        ] {
            if let number = integer(details[member]) { lines.append(row(label, String(number))) }
        }
        if case .bool(let isHeld)? = details["legalHold"] {
            lines.append(row("legal hold", isHeld ? "set" : "lifted"))
        }
        if case .object(let span)? = details["unheldWrites"], let from = text(span["from"]), let to = text(span["to"])
        {
            lines.append(row("in no backup", "what was written between \(from) and \(to)"))
        }
        for (label, member) in [("disk needed", "neededBytes"), ("disk free", "freeBytes")] {
            if let bytes = integer(details[member]) { lines.append(row(label, size(bytes))) }
        }
        let estimate = text(details["estimate"])
        if let seconds = integer(details["estimatedSeconds"]) {
            lines.append(row("would take", "about \(seconds) s" + (estimate.map { ", \($0)" } ?? "")))
        } else if let estimate {
            lines.append(row("would take", estimate))
        }
        return lines
    }

    private var error: [String] {
        let error = object("error")
        guard let cause = text(error["cause"]) else { return [] }
        let subject = text(error["object"]).map { $0.isEmpty ? "" : " (\($0))" } ?? ""
        return [
            row("failed to", (text(error["operation"]) ?? "") + subject), row("because", cause),
            row("what to do", text(error["hint"]) ?? ""),
        ]
    }

    // MARK: Pieces

    func row(_ label: String, _ value: String) -> String { "  " + padded(label, 15) + printable(value) }

    func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.count))
    }

    /// Names come from databases: none may move the cursor.
    private func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(text.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : $0 })
        )
    }

    func size(_ bytes: Int64) -> String {
        let units = ["B", "kB", "MB", "GB", "TB"]
        var value = Double(bytes)
        var unit = 0
        while value >= 1000, unit < units.count - 1 {
            value /= 1000
            unit += 1
        }
        return unit == 0 ? "\(bytes) B" : "\((value * 10).rounded() / 10) \(units[unit])"
    }

    func text(_ json: JSON?) -> String? { if case .string(let text)? = json { text } else { nil } }

    func integer(_ json: JSON?) -> Int64? {
        switch json {
        case .integer(let value)?: value
        case .string(let text)?: Int64(text)
        default: nil
        }
    }

    func object(_ member: String) -> [String: JSON] {
        if case .object(let members)? = members[member] { members } else { [:] }
    }

    private func array(_ member: String) -> [JSON] {
        if case .array(let elements)? = members[member] { elements } else { [] }
    }
}
