import Core

/// What a set's oplog holds: the writes that came while mongodump was reading.
struct OplogSummary: Sendable, Equatable {
    var entries: Int64 = 0
    /// Of those the ones that change something; the others are the server's own signs of life.
    var changes: Int64 = 0
}

/// One entry of an oplog, looked at as far as applying it needs.
struct OplogEntry {
    let document: BSONDocument
    let operation: String
    let namespace: String

    init(_ document: BSONDocument) throws {
        guard let operation = document["op"]?.string, let namespace = document["ns"]?.string else {
            throw ArchiveError("an oplog entry lacks a field")
        }
        self.document = document
        self.operation = operation
        self.namespace = namespace
    }

    var isChange: Bool { operation != "n" }

    var database: String { String(namespace.prefix { $0 != "." }) }

    /// The name of its command, for one that is a command.
    var command: String? {
        guard operation == "c", let object = document["o"]?.document else { return nil }
        do {
            return try object.elements().first?.name
        } catch {
            return nil
        }
    }

    /// Commands that mean the same in a database of another name.
    private static let portable: Set<String> = [
        "create", "drop", "collMod", "createIndexes", "dropIndexes", "deleteIndexes", "dropDatabase",
    ]

    /// Commands that only belong to another one which does the work.
    private static let silent: Set<String> = ["startIndexBuild", "abortIndexBuild"]

    /// Why this entry cannot be applied elsewhere; `nil` where it can.
    var obstacle: String? {
        switch operation {
        case "i", "u", "d", "n": return nil
        case "c":
            guard let command else { return "a command without a name" }
            if command == "applyOps" { return transactionObstacle }
            if command == "commitIndexBuild" || Self.portable.contains(command) || Self.silent.contains(command) {
                return nil
            }
            return "the command '\(command)'"
        default: return "an operation of an unknown kind"
        }
    }

    /// A transaction that is whole in one entry can be applied; the pieces of a large or prepared one cannot, for
    /// nobody knows whether the others are there.
    private var transactionObstacle: String? {
        guard let object = document["o"]?.document else { return "a transaction without content" }
        if object["partialTxn"]?.bool ?? false { return "a piece of a large transaction" }
        if object["prepare"]?.bool ?? false { return "a prepared transaction" }
        if let previous = document["prevOpTime"]?.document, let time = previous["ts"], time != .timestamp(0),
            object["count"] != nil
        {
            return "a piece of a large transaction"
        }
        return nil
    }

    /// The same for databases of other names, without the identities of collections, which are others there. `nil`
    /// where it changes nothing in these databases. An entry of a transaction becomes several.
    func moved(to names: [String: String]) throws -> [BSONDocument] {
        if operation == "n" || command.map(Self.silent.contains) ?? false { return [] }
        if command == "applyOps" {
            let inner = document.value(at: "o", "applyOps")?.documents ?? []
            return try inner.flatMap { try OplogEntry($0).moved(to: names) }
        }
        guard let target = names[database] else { return [] }
        let rest = namespace.dropFirst(database.count)
        var elements: [(String, BSON)] = []
        for element in try document.elements() where Self.kept.contains(element.name) {
            switch element.name {
            case "ns": elements.append(("ns", .string(target + rest)))
            case "o" where rest == Self.views, "o2" where rest == Self.views:
                elements.append((element.name, .document(try movedView(element.value, to: target))))
            case "o": elements.append(("o", .document(try movedObject(element.value, to: target))))
            default: elements.append((element.name, element.value))
            }
        }
        return [BSONDocument(elements)]
    }

    /// What `applyOps` takes of an entry.
    private static let kept: Set<String> = ["op", "ns", "o", "o2", "b"]

    /// Where the server keeps a database's views, each under its whole name.
    private static let views = ".system.views"

    private func movedView(_ value: BSON, to target: String) throws -> BSONDocument {
        guard let object = value.document else { throw ArchiveError("an oplog entry lacks its content") }
        return BSONDocument(
            try object.elements().map { element in
                guard element.name == "_id", let name = element.value.string, name.hasPrefix("\(database).") else {
                    return (element.name, element.value)
                }
                return (element.name, .string(target + name.dropFirst(database.count)))
            })
    }

    /// Indexes are written in forms of the oplog's own: here as the command that makes them. A build that was begun and
    /// committed is one of these; its beginning changes nothing yet.
    private func movedObject(_ value: BSON, to target: String) throws -> BSONDocument {
        guard let object = value.document else { throw ArchiveError("an oplog entry lacks its content") }
        switch command {
        case "commitIndexBuild":
            return [
                "createIndexes": object["commitIndexBuild"] ?? "", "indexes": object["indexes"] ?? .array(of: []),
            ]
        case "createIndexes":
            let index = object.without("createIndexes").without("ns")
            return [
                "createIndexes": object["createIndexes"] ?? "", "indexes": .array(of: [.document(index)]),
            ]
        default: return object
        }
    }
}

/// Looks at the oplog's entries as they stream by: whether all of them could be applied at a restore.
struct OplogReader {
    private var kept: [UInt8] = []
    private var summary = OplogSummary()
    private let use: ((OplogEntry) throws -> Void)?

    /// `use` is given every entry, in order.
    init(use: ((OplogEntry) throws -> Void)? = nil) { self.use = use }

    mutating func keep(_ bytes: UnsafeRawBufferPointer) { kept.append(contentsOf: bytes) }

    mutating func takeKept() throws {
        defer { kept.removeAll(keepingCapacity: true) }
        try take(kept)
    }

    mutating func take(_ bytes: UnsafeRawBufferPointer) throws { try take(Array(bytes)) }

    private mutating func take(_ bytes: [UInt8]) throws {
        let entry: OplogEntry
        do {
            entry = try OplogEntry(BSONDocument(bytes))
        } catch let error as BSONError {
            throw ArchiveError("an oplog entry is damaged: \(error)")
        }
        if let obstacle = entry.obstacle {
            throw ArchiveError("its oplog holds \(obstacle), which cannot be applied when it is restored")
        }
        try use?(entry)
        summary.entries += 1
        if entry.isChange { summary.changes += 1 }
    }

    consuming func finish() throws -> OplogSummary { summary }
}
