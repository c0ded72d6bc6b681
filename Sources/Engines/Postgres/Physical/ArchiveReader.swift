import Core

/// Told what is in an archive, in its order. Whatever it throws ends the reading.
protocol ArchiveVisitor {
    /// A member; its bytes follow, where it is a file.
    mutating func begin(_ member: ArchiveMember) throws
    /// Bytes of the file, in order.
    mutating func read(_ bytes: UnsafeRawBufferPointer) throws
    /// The member is complete.
    mutating func end(_ member: ArchiveMember) throws
}

/// A file, directory or link of a server's data directory or tablespace, as BASE_BACKUP archives it.
struct ArchiveMember: Equatable, Sendable {
    enum Kind: Equatable, Sendable {
        case file, directory
        /// A symbolic link: from `pg_tblspc` to a tablespace.
        case link(target: [UInt8])
    }

    /// Below the archive's root: no slash in front or behind, no empty piece, no `.` and no `..`. A tablespace's root
    /// itself does not stand there.
    var path: [UInt8]
    var kind: Kind
    /// The nine bits of what owner, group and others may do, and the three above them.
    var mode: UInt32
    /// Bytes of the file; 0 for the others.
    var size: Int64
}

/// Reads an archive of BASE_BACKUP as it streams by: POSIX `ustar` without extensions, for the server writes none. Names
/// that lead out of the archive, devices and hard links are refused.
struct ArchiveReader<Visitor: ArchiveVisitor> {
    private enum State {
        case header
        case data
        case padding(Int)
        /// How many blocks of zeros have been met.
        case end(Int)
    }

    static var blockSize: Int { 512 }

    private(set) var visitor: Visitor
    /// For errors: `base.tar`.
    private let part: String
    private var state = State.header
    private var block: [UInt8] = []
    private var member = ArchiveMember(path: [], kind: .file, mode: 0, size: 0)
    // Bytes of the file that are still to come.
    private var remaining: Int64 = 0

    init(part: String, _ visitor: Visitor) {
        self.part = part
        self.visitor = visitor
    }

    mutating func update(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes
        while !rest.isEmpty {
            switch state {
            case .data:
                let step = Int(min(remaining, Int64(rest.count)))
                try visitor.read(UnsafeRawBufferPointer(rebasing: rest[..<step]))
                rest = UnsafeRawBufferPointer(rebasing: rest[step...])
                remaining -= Int64(step)
                if remaining == 0 { try endFile() }
            case .padding(let count):
                let step = min(count, rest.count)
                rest = UnsafeRawBufferPointer(rebasing: rest[step...])
                state = step == count ? .header : .padding(count - step)
            case .header, .end:
                let step = min(Self.blockSize - block.count, rest.count)
                block.append(contentsOf: rest[..<step])
                rest = UnsafeRawBufferPointer(rebasing: rest[step...])
                guard block.count == Self.blockSize else { return }
                try readBlock()
                block.removeAll(keepingCapacity: true)
            }
        }
    }

    /// The end of the stream. Throws where the archive is not complete.
    mutating func finish() throws {
        guard case .end(let zeros) = state, zeros >= 2, block.isEmpty else {
            throw PhysicalProblem(part, "the archive ends too early")
        }
    }

    private mutating func readBlock() throws {
        let isZero = block.allSatisfy { $0 == 0 }
        if case .end(let zeros) = state {
            guard isZero else { throw PhysicalProblem(part, "something follows the archive's end") }
            state = .end(zeros + 1)
            return
        }
        guard !isZero else {
            state = .end(1)
            return
        }
        member = try ArchiveHeader(bytes: block, part: part).member()
        try visitor.begin(member)
        remaining = member.size
        if remaining == 0 { try endFile() } else { state = .data }
    }

    private mutating func endFile() throws {
        try visitor.end(member)
        let padding = Int((512 - member.size % 512) % 512)
        state = padding == 0 ? .header : .padding(padding)
    }
}

/// A header of 512 bytes ("ustar Interchange Format" in POSIX.1-2008, pax).
private struct ArchiveHeader {
    let bytes: [UInt8]
    let part: String

    func member() throws(PhysicalProblem) -> ArchiveMember {
        guard bytes[257..<262].elementsEqual("ustar".utf8), let sum = number(148, 8), sum == checksum else {
            throw damaged("a header of the archive is damaged")
        }
        guard let size = number(124, 12), let mode = number(100, 8), size >= 0 else {
            throw damaged("a header of the archive has a field that is no number")
        }
        let name = try path()
        let kind = try kind(of: name)
        guard kind == .file || size == 0 else {
            throw damaged("\(shown(path: name)) has bytes although it is no file")
        }
        return ArchiveMember(path: name, kind: kind, mode: UInt32(mode & 0o7777), size: size)
    }

    private func kind(of name: [UInt8]) throws(PhysicalProblem) -> ArchiveMember.Kind {
        switch bytes[156] {
        case UInt8(ascii: "0"), 0: return .file
        case UInt8(ascii: "5"): return .directory
        case UInt8(ascii: "2"):
            let target = text(157, 100)
            guard !target.isEmpty else { throw damaged("the link \(shown(path: name)) leads nowhere") }
            return .link(target: target)
        default: throw damaged("\(shown(path: name)) is neither file nor directory nor symbolic link")
        }
    }

    private func path() throws(PhysicalProblem) -> [UInt8] {
        let prefix = text(345, 155)
        var path = prefix.isEmpty ? text(0, 100) : prefix + [UInt8(ascii: "/")] + text(0, 100)
        if path.starts(with: "./".utf8) { path.removeFirst(2) }
        if path.last == UInt8(ascii: "/") { path.removeLast() }
        for piece in path.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        where piece.isEmpty || piece.elementsEqual(".".utf8) || piece.elementsEqual("..".utf8) {
            throw damaged("\(shown(path: path)) is no plain path below the archive's root")
        }
        return path
    }

    /// Of the header with spaces in the checksum's own place.
    private var checksum: Int64 {
        var sum: Int64 = 8 * 0x20
        for index in bytes.indices where !(148..<156).contains(index) { sum += Int64(bytes[index]) }
        return sum
    }

    private func text(_ start: Int, _ room: Int) -> [UInt8] { Array(bytes[start..<start + room].prefix { $0 != 0 }) }

    /// Octal digits, ended by a zero byte or a space; or for what is too long for them, a set highest bit and the number
    /// in bytes.
    private func number(_ start: Int, _ room: Int) -> Int64? {
        let field = bytes[start..<start + room]
        if bytes[start] == 0x80 {
            guard field.dropLast(8).dropFirst().allSatisfy({ $0 == 0 }) else { return nil }
            let value = field.suffix(min(8, room - 1)).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            return Int64(exactly: value)
        }
        let digits = field.drop { $0 == 0x20 }.prefix { $0 != 0 && $0 != 0x20 }
        guard !digits.isEmpty, digits.allSatisfy({ (0x30...0x37).contains($0) }) else { return nil }
        return Int64(String(decoding: digits, as: UTF8.self), radix: 8)
    }

    private func damaged(_ problem: String) -> PhysicalProblem { PhysicalProblem(part, problem) }
}
