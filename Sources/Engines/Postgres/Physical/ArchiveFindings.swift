import Core

/// Reads what an archive of a base backup holds: each file's digest, and the segments of the log, which the server's
/// manifest leaves out.
struct ArchiveFindings: ArchiveVisitor, Sendable {
    private(set) var ledger = FileLedger()
    private(set) var log: LogFindings
    private let prefix: [UInt8]
    // Of the file that is being read.
    private var digest = FileDigest.Reader()
    private var beginning: [UInt8] = []
    private var segment: WALSegment?

    /// Of the archive of `root`: `base`, or a tablespace's number.
    init(root: String, segmentSize: UInt64) {
        prefix = ClusterArchive.prefix(of: root)
        log = LogFindings(segmentSize: segmentSize)
    }

    mutating func begin(_ member: ArchiveMember) throws {
        digest = FileDigest.Reader()
        beginning.removeAll(keepingCapacity: true)
        segment = member.kind == .file ? log.segment(at: prefix + member.path) : nil
    }

    mutating func read(_ bytes: UnsafeRawBufferPointer) throws {
        digest.update(bytes)
        if segment != nil, beginning.count < SegmentHeader.size {
            beginning.append(contentsOf: bytes.prefix(SegmentHeader.size - beginning.count))
        }
    }

    mutating func end(_ member: ArchiveMember) throws {
        guard member.kind == .file else { return }
        let path = prefix + member.path
        let digest = digest.finish()
        if let segment {
            try log.add(segment, path: path, size: member.size, digest: digest, beginning: beginning)
        } else {
            ledger.add(path: path, size: member.size, digest: digest)
        }
    }
}

/// The segments of the log that are in a base backup, so that it can be started by itself.
struct LogFindings: Sendable {
    /// By timeline.
    private(set) var ledgers: [UInt32: FileLedger] = [:]
    private let segmentSize: UInt64
    private var numbers: [UInt32: Set<UInt64>] = [:]
    private var systemIDs: Set<UInt64> = []

    init(segmentSize: UInt64) { self.segmentSize = segmentSize }

    /// The segment that is at `path` in the data directory; `nil` for any other file.
    func segment(at path: [UInt8]) -> WALSegment? {
        guard path.starts(with: ClusterArchive.logDirectory) else { return nil }
        let name = path.dropFirst(ClusterArchive.logDirectory.count)
        return WALSegment(name: String(decoding: name, as: UTF8.self), size: segmentSize)
    }

    /// Throws where a segment is not what its name says. `beginning` are its first bytes.
    mutating func add(
        _ segment: WALSegment, path: [UInt8], size: Int64, digest: FileDigest, beginning: [UInt8]
    ) throws(PhysicalProblem) {
        guard UInt64(size) == segmentSize else {
            throw damaged("the segment \(segment.name) of the log has \(size) bytes instead of \(segmentSize)")
        }
        guard let header = SegmentHeader(beginning, segmentSize: segmentSize), header.begin == segment.begin else {
            throw damaged("the segment \(segment.name) of the log does not begin as one does")
        }
        systemIDs.insert(header.systemID)
        numbers[segment.timeline, default: []].insert(segment.number)
        ledgers[segment.timeline, default: FileLedger()].add(path: path, size: size, digest: digest)
    }

    /// Throws where a segment that is needed to start from the backup is missing, or is of another server.
    func check(_ ranges: [WALRange], systemID: String) throws(PhysicalProblem) {
        guard !ranges.isEmpty else { throw PhysicalProblem(ClusterArchive.manifest, "it names no part of the log") }
        for range in ranges where range.begin < range.end {
            let last = (range.end.value - 1) / segmentSize
            for number in range.begin.value / segmentSize...last where !has(number, from: range.timeline) {
                let name = WALSegment(timeline: range.timeline, number: number, size: segmentSize).name
                throw damaged("the segment \(name) of the log is missing")
            }
        }
        guard systemIDs.allSatisfy({ String($0) == systemID }) else {
            throw damaged("the log is of another server than the backup")
        }
    }

    /// Where the server went on to a new timeline, the segment in which it did may be there under the new one's name.
    private func has(_ number: UInt64, from timeline: UInt32) -> Bool {
        numbers.contains { $0.key >= timeline && $0.value.contains(number) }
    }

    private func damaged(_ problem: String) -> PhysicalProblem {
        PhysicalProblem(ClusterArchive.part(of: ClusterArchive.base), problem)
    }
}

/// What stands at the beginning of a segment of the log (`XLogLongPageHeaderData` of the server's sources).
struct SegmentHeader {
    /// Bytes of it.
    static let size = 40
    /// The flag of the long form, which only the first page of a segment has.
    private static let isLong: UInt64 = 2

    let systemID: UInt64
    /// The place of the segment's first byte.
    let begin: LSN

    /// `nil` where the bytes are not the beginning of a segment of `segmentSize` bytes. Servers write in the order of
    /// their processor's bytes.
    init?(_ bytes: [UInt8], segmentSize: UInt64) {
        guard bytes.count >= Self.size else { return nil }
        func number(_ range: Range<Int>, littleEndian: Bool) -> UInt64 {
            let field = bytes[range]
            return littleEndian
                ? field.reversed().reduce(0) { $0 << 8 | UInt64($1) } : field.reduce(0) { $0 << 8 | UInt64($1) }
        }
        guard let isLittle = [true, false].first(where: { number(32..<36, littleEndian: $0) == segmentSize }),
            number(0..<2, littleEndian: isLittle) != 0,
            number(2..<4, littleEndian: isLittle) & Self.isLong != 0
        else { return nil }
        systemID = number(24..<32, littleEndian: isLittle)
        begin = LSN(number(8..<16, littleEndian: isLittle))
    }
}
