import Core

/// What was stored of a timeline on one day: a summary that spares the next job a listing. It is rewritten at the end
/// of each job and says nothing that the objects themselves do not.
struct WALIndex: Equatable, Sendable {
    var systemID: String
    var timeline: UInt32
    var segmentSize: UInt64
    /// In order, none touching the next.
    var ranges: [Range<UInt64>] = []
    var files: Int64 = 0
    /// Bytes of the log, and of them as stored.
    var bytes: Int64 = 0
    var storedBytes: Int64 = 0
    /// Everything that had happened by then is stored.
    var coveredUntil: Timestamp?
    /// ``WALPosition/mark`` at the end of the last range.
    var mark: String?
    /// What was gone before it was stored, for as long as no base backup from after it is known.
    var gap: WALRange?

    var end: LSN? { ranges.last.map { LSN($0.upperBound) } }

    /// Adds a range and joins what touches.
    mutating func add(_ range: Range<UInt64>) {
        guard !range.isEmpty else { return }
        var joined = range
        var rest: [Range<UInt64>] = []
        for other in ranges {
            if other.upperBound < joined.lowerBound || other.lowerBound > joined.upperBound {
                rest.append(other)
            } else {
                joined =
                    min(other.lowerBound, joined.lowerBound)..<max(other.upperBound, joined.upperBound)
            }
        }
        ranges = (rest + [joined]).sorted { $0.lowerBound < $1.lowerBound }
    }

    // MARK: JSON

    private static let format: Int64 = 1

    var json: JSON {
        .object(present: [
            "format": .integer(Self.format),
            "systemIdentifier": .string(systemID),
            "timeline": .integer(Int64(timeline)),
            "segmentSize": .exact(Int64(segmentSize)),
            "ranges": .array(
                ranges.map {
                    .object([
                        "begin": .string(LSN($0.lowerBound).description),
                        "end": .string(LSN($0.upperBound).description),
                    ])
                }),
            "files": .integer(files),
            "bytes": .exact(bytes),
            "storedBytes": .exact(storedBytes),
            "coveredUntil": coveredUntil.map { .string($0.description) },
            "mark": mark.map { .string($0) },
            "gap": gap.map { gap in
                .object([
                    "timeline": .integer(Int64(gap.timeline)), "begin": .string(gap.begin.description),
                    "end": .string(gap.end.description),
                ])
            },
        ])
    }

    init(systemID: String, timeline: UInt32, segmentSize: UInt64) {
        self.systemID = systemID
        self.timeline = timeline
        self.segmentSize = segmentSize
    }

    init(reading bytes: [UInt8]) throws {
        var fields = try JSONFields(try JSON(parsing: bytes), path: "")
        guard try fields.integer("format") == Self.format else { throw fields.error("format", "is not known") }
        systemID = try fields.string("systemIdentifier")
        timeline = try fields.timeline()
        guard let segmentSize = UInt64(exactly: try fields.integer("segmentSize")), segmentSize > 0 else {
            throw fields.error("segmentSize", "must be a number of bytes")
        }
        self.segmentSize = segmentSize
        for (index, json) in try fields.array("ranges").enumerated() {
            var range = try JSONFields(json, path: "ranges[\(index)]")
            let places = try range.places()
            try range.finish()
            add(places.lowerBound.value..<places.upperBound.value)
        }
        files = try Self.count("files", &fields)
        self.bytes = try Self.count("bytes", &fields)
        storedBytes = try Self.count("storedBytes", &fields)
        coveredUntil = fields.has("coveredUntil") ? try fields.timestamp("coveredUntil") : nil
        mark = try fields.optionalString("mark")
        if fields.has("gap") {
            var gap = try JSONFields(try fields.required("gap"), path: "gap")
            let (timeline, places) = (try gap.timeline(), try gap.places())
            try gap.finish()
            self.gap = WALRange(timeline: timeline, begin: places.lowerBound, end: places.upperBound)
        }
        try fields.finish()
    }

    /// A number that more can be added to.
    private static func count(_ field: String, _ fields: inout JSONFields) throws -> Int64 {
        let count = try fields.integer(field)
        guard (0...(1 << 60)).contains(count) else { throw fields.error(field, "must be a number from 0 on") }
        return count
    }
}

extension JSONFields {
    fileprivate mutating func timeline() throws -> UInt32 {
        guard let timeline = UInt32(exactly: try integer("timeline")), timeline > 0 else {
            throw error("timeline", "must be a timeline")
        }
        return timeline
    }

    /// `begin` and `end`.
    fileprivate mutating func places() throws -> Range<LSN> {
        guard let begin = LSN(try string("begin")), let end = LSN(try string("end")), begin < end else {
            throw error("begin", "and 'end' must be places in the log, one before the other")
        }
        return begin..<end
    }
}
