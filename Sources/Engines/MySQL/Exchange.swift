import Core

/// Puts the tables of a staging database in the place of those that stand there.
///
/// The old tables are moved into a database of their own, by one statement. That is the fence: it waits until every
/// transaction on them has ended, and nobody finds them afterwards. What they hold is then compared with the safety set;
/// the new tables are moved in, views, triggers, routines and events made, and all of it compared with the set that is
/// restored. Before the first change everything needed for the way back stands in the books, and a sign in the
/// database, so that whatever kills us the next restore brings back what was there, and no backup takes the half for
/// the whole.
struct Exchange {
    let staging: StagingSchema
    let request: PromotionRequest

    private var restore: SchemaRestore { staging.restore }
    private var name: String { restore.name }
    private var options: MySQLOptions { restore.engine.options }
    private static let purpose = "exchange the tables"

    func run() async throws -> Promotion {
        let session = try await ServerSession.open(
            restore.endpoint, database: nil, patience: 600, lockWait: options.lockWait)
        defer { session.close() }
        let books = RestoreBooks(session: session, database: name)
        // Up to here, and until the entry says so, nothing of the original is touched.
        let (entry, old, new) = try await failedSchemaRestore {
            try await prepare(session, books)
        }
        let time: Timestamp
        let notes: [String]
        do {
            notes = try await change(entry, old, new, session, books)
            let now = try await session.row(
                "SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)", to: Self.purpose)
            time = Timestamp(milliseconds: now.integer(0))
            var verified = entry
            verified.state = .verified
            try await books.write(verified)
        } catch {
            throw await undone(entry, after: error)
        }
        // From here on nothing goes back: a run that is killed now is finished by the next.
        try await finish(entry, session, books)
        return Promotion(time: time, replacedName: restore.exists ? entry.replaced : nil, notes: notes)
    }

    // MARK: Before the first change

    /// Writes down all that the way back needs.
    private func prepare(
        _ session: ServerSession, _ books: RestoreBooks
    ) async throws -> (RestoreBooks.Entry, SchemaInventory, SchemaInventory) {
        let new = try await SchemaInventory.read(session, database: staging.name)
        let old = try await SchemaInventory.read(session, database: name)
        var entry = staging.entry(.exchanging)
        entry.safetyKey = request.marker.safetyKey
        let code = code(books, entry)
        if restore.exists {
            let properties = try await SchemaProperties.read(session, database: name)
            entry.properties = try properties.statement(for: name)
            entry.schemaDigest = try await restore.contents(of: name, as: name, .schema).schemaDigest
            try await code.save(.old, of: name, for: name, released: [])
        }
        try await code.save(.new, of: staging.name, for: name, released: staging.facts.enabledEvents)
        try await books.write(tables: old.tables, .old, of: entry.identity)
        try await books.write(tables: new.tables, .new, of: entry.identity)
        try await waitForOthers(old, session)
        // Whatever becomes of us from here on, the next restore finds this.
        try await books.write(entry)
        return (entry, old, new)
    }

    private func code(_ books: RestoreBooks, _ entry: RestoreBooks.Entry) -> SchemaCode {
        SchemaCode(restore: restore, books: books, identity: entry.identity, meter: request.meter)
    }

    /// Tries whether the tables can be had at all while a refusal still changes nothing.
    private func waitForOthers(_ old: SchemaInventory, _ session: ServerSession) async throws {
        guard !old.tables.isEmpty else { return }
        let list = old.tables.map { "\(backticked(name)).\(backticked($0)) WRITE" }.joined(separator: ", ")
        for attempt in 1...max(options.exchangeAttempts, 1) {
            do {
                try await session.rows("LOCK TABLES \(list)", to: Self.purpose)
                try await session.rows("UNLOCK TABLES", to: Self.purpose)
                return
            } catch let error as MySQLError where error.number == ErrorNumber.lockWaitTimeout {
                request.meter.beat()
                guard attempt >= options.exchangeAttempts else { continue }
                throw MySQLError(
                    .exchange, exitCode: .restoreFailedOriginalIntact, Self.purpose, object: restore.label,
                    cause:
                        "other sessions held its tables for \(options.lockWait * attempt) s: an open transaction or "
                        + "a long query",
                    hint: "stop the application, or end its sessions (SHOW PROCESSLIST), and run "
                        + "again", number: error.number)
            }
        }
    }

    // MARK: The changes

    private func change(
        _ entry: RestoreBooks.Entry, _ old: SchemaInventory, _ new: SchemaInventory, _ session: ServerSession,
        _ books: RestoreBooks
    ) async throws -> [String] {
        func run(_ statement: String) async throws {
            try await session.rows(statement, to: Self.purpose)
            request.meter.beat()
        }
        if restore.exists {
            try await run(ExchangeSign.make(in: name))
            for statement in try await SchemaInventory.read(session, database: name).codeDrops(in: name) {
                try await run(statement)
            }
        } else {
            try await run("CREATE DATABASE \(backticked(name))")
            try await run(ExchangeSign.make(in: name))
        }
        try await run("CREATE DATABASE IF NOT EXISTS \(backticked(entry.replaced))")
        if let statement = Self.moves(old.tables, from: name, to: entry.replaced) { try await run(statement) }
        try await compareReplaced(entry)

        for trigger in new.triggers {
            try await run("DROP TRIGGER \(backticked(staging.name)).\(backticked(trigger))")
        }
        if let statement = Self.moves(new.tables, from: staging.name, to: name) { try await run(statement) }
        for statement in try await defaultsNamingStaging(session) { try await run(statement) }
        try await run(restore.properties.statement(for: name))
        try await code(books, entry).load(.new, into: name)
        // The client makes routines under other settings of the database where a dump says so, and puts them back to
        // the name's, which is this one's now.
        try await run(restore.properties.statement(for: name))
        let notes = try await staging.grantLater(with: session)
        try await compareRestored()
        return notes
    }

    /// One statement for all: either every table is moved or none. `nil` where there is none.
    static func moves(_ tables: [String], from: String, to: String) -> String? {
        guard !tables.isEmpty else { return nil }
        let moves = tables.map {
            "\(backticked(from)).\(backticked($0)) TO \(backticked(to)).\(backticked($0))"
        }
        return "RENAME TABLE " + moves.joined(separator: ", ")
    }

    /// What was taken away must be what the safety set holds, or somebody has written meanwhile.
    private func compareReplaced(_ entry: RestoreBooks.Entry) async throws {
        guard options.writers == .compare, let safety = request.safety else { return }
        let found = try await restore.contents(of: entry.replaced, as: name, .tables)
        let comparison = ContentsComparison(
            recorded: safety.contents.tablesOnly, found: found.tablesOnly)
        guard comparison.isEqual else {
            throw MySQLError(
                .moved, exitCode: .restoreFailedOriginalIntact, Self.purpose, object: restore.label,
                cause: "it was written to after its safety backup: "
                    + comparison.failures.prefix(5).joined(separator: "; "),
                hint: "everything is as it was; stop the application and run again, or set MYSQL_RESTORE_WRITERS to "
                    + "keep, which leaves such writes in the copy that is put aside")
        }
    }

    /// A default that takes a sequence's next value names the sequence with its database.
    private func defaultsNamingStaging(_ session: ServerSession) async throws -> [String] {
        let marker = "\(backticked(staging.name))."
        let rows = try await session.rows(
            """
            SELECT TABLE_NAME, COLUMN_NAME, COLUMN_DEFAULT FROM information_schema.COLUMNS
            WHERE TABLE_SCHEMA = \(quotedText(name)) AND LOCATE(\(quotedText(marker)), COLUMN_DEFAULT) > 0
            """, to: Self.purpose)
        return rows.map { row in
            let value = row.text(2).split(separator: marker, omittingEmptySubsequences: false)
                .joined(separator: "\(backticked(name)).")
            return "ALTER TABLE \(backticked(name)).\(backticked(row.text(0))) ALTER COLUMN "
                + "\(backticked(row.text(1))) SET DEFAULT (\(value))"
        }
    }

    /// The rows have not changed since they were compared in the staging database; that everything around them is as
    /// the set has it is seen here.
    private func compareRestored() async throws {
        let recorded = restore.request.contents
        let found = try await restore.contents(of: name, as: name, .schema).withoutSign
        let comparison = ContentsComparison(
            recorded: Contents(data: [], schema: recorded.schema),
            found: found.schemaOnly(completedBy: recorded, expiring: staging.facts.expiringEvents))
        guard comparison.isEqual else {
            throw MySQLError(
                .exchange, exitCode: .restoreFailedRolledBack, Self.purpose, object: restore.label,
                cause: "what came to be is not what the set has: "
                    + comparison.failures.prefix(5).joined(separator: "; "),
                hint: "the original is back in its place; keep the set for examination and restore another")
        }
    }

    // MARK: The end

    private func finish(
        _ entry: RestoreBooks.Entry, _ session: ServerSession, _ books: RestoreBooks
    ) async throws {
        do {
            try await uncancelled { [restore, name, staging] in
                try await session.rows(ExchangeSign.drop(in: name), to: Self.purpose)
                try await books.close(entry)
                try await restore.drop(staging.name, with: session)
                if !restore.exists { try await restore.drop(entry.replaced, with: session) }
            }
        } catch {
            throw MySQLError(
                .exchange, exitCode: .rollbackFailed, Self.purpose, object: restore.label,
                cause: "the server was lost in the last step, with the restored tables in place and compared",
                hint: "run the restore again: it finishes what is left")
        }
    }

    /// Brings the original back and says how it ended. Done also where the task has been cancelled.
    private func undone(_ entry: RestoreBooks.Entry, after error: any Error) async -> any Error {
        let undo = ExchangeUndo(restore: restore, entry: entry, meter: request.meter)
        do {
            try await uncancelled { [restore, options] in
                let session = try await ServerSession.open(
                    restore.endpoint, database: nil, patience: 600, lockWait: options.lockWait)
                defer { session.close() }
                try await undo.run(with: session)
            }
        } catch let second {
            return ExchangeUndo.failure(second, entry, at: restore.label)
        }
        if error is CancellationError { return error }
        if var failure = error as? MySQLError {
            if failure.kind != .moved { failure.exitCode = .restoreFailedRolledBack }
            return failure
        }
        if let failure = error as? any Failure { return JobFailure(failure, as: .restoreFailedRolledBack) }
        return MySQLError(
            .rolledBack, exitCode: .restoreFailedRolledBack, Self.purpose, object: restore.label,
            cause: "an error of this program's own", hint: "the original is back in its place; run again")
    }
}

extension Contents {
    /// Without the table that says that an exchange is under way.
    var withoutSign: Contents {
        Contents(
            data: data.filter { $0.name != ExchangeSign.table },
            schema: schema.filter { $0.name != ExchangeSign.table })
    }

    /// One number for the schema, by which the way back is checked.
    var schemaDigest: String {
        // What a server may print differently, and what drifts, has no part in it.
        let binding = withoutSign.schema.map { entry in
            var entry = entry
            entry.printed = entry.binding
            return entry
        }
        return RowHash.sum(of: Contents(data: [], schema: binding).json.canonicalBytes).hex
    }
}
