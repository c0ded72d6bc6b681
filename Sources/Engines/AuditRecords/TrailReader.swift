import Core
import Crypto
import Glibc

/// Reads lines of records as they stream by: ids in their order, count, digest, and the last record. Only of a line
/// that a chunk cuts are bytes kept.
struct TrailReader {
    struct Summary: Equatable, Sendable {
        var start: RecordID
        var end: RecordID
        var count: Int64
        /// Bytes, with the newlines.
        var size: Int64
        /// SHA-256 over all of it.
        var checksum: [UInt8]
        /// SHA-256 of the last line, without its newline.
        var lastDigest: [UInt8]
    }

    private let member: [UInt8]
    private let isContiguous: Bool
    /// For errors.
    private let place: String
    private(set) var start: RecordID?
    private(set) var last: RecordID?
    private var count: Int64 = 0
    private var size: Int64 = 0
    private var digest = SHA256()
    private var cut: [UInt8] = []
    private var lastLine: [UInt8] = []

    /// `after` is what the first id has to follow on; `nil` where this is the beginning.
    init(idMember: String, isContiguous: Bool, after: RecordID?, place: String) {
        member = Array(idMember.utf8)
        self.isContiguous = isContiguous
        self.place = place
        last = after
    }

    /// The last record's line, for a digest of its own.
    var lastRecord: [UInt8] { lastLine }

    mutating func read(_ chunk: UnsafeRawBufferPointer) throws {
        digest.update(bufferPointer: chunk)
        size += Int64(chunk.count)
        var rest = chunk
        var whole: UnsafeRawBufferPointer?
        while let end = newline(in: rest) {
            let piece = UnsafeRawBufferPointer(rebasing: rest[..<end])
            rest = UnsafeRawBufferPointer(rebasing: rest[(end + 1)...])
            if cut.isEmpty {
                try line(piece)
                whole = piece
            } else {
                try keep(piece)
                try cut.withUnsafeBytes { try line($0) }
                lastLine = cut
                cut.removeAll(keepingCapacity: true)
                whole = nil
            }
        }
        if let whole { lastLine = Array(whole) }
        try keep(rest)
    }

    /// What was read; `nil` where there was no record. Throws where the last line has no end.
    consuming func finish() throws -> Summary? {
        guard cut.isEmpty else { throw AuditRecordsError.badRecord(place, "the last record has no end") }
        guard let start, let last else { return nil }
        return Summary(
            start: start, end: last, count: count, size: size, checksum: Array(digest.finalize()),
            lastDigest: Array(SHA256.hash(data: lastLine)))
    }

    private mutating func keep(_ piece: UnsafeRawBufferPointer) throws {
        guard cut.count + piece.count <= RecordLine.largest else {
            throw AuditRecordsError.badRecord(
                place,
                "a record after \(last.map { "id \($0)" } ?? "the beginning") is longer than "
                    + "\(RecordLine.largest >> 20) MiB")
        }
        cut.append(contentsOf: piece)
    }

    private func newline(in bytes: UnsafeRawBufferPointer) -> Int? {
        guard let base = bytes.baseAddress, let found = memchr(base, Int32(UInt8(ascii: "\n")), bytes.count) else {
            return nil
        }
        return UnsafeRawPointer(found) - base
    }

    private mutating func line(_ line: UnsafeRawBufferPointer) throws {
        let id: RecordID
        do throws(RecordLine.Problem) {
            id = try RecordLine.id(in: line, member: member)
        } catch {
            throw AuditRecordsError.badRecord(
                "\(place), the record after \(last.map { "id \($0)" } ?? "the beginning")", error.text)
        }
        if isContiguous, case .text = id {
            throw AuditRecordsError.configuration(
                "AUDIT_IDS", "ids that are texts have no next one, so none can be missed",
                hint: "set AUDIT_IDS=increasing")
        }
        if let last { try follow(id, on: last) }
        if start == nil { start = id }
        last = id
        count += 1
    }

    private func follow(_ id: RecordID, on last: RecordID) throws {
        guard id.isOfKind(of: last) else { throw AuditRecordsError.otherKind(id, after: last, in: place) }
        guard id > last else {
            if start == nil { throw AuditRecordsError.stored(id, through: last, in: place) }
            throw id == last
                ? AuditRecordsError.overlap(id, in: place) : AuditRecordsError.disorder(id, after: last, in: place)
        }
        if isContiguous, case .number(let number) = id, case .number(let before) = last, number - 1 != before {
            throw AuditRecordsError.missing(.number(before + 1), through: .number(number - 1), in: place)
        }
    }
}

extension RecordID {
    /// Whether the two can be compared at all.
    func isOfKind(of other: RecordID) -> Bool {
        switch (self, other) {
        case (.number, .number): true
        case (.text(let a), .text(let b)): a.utf8.count == b.utf8.count
        default: false
        }
    }
}
