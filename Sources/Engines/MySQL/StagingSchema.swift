import Core
import Streams

/// A restore that is loaded beside the database it is for.
final class StagingSchema: StagedRestore {
    let restore: SchemaRestore
    private let keptNotes: [String]
    private let madeAccounts = Guarded<[SchemaAccounts.Account]>([])
    private let found = Guarded(SQLDumpFacts())
    /// Grants on what is only there after the exchange.
    private let laterGrants = Guarded<[String]>([])
    private let isOver = Guarded(false)
    // Its end gives the lock of restores back.
    private let lock: ServerSession

    var name: String { restore.staging }
    /// What the set's dump is like, once it has been loaded.
    var facts: SQLDumpFacts { found.value }

    private var request: RestoreRequest { restore.request }
    private var endpoint: MySQLEndpoint { restore.endpoint }

    init(_ restore: SchemaRestore, keptNotes: [String], lock: ServerSession) {
        self.restore = restore
        self.keptNotes = keptNotes
        self.lock = lock
    }

    /// Makes the empty database, after it stands in the books.
    func make(with session: ServerSession) async throws {
        let books = RestoreBooks(session: session, database: restore.name)
        try await books.write(entry(.staging))
        try await session.rows(
            "CREATE DATABASE \(backticked(name))", to: "make the staging database '\(name)'")
        try await session.rows(restore.properties.statement(for: name), to: "prepare the staging database")
        try await makeAccounts(with: session)
    }

    func entry(_ state: RestoreBooks.State) -> RestoreBooks.Entry {
        RestoreBooks.Entry(
            identity: restore.identity, database: restore.name, requestID: request.requestID.description,
            setKey: request.setKey.description, safetyKey: nil, state: state, staging: name,
            replaced: restore.replaced, isNew: !restore.exists, properties: "", schemaDigest: "")
    }

    /// Those that are missing, with the grants that the set has for them.
    private func makeAccounts(with session: ServerSession) async throws {
        let missing = Set(restore.missingAccounts)
        for statement in restore.accounts where SchemaPreflight.account(statement).map(missing.contains) ?? false {
            try await session.rows(statement, to: "make the users of the set")
            if let account = SchemaPreflight.account(statement) { madeAccounts.withLock { $0.append(account) } }
        }
        for statement in restore.accounts {
            guard statement.hasPrefix("GRANT "), let account = Self.grantee(statement), missing.contains(account)
            else {
                continue
            }
            if try await !grant(statement, with: session) { laterGrants.withLock { $0.append(statement) } }
        }
    }

    /// `false` where what is granted on is not there.
    private func grant(_ statement: String, with session: ServerSession) async throws -> Bool {
        do {
            try await session.rows(statement, to: "grant the set's users what they had")
            return true
        } catch let error as MySQLError where [1146, 1147, 1305, 1403].contains(error.number ?? 0) {
            return false
        }
    }

    /// Grants what had to wait for the restored tables and routines. Returns what is to be said about the rest.
    func grantLater(with session: ServerSession) async throws -> [String] {
        var left = 0
        for statement in laterGrants.value where try await !grant(statement, with: session) { left += 1 }
        return left == 0 ? [] : ["\(left) grants of the set are on what is not here, and were left out"]
    }

    private static func grantee(_ statement: String) -> SchemaAccounts.Account? {
        let tokens = SQLStatement(Array(statement.utf8), delimiter: [], plainBackslashes: false)
        guard let to = tokens.index(of: "TO"), let user = tokens.name(to + 1) else { return nil }
        return SchemaAccounts.Account(user: user, host: tokens.isSymbol(to + 2, "@") ? tokens.name(to + 3) : nil)
    }

    func load() async throws {
        let opened = try await request.parts.open(DatabaseSnapshot.PartName.database)
        var rewriting = SQLRewriting(target: name)
        rewriting.holdsEvents = true
        let (expected, found) = (request.contents, found)
        let source = RewrittenSQL(
            try PrefetchedSource(opened, depth: 4, name: "open"), database: restore.properties.name, rewriting
        ) { contents, facts in
            let comparison = ContentsComparison(recorded: expected, found: contents)
            guard comparison.isEqual else {
                throw MySQLError.damagedPart(
                    DatabaseSnapshot.PartName.database,
                    "it does not hold what the set says: \(comparison.failures.prefix(3).joined(separator: "; "))")
            }
            found.withLock { $0 = facts }
        }
        try await restore.feed(source, into: name, meter: request.meter)
    }

    func inspect() async throws -> Contents {
        try await failedSchemaRestore {
            try await restore.contents(of: name, as: name, .everything, heldEvents: facts.enabledEvents)
                .completed(by: request.contents, expiring: facts.expiringEvents)
        }
    }

    func promote(_ request: PromotionRequest) async throws -> Promotion {
        var promotion = try await Exchange(staging: self, request: request).run()
        isOver.withLock { $0 = true }
        promotion.notes = restore.summary.notes + keptNotes + promotion.notes
        lock.close()
        return promotion
    }

    /// Also where the task has been cancelled: that is when it is needed most.
    func discard() async throws {
        guard !isOver.value else { return }
        let accounts = madeAccounts.withLock { accounts in
            defer { accounts = [] }
            return accounts
        }
        defer { lock.close() }
        try await uncancelled { [restore, name] in
            let session = try await ServerSession.open(restore.endpoint, database: nil, patience: 600)
            defer { session.close() }
            let books = RestoreBooks(session: session, database: restore.name)
            let entries = try await books.exist() ? try await books.entries() : []
            let own = entries.first { $0.identity == restore.identity }
            // Where an exchange could not be undone, what is in the staging database is needed to put that right.
            guard own?.state == .staging || own == nil else { return }
            try await restore.drop(name, with: session)
            if own != nil { try await books.remove(restore.identity) }
            for account in accounts.reversed() {
                let kind = account.host == nil ? "ROLE" : "USER"
                try await session.rows(
                    "DROP \(kind) IF EXISTS \(account.quoted)", to: "remove '\(account.label)' again")
            }
        }
    }
}

extension SchemaRestore {
    /// Feeds `source` to a client in `schema`. Its words are never shown.
    func feed(_ source: any ByteSource, into schema: String, meter: ProgressMeter) async throws {
        let probe = try await ServerSession.open(endpoint, database: nil)
        let known = try await SessionWatch.sessions(in: schema, seenFrom: probe)
        probe.close()
        let watch = SessionWatch(
            endpoint, database: schema, known: known, meter: meter, every: engine.options.heartbeat)
        do {
            try await feedChild(programs.loadCommand(database: schema), from: source, meter: meter)
        } catch let failure as ChildFailure {
            await watch.stop()
            throw MySQLError.load(failure, on: endpoint.label(of: schema))
        } catch {
            await watch.stop()
            throw error
        }
        await watch.stop()
    }
}
