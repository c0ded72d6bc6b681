import Core
import Crypto
import PostgresEngine
import TestSupport
import Testing

/// The reader on the dump of a database that has everything a dump finds hard.
@Suite("The dump reader", .needs(.postgres))
struct DumpReaderTests {
    @Test("finds for each table the rows, columns and digest that the server's own COPY gives")
    func tablesEqualCopy() async throws {
        let dump = try await AwkwardDump.get()
        let server = dump.server
        let names = try await server.sql(
            """
            SELECT quote_ident(nspname) || '.' || quote_ident(relname) || E'\\x01' || nspname || E'\\x01' || relname
                || E'\\x01' || coalesce((SELECT string_agg(attname, E'\\x02' ORDER BY attnum) FROM pg_attribute
                    WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''), '')
                || E'\\x03'
            FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
            WHERE relkind = 'r' AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
            """, database: dump.database)
        let tables = dump.summary.contents.data.filter { $0.kind == .table }
        var found = 0
        for record in names.split(separator: "\u{3}") {
            let fields = record.drop { $0 == "\n" }.split(separator: "\u{1}", omittingEmptySubsequences: false)
            guard fields.count == 4 else { continue }
            let entry = try #require(tables.first { $0.schema == fields[1] && $0.name == fields[2] })
            let columns = fields[3].split(separator: "\u{2}").map(String.init)
            #expect(entry.columns == columns)
            let list = columns.map {
                "\""
                    + $0.split(separator: "\"", omittingEmptySubsequences: false)
                    .joined(separator: "\"\"") + "\""
            }.joined(separator: ", ")
            let lines = try await server.run(
                "psql", ["-X", "-q", "-d", dump.database, "-v", "ON_ERROR_STOP=1"],
                input: Array("COPY \(fields[0]) \(columns.isEmpty ? "" : "(\(list))") TO STDOUT;".utf8))
            var expected = RowSum()
            var rows: Int64 = 0
            for line in lines.split(separator: 10, omittingEmptySubsequences: false).dropLast() {
                SHA256.hash(data: Array(line)).withUnsafeBytes { expected.add(digest: $0) }
                rows += 1
            }
            #expect(entry.rows == rows, "\(entry.label)")
            #expect(entry.sum == expected, "\(entry.label)")
            found += 1
        }
        #expect(found == tables.count && found >= 15)
    }

    @Test("finds sequence values and large objects as the server has them")
    func sequencesAndLargeObjects() async throws {
        let dump = try await AwkwardDump.get()
        let data = dump.summary.contents.data
        let counter = try #require(data.first { $0.kind == .sequence && $0.name == "counter" })
        #expect(counter.sum == RowSum(Array(SHA256.hash(data: Array("8,true".utf8)))))
        #expect(data.contains { $0.kind == .sequence && $0.name == "Seq \"x\"" })
        for number in ["900001", "900002"] {
            let hex = try await dump.server.sql(
                "SELECT encode(sha256(lo_get(\(number))), 'hex')", database: dump.database)
            #expect(data.first { $0.kind == .largeObject && $0.name == number }?.sum.hex == hex)
        }
    }

    @Test("says which roles and extensions a restore needs")
    func facts() async throws {
        let facts = try await AwkwardDump.get().summary.facts
        #expect(facts.owners == ["postgres", "lb_owner"])
        #expect(facts.grantees.isSuperset(of: ["lb_reader", "lb \"odd\" röle", "lb_owner"]))
        #expect(facts.roles.isSubset(of: AwkwardDatabase.roles + ["postgres"]))
        #expect(facts.serverVersion?.isEmpty == false && facts.clientVersion?.isEmpty == false)
    }

    @Test("gives equal contents after a restore, with at most expressions printed differently")
    func restoresEqual() async throws {
        let dump = try await AwkwardDump.get()
        let server = dump.server
        let copy = try await server.createDatabase("restored")
        _ = try await server.run("psql", ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", copy], input: dump.bytes)
        let again = try read(try await server.dump(copy), pieces: Chunk.size)
        let comparison = ContentsComparison(recorded: dump.summary.contents, found: again.contents)
        #expect(comparison.failures == [])
        #expect(again.facts.roles == dump.summary.facts.roles)
        try await server.sql("DROP DATABASE \(copy)")
    }

    @Test("finds the same whatever pieces the bytes come in")
    func splits() async throws {
        let server = try await PostgresServer.shared()
        let database = try await AwkwardDatabase.create(on: server, valueBytes: 3000, prefix: "splits")
        let bytes = try await server.dump(database)
        let expected = try read(bytes, pieces: Chunk.size)
        for size in [1, 2, 3, 7, 64, 1000] {
            #expect(try read(bytes, pieces: size) == expected, "pieces of \(size)")
        }
        var random = SeededRandom(seed: 3)
        for round in 0..<(runsSoak ? 2000 : 30) {
            var reader = DumpReader()
            var start = 0
            try bytes.withUnsafeBytes { whole in
                while start < whole.count {
                    let end = min(
                        whole.count, start + Int.random(in: 1...(round % 2 == 0 ? 100 : 9000), using: &random))
                    try reader.update(UnsafeRawBufferPointer(rebasing: whole[start..<end]))
                    start = end
                }
            }
            #expect(try reader.finish() == expected, "round \(round)")
        }
    }

    @Test("reads the roles of a whole dump of globals, and refuses it cut anywhere")
    func globals() async throws {
        let server = try await PostgresServer.shared()
        try await server.sql(AwkwardDatabase.rolesSQL)
        let bytes = try await server.run("pg_dumpall", ["--globals-only"])
        let summary = try readGlobals(bytes)
        #expect(Set(summary.roles).isSuperset(of: AwkwardDatabase.roles + ["postgres"]))
        let text = Array(bytes.reversed().drop { $0 == 10 }.reversed())
        for end in text.indices where text[end] == 10 {
            #expect(throws: DumpError.self) { try readGlobals(Array(text[..<end])) }
        }
    }

    private func readGlobals(_ bytes: [UInt8]) throws -> GlobalsSummary {
        var reader = GlobalsReader()
        try bytes.withUnsafeBytes { try reader.update($0) }
        return try reader.finish()
    }
}
