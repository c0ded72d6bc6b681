import Core
import Streams
import TestSupport
import Testing

@testable import PostgresEngine

@Suite("Names, marks and statements")
struct NamesAndMarksTests {
    @Test("Names stay within 63 bytes, whole characters, and differ by name, request and use")
    func names() {
        let long = String(repeating: "é", count: 31) + "x"
        for database in ["clinic", long, String(repeating: "🏥", count: 15), "a\"b"] {
            let staging = Naming.name(.staging, for: database, requestID: "r")
            #expect(staging.utf8.count <= 63)
            #expect(Naming.isName(staging, .staging, for: database))
            #expect(!Naming.isName(staging, .replaced, for: database))
            #expect(staging != Naming.name(.staging, for: database, requestID: "s"))
            #expect(Naming.name(.replaced, for: database, requestID: "r") != staging)
        }
        #expect(!Naming.isName("clinic__lb_0123456", .replaced, for: "clinic"))
        #expect(!Naming.isName("clinic__lb_0123456g", .replaced, for: "clinic"))
        #expect(!Naming.isName("clinics__lb_01234567", .replaced, for: "clinic"))
        #expect(
            Naming.name(.staging, for: long, requestID: "r") != Naming.name(.staging, for: long + "y", requestID: "r")
        )
    }

    @Test("A mark is the last line of a comment, and what people wrote stays whole")
    func marks() {
        let marker = Marker(
            kind: .replaced, database: "a\n\"b", requestID: "2025-01-15T07:00:00.000Z", setKey: testKey.description,
            safetyKey: testKey, time: testTime)
        for text in [nil, "", "of people", "two\nlines", "ends in a return\r", "lifeboat: ", "lifeboat: {}"] {
            let comment = [text, marker.line].compactMap { $0 }.joined(separator: "\n")
            #expect(MarkedComment(comment) == MarkedComment(text: text, marker: marker))
            if let text { #expect(MarkedComment(text) == MarkedComment(text: text, marker: nil)) }
        }
        #expect(MarkedComment(marker.line + "\nand more").marker == nil)
    }

    @Test("Quotes are doubled even where Swift takes them for part of another character")
    func quoting() {
        #expect(quoted(name: "a\"b") == "\"a\"\"b\"")
        #expect(Array(quoted(name: "\"\u{301}").utf8) == Array("\"\"\"\u{301}\"".utf8))
        #expect(quoted(literal: "it's") == "'it''s'")
        #expect(quoted(literal: "a\\'b") == "E'a\\\\''b'")
        #expect(Array(quoted(literal: "'\u{301}").utf8) == Array("'''\u{301}'".utf8))
    }

    @Test(
        "A list of names is taken apart as the server keeps it",
        arguments: [
            ("\"$user\", public", ["$user", "public"]), ("a,b", ["a", "b"]), ("\"a, \"\"b\", c", ["a, \"b", "c"]),
            ("", []), ("\"\"", [""]), ("one", ["one"]),
        ])
    func lists(text: String, names: [String]) {
        #expect(DatabaseProperties.listedNames(text) == names)
    }

    @Test("The properties survive being written and read, and unknown fields are refused")
    func propertiesJSON() throws {
        let properties = DatabaseProperties(
            name: "klinik", owner: "o\"x", encoding: "UTF8", collate: "C", ctype: "C", localeProvider: .icu,
            locale: "de-DE", icuRules: nil, isTemplate: false, connectionLimit: 7,
            grants: [DatabaseGrant(grantee: nil, privilege: "CONNECT", isGrantable: false)], comment: "é\n",
            settings: [DatabaseSetting(role: "r", name: "search_path", value: "a, b")], tablespace: "pg_default",
            tablespaces: [], extensions: ["citext"], roles: ["r"])
        #expect(try DatabaseProperties(json: JSON(parsing: properties.json.canonicalBytes)) == properties)
        guard case .object(var members) = properties.json else { return }
        members["more"] = .null
        #expect(throws: JSONFieldError.self) { try DatabaseProperties(json: .object(members)) }
    }

    @Test("A dump is complete only where its completion line is the last that says anything")
    func completion() {
        func ends(_ text: String) -> Bool {
            var tail = StreamTail()
            for byte in text.utf8 { withUnsafeBytes(of: byte) { tail.add($0) } }
            return tail.ends(with: CompletionLine.database)
        }
        let line = CompletionLine.database
        #expect(ends("x\n--\n\(line)\n--\n\n"))
        #expect(ends("\(String(repeating: "x", count: 9000))\n--\n\(line)\n--\n\n\\unrestrict abc\n\n"))
        #expect(!ends("x\n"))
        #expect(!ends(""))
        #expect(!ends("\(line)\nSELECT 1;\n"))
        #expect(!ends("-\(line)\n"))
    }

    @Test("Of a client's message only the code is found, never what stands beside it")
    func codes() {
        #expect(PostgresError.sqlState(in: "psql:<stdin>:3: ERROR:  23505\n") == "23505")
        #expect(PostgresError.sqlState(in: "connection to server failed: FATAL:  28P01") == "28P01")
        #expect(PostgresError.sqlState(in: "ERROR:  duplicate key value") == nil)
        #expect(PostgresError.sqlState(in: "nothing") == nil)
    }
}

@Suite("psql's commands are shut off by a token of ours")
struct RestrictedDumpTests {
    private func restricted(_ text: String, token: String?, chunkSize: Int) throws -> String {
        let source = RestrictedDump(MemorySource(Array(text.utf8), chunkSize: chunkSize), token: token)
        return String(decoding: try source.collect(limit: 1 << 20), as: UTF8.self)
    }

    @Test("whatever the dump brings along, however it is cut", arguments: [1, 7, 600, 1 << 20])
    func rewriting(chunkSize: Int) throws {
        let head = "--\n-- PostgreSQL database dump\n--\n\n"
        let middle = String(repeating: "SELECT 1;\n\\unrestrict kept\n", count: 100)
        let end = "--\n-- PostgreSQL database dump complete\n--\n\n"
        let modern = "\(head)\\restrict theirs\n\(middle)\(end)\\unrestrict theirs\n\n"
        let old = head + middle + end
        #expect(
            try restricted(modern, token: "ours", chunkSize: chunkSize) == "\(head)\\restrict ours\n\(middle)\(end)")
        #expect(try restricted(old, token: "ours", chunkSize: chunkSize) == "\(head)\\restrict ours\n\(middle)\(end)")
        #expect(try restricted(modern, token: nil, chunkSize: chunkSize) == "\(head)\(middle)\(end)")
        #expect(try restricted("", token: "ours", chunkSize: chunkSize).isEmpty)
        #expect(try restricted("x", token: "ours", chunkSize: chunkSize) == "\\restrict ours\nx")
    }

    @Test("where psql knows the command")
    func versions() {
        for version in ["18.0", "19beta1", "17.6", "15.20", "13.22"] { #expect(RestrictedDump.isKnown(to: version)) }
        for version in ["17.5", "15.13", "12.99", "13", ""] { #expect(!RestrictedDump.isKnown(to: version)) }
    }
}
