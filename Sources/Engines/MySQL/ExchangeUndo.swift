import Core

/// The way back from an exchange that was begun and not finished, by whatever run: from the books alone, and harmless
/// to be begun again.
struct ExchangeUndo {
    let restore: SchemaRestore
    let entry: RestoreBooks.Entry
    let meter: ProgressMeter

    private var name: String { entry.database }
    private static let purpose = "bring the original back"

    func run(with session: ServerSession) async throws {
        let books = RestoreBooks(session: session, database: name)
        func run(_ statement: String) async throws {
            try await session.rows(statement, to: Self.purpose)
            meter.beat()
        }
        if try await exists(name, session) {
            // It may have been killed before the sign was made.
            try await run(ExchangeSign.make(in: name))
            try await bringBack(session, books, run)
            try await checkSchema()
            if entry.isNew {
                try await dropIfEmpty(session)
            } else {
                try await run(ExchangeSign.drop(in: name))
            }
        }
        let left = try await SchemaInventory.read(session, database: entry.replaced)
        guard left.tables.isEmpty else {
            throw MySQLError(
                .rollbackFailed, exitCode: .rollbackFailed, Self.purpose, object: restore.label,
                cause: counted(left.tables.count, "table is", "tables are") + " still in '\(entry.replaced)'",
                hint: "move them back with RENAME TABLE")
        }
        try await run("DROP DATABASE IF EXISTS \(backticked(entry.replaced))")
        try await run("DROP DATABASE IF EXISTS \(backticked(entry.staging))")
        try await books.remove(entry.identity)
    }

    private func bringBack(
        _ session: ServerSession, _ books: RestoreBooks, _ run: (String) async throws -> Void
    ) async throws {
        let old = Set(try await books.tables(.old, of: entry.identity))
        let new = Set(try await books.tables(.new, of: entry.identity))
        let here = try await SchemaInventory.read(session, database: name)
        let aside = Set(try await SchemaInventory.read(session, database: entry.replaced).tables)
        for statement in here.codeDrops(in: name) { try await run(statement) }
        // A table of a name that both have is the new one where the old one has been put aside.
        let moved = here.tables.filter { new.contains($0) && (aside.contains($0) || !old.contains($0)) }
        if !moved.isEmpty {
            try await run("CREATE DATABASE IF NOT EXISTS \(backticked(entry.staging))")
            if let statement = Exchange.moves(moved, from: name, to: entry.staging) { try await run(statement) }
        }
        let returning = aside.filter { old.contains($0) }.sorted()
        if let statement = Exchange.moves(returning, from: entry.replaced, to: name) { try await run(statement) }
        if !entry.properties.isEmpty { try await run(entry.properties) }
        try await SchemaCode(restore: restore, books: books, identity: entry.identity, meter: meter)
            .load(.old, into: name)
        if !entry.properties.isEmpty { try await run(entry.properties) }
    }

    private func exists(_ schema: String, _ session: ServerSession) async throws -> Bool {
        try await !session.rows(
            "SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = \(quotedText(schema))", to: Self.purpose
        ).isEmpty
    }

    /// What is back is what was there, statement by statement.
    private func checkSchema() async throws {
        guard !entry.schemaDigest.isEmpty else { return }
        let found = try await restore.contents(of: name, as: name, .schema)
        guard found.schemaDigest == entry.schemaDigest else {
            throw MySQLError(
                .rollbackFailed, exitCode: .rollbackFailed, Self.purpose, object: restore.label,
                cause: "the tables are back, but views, triggers, routines or events are not all what they were",
                hint: "compare them with the safety backup's")
        }
    }

    /// The database was made by the restore. What somebody has put into it meanwhile stays.
    private func dropIfEmpty(_ session: ServerSession) async throws {
        let here = try await SchemaInventory.read(session, database: name)
        if here.tables.isEmpty, here.views.isEmpty, here.routines.isEmpty, here.events.isEmpty {
            try await session.rows("DROP DATABASE \(backticked(name))", to: Self.purpose)
        } else {
            try await session.rows(ExchangeSign.drop(in: name), to: Self.purpose)
        }
    }

    static func failure(_ error: any Error, _ entry: RestoreBooks.Entry, at object: String) -> MySQLError {
        let why = (error as? any Failure)?.cause ?? "an error of this program's own"
        return MySQLError(
            .rollbackFailed, exitCode: .rollbackFailed, purpose, object: object, cause: why,
            hint: "what was there is in '\(entry.replaced)', and its safety backup is "
                + "\(entry.safetyKey?.description ?? "not there"): run the restore again, which first tries the way "
                + "back again")
    }
}
