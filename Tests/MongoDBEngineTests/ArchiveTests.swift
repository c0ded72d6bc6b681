import Core
import TestSupport
import Testing

@testable import MongoDBEngine

/// An archive made by hand, piece by piece.
struct HandmadeArchive {
    static let terminator: [UInt8] = [0xFF, 0xFF, 0xFF, 0xFF]
    var bytes: [UInt8] = [0x6D, 0xE2, 0x99, 0x81]
    private var checksums: [String: CRC64] = [:]

    init(_ declared: [(name: String, type: String, metadata: String)], version: String = "0.1") {
        bytes +=
            BSONDocument([
                ("concurrent_collections", 4), ("version", .string(version)), ("server_version", "6.0.5"),
                ("tool_version", "100.11.0"),
            ]).bytes
        for (name, type, metadata) in declared {
            bytes +=
                BSONDocument([
                    ("db", "clinic"), ("collection", .string(name)), ("metadata", .string(metadata)), ("size", 0),
                    ("type", .string(type)),
                ]).bytes
        }
        bytes += Self.terminator
    }

    mutating func block(_ name: String, _ documents: [BSONDocument]) {
        bytes += Self.header(name, isEnd: false, 0)
        for document in documents {
            bytes += document.bytes
            document.bytes.withUnsafeBytes { checksums[name, default: CRC64()].update($0) }
        }
        bytes += Self.terminator
    }

    mutating func close(_ name: String, checksum: UInt64? = nil) {
        let value = checksum ?? checksums[name]?.value ?? 0
        bytes += Self.header(name, isEnd: true, value) + Self.terminator
    }

    private static func header(_ name: String, isEnd: Bool, _ checksum: UInt64) -> [UInt8] {
        BSONDocument([
            ("db", .string(name == "oplog" ? "" : "clinic")), ("collection", .string(name)), ("EOF", .bool(isEnd)),
            ("CRC", .int64(Int64(bitPattern: checksum))),
        ]).bytes
    }

    /// Reads it in pieces of `size` bytes.
    func read(by size: Int = 1 << 20) throws -> ArchiveContents {
        var reader = ArchiveReader(scope: ArchiveScope())
        var rest = bytes[...]
        while !rest.isEmpty {
            let piece = Array(rest.prefix(size))
            try piece.withUnsafeBytes { try reader.update($0) }
            rest = rest.dropFirst(size)
        }
        return try reader.finish()
    }
}

@Suite("Archives of mongodump")
struct ArchiveTests {
    private let documents: [BSONDocument] = (0..<20).map { ["_id": .int32($0), "name": .string("n\($0)")] }

    private var archive: HandmadeArchive {
        var archive = HandmadeArchive([
            (
                "a", "collection",
                #"{"indexes":[{"v":{"$numberInt":"2"},"key":{"_id":{"$numberInt":"1"}},"name":"_id_"}]}"#
            ),
            ("b", "", ""), ("v", "view", #"{"options":{"viewOn":"a","pipeline":[]}}"#),
            ("t", "timeseries", #"{"options":{"timeseries":{"timeField":"t"}}}"#),
        ])
        archive.block("a", Array(documents[..<5]))
        archive.block("b", [documents[19]])
        archive.block("a", Array(documents[5...]))
        archive.close("v")
        archive.close("a")
        archive.close("system.buckets.t")
        archive.close("b")
        return archive
    }

    /// The checksum of the algorithm's catalogue, in one piece and in two.
    @Test func checksumIsTheKnownOne() {
        var whole = CRC64()
        Array("123456789".utf8).withUnsafeBytes { whole.update($0) }
        #expect(whole.value == 0x995D_C9BB_DF19_39FA)
        var pieces = CRC64()
        for piece in ["12", "3456789"] { Array(piece.utf8).withUnsafeBytes { pieces.update($0) } }
        #expect(pieces.value == whole.value)
    }

    /// Blocks interleave; counts and digests are the same however the bytes are cut.
    @Test(arguments: [1, 2, 3, 7, 64, 1 << 20]) func readsInPieces(size: Int) throws {
        let found = try archive.read(by: size)
        #expect(found.contents == (try archive.read().contents))
        #expect(found.contents.data.map(\.name) == ["a", "b", "system.buckets.t"])
        #expect(found.contents.data.map(\.rows) == [20, 1, 0])
        var sum = RowSum()
        for document in documents { sum.add(document.digest) }
        #expect(found.contents.data[0].sum == sum)
        #expect(
            found.contents.schema.map(\.label) == [
                "collection clinic.a", "collection clinic.b", "index clinic.a._id_", "timeseries clinic.t",
                "view clinic.v",
            ])
    }

    /// An archive that ends anywhere before its end is refused.
    @Test func refusesTruncation() {
        let whole = archive.bytes
        for count in 0..<whole.count {
            var cut = archive
            cut.bytes = Array(whole[..<count])
            #expect(throws: ArchiveError.self, "cut to \(count) bytes") { try cut.read() }
        }
    }

    /// A flipped bit in a document is found by the checksum, anywhere else by what it breaks; never is it passed over.
    @Test func refusesFlippedBits() throws {
        let good = try archive.read().contents
        var random = SeededRandom(seed: 7)
        for _ in 0..<400 {
            var damaged = archive
            let place = Int.random(in: 0..<damaged.bytes.count, using: &random)
            damaged.bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            do {
                // Only what no digest covers (versions, sizes) may be read all the same.
                let found = try damaged.read()
                if found.contents != good { #expect(Self.isSchemaOnly(good, found.contents)) }
            } catch is ArchiveError {
                continue
            }
        }
    }

    /// Differences that a comparison with the set's own contents finds.
    private static func isSchemaOnly(_ good: Contents, _ found: Contents) -> Bool {
        !ContentsComparison(recorded: good, found: found).isEqual
            || !ContentsComparison(recorded: good, found: found).reprints.isEmpty
    }

    @Test func refusesWhatIsNoArchive() {
        var trailing = archive
        trailing.bytes.append(0)
        #expect(throws: ArchiveError.self) { try trailing.read() }
        var twice = archive
        twice.close("b")
        #expect(throws: ArchiveError.self) { try twice.read() }
        var after = archive
        after.block("b", [documents[0]])
        #expect(throws: ArchiveError.self) { try after.read() }
        var undeclared = archive
        undeclared.block("stranger", [])
        #expect(throws: ArchiveError.self) { try undeclared.read() }
        var open = HandmadeArchive([("a", "", "")])
        open.block("a", documents)
        #expect(throws: ArchiveError.self) { try open.read() }
        open.close("a", checksum: 1)
        #expect(throws: ArchiveError.self) { try open.read() }
        #expect(throws: ArchiveError.self) { try HandmadeArchive([("a", "", ""), ("a", "", "")]).read() }
        #expect(throws: ArchiveError.self) { try HandmadeArchive([], version: "0.2").read() }
        #expect(throws: ArchiveError.self) { try HandmadeArchive([("a", "", "{broken")]).read() }
    }

    /// A document of 16 MiB passes, one beyond the server's limit does not, and neither is kept in memory whole.
    @Test func boundsDocuments() throws {
        var archive = HandmadeArchive([("a", "", "")])
        archive.block("a", [["x": .string(String(repeating: "x", count: (16 << 20) - 100))]])
        archive.close("a")
        #expect(try archive.read(by: 100_000).contents.rows == 0)
        #expect(try archive.read(by: 100_000).contents.data.first?.rows == 1)
        var large = HandmadeArchive([("a", "", "")])
        large.block("a", [["x": .string(String(repeating: "x", count: 17 << 20))]])
        #expect(throws: ArchiveError.self) { try large.read() }
    }

    /// The server's own databases and ours are in an archive of everything, and not in its contents.
    @Test func leavesOutForeignDatabases() {
        for name in ["admin", "local", "config", "lifeboat", Naming.staging(for: "clinic", requestID: "r")] {
            #expect(ArchiveScope.isForeign(name))
        }
        #expect(!ArchiveScope.isForeign("clinic"))
        #expect(!ArchiveScope.isForeign("__lbs_clinic"))
    }

    /// Pieces of large and prepared transactions and renames cannot be applied elsewhere: such a dump is refused.
    @Test(arguments: [
        #"{"renameCollection":"clinic.a","to":"clinic.b"}"#, #"{"applyOps":[],"partialTxn":true}"#,
        #"{"applyOps":[],"prepare":true}"#,
    ]) func refusesOplog(object: String) throws {
        let inner = try #require(MongoClient.document(extendedJSON: object))
        var archive = HandmadeArchive([("a", "", "")])
        archive.close("a")
        archive.block("oplog", [["op": "c", "ns": "admin.$cmd", "o": .document(inner)]])
        archive.close("oplog")
        #expect(throws: ArchiveError.self) { try archive.read() }
    }

    /// An entry goes to the database of another name, without the identity of its collection; a transaction becomes its
    /// pieces, and what concerns other databases is left out.
    @Test func movesOplogEntries() throws {
        let names = ["clinic": "other"]
        let insert = try #require(
            MongoClient.document(
                extendedJSON:
                    #"{"op":"i","ns":"clinic.a.b","ui":{"$binary":{"base64":"","subType":"04"}},"o":{"_id":1},"ts":{"$timestamp":{"t":1,"i":2}}}"#
            ))
        let moved = try OplogEntry(insert).moved(to: names)
        #expect(moved == [["op": "i", "ns": "other.a.b", "o": .document(["_id": 1])]])
        let foreign: BSONDocument = ["op": "d", "ns": "pharmacy.x", "o": .document(["_id": 1])]
        #expect(try OplogEntry(foreign).moved(to: names).isEmpty)
        let transaction: BSONDocument = [
            "op": "c", "ns": "admin.$cmd",
            "o": .document(["applyOps": .array(of: [.document(insert), .document(foreign)])]),
        ]
        #expect(try OplogEntry(transaction).moved(to: names) == moved)
        let view: BSONDocument = [
            "op": "i", "ns": "clinic.system.views", "o": .document(["_id": "clinic.v", "viewOn": "a"]),
        ]
        #expect(
            try OplogEntry(view).moved(to: names) == [
                ["op": "i", "ns": "other.system.views", "o": .document(["_id": "other.v", "viewOn": "a"])]
            ])
        let index: BSONDocument = [
            "op": "c", "ns": "clinic.$cmd",
            "o": .document(["createIndexes": "a", "v": 2, "key": .document(["x": 1]), "name": "x_1"]),
        ]
        let made: BSONDocument = ["v": 2, "key": .document(["x": 1]), "name": "x_1"]
        #expect(
            try OplogEntry(index).moved(to: names).first?["o"]
                == .document(["createIndexes": "a", "indexes": .array(of: [.document(made)])]))
        let sign: BSONDocument = ["op": "n", "ns": "", "o": .document([:])]
        #expect(try OplogEntry(sign).moved(to: names).isEmpty)
    }
}

@Suite("Names and connection strings of MongoDB")
struct MongoNameTests {
    @Test(arguments: ["clinic", String(repeating: "x", count: 63), String(repeating: "ü", count: 31)])
    func stagingNamesFit(database: String) {
        let name = Naming.staging(for: database, requestID: "one")
        #expect(name.utf8.count <= Naming.longestName)
        #expect(Naming.isStaging(name))
        #expect(Naming.isStaging(name, for: database))
        #expect(name == Naming.staging(for: database, requestID: "one"))
        #expect(name != Naming.staging(for: database, requestID: "two"))
        #expect(!Naming.isStaging(name, for: database + "x"))
    }

    @Test func takesConnectionStringsApart() throws {
        let endpoint = try MongoEndpoint(
            uri: Secret("mongodb://us%40er:p%2Fw@h1:27017,h2/cli%6Eic?replicaSet=rs0&serverSelectionTimeoutMS=2000"))
        #expect(endpoint.database == "clinic")
        #expect(endpoint.hosts == "h1:27017,h2")
        #expect(endpoint.label == "database clinic on h1:27017,h2")
        #expect(!endpoint.isLocal)
        #expect(!endpoint.hasVerifiedTLS)
        #expect(!"\(endpoint)".contains("p%2Fw"))
        endpoint.connectionString(adding: [("appName", "a b")]).withRevealed {
            #expect(
                $0 == "mongodb://us%40er:p%2Fw@h1:27017,h2/?replicaSet=rs0&authSource=clinic&appName=a%20b")
        }
        #expect(try MongoEndpoint(uri: Secret("mongodb://h/a"), database: "b").database == "b")
        #expect(try MongoEndpoint(uri: Secret("mongodb://h")).database == nil)
        #expect(try MongoEndpoint(uri: Secret("mongodb://localhost:1,127.0.0.1")).isLocal)
        #expect(try MongoEndpoint(uri: Secret("mongodb+srv://c.example/x")).hasVerifiedTLS)
        #expect(try !MongoEndpoint(uri: Secret("mongodb://h/?tls=true&tlsInsecure=true")).hasVerifiedTLS)
        #expect(try MongoEndpoint(uri: Secret("mongodb://h/?tls=true")).hasVerifiedTLS)
    }

    @Test(arguments: [
        "http://h/x", "mongodb:///x", "mongodb://h/a%ZZ", "mongodb://h/a.b", "mongodb://h/?x", "mongodb://h/admin",
        "mongodb://h/lifeboat", "mongodb://h/" + String(repeating: "x", count: 64),
    ]) func refuses(uri: String) throws {
        do {
            _ = try MongoEndpoint(uri: Secret(uri))
            Issue.record("\(uri) was taken")
        } catch let error as MongoError {
            #expect(error.exitCode == .configuration)
            #expect(!"\(error)".contains(uri))
        }
    }

    /// The tool's last line, after whatever else it said.
    @Test func readsTheSummary() {
        let text =
            "x\tcontinuing\n2026-01-01T00:00:00.000+0000\t12 document(s) restored successfully. 3 document(s) failed to restore.\n"
        let summary = LoadSummary(Array(text.utf8))
        #expect(summary?.restored == 12)
        #expect(summary?.failed == 3)
        #expect(LoadSummary(Array("done\n".utf8)) == nil)
    }
}
