import Core

/// Looks for known words in a server's log. What else is in it, patients' data perhaps, is let go at once.
final class RecoveryLog: Sendable {
    struct Findings: Equatable, Sendable {
        /// Where the log was followed to.
        var end: LSN?
        /// When the last transaction that is in it was committed, by the server's clock.
        var lastCommit: Timestamp?
        var timeline: UInt32?
        /// What the server gave up with, the first such words.
        var failure: Known?
        /// The SQLSTATE of the first FATAL or PANIC, known or not.
        var fatalCode: String?
    }

    struct Known: Equatable, Sendable {
        var pattern: String
        var cause: String
        var hint: String
    }

    private let state = Guarded(Findings())
    private let meter: ProgressMeter

    init(meter: ProgressMeter) { self.meter = meter }

    var findings: Findings { state.value }

    /// A line as the server writes it at the prefix `%e `.
    func read(_ line: String) {
        meter.beat()
        state.withLock { findings in
            guard line.utf8.count > 6, let severity = Self.severity(line) else { return }
            let words = line[severity.words...]
            switch severity.name {
            case "LOG": Self.note(words, in: &findings)
            case "FATAL", "PANIC":
                let code = line.prefix(5)
                if findings.fatalCode == nil, code.allSatisfy({ $0.isASCII && ($0.isNumber || $0.isUppercase) }) {
                    findings.fatalCode = String(code)
                }
                if findings.failure == nil { findings.failure = Self.known.first { words.contains($0.pattern) } }
            default: break
            }
        }
    }

    private static func severity(_ line: String) -> (name: String, words: String.Index)? {
        let rest = line.dropFirst(6)
        guard line.dropFirst(5).first == " ", let colon = rest.firstIndex(of: ":") else { return nil }
        return (String(rest[..<colon]), line.index(after: colon))
    }

    private static func note(_ words: Substring, in findings: inout Findings) {
        if let lsn = words.lsn(after: "redo done at ") { findings.end = lsn }
        if let text = words.rest(after: "last completed transaction was at log time "), let time = Self.time(text) {
            findings.lastCommit = time
        }
        if let text = words.rest(after: "selected new timeline ID: ") {
            findings.timeline = UInt32(text.prefix { $0.isNumber })
        }
    }

    /// `2026-01-02 03:04:05.678901+00`: only if it is one is it kept.
    private static func time(_ text: Substring) -> Timestamp? {
        let day = text.prefix(10)
        let time = text.dropFirst(11).prefix { $0.isNumber || $0 == ":" || $0 == "." }
        return Timestamp("\(day)T\(time)Z")
    }

    static let endsBeforeTarget = Known(
        pattern: "recovery ended before configured recovery target was reached",
        cause: "the log that is stored ends before the target",
        hint:
            "take an earlier target, or run the job that stores the log first; where nothing was committed after it, "
            + "latest is the same")

    private static let known = [
        endsBeforeTarget,
        Known(
            pattern: "requested recovery stop point is before consistent recovery point",
            cause: "the target lies before the end of the base backup",
            hint: "take a later target, or an earlier base backup"),
        Known(
            pattern: "WAL ends before end of online backup",
            cause: "the log from the beginning to the end of the base backup is not whole",
            hint: "take another base backup; the log of this one was not stored"),
        Known(
            pattern: "WAL ends before consistent recovery point",
            cause: "the log from the beginning to the end of the base backup is not whole",
            hint: "take another base backup; the log of this one was not stored"),
        Known(
            pattern: "could not locate required checkpoint record",
            cause: "the log does not hold where the base backup begins",
            hint: "take another base backup; the log of this one was not stored"),
        Known(
            pattern: "could not locate a valid checkpoint record",
            cause: "the log does not hold where the base backup begins",
            hint: "take another base backup; the log of this one was not stored"),
        Known(
            pattern: "recovery target timeline", cause: "there is no such timeline in what is stored of the log",
            hint: "leave the timeline out, or name one that is stored"),
        Known(
            pattern: "is not a child of this server's history",
            cause: "the timeline does not descend from the base backup's",
            hint: "take a base backup of that timeline, or one from before the two parted"),
        Known(
            pattern: "does not contain minimum recovery point",
            cause: "the timeline parted from the base backup's before its end",
            hint: "take a base backup of that timeline, or one from before the two parted"),
        Known(
            pattern: "could not restore file", cause: "a file of the log could not be had",
            hint: "see the error before this one"),
        Known(
            pattern: "could not access file", cause: "a library that the server is to load is not here",
            hint: "use an image that has it, or leave it out of POSTGRES_PRELOAD_LIBRARIES"),
        Known(
            pattern: "resource manager with ID", cause: "the log holds changes by an extension that was not loaded",
            hint: "name the extension's library in POSTGRES_PRELOAD_LIBRARIES, in an image that has it"),
        Known(
            pattern: "not compatible with", cause: "the files are of another version of the server",
            hint: "use an image with the server version that the set names"),
        Known(
            pattern: "are incompatible with server",
            cause: "the files were made by a server that was built differently",
            hint: "use a server built for the same processor and with the same sizes of blocks and segments"),
        Known(
            pattern: "No space left on device", cause: "the disk is full",
            hint: "give the volume more room and run again"),
        Known(
            pattern: "invalid permissions", cause: "the directory may be entered by others",
            hint: "use a volume on which modes can be set (0700)"),
        Known(
            pattern: "wrong ownership", cause: "the directory belongs to another user",
            hint: "give it to the user that the server runs as"),
        Known(
            pattern: "maximum number of prepared transactions reached",
            cause: "more transactions are prepared than the server was set to hold",
            hint: "take a base backup from after the server's max_prepared_transactions was raised"),
        Known(
            pattern: "out of shared memory", cause: "the server's memory was too small for the locks in the log",
            hint: "take a base backup from after the server's max_locks_per_transaction was raised"),
        Known(
            pattern: "could not map anonymous shared memory", cause: "there is not enough memory for the server",
            hint: "raise the pod's memory limit by 256 MiB"),
        Known(
            pattern: "contains errors", cause: "the cluster's own settings (postgresql.auto.conf) cannot be read",
            hint: "take another set; its settings were damaged when it was made"),
        Known(
            pattern: "\" does not exist",
            cause: "the log leads to a directory that is not here, as a new tablespace's",
            hint: "make the source's tablespaces' directories here too, empty and owned by the server's user"),
    ]
}

extension Substring {
    fileprivate func rest(after words: String) -> Substring? {
        firstRange(of: words).map { self[$0.upperBound...] }
    }

    fileprivate func lsn(after words: String) -> LSN? {
        rest(after: words).flatMap { LSN(String($0.prefix { $0.isHexDigit || $0 == "/" })) }
    }
}
