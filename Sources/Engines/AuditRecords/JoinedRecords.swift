import Core
import Crypto
import Glibc
import Streams

/// The last record of the set before, by which a source is seen to go on where that set ended.
struct Joint: Sendable {
    enum Known: Sendable {
        /// SHA-256 of its line.
        case digest([UInt8])
        /// A slow digest of it, where nothing here opens the set.
        case slow(String, SlowDigest)
    }

    var id: RecordID
    var known: Known
    /// Why that is less than it could be.
    var exception: String?

    /// Whether `line` is that very record. Blocks.
    func isSame(_ line: [UInt8]) throws -> Bool {
        switch known {
        case .digest(let digest): Array(SHA256.hash(data: line)) == digest
        case .slow(let text, let digest): try digest.matches(text, line)
        }
    }
}

/// Takes the record that the last set ended with off the beginning of `base`, and makes sure that it is what it was.
///
/// One thread pulls it; `cancel` only reaches the base.
final class JoinedRecords: ByteSource, @unchecked Sendable {
    private let base: any ByteSource
    private let joint: Joint
    private let member: [UInt8]
    private let place: String
    private var line: [UInt8] = []
    private var isJoined = false

    init(_ base: any ByteSource, joint: Joint, idMember: [UInt8], place: String) {
        self.base = base
        self.joint = joint
        member = idMember
        self.place = place
    }

    func next() throws -> Chunk? {
        if isJoined { return try base.next() }
        while let chunk = try base.next() {
            let bytes = chunk.bytes
            guard let end = bytes.firstIndex(of: UInt8(ascii: "\n")) else {
                line.append(contentsOf: bytes)
                guard line.count <= RecordLine.largest else {
                    throw AuditRecordsError.badRecord(place, "the record of id \(joint.id) has no end")
                }
                continue
            }
            line.append(contentsOf: bytes[..<end])
            try join()
            if end + 1 < bytes.count { return Chunk(bytes[(end + 1)...]) }
            return try base.next()
        }
        throw AuditRecordsError.gap(after: joint.id, found: nil, in: place)
    }

    func cancel() { base.cancel() }

    private func join() throws {
        let found: RecordID
        do throws(RecordLine.Problem) {
            found = try line.withUnsafeBytes { bytes in
                Result { () throws(RecordLine.Problem) in try RecordLine.id(in: bytes, member: member) }
            }.get()
        } catch {
            throw AuditRecordsError.badRecord("\(place), the record of id \(joint.id)", error.text)
        }
        guard found == joint.id else { throw AuditRecordsError.gap(after: joint.id, found: found, in: place) }
        guard try joint.isSame(line) else { throw AuditRecordsError.rewritten(found, in: place) }
        line = []
        isJoined = true
    }
}
