import Core
import Streams

/// Applies the writes that came while a set was dumped, so that it is of one instant.
///
/// mongorestore can do so under the original names only, and for everything or nothing; a restore loads beside what
/// stands there first, and leaves the server's own databases alone. So the entries go through `applyOps`, a few at a
/// time, with their databases' names exchanged.
struct OplogReplay {
    let engine: MongoDatabase
    let parts: any PartOpener
    /// The databases of the archive, and the names they have here.
    let names: [String: String]
    let meter: ProgressMeter

    private static let batchCount = 500
    private static let batchBytes = 4 << 20
    private static let purpose = "apply the oplog"

    /// Reads the archive once more, to its end.
    func run() async throws {
        let session = try await engine.session("replay")
        let batch = Guarded(Batch())
        let names = names
        let reader = SharedArchiveReader(eachOplogEntry: { entry in
            let entries = try entry.moved(to: names)
            let full = batch.withLock { $0.add(entries) }
            if let full { try Self.apply(full, with: session) }
        })
        let source = MeteredSource(try await parts.open(MongoDatabase.PartName.archive), meter: meter)
        do {
            try await pull(source, named: "replay") { try reader.read($0) }
            try reader.finish()
        } catch let error as ArchiveError {
            throw MongoError.damagedPart(MongoDatabase.PartName.archive, error.description)
        }
        let rest = batch.withLock { $0.take() }
        try await onThread("replay") { try Self.apply(rest, with: session) }
    }

    private struct Batch {
        var entries: [BSONDocument] = []
        var bytes = 0

        /// A batch that is full, taken out.
        mutating func add(_ new: [BSONDocument]) -> [BSONDocument]? {
            entries += new
            bytes += new.reduce(0) { $0 + $1.bytes.count }
            return entries.count >= OplogReplay.batchCount || bytes >= OplogReplay.batchBytes ? take() : nil
        }

        mutating func take() -> [BSONDocument] {
            defer { self = Batch() }
            return entries
        }
    }

    /// As in the first copy of a new member of a replica set: what an entry changes may be gone already, because the
    /// dump has read it later.
    private static func apply(_ entries: [BSONDocument], with session: MongoSession) throws {
        // Commands stand alone: the server applies those of one call as they come, documents all together.
        var documents: [BSONDocument] = []
        for entry in entries {
            if entry["op"]?.string == "c" {
                try send(documents, with: session)
                documents = []
                try send([entry], with: session)
            } else {
                documents.append(entry)
            }
        }
        try send(documents, with: session)
    }

    private static func send(_ entries: [BSONDocument], with session: MongoSession) throws {
        guard let first = entries.first else { return }
        do {
            if entries.count == 1, let object = first["o"]?.document, object["createIndexes"] != nil,
                first["op"]?.string == "c", let namespace = first["ns"]?.string
            {
                let database = String(namespace.prefix { $0 != "." })
                try session.runBlocking(object, in: database, to: purpose)
                return
            }
            try session.runBlocking(
                [
                    "applyOps": .array(of: entries.map { .document($0) }), "oplogApplicationMode": "InitialSync",
                ], in: "admin", to: purpose)
        } catch let error as MongoError where entries.count == 1 && harmless.contains(error.code ?? 0) {
            // What the command makes is there already, or what it drops is gone.
            return
        }
    }

    /// NamespaceExists, NamespaceNotFound, IndexNotFound, IndexAlreadyExists.
    private static let harmless: Set<Int32> = [48, 26, 27, 68]
}
