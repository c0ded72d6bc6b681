import Core

/// Finds everything that would stop a restore, before anything is touched.
struct RestorePreflight {
    let engine: MongoDatabase
    let session: MongoSession
    let server: ServerFacts
    let request: RestoreRequest

    private(set) var problems: [String] = []
    private(set) var notes: [String] = []
    private(set) var names: [String: String] = [:]
    private(set) var tools: RestoreTools?
    private(set) var replaces: String?
    private(set) var neededBytes: Int64 = 0
    private(set) var freeBytes: Int64?

    init(engine: MongoDatabase, session: MongoSession, server: ServerFacts, request: RestoreRequest) {
        self.engine = engine
        self.session = session
        self.server = server
        self.request = request
    }

    /// What a restore takes: the staging copy with room to build its indexes, and what the new content needs more than
    /// the old one gives back.
    static func neededBytes(for size: Int64, replacing old: Int64) -> Int64 {
        size / 10 * 13 + size % 10 * 13 / 10 + max(size - old, 0)
    }

    mutating func run(_ note: Bookkeeping.Note?) async throws {
        findNames()
        checkNames()
        checkVersions()
        checkTopology()
        try await findTools()
        try await checkDestination(note)
        try await checkPrivileges()
    }

    private mutating func findNames() {
        let inSet = Set(request.contents.schema.map(\.schema) + request.contents.data.map(\.schema))
            .subtracting([""]).sorted()
        let isOfOne = request.manifest.details[MongoSnapshot.Detail.database] != nil
        switch (isOfOne, engine.endpoint.database) {
        case (true, let database?): names = Dictionary(inSet.map { ($0, database) }) { first, _ in first }
        case (false, nil): names = Dictionary(inSet.map { ($0, $0) }) { first, _ in first }
        case (true, nil):
            problems.append("the set is of one database and the destination names none (put it into MONGODB_URL)")
        case (false, _?):
            problems.append(
                "the set is of a whole deployment and the destination is one database (take its name out of MONGODB_URL)"
            )
        }
        if isOfOne, inSet.count > 1 { problems.append("the set holds several databases, and says that it holds one") }
        if inSet.isEmpty { problems.append("the set holds no collection") }
    }

    /// A staging database's name may be longer than the one it is for.
    private mutating func checkNames() {
        let longest =
            names.values.map {
                Naming.staging(for: $0, requestID: request.requestID.description).utf8.count
            }.max() ?? 0
        for entry in request.contents.data where longest + 1 + entry.name.utf8.count > Naming.longestNamespace {
            problems.append("the name of collection \(entry.name) is too long to be loaded beside the original")
        }
    }

    private mutating func checkVersions() {
        let details = request.manifest.details
        let set = Self.numbers(details[MongoSnapshot.Detail.serverVersion])
        let here = Self.numbers(server.version)
        if let from = set.first, let to = here.first, from > to {
            problems.append("the set is from server version \(from) and this one is \(to), which is older")
        } else if let from = set.first, let to = here.first, from < to {
            notes.append("the set is from server version \(from), this one is \(to)")
        }
        let setFeatures = Self.numbers(details[MongoSnapshot.Detail.featureVersion])
        let features = Self.numbers(server.featureVersion)
        if !setFeatures.isEmpty, !features.isEmpty, features.lexicographicallyPrecedes(setFeatures) {
            problems.append(
                "the set is of featureCompatibilityVersion \(setFeatures.map(String.init).joined(separator: ".")) and "
                    + "this server has \(server.featureVersion ?? "") (setFeatureCompatibilityVersion)")
        }
    }

    private static func numbers(_ version: String?) -> [Int] {
        (version ?? "").split(separator: ".").prefix(2).compactMap { Int($0) }
    }

    private mutating func checkTopology() {
        if server.topology == .sharded {
            problems.append("a sharded cluster cannot be restored in place (restore each shard's replica set)")
        }
        if request.restoreRoles == .full {
            problems.append("users and roles are not restored to MongoDB (restoreRoles: missing)")
        }
    }

    private mutating func findTools() async throws {
        do {
            tools = RestoreTools(
                dump: try await engine.tools.find("mongodump"), restore: try await engine.tools.find("mongorestore"))
        } catch let error as MongoError where error.kind == .tool {
            problems.append("\(error.object): \(error.cause) (\(error.hint))")
        }
    }

    private mutating func checkDestination(_ note: Bookkeeping.Note?) async throws {
        let standing = existingDatabases
        let size = try await ServerFacts.size(of: standing, with: session)
        neededBytes = Self.neededBytes(for: request.manifest.sourceSize, replacing: size)
        freeBytes = try await ServerFacts.free(with: session)
        if standing.isEmpty {
            let own = request.manifest.details[MongoSnapshot.Detail.database]
            if let name = engine.endpoint.database, !request.createDatabase, name != own {
                problems.append(
                    "there is no database '\(name)' (set createDatabase to have it made, or correct the name)")
            }
        } else {
            replaces = "\(engine.endpoint.label), \(size / 1_000_000) MB"
        }
        if let note, note.state == .replacing {
            notes.append(
                "a restore of \(note.setKey) was cut short here while it replaced what stood there; "
                    + (note.safetyKey.map { "\($0) holds what was there before" }
                        ?? "no set holds what was there before"))
        }
        let left = server.databases.filter { name in
            names.values.contains { Naming.isStaging(name, for: $0) }
        }
        if !left.isEmpty {
            notes.append("left over from earlier runs and removed first: \(left.joined(separator: ", "))")
        }
        guard !request.acknowledgeDisk else { return }
        if let freeBytes, freeBytes < neededBytes {
            problems.append(
                "the server's disk has \(freeBytes / 1_000_000) MB free, and the restore needs "
                    + "\(neededBytes / 1_000_000) MB (make room, or set acknowledgeDisk)")
        } else if freeBytes == nil {
            problems.append(
                "how much disk the server has free may not be asked; the restore needs \(neededBytes / 1_000_000) MB "
                    + "(make sure, then set acknowledgeDisk)")
        }
    }

    /// What would be replaced.
    private var existingDatabases: [String] {
        if let database = engine.endpoint.database { return server.databases.filter { $0 == database } }
        return server.databases.filter { !ArchiveScope.isForeign($0) }
    }

    /// What a restore does, and where.
    private mutating func checkPrivileges() async throws {
        let status = try await session.run(
            ["connectionStatus": 1, "showPrivileges": true], in: "admin", to: "look at our privileges")
        // Without a login nobody is asked, or nothing so far would have worked.
        guard let users = status.value(at: "authInfo", "authenticatedUsers")?.documents, !users.isEmpty else {
            return
        }
        let privileges = status.value(at: "authInfo", "authenticatedUserPrivileges")?.documents ?? []
        let wanted = [
            "find", "listCollections", "insert", "createCollection", "createIndex", "dropCollection",
            "bypassDocumentValidation",
        ]
        let places = names.values.flatMap { name in
            [name, Naming.staging(for: name, requestID: request.requestID.description)].map { ($0, wanted) }
        }
        for (place, actions) in places + [(Bookkeeping.database, ["find", "insert"])] {
            let missing = actions.filter { !Self.allows($0, on: place, nil, privileges) }
            if !missing.isEmpty {
                problems.append(
                    "the user may not \(missing.joined(separator: ", ")) in database \(place) (grantRolesToUser: "
                        + "'backup' and 'restore' on admin)")
            }
        }
        try await checkFunctions(privileges)
    }

    /// Functions can be taken away by deleting them only, which the role `restore` may not.
    private mutating func checkFunctions(_ privileges: [BSONDocument]) async throws {
        var places: [String] = []
        if request.contents.data.contains(where: { $0.name == Self.functions }) {
            places = names.values.map { Naming.staging(for: $0, requestID: request.requestID.description) }
        }
        for name in names.values where server.databases.contains(name) {
            let standing = try await DatabaseContents(session: session, database: name).list()
            if standing.contains(where: { $0.name == Self.functions }) { places.append(name) }
        }
        let forbidden = places.filter { !Self.allows("remove", on: $0, Self.functions, privileges) }
        if !forbidden.isEmpty {
            problems.append(
                "there are functions (\(Self.functions)), and the user may not remove those in "
                    + "\(forbidden.joined(separator: ", ")) (grantRolesToUser: 'readWriteAnyDatabase' on admin)")
        }
    }

    private static let functions = "system.js"

    /// `collection` is one of the server's own; `nil` means those that are not.
    private static func allows(
        _ action: String, on database: String, _ collection: String? = nil, _ privileges: [BSONDocument]
    ) -> Bool {
        privileges.contains { privilege in
            guard let resource = privilege["resource"]?.document else { return false }
            let isHere =
                resource["anyResource"]?.bool ?? false
                || (resource["collection"]?.string == collection ?? ""
                    && ["", database].contains(resource["db"]?.string))
            let actions = privilege["actions"]?.values.compactMap(\.string) ?? []
            return isHere && (actions.contains(action) || actions.contains("anyAction"))
        }
    }
}
