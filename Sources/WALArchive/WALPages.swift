import Core

/// What the first page of a segment says of it: the long page header (`XLogLongPageHeaderData` in the server's
/// `access/xlog_internal.h`), in the byte order of the machines that this runs on.
struct SegmentHeader: Equatable, Sendable {
    static let length = 40

    var systemID: String
    var address: LSN
    var segmentSize: UInt64
    var pageSize: Int
    /// Differs between major versions.
    var magic: UInt16

    /// `nil` for what is no beginning of a segment.
    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= Self.length else { return nil }
        magic = bytes.little(at: 0, as: UInt16.self)
        let isLong = bytes.little(at: 2, as: UInt16.self) & 2 != 0
        pageSize = Int(bytes.little(at: 36, as: UInt32.self))
        segmentSize = UInt64(bytes.little(at: 32, as: UInt32.self))
        address = LSN(bytes.little(at: 8, as: UInt64.self))
        systemID = String(bytes.little(at: 24, as: UInt64.self))
        guard magic >> 8 == 0xD0 || magic >> 8 == 0xD1, isLong, (1 << 10...1 << 16).contains(pageSize),
            pageSize & (pageSize - 1) == 0, segmentSize.isMultiple(of: UInt64(pageSize)), segmentSize > 0
        else { return nil }
    }
}

extension UnsafeRawBufferPointer {
    fileprivate func little<Value: FixedWidthInteger>(at offset: Int, as type: Value.Type) -> Value {
        Value(littleEndian: loadUnaligned(fromByteOffset: offset, as: type))
    }
}

/// Checks a segment page by page as it passes: every page begins with its own place in the log, or has nothing in it.
///
/// It is given the segment in order, in chunks that are full but for the last.
struct PageCheck {
    /// What a page begins with at least.
    private static let shortHeader = 24

    private let segment: WALSegment
    private let systemID: String
    private var header: SegmentHeader?
    private(set) var count: UInt64 = 0
    /// Where the first page is that is not of this segment; only looked for where `stopsAtForeignPages`.
    private(set) var validEnd: UInt64?
    private let stopsAtForeignPages: Bool

    /// With `stopsAtForeignPages` a page of another place ends what counts, for a server leaves what was in a file
    /// before behind what it wrote; without, it is damage.
    init(_ segment: WALSegment, of systemID: String, stopsAtForeignPages: Bool = false) {
        self.segment = segment
        self.systemID = systemID
        self.stopsAtForeignPages = stopsAtForeignPages
    }

    /// Returns what is wrong, and is of no use after that.
    mutating func update(_ bytes: UnsafeRawBufferPointer) -> String? {
        if header == nil, let problem = begin(bytes) { return problem }
        guard let header else { return nil }
        guard count + UInt64(bytes.count) <= segment.size else { return "it is longer than a segment" }
        var offset = 0
        while offset + Self.shortHeader <= bytes.count, validEnd == nil {
            let page = UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset + Self.shortHeader)])
            let address = segment.begin.value + count + UInt64(offset)
            let isOurs =
                page.little(at: 0, as: UInt16.self) == header.magic && page.little(at: 8, as: UInt64.self) == address
            if !isOurs && !page.allSatisfy({ $0 == 0 }) {
                guard stopsAtForeignPages else { return "the page at \(LSN(address)) is not a page of this segment" }
                validEnd = count + UInt64(offset)
            }
            offset += header.pageSize
        }
        count += UInt64(bytes.count)
        return nil
    }

    private mutating func begin(_ bytes: UnsafeRawBufferPointer) -> String? {
        guard let header = SegmentHeader(bytes) else { return "it does not begin as a segment of the log does" }
        guard header.systemID == systemID else {
            return "it is of the cluster with the system identifier \(header.systemID), not of \(systemID)"
        }
        guard header.segmentSize == segment.size else {
            return "its segments have \(header.segmentSize) bytes, not \(segment.size)"
        }
        guard header.address == segment.begin else {
            return "it holds the log from \(header.address) on, not from \(segment.begin)"
        }
        self.header = header
        return nil
    }
}
