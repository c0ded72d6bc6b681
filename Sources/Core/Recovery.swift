/// The point at which a recovery stops: the event's `recoveryTarget`.
package struct RecoveryTarget: Equatable, Sendable {
    package enum Point: Equatable, Sendable {
        /// Microseconds since 1970-01-01T00:00:00Z, as fine as the server's clock.
        case time(microseconds: Int64)
        case transaction(UInt64)
        case lsn(LSN)
        /// A restore point's name.
        case name(String)
        /// The end of what is stored.
        case latest
    }

    package var point: Point
    /// What happened at the point itself is part of what is recovered. Says nothing of a name and of `latest`.
    package var isInclusive: Bool
    /// `nil` follows the newest timeline.
    package var timeline: UInt32?

    package init(_ point: Point, isInclusive: Bool = true, timeline: UInt32? = nil) {
        self.point = point
        self.isInclusive = isInclusive
        self.timeline = timeline
    }
}

/// What a restore needs to go on after a picture.
package struct Recovery: Sendable {
    package var target: RecoveryTarget
    package var log: any WALLibrary

    package init(to target: RecoveryTarget, from log: any WALLibrary) {
        self.target = target
        self.log = log
    }
}

/// Where a recovery has ended: what is in the restored copy, and nothing after it.
package struct RecoveredPoint: Equatable, Sendable {
    package var timeline: UInt32
    /// The end of what was replayed.
    package var lsn: LSN
    /// Of the last transaction that was replayed, by the server's clock; `nil` where none was.
    package var lastCommit: Timestamp?

    package init(timeline: UInt32, lsn: LSN, lastCommit: Timestamp?) {
        self.timeline = timeline
        self.lsn = lsn
        self.lastCommit = lastCommit
    }
}

/// The stored log of one server: what a recovery reads.
package protocol WALLibrary: Sendable {
    /// What is stored of the server with this system identifier, in the order of timelines and places. Cheap: no
    /// segment is read. Empty where there is nothing.
    func ranges(of systemID: String) async throws -> [WALRange]

    /// A file of the log, every byte authenticated before it is given; `nil` where it is not stored. A segment of which
    /// only the beginning is stored is given with zeros after it, as the server leaves its own.
    func open(_ file: WALFile, of systemID: String) async throws -> (any ByteSource)?
}
