/// What a physical set says of its server's log: from where it has to be followed. Read from the manifest's details.
package struct PhysicalBase: Equatable, Sendable {
    package var key: BackupKey
    package var systemID: String
    package var timeline: UInt32
    /// The first byte of the log that a recovery of it reads. The set holds the log from here to ``end`` itself.
    package var start: LSN
    /// Where it is consistent: no recovery can stop before.
    package var end: LSN
    /// Where the log ends that the set holds: a primary closes the segment when a base backup ends, and the set has all of
    /// it. A standby cannot.
    package var heldEnd: LSN
    /// When the server had finished it, by the server's clock.
    package var endTime: Timestamp
    /// Bytes of a segment of the log.
    package var segmentSize: UInt64

    /// Whether the set is a server's files, rather than one database's dump.
    package static func isPhysical(_ manifest: Manifest) -> Bool { manifest.details[Detail.method] == "physical" }

    /// `nil` for a set of another kind, and for one that lacks any of it.
    package init?(_ manifest: Manifest) {
        let details = manifest.details
        guard Self.isPhysical(manifest), let systemID = details[Detail.systemID], !systemID.isEmpty,
            let timeline = details[Detail.timeline].flatMap({ UInt32($0) }), timeline > 0,
            let start = details[Detail.start].flatMap({ LSN($0) }),
            let end = details[Detail.end].flatMap({ LSN($0) }), start <= end,
            let size = details[Detail.segmentSize].flatMap({ UInt64($0) }), size > 0, size <= 1 << 30
        else { return nil }
        key = manifest.key
        self.systemID = systemID
        self.timeline = timeline
        self.start = start
        self.end = end
        endTime = details[Detail.endTime].flatMap { Timestamp($0) } ?? manifest.finishedTime
        segmentSize = size
        let isOfPrimary = details[Detail.standby] == "false"
        heldEnd =
            isOfPrimary ? WALSegment(timeline: timeline, holding: LSN(max(end.value, 1) - 1), size: size).end : end
    }

    /// Where the manifest has it.
    package enum Detail {
        package static let method = "method"
        package static let systemID = "systemIdentifier"
        package static let timeline = "timeline"
        package static let start = "startLSN"
        package static let end = "endLSN"
        package static let endTime = "endTime"
        package static let segmentSize = "walSegmentSize"
        package static let standby = "standby"
    }
}
