import Core
import Streams

/// A segment of the log as it is handed to a server, held against its name: where its first page says that it is of
/// another server or place, or its length is another, it ends in an error. A server would take it for the end of the log.
final class CheckedSegment: ByteSource {
    private let source: any ByteSource
    private let segment: WALSegment
    private let systemID: String
    private let state = Guarded<(beginning: [UInt8], count: UInt64)>(([], 0))

    init(_ source: any ByteSource, _ segment: WALSegment, systemID: String) {
        self.source = source
        self.segment = segment
        self.systemID = systemID
    }

    func next() throws -> Chunk? {
        let chunk = try read()
        let (beginning, count) = state.withLock { state in
            let wanted = SegmentHeader.size - state.beginning.count
            if let chunk {
                if wanted > 0 { state.beginning += chunk.bytes.prefix(wanted) }
                state.count += UInt64(chunk.count)
            }
            return (state.beginning, state.count)
        }
        if chunk == nil || beginning.count >= SegmentHeader.size { try check(beginning) }
        guard count <= segment.size, chunk != nil || count == segment.size else {
            throw Self.wrong(
                segment,
                "has \(chunk == nil ? "" : "more than ")\(min(count, segment.size)) bytes instead of \(segment.size)")
        }
        return chunk
    }

    func cancel() { source.cancel() }

    /// What it is of is not known to whoever finds a message damaged.
    private func read() throws -> Chunk? {
        do {
            return try source.next()
        } catch let failure as any Failure {
            throw JobFailure(
                failure.exitCode, "read the stored log", object: "segment \(segment.name)",
                cause: failure.object.isEmpty ? failure.cause : "\(failure.object): \(failure.cause)",
                hint: failure.hint)
        }
    }

    private func check(_ beginning: [UInt8]) throws(PostgresError) {
        guard let header = SegmentHeader(beginning, segmentSize: segment.size) else {
            throw Self.wrong(segment, "does not begin as a segment of \(segment.size) bytes")
        }
        guard String(header.systemID) == systemID else {
            throw Self.wrong(segment, "is of the server \(header.systemID), and the set is of \(systemID)")
        }
        guard header.begin == segment.begin else {
            throw Self.wrong(segment, "holds what belongs at \(header.begin)")
        }
    }

    private static func wrong(_ segment: WALSegment, _ problem: String) -> PostgresError {
        .recovery(
            "the stored log's segment \(segment.name) \(problem)",
            hint: "take a target before \(segment.begin), or a base backup from after it", on: segment.name)
    }
}
