import Core

/// A stretch of one timeline that is followed in one go.
struct LogLeg: Equatable, Sendable {
    var timeline: UInt32
    /// The beginning of a segment.
    var begin: LSN
    /// Where it stops: for a timeline that was left, where the next begins.
    var end: LSN

    /// The way from `begin` to `end`, which lies on the server's own timeline. Each timeline is entered at the beginning
    /// of the segment in which it was made, for that file is another on each.
    static func way(from begin: WALPosition, to end: LSN, of server: WALServer) -> [LogLeg] {
        var legs: [LogLeg] = []
        var from = begin.lsn
        for fork in server.lineage where fork.timeline >= begin.timeline {
            if from < fork.end {
                legs.append(
                    LogLeg(timeline: fork.timeline, begin: server.segmentBegin(from), end: fork.end))
            }
            // A branch that went on elsewhere is stored past the fork: the new one begins where it was left.
            from = fork.end
        }
        if from < end {
            legs.append(LogLeg(timeline: server.timeline, begin: server.segmentBegin(from), end: end))
        }
        return legs
    }
}

extension WALServer {
    /// The beginning of the segment that holds the byte at `lsn`.
    func segmentBegin(_ lsn: LSN) -> LSN { LSN(lsn.value - lsn.value % segmentSize) }

    /// `lsn`, or the next beginning of a segment after it.
    func segmentEnd(_ lsn: LSN) -> LSN {
        lsn.value % segmentSize == 0
            ? lsn : WALSegment(timeline: timeline, holding: lsn, size: segmentSize).end
    }

    /// The timeline on which this server's log has the byte at `lsn`.
    func timeline(at lsn: LSN) -> UInt32 { lineage.first { lsn < $0.end }?.timeline ?? timeline }
}
