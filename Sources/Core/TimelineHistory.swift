/// How a timeline came to be: what the server writes into `<timeline>.history` at a promotion.
package enum TimelineHistory {
    /// The forks of a history file, oldest first: a line for each, of a timeline, a place and a reason, separated by
    /// white space; empty lines and those that begin with `#` say nothing. `nil` for anything else.
    package static func forks(in bytes: [UInt8]) -> [TimelineFork]? {
        var forks: [TimelineFork] = []
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            // The reason may be in any encoding; the two fields before it are plain.
            let fields = line.split(maxSplits: 2) { $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: " ") }
            guard let first = fields.first, first.first != UInt8(ascii: "#") else { continue }
            guard fields.count >= 2, let timeline = UInt32(String(decoding: first, as: UTF8.self)), timeline > 0,
                let end = LSN(String(decoding: fields[1], as: UTF8.self))
            else { return nil }
            if let last = forks.last, last.timeline >= timeline || last.end > end { return nil }
            forks.append(TimelineFork(timeline: timeline, end: end))
        }
        return forks
    }
}
