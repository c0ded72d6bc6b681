import Core

/// How an event may name a set.
enum EventKeys {
    static let forms =
        "a key like daily/backup-2025-01-15T07-00-00-000Z as 'lifeboat list' prints it, latest, daily/latest or "
        + "daily/2025-01-15"

    /// A key that is none, with what is wrong about it.
    struct Problem: Error {
        var cause: String
        var hint: String

        init(_ cause: String, hint: String = "give \(EventKeys.forms)") {
            self.cause = cause
            self.hint = hint
        }
    }

    /// Reads a `backupKey`. A trailing `.gz` or `/manifest.json` is taken off, for those who copy a key from an older
    /// tool or from the store. A symbolic key never means a safety set.
    static func selector(_ given: String) throws(Problem) -> KeySelector {
        try refuseUnsafe(given)
        let text = stripped(given)
        switch text {
        case "latest": return .latest(nil)
        case "random": return .random
        default: break
        }
        if let key = BackupKey(text) { return .exact(key) }
        let pieces = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard pieces.count > 1, let tier = Tier(rawValue: pieces[0]) else {
            throw Problem(
                "it does not begin with a tier",
                hint:
                    "keys are relative to the target's prefix and begin with \(choices(Tier.allCases.map(\.rawValue)))"
            )
        }
        guard pieces.count == 2 else {
            throw Problem("it names something inside a set, or another prefix")
        }
        return try symbolic(tier, pieces[1])
    }

    private static func symbolic(_ tier: Tier, _ name: String) throws(Problem) -> KeySelector {
        let isLatest = name == "latest" || name == "backup-LATEST"
        let isDay =
            name.utf8.count == 10
            && name.utf8.allSatisfy {
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: "-")
            }
        guard isLatest || isDay else {
            throw Problem("it is not in the form of a set's name, '\(tier.namePrefix)' and a time that exists")
        }
        guard tier != .safety else {
            throw Problem(
                "only an exact key means a safety set",
                hint: "look the key up with 'lifeboat list --tier safety' and give it whole")
        }
        if isLatest { return .latest(tier) }
        guard let day = Timestamp(name + "T00:00:00Z"), day.day == name else {
            throw Problem("no calendar has that day", hint: "a day like daily/2025-01-15, in UTC")
        }
        return .day(tier, name)
    }

    private static func refuseUnsafe(_ text: String) throws(Problem) {
        if text.hasPrefix("/") {
            throw Problem("it is an absolute path")
        }
        if text.contains("://") {
            throw Problem("it is an address, and keys are relative to the configured store")
        }
        if text.contains("\\") {
            throw Problem("it contains a backslash")
        }
        let pieces = text.split(separator: "/", omittingEmptySubsequences: false)
        if pieces.contains("..") || pieces.contains(".") {
            throw Problem("it contains '.' or '..' as a step")
        }
        if pieces.contains("") {
            throw Problem("it has an empty step, two slashes in a row or one at the end")
        }
        if !text.utf8.allSatisfy({ (0x21..<0x7F).contains($0) }) {
            throw Problem("it contains a blank or a character that no key has")
        }
    }

    private static func stripped(_ text: String) -> String {
        for ending in ["/manifest.json", ".gz"] where text.hasSuffix(ending) {
            return String(text.dropLast(ending.count))
        }
        return text
    }
}
