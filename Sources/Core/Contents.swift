/// What is in a set: each table, collection or file with its rows and their digest, and each statement of the schema.
/// Two pictures with equal contents hold the same data. `docs/contents.md` states how each digest is made.
package struct Contents: Equatable, Sendable {
    package var data: [DataEntry]
    package var schema: [SchemaEntry]

    package init(data: [DataEntry], schema: [SchemaEntry]) {
        self.data = data.sorted()
        self.schema = schema.sorted()
    }

    /// Rows in all tables.
    package var rows: Int64 {
        data.lazy.filter { $0.kind == .table }.reduce(0) { $0 + $1.rows }
    }

    package var tables: Int { data.count { $0.kind == .table } }

    /// How many there are of what is counted in this kind of source: `tables` and `rows`, `collections` and
    /// `documents`.
    package var counts: [String: Int64] {
        var counts: [String: Int64] = [:]
        for entry in data {
            guard let (things, content) = entry.kind.counted else { continue }
            counts[things, default: 0] += 1
            if let content { counts[content, default: 0] += entry.rows }
        }
        return counts.isEmpty ? ["tables": 0, "rows": 0] : counts
    }
}

/// A collection of rows whose order means nothing.
package struct DataEntry: Equatable, Comparable, Sendable {
    package enum Kind: String, CaseIterable, Sendable {
        case table, sequence, largeObject
        /// Of a document database; its rows are documents.
        case collection
        /// A directory or file that was named to be stored, with all below it; its rows are entries.
        case tree
        case key
        /// Audit records; its rows are the records.
        case records
        /// A part of a server's data directory; its rows are files.
        case tablespace
        /// A server's write-ahead log on one timeline; its rows are segments.
        case log

        /// What their number, and that of their rows, is called in summaries.
        var counted: (things: String, content: String?)? {
            switch self {
            case .table: ("tables", "rows")
            case .sequence, .largeObject: nil
            case .collection: ("collections", "documents")
            case .tree: ("trees", "entries")
            case .key: ("keys", nil)
            case .records: ("trails", "records")
            case .tablespace: ("tablespaces", "files")
            case .log: ("timelines", "segments")
            }
        }
    }

    package var kind: Kind
    package var schema: String
    package var name: String
    /// In their order.
    package var columns: [String]
    package var rows: Int64
    package var sum: RowSum

    package init(kind: Kind, schema: String, name: String, columns: [String], rows: Int64, sum: RowSum) {
        self.kind = kind
        self.schema = schema
        self.name = name
        self.columns = columns
        self.rows = rows
        self.sum = sum
    }

    /// For people: `table public.patients`.
    package var label: String { "\(kind.rawValue) \(schema.isEmpty ? name : "\(schema).\(name)")" }

    package static func < (a: DataEntry, b: DataEntry) -> Bool {
        (a.kind.rawValue, a.schema, a.name) < (b.kind.rawValue, b.schema, b.name)
    }
}

/// A thing of the schema. Several of one key (overloads whose names print alike) are one entry.
package struct SchemaEntry: Equatable, Comparable, Sendable {
    /// As the dump names it: `TABLE`, `FK CONSTRAINT`, `ACL`.
    package var type: String
    package var schema: String
    package var name: String
    package var owner: String
    /// How many statements it consists of.
    package var count: Int64
    /// Sum over what must be equal after a restore: columns, types, owner, privileges.
    package var binding: RowSum
    /// Sum over whole statements, with the expressions that a server may print differently after one restore.
    package var printed: RowSum

    package init(
        type: String, schema: String, name: String, owner: String, count: Int64, binding: RowSum, printed: RowSum
    ) {
        self.type = type
        self.schema = schema
        self.name = name
        self.owner = owner
        self.count = count
        self.binding = binding
        self.printed = printed
    }

    package var label: String { "\(type.lowercased()) \(schema.isEmpty ? name : "\(schema).\(name)")" }

    package static func < (a: SchemaEntry, b: SchemaEntry) -> Bool {
        (a.type, a.schema, a.name, a.owner) < (b.type, b.schema, b.name, b.owner)
    }
}

/// The sum modulo 2^256 of digests read as big-endian numbers: the same in any order, adds up over parallel readers,
/// and changes when a row is doubled.
package struct RowSum: Hashable, Sendable {
    // Least significant first.
    private var a: UInt64 = 0
    private var b: UInt64 = 0
    private var c: UInt64 = 0
    private var d: UInt64 = 0

    package init() {}

    /// From the 32 bytes of ``bytes``.
    package init?(_ bytes: [UInt8]) {
        guard bytes.count == 32 else { return nil }
        bytes.withUnsafeBytes { add(digest: $0) }
    }

    /// Adds a digest of 32 bytes.
    @inline(__always)
    package mutating func add(digest: UnsafeRawBufferPointer) {
        add(
            digest.loadUnaligned(fromByteOffset: 24, as: UInt64.self).bigEndian,
            digest.loadUnaligned(fromByteOffset: 16, as: UInt64.self).bigEndian,
            digest.loadUnaligned(fromByteOffset: 8, as: UInt64.self).bigEndian,
            digest.loadUnaligned(fromByteOffset: 0, as: UInt64.self).bigEndian)
    }

    package mutating func add(_ other: RowSum) { add(other.a, other.b, other.c, other.d) }

    @inline(__always)
    private mutating func add(_ a: UInt64, _ b: UInt64, _ c: UInt64, _ d: UInt64) {
        var carry: Bool
        (self.a, carry) = self.a.addingReportingOverflow(a)
        Self.add(b, to: &self.b, carry: &carry)
        Self.add(c, to: &self.c, carry: &carry)
        self.d = self.d &+ d &+ (carry ? 1 : 0)
    }

    @inline(__always)
    private static func add(_ value: UInt64, to limb: inout UInt64, carry: inout Bool) {
        let (first, overflow) = limb.addingReportingOverflow(value)
        let (second, again) = first.addingReportingOverflow(carry ? 1 : 0)
        limb = second
        carry = overflow || again
    }

    /// 32 bytes, big-endian.
    package var bytes: [UInt8] {
        [d, c, b, a].flatMap { limb in withUnsafeBytes(of: limb.bigEndian) { Array($0) } }
    }

    package var hex: String { hexText(bytes) }
}
