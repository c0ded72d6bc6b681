import Core
import Testing

@testable import Events

@Suite("Connection strings")
struct ConnectionStringTests {
    /// Shows the parts that PostgreSQL's documentation names, in each form it allows.
    @Test func parts() throws {
        let whole = try ConnectionString(parsing: "postgresql://me:pw@db.example:5433/clinic?sslmode=verify-full")
        #expect(whole.host == "db.example" && whole.port == "5433" && whole.database == "clinic")
        #expect(whole.user == "me" && whole.password == Secret("pw"))
        #expect(whole.parameters == ["sslmode": "verify-full"])
        #expect(try ConnectionString(parsing: "postgres://[2001:db8::1]:5432/x").host == "2001:db8::1")
        #expect(try ConnectionString(parsing: "postgres://%2Frun%2Fpostgresql/x").host == "/run/postgresql")
        let query = try ConnectionString(parsing: "postgres:///x?host=/run/postgresql&user=me&port=1")
        #expect(query.host == "/run/postgresql" && query.user == "me" && query.port == "1")
        #expect(try ConnectionString(parsing: "postgres://") == ConnectionString(parsing: "postgresql://"))
    }

    /// Shows that what is encoded comes out as it went in, for any text: each byte as %XX.
    @Test func percentDecoding() throws {
        for password in ["p@ss:w/o?r#d%", "ä日本", " ", "%41", "a+b"] {
            let encoded = password.utf8.map { "%" + hexText([$0]) }.joined()
            let parsed = try ConnectionString(parsing: "postgres://u:\(encoded)@h/d")
            #expect(parsed.password == Secret(password))
        }
    }

    /// Shows what is refused; no message repeats anything of the string but a parameter's name.
    @Test(arguments: [
        "", "db", "http://h/d", "postgres://u:NEVER@SHOW@h/d", "postgres://u:NEVER%@h/d", "postgres://u:NEVER%zz@h/d",
        "postgres://u:NEVER%00@h/d", "postgres://u:NEVER%ff@h/d", "postgres://u:NEVER#@h/d", "postgres://h,h2/d",
        "postgres://[::1/d", "postgres://[::1]x/d", "postgres://u:NEVER SHOW@h/d", "postgres://h/d?sslmode",
        "postgres://h/d?nonsense=NEVER", "postgres://h/d?host=x", "postgres://u:NEVER@h/d?password=NEVER",
        "postgres://h/d?sslmode=a&sslmode=b", "postgres://u:NEVER\n@h/d",
    ])
    func refused(text: String) {
        let problem = #expect(throws: ConnectionString.Problem.self) { try ConnectionString(parsing: text) }
        #expect(problem?.cause.contains("NEVER") == false)
    }
}
