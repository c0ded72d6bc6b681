import CSHA256
import Core

/// Reads a mongodump archive as it streams by: `common/archive/spec.md` of mongo-tools.
///
/// Magic bytes, a prelude that declares every collection, then blocks of documents of one collection each, which
/// interleave, and for each collection a block that closes it with a checksum. Whatever is not exactly so is refused:
/// the tools themselves find a truncation only after they have restored half of it. Of the documents only the digest is
/// kept, so one of 16 MiB costs no memory.
struct ArchiveReader {
    /// A document that closes a list of documents.
    private static let terminator: UInt32 = 0xFFFF_FFFF
    static let magic: UInt32 = 0x8199_E26D
    /// The metadata of a view with its pipeline is the largest thing that is kept.
    private static let largestHeader = 32 << 20

    private enum Place { case magic, header, declarations, blockHeader, body, closing }

    /// A document of a block whose end has not come yet.
    private struct Partial {
        var rest: Int
        var hash = csha256()
        init(rest: Int) {
            self.rest = rest
            csha256_init(&hash)
        }
    }

    private var place = Place.magic
    /// The bytes of something that is needed whole and is not all there.
    private var pending: [UInt8] = []
    private var partial: Partial?
    private(set) var prelude = ArchivePrelude()
    private var namespaces: [ArchiveNamespace] = []
    private var indexes: [ArchiveName: Int] = [:]
    private var current = 0
    private let scope: ArchiveScope
    private var oplog: OplogReader

    init(scope: ArchiveScope, oplog: OplogReader = OplogReader()) {
        self.scope = scope
        self.oplog = oplog
    }

    mutating func update(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes
        while !rest.isEmpty {
            if partial != nil {
                try finishPartial(&rest)
            } else if !pending.isEmpty || place != .body {
                try takeWhole(&rest)
            } else {
                try takeDocuments(&rest)
            }
        }
    }

    /// After the last byte: throws unless the archive is complete.
    consuming func finish() throws -> ArchiveContents {
        guard place == .blockHeader, pending.isEmpty, partial == nil else {
            throw ArchiveError("it ends too early")
        }
        if let open = namespaces.first(where: { !$0.isClosed }) {
            throw ArchiveError("'\(open.name)' is not closed")
        }
        let oplog = try oplog.finish()
        // Nobody can drop the collection of functions, so an empty one is as good as none.
        let hollow = Set(namespaces.filter { $0.name.collection == "system.js" && $0.documents == 0 }.map(\.name))
        let shown = namespaces.filter { scope.covers($0.name) && $0.hasData && !hollow.contains($0.name) }
        return ArchiveContents(
            contents: Contents(
                data: shown.map { $0.entry(scope) }, schema: try prelude.schema(scope, without: hollow)),
            prelude: prelude, documents: namespaces.reduce(into: [:]) { $0[$1.name] = $1.documents }, oplog: oplog)
    }

    // MARK: What is needed whole

    /// Moves bytes into `pending` until it is a magic number, a terminator or a document.
    private mutating func takeWhole(_ rest: inout UnsafeRawBufferPointer) throws {
        fill(to: 4, from: &rest)
        guard pending.count >= 4 else { return }
        let word = pending[...].little(UInt32.self)
        if place == .magic {
            guard word == Self.magic else { throw ArchiveError("it does not begin like an archive") }
            place = .header
        } else if word == Self.terminator {
            try endList()
        } else {
            let length = Int(Int32(truncatingIfNeeded: word))
            if place == .body {
                pending.removeAll(keepingCapacity: true)
                return try beginDocument(length, prefix: word)
            }
            guard length >= BSONDocument.smallest, length <= Self.largestHeader else {
                throw ArchiveError("a header's length is impossible")
            }
            fill(to: length, from: &rest)
            guard pending.count == length else { return }
            do {
                try take(BSONDocument(pending))
            } catch let error as BSONError {
                throw ArchiveError("a header is damaged: \(error)")
            }
        }
        pending.removeAll(keepingCapacity: true)
    }

    private mutating func fill(to count: Int, from rest: inout UnsafeRawBufferPointer) {
        let wanted = max(min(count - pending.count, rest.count), 0)
        pending.append(contentsOf: rest[..<wanted])
        rest = UnsafeRawBufferPointer(rebasing: rest[wanted...])
    }

    private mutating func endList() throws {
        switch place {
        case .declarations, .body, .closing: place = .blockHeader
        case .magic, .header, .blockHeader: throw ArchiveError("a list ends where none has begun")
        }
    }

    private mutating func take(_ document: BSONDocument) throws {
        switch place {
        case .header:
            try prelude.read(header: document)
            place = .declarations
        case .declarations:
            for name in try prelude.read(declaration: document) { try declare(name) }
        case .blockHeader: try openBlock(document)
        case .closing: throw ArchiveError("documents follow the end of '\(namespaces[current].name)'")
        case .magic, .body: throw ArchiveError("a document stands where none may")
        }
    }

    private mutating func declare(_ name: ArchiveName) throws {
        guard indexes.updateValue(namespaces.count, forKey: name) == nil else {
            throw ArchiveError("'\(name)' is declared twice")
        }
        namespaces.append(ArchiveNamespace(name: name, hasData: !prelude.isView(name)))
    }

    // MARK: Blocks

    private mutating func openBlock(_ header: BSONDocument) throws {
        guard let database = header["db"]?.string, let collection = header["collection"]?.string,
            case .bool(let isEnd)? = header["EOF"], let checksum = header["CRC"]?.integer
        else { throw ArchiveError("a block's header lacks a field") }
        let name = ArchiveName(database: database, collection: collection)
        // Not every version of mongodump declares it.
        if name == .oplog, indexes[name] == nil { try declare(name) }
        guard let index = indexes[name] else { throw ArchiveError("'\(name)' was not declared") }
        guard !namespaces[index].isClosed else { throw ArchiveError("'\(name)' goes on after its end") }
        current = index
        place = isEnd ? .closing : .body
        if isEnd { try namespaces[index].close(checksum: UInt64(bitPattern: checksum)) }
    }

    /// Whole documents are hashed where they are.
    private mutating func takeDocuments(_ rest: inout UnsafeRawBufferPointer) throws {
        let isOplog = namespaces[current].name == .oplog
        var offset = 0
        defer { rest = UnsafeRawBufferPointer(rebasing: rest[offset...]) }
        while offset + 4 <= rest.count {
            let word = rest.loadUnaligned(fromByteOffset: offset, as: UInt32.self).littleEndian
            if word == Self.terminator {
                offset += 4
                place = .blockHeader
                return
            }
            let length = try Self.checked(length: word, of: namespaces[current].name)
            let end = offset + length
            guard end <= rest.count else {
                try beginDocument(length, prefix: word)
                offset += 4
                return
            }
            let document = UnsafeRawBufferPointer(rebasing: rest[offset..<end])
            guard document[length - 1] == 0 else {
                throw ArchiveError("a document of '\(namespaces[current].name)' has no end")
            }
            namespaces[current].add(document)
            if isOplog { try oplog.take(document) }
            offset = end
        }
        if offset < rest.count {
            pending.append(contentsOf: rest[offset...])
            offset = rest.count
        }
    }

    private static func checked(length word: UInt32, of name: ArchiveName) throws -> Int {
        let length = Int(Int32(truncatingIfNeeded: word))
        guard length >= BSONDocument.smallest, length <= BSONDocument.largest else {
            throw ArchiveError("a document of '\(name)' has an impossible length")
        }
        return length
    }

    private mutating func beginDocument(_ length: Int, prefix: UInt32) throws {
        let length = try Self.checked(length: UInt32(truncatingIfNeeded: length), of: namespaces[current].name)
        partial = Partial(rest: length)
        try withUnsafeBytes(of: prefix.littleEndian) { try extendPartial($0) }
    }

    private mutating func finishPartial(_ rest: inout UnsafeRawBufferPointer) throws {
        let count = min(partial?.rest ?? 0, rest.count)
        try extendPartial(UnsafeRawBufferPointer(rebasing: rest[..<count]))
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
    }

    private mutating func extendPartial(_ bytes: UnsafeRawBufferPointer) throws {
        // Taken out and put back, so that the state is not copied.
        guard var document = partial.take(), !bytes.isEmpty else { return }
        csha256_update(&document.hash, bytes.baseAddress, bytes.count)
        namespaces[current].checksum.update(bytes)
        document.rest -= bytes.count
        let isOplog = namespaces[current].name == .oplog
        if isOplog { oplog.keep(bytes) }
        guard document.rest == 0 else {
            partial = document
            return
        }
        guard bytes[bytes.count - 1] == 0 else {
            throw ArchiveError("a document of '\(namespaces[current].name)' has no end")
        }
        namespaces[current].add(&document.hash)
        if isOplog { try oplog.takeKept() }
    }
}

/// One collection of an archive while it is read.
struct ArchiveNamespace {
    let name: ArchiveName
    /// `false` for a view, which is closed but has no documents of its own.
    let hasData: Bool
    var checksum = CRC64()
    private(set) var documents: Int64 = 0
    private(set) var isClosed = false
    private var sum = RowSum()

    init(name: ArchiveName, hasData: Bool) {
        self.name = name
        self.hasData = hasData
    }

    mutating func add(_ document: UnsafeRawBufferPointer) {
        var hash = csha256()
        csha256_init(&hash)
        csha256_update(&hash, document.baseAddress, document.count)
        checksum.update(document)
        add(&hash)
    }

    /// Counts a document whose bytes are in `hash`.
    mutating func add(_ hash: inout csha256) {
        withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { digest in
            csha256_final(&hash, digest.baseAddress?.assumingMemoryBound(to: UInt8.self))
            sum.add(digest: UnsafeRawBufferPointer(digest))
        }
        documents += 1
    }

    mutating func close(checksum expected: UInt64) throws {
        guard expected == checksum.value else { throw ArchiveError("the checksum of '\(name)' does not hold") }
        guard hasData || documents == 0 else { throw ArchiveError("the view '\(name)' has documents") }
        isClosed = true
    }

    func entry(_ scope: ArchiveScope) -> DataEntry {
        DataEntry(
            kind: .collection, schema: scope.shown(name.database), name: name.collection, columns: [],
            rows: documents, sum: sum)
    }
}
