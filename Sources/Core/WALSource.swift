/// A server whose write-ahead log is followed by jobs that run and exit.
package protocol WALSource: Sendable {
    /// For people: `the server db.example:5432`.
    var endpoint: String { get }

    /// Asks the server who it is and where its log stands, makes the slot that keeps the log for us where there is
    /// none, closes the file being written where the server lets us, and begins to follow from where the request says
    /// that the stored log ends. What of it the server has no longer is the stream's ``WALStream/gap``; it then begins
    /// after that. In a dry run nothing at the server is changed.
    func open(_ request: WALRequest) async throws -> any WALStream
}

/// What a job wants of the log.
package struct WALRequest: Sendable {
    /// Where the stored log of this server ends: on its timeline or on one that this came from; where none is stored,
    /// where its newest base backup does; `nil` where there is neither.
    package var storedEnd: @Sendable (WALServer) async throws -> WALPosition?
    /// The name of the restore point made at the end, where the server lets us make one: up to 63 bytes.
    package var restorePoint: String
    package var dryRun: Bool
    package var meter: ProgressMeter

    package init(
        restorePoint: String, dryRun: Bool = false, meter: ProgressMeter,
        storedEnd: @escaping @Sendable (WALServer) async throws -> WALPosition?
    ) {
        self.restorePoint = restorePoint
        self.dryRun = dryRun
        self.meter = meter
        self.storedEnd = storedEnd
    }
}

/// Who a server is, by its log.
package struct WALServer: Equatable, Sendable {
    package var systemID: String
    /// The one it writes.
    package var timeline: UInt32
    /// What its timeline came from, oldest first.
    package var lineage: [TimelineFork]
    /// Bytes of a segment.
    package var segmentSize: UInt64

    package init(systemID: String, timeline: UInt32, lineage: [TimelineFork], segmentSize: UInt64) {
        self.systemID = systemID
        self.timeline = timeline
        self.lineage = lineage
        self.segmentSize = segmentSize
    }
}

/// Where a timeline was left for the next.
package struct TimelineFork: Hashable, Sendable {
    package var timeline: UInt32
    /// The first byte that belongs to the next timeline.
    package var end: LSN

    package init(timeline: UInt32, end: LSN) {
        self.timeline = timeline
        self.end = end
    }
}

/// A place in the log of one server.
package struct WALPosition: Hashable, Sendable {
    package var systemID: String
    package var timeline: UInt32
    package var lsn: LSN
    /// What the server said of its transactions there: where it says the same again, none has ended since.
    package var mark: String?
    /// A base backup ends here, and nothing of the log is stored.
    package var isOfBase = false

    package init(systemID: String, timeline: UInt32, lsn: LSN, mark: String? = nil) {
        self.systemID = systemID
        self.timeline = timeline
        self.lsn = lsn
        self.mark = mark
    }
}

/// The log from where it was left to where it stood when the job began.
package protocol WALStream: Sendable {
    var server: WALServer { get }
    /// Where it begins and where it will end; at the same place where there is nothing new.
    var begin: WALPosition { get }
    var end: WALPosition { get }
    /// What the server has no longer and the store has not either.
    var gap: WALRange? { get }
    /// What an operator should read although all is well.
    var notes: [String] { get }

    /// The next file, in the order of timelines and places; `nil` after the last. It is in memory as a whole, and the
    /// next one is not read from the server before it is asked for: whoever asks decides how many there are at once.
    func next() async throws -> WALPiece?

    /// All before `lsn` is safe: the server may forget it. Reaches the server by ``finish()`` at the latest.
    func acknowledge(_ lsn: LSN)

    /// Tells the server what was acknowledged and ends the conversation.
    func finish() async throws

    /// Ends the conversation as it is. Harmless twice, and after ``finish()``.
    func close() async
}

/// A file of the log as it comes from the server.
package struct WALPiece: Sendable {
    package var file: WALFile
    /// Of a segment: the first byte after what is there; before the segment's end for one that is not complete.
    package var end: LSN?
    package var source: any ByteSource

    package init(file: WALFile, end: LSN?, source: any ByteSource) {
        self.file = file
        self.end = end
        self.source = source
    }
}
