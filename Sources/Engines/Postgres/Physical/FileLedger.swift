import CCRC32C
import Core
import Crypto

/// Which files there are, of what size and content, in few bytes each: what an archive holds, and what a manifest says
/// that it should. A cluster of a million files takes some 20 MB.
struct FileLedger: Sendable {
    /// How many files.
    private(set) var files: Int64 = 0
    /// The sum of the digests of all of them; `docs/physical.md` states how each is made.
    private(set) var sum = RowSum()

    // Of each file: how many bytes of the path before it begin its own, how many more there are (two bytes), these, its
    // size and its CRC-32C. No record goes over the end of a block, and no block grows past what it was made
    // for: a growing array would for a moment be there twice.
    private var blocks: [[UInt8]] = []
    private var lastPath: [UInt8] = []

    private static let blockSize = 1 << 16
    fileprivate static let markSize = 12
    /// The longest path that is taken, in bytes.
    static let longestPath = 4096

    /// Adds a file whose content was read.
    mutating func add(path: [UInt8], size: Int64, digest: FileDigest) {
        add(path: path, size: size, crc32c: digest.crc32c)
        Self.digest(path: path, size: size, sha256: digest.sha256).withUnsafeBytes { sum.add(digest: $0) }
    }

    /// Adds a file that a manifest names. It does not count in ``sum``.
    mutating func add(path: [UInt8], size: Int64, crc32c: UInt32) {
        precondition(path.count <= Self.longestPath, "a path is longer than a ledger takes")
        files += 1
        append(path, Entry.mark(size: size, crc32c: crc32c))
    }

    /// The path, a zero byte, the size as eight bytes, most significant first, and the content's SHA-256.
    private static func digest(path: [UInt8], size: Int64, sha256: [UInt8]) -> [UInt8] {
        var hash = DumpHash()
        hash.update(path + [0])
        hash.update(withUnsafeBytes(of: size.bigEndian) { Array($0) })
        hash.update(sha256)
        return hash.finish().bytes
    }

    private mutating func append(_ path: [UInt8], _ mark: [UInt8]) {
        var shared = zip(path, lastPath).prefix { $0 == $1 }.prefix(255).count
        let longest = 3 + path.count + Self.markSize
        if blocks.last.map({ $0.count + longest > Self.blockSize }) ?? true {
            blocks.append([])
            blocks[blocks.count - 1].reserveCapacity(Self.blockSize)
            // So that each block can be read by itself.
            shared = 0
        }
        let rest = path.count - shared
        let last = blocks.count - 1
        blocks[last].append(UInt8(shared))
        blocks[last].append(UInt8(rest >> 8))
        blocks[last].append(UInt8(rest & 0xFF))
        blocks[last].append(contentsOf: path[shared...])
        blocks[last].append(contentsOf: mark)
        lastPath = path
    }

    /// One file of a ledger.
    struct Entry: Equatable, Sendable {
        var path: [UInt8]
        /// Size (eight bytes) and CRC-32C (four).
        var mark: [UInt8]

        fileprivate static func mark(size: Int64, crc32c: UInt32) -> [UInt8] {
            withUnsafeBytes(of: size.bigEndian) { Array($0) } + withUnsafeBytes(of: crc32c.bigEndian) { Array($0) }
        }
    }

    /// The files in the order in which they were added.
    var entries: Entries { Entries(blocks: blocks) }

    struct Entries: Sequence, IteratorProtocol {
        fileprivate let blocks: [[UInt8]]
        private var block = 0
        private var offset = 0
        private var path: [UInt8] = []

        fileprivate init(blocks: [[UInt8]]) { self.blocks = blocks }

        mutating func next() -> Entry? {
            guard block < blocks.count else { return nil }
            let bytes = blocks[block]
            let rest = Int(bytes[offset + 1]) << 8 | Int(bytes[offset + 2])
            path.removeLast(path.count - Int(bytes[offset]))
            path.append(contentsOf: bytes[offset + 3..<offset + 3 + rest])
            let end = offset + 3 + rest + FileLedger.markSize
            let entry = Entry(path: path, mark: Array(bytes[offset + 3 + rest..<end]))
            offset = end
            if offset == bytes.count {
                block += 1
                offset = 0
            }
            return entry
        }
    }
}

/// What a file holds, known by two checksums: the one that a server's manifest has of it, and one that cannot be forged.
struct FileDigest: Equatable, Sendable {
    var sha256: [UInt8]
    var crc32c: UInt32

    /// Makes one of bytes as they come.
    struct Reader: Sendable {
        private var sha256 = SHA256()
        private var crc32c: UInt32 = 0

        mutating func update(_ bytes: UnsafeRawBufferPointer) {
            sha256.update(bufferPointer: bytes)
            crc32c = ccrc32c(crc32c, bytes.baseAddress, bytes.count)
        }

        func finish() -> FileDigest { FileDigest(sha256: Array(sha256.finalize()), crc32c: crc32c) }
    }
}
