import Core
import Streams

/// What a set's manifest says of its records in clear: ids and counts, and a slow digest to know the last record again
/// by.
struct TrailFacts: Equatable, Sendable {
    static let engine = "audit-records"

    var start: RecordID
    var end: RecordID
    var count: Int64
    /// The id that the set before ends with; `nil` for the first of a trail.
    var after: RecordID?
    /// ``SlowDigest`` of the last record's line.
    var lastRecord: String

    var details: [String: String] {
        var details = [
            "startId": start.description, "endId": end.description, "idKind": start.kind, "records": String(count),
            "lastRecord": lastRecord,
        ]
        details["afterId"] = after?.description
        return details
    }

    /// Throws a sentence's end on what is wrong with the manifest.
    init(_ manifest: Manifest) throws(Problem) {
        guard manifest.engine == Self.engine else {
            throw Problem(text: "it is a set of the engine '\(manifest.engine)'")
        }
        let details = manifest.details
        guard let kind = details["idKind"], let start = details["startId"].flatMap({ RecordID($0, kind: kind) }),
            let end = details["endId"].flatMap({ RecordID($0, kind: kind) }),
            let count = details["records"].flatMap({ Int64($0) }), count > 0, let last = details["lastRecord"]
        else { throw Problem(text: "its manifest does not say which records it holds") }
        let after = details["afterId"].flatMap { RecordID($0, kind: kind) }
        guard (after == nil) == (details["afterId"] == nil) else {
            throw Problem(text: "its manifest does not say what it follows on")
        }
        self.init(start: start, end: end, count: count, after: after, lastRecord: last)
    }

    init(start: RecordID, end: RecordID, count: Int64, after: RecordID?, lastRecord: String) {
        self.start = start
        self.end = end
        self.count = count
        self.after = after
        self.lastRecord = lastRecord
    }

    struct Problem: Error {
        var text: String
    }
}

extension RecordID {
    fileprivate var kind: String {
        switch self {
        case .number: "number"
        case .text: "text"
        }
    }

    fileprivate init?(_ text: String, kind: String) {
        switch kind {
        case "number":
            guard let number = Int64(text), String(number) == text else { return nil }
            self = .number(number)
        case "text" where !text.isEmpty: self = .text(text)
        default: return nil
        }
    }
}

extension TrailReader.Summary {
    /// The records as one entry, and the last of them as another, by which the next set joins.
    var contents: Contents {
        var sum = RowSum()
        checksum.withUnsafeBytes { sum.add(digest: $0) }
        return Contents(
            data: [
                DataEntry(
                    kind: .records, schema: "", name: "\(start) to \(end)", columns: [], rows: count, sum: sum)
            ],
            schema: [LastRecord.entry(end, lastDigest)])
    }
}

/// The last record of a set, as its contents know it.
enum LastRecord {
    private static let type = "LAST RECORD"

    static func entry(_ id: RecordID, _ digest: [UInt8]) -> SchemaEntry {
        var sum = RowSum()
        digest.withUnsafeBytes { sum.add(digest: $0) }
        return SchemaEntry(
            type: type, schema: "", name: id.description, owner: "", count: 1, binding: sum, printed: sum)
    }

    /// SHA-256 of the last record's line; `nil` where the contents are not of records.
    static func digest(in contents: Contents) -> [UInt8]? {
        contents.schema.first { $0.type == type }?.binding.bytes
    }
}
