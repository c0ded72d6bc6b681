import Core
import Glibc

/// The lines of files that follow one another, from the first past `after` up to and with `through`.
///
/// One thread pulls it; `cancel` comes from any.
final class FileLines: ByteSource, @unchecked Sendable {
    private let files: [RecordFile]
    private let after: RecordID?
    private let through: RecordID?
    private let member: [UInt8]
    private let label: String
    private let isCancelled = Guarded(false)

    private var index = 0
    private var source: (any ByteSource)?
    private var cut: [UInt8] = []
    private var ready: [UInt8] = []
    private var given = 0
    private var isOver = false
    private var newest: RecordID?

    /// Lines passed on so far, and the id of the last.
    private(set) var count: Int64 = 0
    private(set) var last: RecordID?

    /// `files` are in the order of their ids.
    init(_ files: [RecordFile], after: RecordID?, through: RecordID?, idMember: [UInt8], label: String) {
        self.files = files
        self.after = after
        self.through = through
        member = idMember
        self.label = label
    }

    func cancel() { isCancelled.withLock { $0 = true } }

    func next() throws -> Chunk? {
        while given == ready.count {
            guard !isCancelled.value else { throw CancellationError() }
            ready.removeAll(keepingCapacity: ready.count <= Chunk.size * 2)
            given = 0
            guard !isOver else { return nil }
            try readOn()
        }
        let piece = ready[given..<min(given + Chunk.size, ready.count)]
        given += piece.count
        return Chunk(piece)
    }

    private func readOn() throws {
        guard index < files.count else {
            isOver = true
            return
        }
        let source = try self.source ?? files[index].lines()
        self.source = source
        guard let chunk = try source.next() else { return try endFile() }
        var rest = chunk.bytes
        while !isOver, let base = rest.baseAddress, let found = memchr(base, Int32(UInt8(ascii: "\n")), rest.count) {
            let end = UnsafeRawPointer(found) - base
            let piece = UnsafeRawBufferPointer(rebasing: rest[..<end])
            rest = UnsafeRawBufferPointer(rebasing: rest[(end + 1)...])
            if cut.isEmpty {
                try take(piece)
            } else {
                cut.append(contentsOf: piece)
                try takeCut()
            }
        }
        guard !isOver else { return }
        cut.append(contentsOf: rest)
        guard cut.count <= RecordLine.largest else {
            throw AuditRecordsError.badRecord(place, "it is longer than \(RecordLine.largest >> 20) MiB")
        }
    }

    /// What the newest file ends with is still being written. In one that others follow, nobody goes on: it is a whole
    /// record, or a broken one.
    private func endFile() throws {
        if index == files.count - 1 {
            cut.removeAll()
        } else if !cut.isEmpty {
            try takeCut()
        }
        source = nil
        index += 1
    }

    private func takeCut() throws {
        let line = cut
        cut.removeAll(keepingCapacity: true)
        try line.withUnsafeBytes { try take($0) }
    }

    private func take(_ line: UnsafeRawBufferPointer) throws {
        let id: RecordID
        do throws(RecordLine.Problem) {
            id = try RecordLine.id(in: line, member: member)
        } catch {
            throw AuditRecordsError.badRecord(place, error.text)
        }
        // Those that are passed over as well: ids that begin anew would be taken for stored ones.
        if let newest {
            guard id.isOfKind(of: newest) else { throw AuditRecordsError.otherKind(id, after: newest, in: here) }
            guard id > newest else {
                throw id == newest
                    ? AuditRecordsError.overlap(id, in: here)
                    : AuditRecordsError.disorder(id, after: newest, in: here)
            }
        }
        newest = id
        if let through, id > through {
            isOver = true
            return
        }
        if let after {
            guard id.isOfKind(of: after) else { throw AuditRecordsError.otherKind(id, after: after, in: here) }
            guard id > after else { return }
        }
        ready.append(contentsOf: line)
        ready.append(UInt8(ascii: "\n"))
        count += 1
        last = id
    }

    private var here: String { index < files.count ? files[index].path : label }
    private var place: String { "\(here), the record after \(newest.map { "id \($0)" } ?? "the beginning")" }
}
