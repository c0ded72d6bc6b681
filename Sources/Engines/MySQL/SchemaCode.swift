import Core
import Streams

/// The views, triggers, routines and events of a database, as statements in the books: no server can move them between
/// databases, so they are dropped and made again.
struct SchemaCode {
    let restore: SchemaRestore
    let books: RestoreBooks
    let identity: String
    let meter: ProgressMeter

    /// Bytes of one piece in the books; twice that is well below any max_allowed_packet.
    private static let pieceSize = 128 << 10

    /// Writes down what makes the code of `schema` in `target`. The dump's own names of `schema` become the target's;
    /// `released` events are switched on.
    func save(_ side: RestoreBooks.Side, of schema: String, for target: String, released: Set<String>) async throws {
        try await books.removeCode(side, of: identity)
        var rewriting = SQLRewriting(target: target)
        rewriting.codeOnly = true
        rewriting.releasedEvents = released
        var scope = ClientPrograms.DumpScope()
        scope.hasRows = false
        let output = try ToolOutput(
            restore.programs.dumpCommand(database: schema, scope), of: restore.programs,
            object: restore.endpoint.label(of: schema))
        let source = RewrittenSQL(output, database: schema, rewriting) { _, _ in }
        var number = 0
        do {
            while let chunk = try await Self.next(of: source) {
                meter.add(chunk.count)
                let bytes = Array(chunk.bytes)
                for start in stride(from: 0, to: bytes.count, by: Self.pieceSize) {
                    let piece = Array(bytes[start..<min(start + Self.pieceSize, bytes.count)])
                    try await books.write(code: piece, number: number, side, of: identity)
                    number += 1
                }
            }
        } catch {
            await output.end()
            throw error
        }
        try await saveGrants(side, of: target, number: number)
    }

    private static func next(of source: any ByteSource) async throws -> Chunk? {
        try await withTaskCancellationHandler {
            try await onThread("code") { try source.next() }
        } onCancel: {
            source.cancel()
        }
    }

    /// A server forgets the grants on a routine when it is dropped. Those that are on routines of the same kind and
    /// name are given again.
    private func saveGrants(_ side: RestoreBooks.Side, of target: String, number: Int) async throws {
        let schema = side == .old ? target : restore.staging
        let inventory = try await SchemaInventory.read(books.session, database: schema)
        let routines = Set(inventory.routines.map { "\($0.kind) \($0.name.lowercased())" })
        let rows = try await books.session.rows(
            """
            SELECT User, Host, Routine_type, Routine_name, Proc_priv FROM mysql.procs_priv
            WHERE Db = \(quotedText(target))
            """, to: "read the grants on routines")
        var text = ""
        for row in rows where routines.contains("\(row.text(2)) \(row.text(3).lowercased())") {
            let account = SchemaAccounts.Account(user: row.text(0), host: row.text(1).isEmpty ? nil : row.text(1))
            let privileges = row.text(4).split(separator: ",").map(String.init)
            let plain = privileges.filter { $0.uppercased() != "GRANT" }
            text +=
                "GRANT \(plain.isEmpty ? "USAGE" : plain.joined(separator: ", ")) ON \(row.text(2)) "
                + "\(backticked(target)).\(backticked(row.text(3))) TO \(account.quoted)"
                + (plain.count == privileges.count ? "" : " WITH GRANT OPTION") + ";\n"
        }
        if !text.isEmpty { try await books.write(code: Array(text.utf8), number: number, side, of: identity) }
    }

    /// Makes in `schema` what was written down.
    func load(_ side: RestoreBooks.Side, into schema: String) async throws {
        var statements: [UInt8] = []
        var number = 0
        while let piece = try await books.code(number: number, side, of: identity) {
            statements += piece
            number += 1
            guard statements.count <= Self.longest else {
                throw MySQLError(
                    .exchange, "make the routines", object: restore.label,
                    cause: "they are longer than \(Self.longest) bytes", hint: "restore into an empty database")
            }
        }
        guard !statements.isEmpty else { return }
        try await restore.feed(MemorySource(statements), into: schema, meter: meter)
    }

    /// All routines, views and triggers of a database: none has that many.
    static let longest = 32 << 20
}
