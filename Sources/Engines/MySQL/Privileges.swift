import Core

/// What our user may do, from `SHOW GRANTS`. A server shows a user less where it may do less, without a word, so that a
/// dump would silently miss what it may not see: what is needed is therefore asked for first.
struct Privileges: Sendable {
    private struct Grant {
        var privileges: Set<String>
        /// `nil` for all databases, else the pattern, and the table where it is for one.
        var database: String?
        var table: String?
    }

    private var grants: [Grant] = []

    static func read(_ session: ServerSession) async throws -> Privileges {
        let rows = try await session.rows("SHOW GRANTS", to: "see what the user may do")
        return Privileges(lines: rows.map { $0.text(0) })
    }

    /// Lines like ``GRANT SELECT, LOCK TABLES ON `clinic`.* TO `backup`@`%` ``.
    init(lines: [String]) {
        for line in lines {
            let statement = SQLStatement(Array(line.utf8), delimiter: [], plainBackslashes: true)
            guard statement.isWord(0, "GRANT"), let on = statement.index(of: "ON"),
                let to = statement.index(of: "TO", from: on)
            else { continue }
            grants.append(Self.grant(statement, on: on, to: to))
        }
    }

    private static func grant(_ statement: SQLStatement, on: Int, to: Int) -> Grant {
        var words: [String] = []
        var privileges: Set<String> = []
        for index in 1...on {
            let token = statement.tokens[index]
            if index == on || (statement.isSymbol(index, ",") && token.depth == 0) {
                privileges.insert(words.joined(separator: " ").uppercased())
                words = []
            } else if token.kind == .word, token.depth == 0 {
                words.append(statement.text(index))
            } else {
                // A privilege on some columns is none on the table.
                words.append("(columns)")
            }
        }
        var start = on + 1
        if statement.isWord(start, "PROCEDURE") || statement.isWord(start, "FUNCTION") {
            return Grant(privileges: [], database: nil, table: nil)
        }
        if statement.isWord(start, "TABLE") { start += 1 }
        let isEverywhere = statement.isSymbol(start, "*")
        return Grant(
            privileges: privileges, database: isEverywhere ? nil : statement.name(start),
            table: statement.isSymbol(start + 2, "*") ? nil : statement.name(start + 2))
    }

    /// Whether `privilege` holds everywhere.
    func holdsEverywhere(_ privilege: String) -> Bool {
        grants.contains { $0.database == nil && $0.table == nil && Self.has($0.privileges, privilege) }
    }

    /// Whether `privilege` holds for everything in `database`, or for its table `table`.
    func holds(_ privilege: String, in database: String, table: String? = nil) -> Bool {
        grants.contains { grant in
            Self.has(grant.privileges, privilege)
                && (grant.database.map { Self.matches(database, pattern: $0) } ?? true)
                && (grant.table == nil || grant.table == table)
        }
    }

    private static func has(_ privileges: Set<String>, _ privilege: String) -> Bool {
        privileges.contains(privilege) || privileges.contains("ALL PRIVILEGES") || privileges.contains("ALL")
    }

    /// As LIKE does: `%` for any text, `_` for a character, `\` to mean them plainly.
    static func matches(_ name: String, pattern: String) -> Bool {
        matches(Array(name.unicodeScalars)[...], Array(pattern.unicodeScalars)[...])
    }

    private static func matches(
        _ name: ArraySlice<Unicode.Scalar>, _ pattern: ArraySlice<Unicode.Scalar>
    ) -> Bool {
        guard let first = pattern.first else { return name.isEmpty }
        let rest = pattern.dropFirst()
        switch first {
        case "%": return matches(name, rest) || (!name.isEmpty && matches(name.dropFirst(), pattern))
        case "_": return !name.isEmpty && matches(name.dropFirst(), rest)
        case "\\" where !rest.isEmpty:
            return name.first == rest.first && matches(name.dropFirst(), rest.dropFirst())
        default: return name.first == first && matches(name.dropFirst(), rest)
        }
    }

    /// What is missing for a dump of all that is in `database`; each as it is granted.
    func missingForDump(of database: String, locks: Bool, isMariaDB: Bool) -> [String] {
        let needed = ["SELECT", "SHOW VIEW", "TRIGGER", "EVENT"] + (locks ? ["LOCK TABLES"] : [])
        let place = "\(backticked(database)).*"
        var missing = needed.filter { !holds($0, in: database) }.map { "\($0) ON \(place)" }
        // Routines whose text may not be read are not even listed.
        let seesRoutines =
            isMariaDB
            ? holds("SELECT", in: "mysql", table: "proc") || holds("SHOW CREATE ROUTINE", in: database)
            : holdsEverywhere("SELECT") || holdsEverywhere("SHOW_ROUTINE")
        if !seesRoutines { missing.append(isMariaDB ? "SELECT ON `mysql`.`proc`" : "SHOW_ROUTINE ON *.*") }
        return missing
    }

    /// What is missing to make a staging database and to exchange tables with `database`.
    func missingForRestore(isMariaDB: Bool, foreignDefiners: Bool) -> [String] {
        let needed = [
            "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "INDEX", "REFERENCES", "CREATE VIEW",
            "SHOW VIEW", "TRIGGER", "EVENT", "CREATE ROUTINE", "ALTER ROUTINE", "LOCK TABLES",
        ]
        var missing = needed.filter { !holdsEverywhere($0) }.map { "\($0) ON *.*" }
        let definerRights =
            isMariaDB ? ["SET USER", "SUPER"] : ["SET_USER_ID", "SET_ANY_DEFINER", "SUPER"]
        if foreignDefiners, !definerRights.contains(where: { holdsEverywhere($0) }) {
            missing.append("\(definerRights[0]) ON *.*")
        }
        return missing
    }
}
