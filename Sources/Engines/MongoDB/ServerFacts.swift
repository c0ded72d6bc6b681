import Core

/// What a server is, and what stands there.
struct ServerFacts: Sendable {
    enum Topology: String, Sendable {
        case standalone, replicaSet, sharded
    }

    var version: String
    var topology: Topology
    /// By the server's clock.
    var time: Timestamp
    /// `6.0`; `nil` where it may not be asked.
    var featureVersion: String?
    /// The newest entry of the oplog that a majority has, or has been written; `nil` without an oplog.
    var position: OplogPosition?
    /// All of them, sorted.
    var databases: [String]

    /// `6` for 6.0.5.
    var major: Int { Int(version.prefix { $0.isNumber }) ?? 0 }

    static func read(_ session: MongoSession) async throws -> ServerFacts {
        let purpose = "look at the server"
        let hello = try await session.run(["hello": 1], in: "admin", to: purpose)
        let build = try await session.run(["buildInfo": 1], in: "admin", to: purpose)
        let list = try await session.run(["listDatabases": 1, "nameOnly": true], in: "admin", to: purpose)
        let topology: Topology =
            hello["msg"]?.string == "isdbgrid" ? .sharded : hello["setName"] == nil ? .standalone : .replicaSet
        guard case .date(let time)? = hello["localTime"] else {
            throw MongoError.lostConnection(purpose, on: session.endpoint.hosts)
        }
        return ServerFacts(
            version: build["version"]?.string ?? "", topology: topology, time: Timestamp(milliseconds: time),
            featureVersion: try await featureVersion(session),
            position: topology == .replicaSet
                ? hello.value(at: "lastWrite", "opTime", "ts").flatMap { OplogPosition($0) } : nil,
            databases: (list["databases"]?.documents ?? []).compactMap { $0["name"]?.string }.sorted())
    }

    private static func featureVersion(_ session: MongoSession) async throws -> String? {
        do {
            let answer = try await session.run(
                ["getParameter": 1, "featureCompatibilityVersion": 1], in: "admin", to: "look at the server")
            return answer.value(at: "featureCompatibilityVersion", "version")?.string
        } catch let error as MongoError where [.permission, .command].contains(error.kind) {
            return nil
        }
    }

    /// Bytes that these databases take on the server's disk, with their indexes; of those that are there.
    static func size(of databases: [String], with session: MongoSession) async throws -> Int64 {
        let list = try await session.run(["listDatabases": 1], in: "admin", to: "see how large the database is")
        return (list["databases"]?.documents ?? []).reduce(0) { sum, database in
            guard let name = database["name"]?.string, databases.contains(name) else { return sum }
            return sum + (database["sizeOnDisk"]?.integer ?? 0)
        }
    }

    /// Bytes that are free on the server's disk; `nil` where that may not be asked.
    static func free(with session: MongoSession) async throws -> Int64? {
        do {
            let stats = try await session.run(["dbStats": 1], in: "admin", to: "look at the server's disk")
            guard let total = stats["fsTotalSize"]?.integer, let taken = stats["fsUsedSize"]?.integer else {
                return nil
            }
            return max(total - taken, 0)
        } catch let error as MongoError where error.kind == .permission {
            return nil
        }
    }
}

/// A place in the oplog: seconds since 1970, and a counter.
struct OplogPosition: Sendable, Equatable {
    var value: UInt64

    init(value: UInt64) { self.value = value }

    init?(_ timestamp: BSON) {
        guard case .timestamp(let value) = timestamp else { return nil }
        self.value = value
    }

    /// `1736924400,3`: as in a set's details.
    init?(_ text: String) {
        let numbers = text.split(separator: ",", omittingEmptySubsequences: false).map { UInt64($0) }
        guard numbers.count == 2, let seconds = numbers[0], let count = numbers[1] else { return nil }
        value = seconds << 32 | count
    }

    var text: String { "\(value >> 32),\(value & 0xFFFF_FFFF)" }
}

/// Whether databases were written to, as the oplog says.
struct OplogWatch {
    let session: MongoSession
    /// `nil`: every database that is not the server's or ours.
    let database: String?

    enum Verdict: Equatable {
        case unmoved
        case moved
        /// The oplog no longer reaches back so far, or may not be read.
        case unknown(String)
    }

    func verdict(since position: OplogPosition) async throws -> Verdict {
        do {
            // Only with the entry itself at hand is it known that none after it has fallen out.
            let first = try await find(["ts": .document(["$lte": .timestamp(position.value)])])
            guard first else { return .unknown("the oplog no longer reaches back to it") }
            return try await find(changes(since: position)) ? .moved : .unmoved
        } catch let error as MongoError where error.kind == .permission {
            return .unknown("the user may not read the oplog ('local.oplog.rs')")
        }
    }

    private func find(_ filter: BSONDocument) async throws -> Bool {
        let found = try await session.run(
            [
                "find": "oplog.rs", "filter": .document(filter), "limit": 1, "singleBatch": true,
                "projection": .document(["ts": 1]), "maxTimeMS": .int32(Int32(MongoSession.patience * 1000)),
            ], in: "local", to: "read the oplog")
        return !(found.value(at: "cursor", "firstBatch")?.documents ?? []).isEmpty
    }

    private func changes(since position: OplogPosition) -> BSONDocument {
        let pattern: String
        if let database {
            pattern = "^\(Self.escaped(database))\\."
        } else {
            pattern = "^(?!(admin|local|config|\(Bookkeeping.database)|\(Naming.stagingPrefix)[^.]*)\\.)."
        }
        let expression = BSON.other(type: 0x0B, bytes: Array("\(pattern)\0\0".utf8))
        return [
            "ts": .document(["$gt": .timestamp(position.value)]), "op": .document(["$ne": "n"]),
            "$or": .array(of: [
                .document(["ns": expression]),
                .document(["ns": "admin.$cmd", "o.applyOps.ns": expression]),
            ]),
        ]
    }

    private static func escaped(_ name: String) -> String {
        name.unicodeScalars.map { "\\^$.|?*+()[]{}-".unicodeScalars.contains($0) ? "\\\($0)" : "\($0)" }.joined()
    }
}
