import Core
import PostgresEngine
import TestSupport
import Testing

/// A dump may have been written by a stranger, cut short or damaged. None of that may pass or crash.
@Suite("A dump that is not to be trusted")
struct DumpSafetyTests {
    struct Case: CustomTestStringConvertible {
        var body: String
        var line: String
        var isCommand = true

        var testDescription: String { body.debugDescription }
    }

    /// Line 8 is the first of the body.
    static let refused = [
        Case(body: "\\! touch /tmp/x", line: "line 9"),
        Case(body: "SELECT 1; \\! touch /tmp/x", line: "line 9"),
        Case(body: "SELECT 1 \\g /tmp/x", line: "line 9"),
        Case(body: "  \\restrict AbC123", line: "line 9"),
        Case(body: "\\unrestrict AbC123\n\\! x", line: "line 10"),
        Case(body: "\\restrict AbC123", line: "line 9"),
        Case(body: "\\unrestrict other", line: "line 9"),
        Case(body: "\\unrestrict `id`", line: "line 9"),
        Case(body: "\\unrestrict AbC123 \\! x", line: "line 9"),
        Case(body: "SELECT 'a' || E'\\\\' \\! x ''", line: "line 9"),
        Case(body: "SELECT E'\\''; \\! x", line: "line 9"),
        Case(body: "SELECT '\\'; \\! x", line: "line 9"),
        Case(body: "SET standard_conforming_strings = off;\nSELECT '\\''; \\! x", line: "line 10"),
        Case(body: "SELECT $a$ $b$ $a$ \\! x", line: "line 9"),
        Case(body: "SELECT a$b$ \\! x $b$", line: "line 9"),
        Case(body: "/* /* */ ' */ \\! x", line: "line 9"),
        Case(body: "-- ' \n\\! x", line: "line 10"),
        Case(body: "SELECT \"a\"\"\\b\" \\! x", line: "line 9"),
        Case(body: "SELECT :USER;", line: "line 9", isCommand: true),
        Case(body: "SELECT :'USER' ;", line: "line 9"),
        Case(body: "SELECT a[1::\"x\":\"USER\"];", line: "line 9"),
        Case(body: "SELECT :{?USER};", line: "line 9"),
        Case(body: "-- x\r\\! x", line: "line 9", isCommand: false),
        Case(body: "SELECT 1E'\\'' \\! x", line: "line 9", isCommand: false),
        Case(body: "SELECT U&'\\' UESCAPE '!';", line: "line 9", isCommand: false),
        Case(body: "SELECT E'a'\n'\\'' ;", line: "line 10", isCommand: false),
        Case(body: "SELECT :E'\\'' \\! x';", line: "line 9", isCommand: false),
        Case(body: "SELECT :a$b$ \\! $b$;", line: "line 9", isCommand: false),
        Case(body: "SET client_encoding = 'SJIS';", line: "line 9", isCommand: false),
        Case(body: "COPY t FROM PROGRAM 'id';", line: "line 9", isCommand: false),
        Case(body: "copy t from stdin;\n\\! x\n\\.", line: "line 9", isCommand: false),
        Case(body: "COPY t FROM stdin WITH (FORMAT csv);\n\\! x\n\\.", line: "line 9", isCommand: false),
        Case(body: "COPY t FROM stdin; \\! x\n\\.", line: "line 9", isCommand: false),
        Case(body: "COPY t FROM stdin;\na\n\\.\r\n\\! x\n\\.", line: "line 11", isCommand: false),
        Case(body: "COPY t FROM stdin;\na\u{0}\n\\.", line: "line 1", isCommand: false),
        Case(body: "COPY t FROM stdin;\na\n\\.\n\\! x", line: "line 12"),
    ]

    @Test("is refused with its line where psql would run a command or read other data than we do", arguments: refused)
    func refuses(bad: Case) throws {
        let bytes = Array(dumpText(bad.body).utf8)
        for pieces in [1, 5, Chunk.size] {
            let error = #expect(throws: DumpError.self) { try read(bytes, pieces: pieces) }
            guard let error else { continue }
            if case .command = error {
                #expect(bad.isCommand)
            } else {
                #expect(!bad.isCommand || error.cause.contains("more after"), "\(error)")
            }
            #expect(error.exitCode == .verificationFailed)
            if !bad.body.contains("\u{0}") { #expect(error.object == bad.line) }
            #expect(!error.description.contains("touch") && !error.hint.contains("touch"))
        }
    }

    @Test("is accepted where backslashes, colons and dollars are what dumps contain")
    func acceptsHarmless() throws {
        let harmless = [
            "SELECT 'C:\\';", "SELECT E'\\\\\\'';", "SELECT a[1:2], b[lo:hi], c::text, '\\d'::text;",
            "SELECT $$ \\! $$;", "SELECT $1 + $2;", "SELECT \"\\!\", \"a\"\"b\";", "SELECT B'101', X'1F', N'x';",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 ELSE 2 END; END;",
            "SET standard_conforming_strings = off;\nSELECT 'a\\\\', 'it\\'s';", "SELECT 1.5e10, .5, 1e+5;",
            "COPY t FROM stdin;\n\\\\.\n\\.\n",
        ]
        for body in harmless {
            for isRestricted in [true, false] {
                #expect(throws: Never.self, "\(body)") { try read(dumpText(body, restricted: isRestricted)) }
            }
        }
    }

    @Test("is refused cut after any line and at any byte", .needs(.postgres))
    func truncations() async throws {
        let server = try await PostgresServer.shared()
        try await server.sql(AwkwardDatabase.rolesSQL)
        let database = try await Clinic.create(on: server, patients: 3, prefix: "cut")
        let dump = try await server.dump(database)
        for text in [dump, Array(dumpText("SELECT 1;", restricted: false).utf8)] {
            let whole = Array(text.reversed().drop { $0 == 10 }.reversed())
            #expect(throws: Never.self) { try read(whole + [10], pieces: Chunk.size) }
            for end in whole.indices where whole[end] == 10 || end % 13 == 0 || end > whole.count - 200 {
                #expect(throws: DumpError.self, "cut at \(end) of \(whole.count)") {
                    try read(Array(whole[..<end]), pieces: Chunk.size)
                }
            }
        }
    }

    @Test("is refused where anything follows its end, or it begins as something else")
    func surroundings() throws {
        let dump = dumpText("SELECT 1;")
        for extra in ["SELECT 1;", "-- x", "\\! x", "--\n", dump, "'"] {
            #expect(throws: DumpError.self, "\(extra)") { try read(dump + extra + "\n") }
        }
        for other in ["", "\n", "PGDMP", "SELECT 1;\n" + dump, "-- MySQL dump\n", "x" + dump] {
            #expect(throws: DumpError.self, "\(other.prefix(20))") { try read(other) }
        }
    }

    @Test("never crashes the reader: seeded mutations end in contents or in a DumpError", .needs(.postgres))
    func mutations() async throws {
        let server = try await PostgresServer.shared()
        let database = try await AwkwardDatabase.create(on: server, valueBytes: 100, prefix: "fuzz")
        let bytes = try await server.dump(database)
        var random = SeededRandom(seed: 4)
        let spice = Array("'\"$\\;()-/*:\n\r\u{0}E.{}[]&".utf8)
        for _ in 0..<(runsSoak ? 20_000 : 200) {
            var mutated = bytes
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let position = Int.random(in: 0..<mutated.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: mutated[position] = spice.randomElement(using: &random) ?? 0
                case 1: mutated.insert(spice.randomElement(using: &random) ?? 0, at: position)
                case 2: mutated.removeSubrange(position..<min(mutated.count, position + 30))
                default: mutated[position] ^= 1 << UInt8.random(in: 0..<8, using: &random)
                }
            }
            do {
                _ = try read(mutated, pieces: 4096)
            } catch is DumpError {
                continue
            }
        }
    }
}

/// What the text of a dump says beside its rows, on small dumps written out by hand.
@Suite("Facts and storage in a dump")
struct DumpFactsTests {
    @Test("name extensions, tablespaces and every kind of role")
    func names() throws {
        let facts = try read(
            dumpText(
                #"""
                CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA public;

                --
                -- Name: t; Type: TABLE; Schema: public; Owner: o; Tablespace: fast
                --

                CREATE TABLE public.t (a integer);
                ALTER TABLE public.t OWNER TO "o ""1""";
                GRANT SELECT,INSERT ON TABLE public.t TO PUBLIC;
                GRANT SELECT(a) ON TABLE public.t TO a, "B c" WITH GRANT OPTION;
                REVOKE ALL ON FUNCTION public.f(x integer) FROM d;
                SET SESSION AUTHORIZATION 'e';
                ALTER DEFAULT PRIVILEGES FOR ROLE f REVOKE ALL ON TABLES FROM g;
                CREATE POLICY p ON public.t TO h, i USING ((a > 0));
                CREATE USER MAPPING FOR j SERVER s;
                """#)
        ).facts
        #expect(facts.extensions == ["uuid-ossp"])
        #expect(facts.tablespaces == ["fast"])
        #expect(facts.owners == ["o \"1\""])
        #expect(facts.grantees == ["a", "B c", "d", "e", "f", "g", "h", "i", "j"])
        #expect(facts.usesRestrict)
    }

    @Test("show another tablespace and another access method of a table as a failure")
    func storage() throws {
        let table = { (tablespace: String, method: String) in
            try read(
                dumpText(
                    """
                    SET default_table_access_method = \(method);
                    -- Name: t; Type: TABLE; Schema: public; Owner: o\(tablespace)
                    CREATE TABLE public.t (a integer);
                    """)
            ).contents
        }
        let plain = try table("", "heap")
        for other in [try table("; Tablespace: fast", "heap"), try table("", "columnar")] {
            #expect(
                ContentsComparison(recorded: plain, found: other).failures == [
                    "table public.t is defined differently"
                ])
        }
    }

    @Test("keep within bounds a statement of any length, and bind the whole of it")
    func longStatement() throws {
        let body = String(repeating: "x", count: 9 << 20)
        let function = { (text: String) in
            try read(dumpText("CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$\(text)$$;")).contents
        }
        #expect(try function(body) == function(body))
        let comparison = ContentsComparison(recorded: try function(body), found: try function(body + "y"))
        #expect(comparison.failures.count == 1)
    }
}
