import CSHA256
import Core

/// A collection as an archive names it.
struct ArchiveName: Hashable, Sendable, CustomStringConvertible {
    var database: String
    var collection: String

    /// Where mongodump puts what was written while it read.
    static let oplog = ArchiveName(database: "", collection: "oplog")

    var description: String { database.isEmpty ? collection : "\(database).\(collection)" }
}

/// What is wrong with an archive.
struct ArchiveError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// Which databases of an archive count, and what they are called.
struct ArchiveScope: Sendable {
    /// Databases under another name than the one they are known by: a staging database.
    var names: [String: String] = [:]

    /// What belongs to the server, or to this program, and is neither compared nor restored.
    static func isForeign(_ database: String) -> Bool {
        ["admin", "local", "config", Bookkeeping.database].contains(database) || Naming.isStaging(database)
    }

    func covers(_ name: ArchiveName) -> Bool {
        name == .oplog || names[name.database] != nil || !Self.isForeign(name.database)
    }

    func shown(_ database: String) -> String { names[database] ?? database }
}

/// The beginning of an archive: versions, and every collection with its options and indexes.
struct ArchivePrelude: Sendable {
    private(set) var serverVersion = ""
    private(set) var toolVersion = ""
    private(set) var collections: [DeclaredCollection] = []
    private var views: Set<ArchiveName> = []

    /// The databases that have something in the archive, sorted.
    var databases: [String] { Set(collections.map(\.name.database)).subtracting([""]).sorted() }

    func isView(_ name: ArchiveName) -> Bool { views.contains(name) }

    mutating func read(header: BSONDocument) throws {
        guard let version = header["version"]?.string, header["concurrent_collections"]?.integer != nil else {
            throw ArchiveError("its header lacks a field")
        }
        guard version == "0.1" else { throw ArchiveError("it is of another format than 0.1") }
        serverVersion = header["server_version"]?.string ?? ""
        toolVersion = header["tool_version"]?.string ?? ""
    }

    /// Returns what has to come, with documents or without.
    mutating func read(declaration: BSONDocument) throws -> [ArchiveName] {
        guard let database = declaration["db"]?.string, let collection = declaration["collection"]?.string else {
            throw ArchiveError("a collection is declared without a name")
        }
        let name = ArchiveName(database: database, collection: collection)
        guard name != .oplog, !collection.hasPrefix("$admin.") else { return [name] }
        let declared = try DeclaredCollection(
            name, type: declaration["type"]?.string ?? "", metadata: declaration["metadata"]?.string ?? "")
        collections.append(declared)
        switch declared.kind {
        case .collection: return [name]
        case .view:
            views.insert(name)
            return [name]
        // Its data are buckets, in a collection of the server's.
        case .timeSeries: return [declared.dataName]
        }
    }

    func schema(_ scope: ArchiveScope, without left: Set<ArchiveName>) throws -> [SchemaEntry] {
        collections.filter { scope.covers($0.name) && !left.contains($0.name) }.flatMap { $0.schema(scope) }
    }
}

/// A collection, view or time series, as its metadata say.
struct DeclaredCollection: Sendable {
    enum Kind: String, Sendable {
        case collection = "COLLECTION"
        case view = "VIEW"
        case timeSeries = "TIMESERIES"
    }

    let name: ArchiveName
    let kind: Kind
    private let options: BSONDocument
    private let indexes: [BSONDocument]

    /// `metadata` is Extended JSON, or nothing for collections without any.
    init(_ name: ArchiveName, type: String, metadata: String) throws {
        self.name = name
        let document: BSONDocument
        if metadata.isEmpty {
            document = [:]
        } else {
            guard let read = MongoClient.document(extendedJSON: metadata) else {
                throw ArchiveError("the metadata of '\(name)' cannot be read")
            }
            document = read
        }
        options = document["options"]?.document ?? [:]
        indexes = document["indexes"]?.documents ?? []
        if options["viewOn"] != nil || type == "view" {
            kind = .view
        } else if options["timeseries"] != nil || type == "timeseries" {
            kind = .timeSeries
        } else {
            kind = .collection
        }
    }

    /// Where the documents are.
    var dataName: ArchiveName {
        kind == .timeSeries
            ? ArchiveName(database: name.database, collection: "system.buckets.\(name.collection)") : name
    }

    /// Documents vanish by themselves, by an index or an option.
    var expires: Bool {
        options["expireAfterSeconds"] != nil || indexes.contains { $0["expireAfterSeconds"] != nil }
    }

    func schema(_ scope: ArchiveScope) -> [SchemaEntry] {
        let database = scope.shown(name.database)
        let own = SchemaEntry(
            type: kind.rawValue, schema: database, name: name.collection, owner: "", count: 1,
            binding: Self.digest(options, without: []), printed: Self.digest(options, without: [], whole: true))
        return [own]
            + indexes.map { index in
                SchemaEntry(
                    type: "INDEX", schema: database,
                    name: "\(name.collection).\(index["name"]?.string ?? "")", owner: "", count: 1,
                    binding: Self.digest(index, without: ["v", "ns", "background"]),
                    printed: Self.digest(index, without: ["ns"], whole: true))
            }
    }

    /// Over the elements in the order of their names; inside of them order means something (the fields of an index).
    /// The version of a collation is the server's own and only counts in the `whole`.
    private static func digest(_ document: BSONDocument, without left: Set<String>, whole: Bool = false) -> RowSum {
        var elements: [BSONElement]
        do {
            elements = try document.elements()
        } catch {
            elements = []
        }
        let kept = elements.filter { !left.contains($0.name) }.sorted { $0.name < $1.name }
        let canonical = BSONDocument(
            kept.map { element in
                guard !whole, element.name == "collation", let collation = element.value.document else {
                    return (element.name, element.value)
                }
                return (element.name, .document(collation.without("version")))
            })
        return canonical.digest
    }
}

extension BSONDocument {
    func without(_ name: String) -> BSONDocument {
        do {
            return BSONDocument(try elements().filter { $0.name != name }.map { ($0.name, $0.value) })
        } catch {
            return self
        }
    }

    /// SHA-256 of its bytes, as a sum of one.
    var digest: RowSum {
        var hash = csha256()
        csha256_init(&hash)
        bytes.withUnsafeBytes { csha256_update(&hash, $0.baseAddress, $0.count) }
        var sum = RowSum()
        withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { digest in
            csha256_final(&hash, digest.baseAddress?.assumingMemoryBound(to: UInt8.self))
            sum.add(digest: UnsafeRawBufferPointer(digest))
        }
        return sum
    }
}

/// All that was found in an archive that is complete.
struct ArchiveContents: Sendable {
    var contents: Contents
    var prelude: ArchivePrelude
    /// How many documents each has.
    var documents: [ArchiveName: Int64]
    var oplog: OplogSummary

    /// How many documents a restore of these databases has to bring back.
    func documents(of databases: some Collection<String>) -> Int64 {
        documents.reduce(0) { databases.contains($1.key.database) ? $0 + $1.value : $0 }
    }

    /// Collections whose documents vanish by themselves.
    var expiring: Set<ArchiveName> { Set(prelude.collections.filter(\.expires).map(\.dataName)) }

    /// Databases that a restore brings back, sorted.
    var restorable: [String] { prelude.databases.filter { !ArchiveScope.isForeign($0) } }
}

/// The reader of archives, shared between the thread that feeds it and whoever wants what it found.
final class SharedArchiveReader: Sendable {
    private let reader: Guarded<ArchiveReader?>
    private let found = Guarded<ArchiveContents?>(nil)

    init(scope: ArchiveScope = ArchiveScope()) { reader = Guarded(ArchiveReader(scope: scope)) }

    /// `use` is given every entry of the oplog, in order, from the thread that reads.
    init(eachOplogEntry use: @escaping @Sendable (OplogEntry) throws -> Void) {
        reader = Guarded(ArchiveReader(scope: ArchiveScope(), oplog: OplogReader(use: use)))
    }

    /// Reads on. Throws ``ArchiveError``.
    func read(_ chunk: Chunk) throws {
        try reader.withLock { try $0?.update(chunk.bytes) }
    }

    /// What was in the archive. Throws unless it is complete.
    @discardableResult
    func finish() throws -> ArchiveContents {
        if let found = found.value { return found }
        let reader = reader.withLock { reader in reader.take() }
        guard let reader else { throw CancellationError() }
        let contents = try reader.finish()
        found.withLock { $0 = contents }
        return contents
    }
}
