/// A server whose write-ahead log is followed by jobs that run and exit.
package protocol WALSource: Sendable {
    /// For people: `the server db.example:5432`.
    var endpoint: String { get }

    /// Asks the server where its log stands; makes the slot that keeps it where there is none. `after` is the end of
    /// what is stored; `nil` where nothing is. A gap that shows already is an error that names the range.
    func open(after: WALPosition?, meter: ProgressMeter) async throws -> any WALStream
}

/// A place in the log of one server.
package struct WALPosition: Hashable, Sendable {
    package var systemID: String
    package var timeline: UInt32
    package var lsn: LSN

    package init(systemID: String, timeline: UInt32, lsn: LSN) {
        self.systemID = systemID
        self.timeline = timeline
        self.lsn = lsn
    }
}

/// The log from where it was left to where it stood when the job began.
package protocol WALStream: Sendable {
    var systemID: String { get }
    /// Bytes of a segment.
    var segmentSize: UInt64 { get }
    /// Where it begins and where it will end; the same where there is nothing new.
    var begin: WALPosition { get }
    var end: WALPosition { get }

    /// The files, each to be pulled to its end before the next is asked for; ends after the last. At most one segment is
    /// held in memory for each that has been given and not yet been pulled.
    var files: AsyncThrowingStream<WALPiece, any Error> { get }

    /// All before `lsn` is safe: the server may forget it.
    func acknowledge(_ lsn: LSN) async throws

    /// Ends the conversation. Harmless twice.
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
