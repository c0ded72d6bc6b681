import Core
import Glibc

/// Told what is in an archive, in its order. Whatever it throws ends the reading.
protocol TarVisitor {
    /// The entries that follow are of this tree.
    mutating func begin(tree: String) throws
    /// An entry; its bytes follow, where it is a file.
    mutating func begin(_ entry: FileEntry) throws
    /// Bytes of the file, in order; what is left out between them is zeros.
    mutating func read(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws
    /// The file is complete.
    mutating func end(_ entry: FileEntry) throws
    /// A further name of a file that came before in the same tree.
    mutating func link(_ path: [UInt8], to first: [UInt8]) throws
    /// The archive is complete.
    mutating func finish() throws
}

/// Reads an archive as it streams by, and refuses everything that ``TarHeaderWriter`` does not write: members outside
/// their tree, `..`, devices, records nobody knows.
struct TarReader<Visitor: TarVisitor> {
    private enum State {
        case header
        /// Records of an extended header that are still to come.
        case records(Int, isGlobal: Bool)
        /// The map of a file with holes.
        case map
        case data
        case padding(Int)
        /// How many blocks of zeros have been met.
        case end(Int)
    }

    private(set) var visitor: Visitor
    private var state = State.header
    private var block: [UInt8] = []
    private var records: [UInt8] = []
    private var fields: [String: [UInt8]] = [:]
    private var tree: String?
    private var trees: Set<String> = []
    // The file that is being read.
    private var entry = FileEntry(
        path: [], kind: .file, mode: 0, owner: 0, group: 0, modified: FileTime(seconds: 0, nanoseconds: 0))
    private var pieces: [FilePiece] = []
    private var piece = 0
    private var done: Int64 = 0
    private var mapReader = PieceMapReader()
    private var stored: Int64 = 0

    init(_ visitor: Visitor) { self.visitor = visitor }

    mutating func update(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes
        while !rest.isEmpty {
            switch state {
            case .data: try readData(&rest)
            case .padding(let count):
                let step = min(count, rest.count)
                rest = UnsafeRawBufferPointer(rebasing: rest[step...])
                state = step == count ? .header : .padding(count - step)
            default:
                let step = min(TarFormat.block - block.count, rest.count)
                block.append(contentsOf: rest[..<step])
                rest = UnsafeRawBufferPointer(rebasing: rest[step...])
                guard block.count == TarFormat.block else { return }
                try readBlock()
                block.removeAll(keepingCapacity: true)
            }
        }
    }

    /// The end of the stream. Throws where the archive is not complete.
    mutating func finish() throws {
        guard case .end(let zeros) = state, zeros >= 2, block.isEmpty else { throw damaged("it ends too early") }
        try visitor.finish()
    }

    private mutating func readBlock() throws {
        switch state {
        case .header: try readHeader()
        case .records(let remaining, let isGlobal):
            records.append(contentsOf: block.prefix(remaining))
            guard remaining <= TarFormat.block else {
                state = .records(remaining - TarFormat.block, isGlobal: isGlobal)
                return
            }
            try readRecords(isGlobal: isGlobal)
        case .map:
            guard let map = try mapReader.update(block) else {
                guard mapReader.size < stored else { throw damaged("the map of a file with holes does not end") }
                return
            }
            try beginData(map, stored: stored - mapReader.size)
        case .end(let zeros):
            guard block.allSatisfy({ $0 == 0 }) else { throw damaged("something follows its end") }
            state = .end(zeros + 1)
        case .data, .padding: break
        }
    }

    // MARK: Headers

    private mutating func readHeader() throws {
        if block.allSatisfy({ $0 == 0 }) {
            guard fields.isEmpty else { throw damaged("it ends after an extended header") }
            state = .end(1)
            return
        }
        let header = TarBlock(bytes: block)
        guard header.isValid else { throw damaged("a header is damaged") }
        guard let size = header.number(124, 12) else { throw damaged("a size is no number") }
        switch header.type {
        case TarFormat.TypeFlag.records, TarFormat.TypeFlag.globalRecords:
            guard fields.isEmpty, size > 0, size <= Int64(TarFormat.largestRecords) else {
                throw damaged("an extended header has no place or no sensible size")
            }
            records.removeAll(keepingCapacity: true)
            state = .records(Int(size), isGlobal: header.type == TarFormat.TypeFlag.globalRecords)
        default:
            try readMember(header, size: size)
        }
    }

    private mutating func readRecords(isGlobal: Bool) throws {
        guard let parsed = TarRecords.parse(records) else { throw damaged("an extended header is damaged") }
        state = .header
        guard isGlobal else {
            fields = parsed
            return
        }
        guard parsed.count == 1, let comment = parsed["comment"],
            let text = String(validating: comment, as: UTF8.self), text.hasPrefix(TarFormat.treeComment)
        else { throw damaged("it has an extended header that nobody knows") }
        let name = String(text.dropFirst(TarFormat.treeComment.count))
        guard trees.insert(name).inserted else { throw damaged("it has the tree \(shown(name)) twice") }
        tree = name
        try visitor.begin(tree: name)
    }

    private mutating func readMember(_ header: TarBlock, size: Int64) throws {
        guard let tree else { throw damaged("a member stands before its tree") }
        var member = TarMember(header: header, fields: fields, size: size)
        fields = [:]
        try member.resolve(in: tree)
        if let first = member.first {
            try visitor.link(member.entry.path, to: first)
            state = .header
            return
        }
        entry = member.entry
        try visitor.begin(entry)
        guard entry.kind == .file else {
            state = .header
            return
        }
        stored = member.stored
        if member.hasMap {
            mapReader = PieceMapReader()
            state = .map
        } else {
            try beginData([FilePiece(offset: 0, count: stored)], stored: stored)
        }
    }

    // MARK: Data

    private mutating func beginData(_ map: [FilePiece], stored: Int64) throws {
        var end: Int64 = 0
        var sum: Int64 = 0
        for piece in map {
            guard piece.offset >= end, piece.count >= 0, piece.count <= entry.size - piece.offset else {
                throw damaged("the map of a file with holes is damaged")
            }
            end = piece.offset + piece.count
            sum += piece.count
        }
        guard sum == stored else { throw damaged("a file with holes has another size than its map") }
        pieces = map.filter { $0.count > 0 }
        piece = 0
        done = 0
        self.stored = stored
        if pieces.isEmpty { try endData() } else { state = .data }
    }

    private mutating func readData(_ rest: inout UnsafeRawBufferPointer) throws {
        let current = pieces[piece]
        let step = Int(min(current.count - done, Int64(rest.count)))
        try visitor.read(UnsafeRawBufferPointer(rebasing: rest[..<step]), at: current.offset + done)
        rest = UnsafeRawBufferPointer(rebasing: rest[step...])
        done += Int64(step)
        guard done == current.count else { return }
        piece += 1
        done = 0
        if piece == pieces.count { try endData() }
    }

    private mutating func endData() throws {
        try visitor.end(entry)
        let padding = TarFormat.padding(after: stored)
        state = padding == 0 ? .header : .padding(padding)
    }

    private func damaged(_ problem: String) -> FilesError {
        .damagedPart(FileTrees.PartName.archive, problem)
    }
}

/// A piece of a file that is stored; what lies between pieces is a hole.
struct FilePiece: Equatable, Sendable {
    var offset: Int64
    var count: Int64
}

/// The map that stands before a file with holes (GNU tar's sparse format 1.0): the number of pieces, then offset and
/// size of each, a line each, filled up to a whole block.
struct PieceMapReader {
    private var numbers: [Int64] = []
    private var digits: [UInt8] = []
    /// Bytes it takes, so far.
    private(set) var size: Int64 = 0

    init() {}

    /// `nil` where it goes on in the next block.
    mutating func update(_ block: [UInt8]) throws -> [FilePiece]? {
        size += Int64(block.count)
        for byte in block {
            if byte != UInt8(ascii: "\n") {
                guard (0x30...0x39).contains(byte), digits.count < 18 else { throw Self.damaged }
                digits.append(byte)
                continue
            }
            guard let number = Int64(String(decoding: digits, as: UTF8.self)) else { throw Self.damaged }
            digits.removeAll(keepingCapacity: true)
            numbers.append(number)
            guard numbers[0] <= Int64(TarFormat.mostPieces) + 2 else { throw Self.damaged }
            if numbers.count == 1 + 2 * Int(numbers[0]) {
                return stride(from: 1, to: numbers.count, by: 2).map {
                    FilePiece(offset: numbers[$0], count: numbers[$0 + 1])
                }
            }
        }
        return nil
    }

    /// The map of `pieces` in a file of `size` bytes. Where it ends with a hole an empty piece stands at its end, without
    /// which other readers would make it too short.
    static func map(_ pieces: [FilePiece], size: Int64) -> [UInt8] {
        let end = pieces.last.map { $0.offset + $0.count } ?? 0
        let all = pieces + (end < size || pieces.isEmpty ? [FilePiece(offset: size, count: 0)] : [])
        var text = "\(all.count)\n"
        for piece in all { text += "\(piece.offset)\n\(piece.count)\n" }
        let bytes = Array(text.utf8)
        return bytes + [UInt8](repeating: 0, count: TarFormat.padding(after: Int64(bytes.count)))
    }

    private static var damaged: FilesError {
        .damagedPart(FileTrees.PartName.archive, "the map of a file with holes is damaged")
    }
}
