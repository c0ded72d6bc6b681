import Core

/// The way through the stored log from a base to where the log ends or is interrupted.
struct LogPath: Equatable, Sendable {
    struct Leg: Equatable, Sendable {
        var timeline: UInt32
        var begin: LSN
        var end: LSN
    }

    /// What is stored without a gap, in order; empty where nothing follows the base.
    private(set) var legs: [Leg] = []
    /// Where it comes to: the base's own end where nothing follows.
    private(set) var end: LSN
    private(set) var timeline: UInt32
    /// When the end was stored, where that is known.
    private(set) var stored: Timestamp?
    /// What is missing before the log goes on.
    private(set) var gap: WALRange?
    private let segmentSize: UInt64
    /// From where the log has to go on that the base does not hold itself.
    private let heldEnd: LSN

    /// Follows `lineage`, which begins with the base's timeline: each timeline with the place where it was left, `nil`
    /// for the last.
    init(
        from base: PhysicalBase, along lineage: [(timeline: UInt32, until: LSN?)], in ranges: [WALRange]
    ) {
        end = base.end
        timeline = base.timeline
        segmentSize = base.segmentSize
        heldEnd = base.heldEnd
        for (timeline, until) in lineage {
            guard follow(timeline, until: until, in: ranges.filter { $0.timeline == timeline }) else { return }
        }
    }

    /// Whether the way goes on to the next timeline.
    private mutating func follow(_ timeline: UInt32, until: LSN?, in ranges: [WALRange]) -> Bool {
        let reach = Self.reach(from: legs.isEmpty ? max(end, heldEnd) : end, in: ranges)
        let reached = reach.map { min($0.end, until ?? $0.end) } ?? end
        if reached > end {
            legs.append(Leg(timeline: timeline, begin: end, end: reached))
            end = reached
            self.timeline = timeline
            stored = reach?.stored
        }
        guard let until else {
            let next = ranges.filter { $0.begin > end }.min { $0.begin < $1.begin }
            gap = next.map { WALRange(timeline: timeline, begin: end, end: $0.begin) }
            return false
        }
        // The segment in which a timeline is left is stored as the next one's first, with all that came before.
        guard reached.value >= until.value / segmentSize * segmentSize else {
            gap = WALRange(timeline: timeline, begin: end, end: until)
            return false
        }
        end = max(end, until)
        self.timeline = timeline
        return true
    }

    /// How far the ranges go on from `place` without a gap; `nil` where they do not hold it.
    private static func reach(from place: LSN, in ranges: [WALRange]) -> WALRange? {
        var found: WALRange?
        for range in ranges.sorted(by: { $0.begin < $1.begin }) where range.begin <= found?.end ?? place {
            if range.end > found?.end ?? place { found = range }
        }
        return found
    }

    /// How many segments a recovery reads that goes on to `stop`, or to the end, and their bytes before compression.
    func needed(until stop: LSN? = nil) -> (segments: Int64, bytes: Int64) {
        var count: UInt64 = 0
        for leg in legs where leg.begin < stop ?? leg.end {
            let end = min(leg.end, stop.map { LSN($0.value + 1) } ?? leg.end)
            count += (end.value - 1) / segmentSize - leg.begin.value / segmentSize + 1
        }
        let segments = Int64(clamping: count)
        return (segments, segments.multipliedReportingOverflow(by: Int64(clamping: segmentSize)).partialValue)
    }
}
