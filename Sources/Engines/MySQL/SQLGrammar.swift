import Core

/// The statements that dumps consist of; everything else is refused, because whoever holds a public key can write a set
/// that opens, and what is loaded runs with an administrator's rights.
enum SQLGrammar {
    /// `nil` for what no dump contains.
    static func use(of statement: SQLStatement) throws(SQLRefusal) -> SQLUse? {
        if statement.isWord(0, "SET") { return .session }
        if statement.begins("COMMIT"), statement.count == 1 { return .session }
        if statement.begins("LOCK", "TABLES") || statement.begins("UNLOCK", "TABLES") { return .session }
        if statement.isWord(0, "DROP") { return dropped(statement) }
        if statement.begins("ALTER", "TABLE") {
            let isKeys = statement.isWord(3, "DISABLE") || statement.isWord(3, "ENABLE")
            return isKeys && statement.isWord(4, "KEYS") && statement.count == 5 ? .session : nil
        }
        if statement.begins("ALTER", "DATABASE") { return databaseProperties(statement) }
        if statement.begins("DO", "SETVAL") { return sequenceValue(statement) }
        return statement.isWord(0, "CREATE") ? try created(statement) : nil
    }

    private static func dropped(_ statement: SQLStatement) -> SQLUse? {
        guard statement.isWord(2, "IF"), statement.isWord(3, "EXISTS"), statement.name(4) != nil,
            statement.count == 5
        else {
            return statement.begins("DROP", "PACKAGE", "BODY", "IF", "EXISTS") && statement.count == 6
                ? .dropCode : nil
        }
        if statement.isWord(1, "TABLE") || statement.isWord(1, "SEQUENCE") {
            return statement.isConditional ? .dropCode : .dropTable
        }
        let isCode = ["VIEW", "EVENT", "FUNCTION", "PROCEDURE", "PACKAGE", "TRIGGER"].contains {
            (word: StaticString) in
            statement.isWord(1, word)
        }
        return isCode ? .dropCode : nil
    }

    /// `ALTER DATABASE name CHARACTER SET x COLLATE y`.
    private static func databaseProperties(_ statement: SQLStatement) -> SQLUse? {
        guard statement.name(2) != nil, statement.begins("ALTER", "DATABASE"), statement.isWord(3, "CHARACTER"),
            statement.isWord(4, "SET"), statement.isWord(6, "COLLATE"), statement.count == 8
        else { return nil }
        return .databaseProperties
    }

    /// `DO SETVAL(name, number, number)`.
    private static func sequenceValue(_ statement: SQLStatement) -> SQLUse? {
        guard statement.isSymbol(2, "("), statement.name(3) != nil, statement.isSymbol(4, ","),
            statement.tokens.dropFirst(5).dropLast().allSatisfy({ $0.kind == .number || $0.kind == .symbol }),
            statement.tokens.dropFirst(5).dropLast().allSatisfy({ $0.depth == 1 }),
            statement.isSymbol(statement.count - 1, ")")
        else { return nil }
        return .sequenceValue
    }

    private static func created(_ statement: SQLStatement) throws(SQLRefusal) -> SQLUse? {
        if statement.isWord(1, "TABLE") {
            guard statement.name(2) != nil, statement.isSymbol(3, "(") else { return nil }
            guard !copiesRows(statement) else { return nil }
            return statement.isConditional ? .placeholder : .table
        }
        if statement.isWord(1, "SEQUENCE") {
            return statement.name(2) != nil && !statement.isSymbol(3, ".") && !statement.contains("SELECT")
                ? .sequence : nil
        }
        if let view = statement.index(of: "VIEW"), view < (statement.index(of: "AS") ?? 0) {
            guard statement.name(view + 1) != nil, !statement.isSymbol(view + 2, ".") else { return nil }
            return view == 1 ? .placeholder : .view
        }
        if routine(of: statement) != nil { return .routine }
        let head = afterDefiner(statement)
        if statement.isWord(head, "TRIGGER") { return .trigger }
        return statement.isWord(head, "EVENT") ? .event : nil
    }

    /// Whether a table is made of what a query gives, or after another's: that would run while it is loaded.
    private static func copiesRows(_ statement: SQLStatement) -> Bool {
        statement.contains("SELECT") || statement.isWord(4, "LIKE")
            || statement.tokens.indices.dropFirst(3).contains { index in
                statement.tokens[index].depth == 0
                    && (statement.isWord(index, "TABLE") || statement.isWord(index, "VALUES")
                        || (statement.isWord(index, "WITH") && !statement.isWord(index + 1, "SYSTEM")
                            && !statement.isWord(index + 1, "PARSER")))
            }
    }

    /// The kind of a routine and where its name stands.
    static func routine(of statement: SQLStatement) -> (type: String, name: Int)? {
        guard statement.isWord(0, "CREATE") else { return nil }
        var index = afterDefiner(statement)
        if statement.isWord(index, "AGGREGATE") { index += 1 }
        if statement.isWord(index, "FUNCTION") { return ("FUNCTION", index + 1) }
        if statement.isWord(index, "PROCEDURE") { return ("PROCEDURE", index + 1) }
        guard statement.isWord(index, "PACKAGE") else { return nil }
        return statement.isWord(index + 1, "BODY") ? ("PACKAGE BODY", index + 2) : ("PACKAGE", index + 1)
    }

    /// The first token behind `CREATE [OR REPLACE] [DEFINER = …]`.
    private static func afterDefiner(_ statement: SQLStatement) -> Int {
        var index = 1
        if statement.isWord(index, "OR") { index += 2 }
        guard statement.isWord(index, "DEFINER") else { return index }
        index += 3
        if statement.isSymbol(index, "@") { index += 2 }
        return index
    }

    /// `user@host` of `DEFINER=`user`@`host``; a role has no host.
    static func definer(of statement: SQLStatement) -> String? {
        guard let index = statement.index(of: "DEFINER"), statement.isSymbol(index + 1, "="), index < 8,
            let user = statement.name(index + 2)
        else { return nil }
        guard statement.isSymbol(index + 3, "@"), let host = statement.name(index + 4) else { return user }
        return "\(user)@\(host)"
    }

    /// The names of a table's columns: what a backtick begins right inside the first parenthesis.
    static func columns(of statement: SQLStatement) -> [String] {
        var columns: [String] = []
        for index in statement.tokens.indices.dropFirst(4) {
            let token = statement.tokens[index]
            if token.depth == 0 { break }
            let begins =
                statement.isSymbol(index - 1, "(")
                ? statement.tokens[index - 1].depth == 0
                : statement.isSymbol(index - 1, ",") && statement.tokens[index - 1].depth == 1
            if begins, token.kind == .name, let name = statement.name(index) { columns.append(name) }
        }
        return columns
    }

    /// `AUTO_INCREMENT=7` among a table's options: it drifts without a change of the data.
    static func autoIncrement(of statement: SQLStatement) -> [SQLEdit] {
        guard let index = statement.index(of: "AUTO_INCREMENT", from: 4), statement.isSymbol(index + 1, "="),
            statement.tokens.indices.contains(index + 2)
        else { return [] }
        let range = statement.tokens[index].range.lowerBound..<statement.tokens[index + 2].range.upperBound
        return [SQLEdit(range: range, replacement: [])]
    }

    /// The names of a view's columns, as its placeholder has them.
    static func placeholderColumns(of statement: SQLStatement) -> [UInt8] {
        let names = statement.tokens.filter { $0.kind == .name }.dropFirst()
        return Array(names.map { statement.bytes[$0.range] }.joined(separator: [UInt8(ascii: ",")]))
    }

    /// Whether an event has an end, and is not preserved beyond it.
    static func expires(_ statement: SQLStatement, until end: Int) -> Bool {
        let head = statement.tokens.indices.prefix(end)
        return head.contains { statement.isWord($0, "NOT") && statement.isWord($0 + 1, "PRESERVE") }
            && head.contains { statement.isWord($0, "AT") || statement.isWord($0, "ENDS") }
    }

    /// The word that says whether an event runs, which stands before its body.
    static func eventStatus(of statement: SQLStatement, from start: Int) -> Int? {
        let end = statement.index(of: "DO", from: start) ?? statement.count
        return statement.tokens.indices.first { index in
            index >= start && index < end && statement.tokens[index].depth == 0
                && (statement.isWord(index, "ENABLE") || statement.isWord(index, "DISABLE"))
        }
    }
}

/// The settings of the session that loads a dump, as the dump makes them.
struct SQLSessionSettings {
    /// By name, without those that were put back to what they were.
    private var values: [String: String] = [:]

    private static let known: Set<String> = [
        "character_set_client", "character_set_results", "collation_connection", "character_set_connection",
        "sql_mode", "time_zone", "unique_checks", "foreign_key_checks", "sql_notes", "autocommit",
        "note_verbosity", "sql_auto_is_null",
    ]

    var plainBackslashes: Bool { values["sql_mode"]?.uppercased().contains("NO_BACKSLASH_ESCAPES") ?? false }

    /// What a routine's, trigger's or view's text depends on.
    var code: [UInt8] {
        Array(
            ["sql_mode", "character_set_client", "collation_connection"].map { "\n\($0)=\(values[$0] ?? "")" }
                .joined().utf8)
    }

    /// What an event's times depend on.
    var zone: [UInt8] { Array("\ntime_zone=\(values["time_zone"] ?? "")".utf8) }

    /// Takes `SET name = value, …`: variables of its own and the settings that dumps make, to plain values.
    mutating func take(_ statement: SQLStatement) throws(SQLRefusal) {
        let refusal = SQLRefusal("it changes a setting that no dump changes")
        if statement.isWord(1, "NAMES"), statement.count == 3, statement.name(2) != nil { return }
        var index = 1
        repeat {
            if statement.isWord(index, "SESSION") { index += 1 }
            var marks = 0
            while statement.isSymbol(index, "@") {
                marks += 1
                index += 1
            }
            if marks == 2, statement.isWord(index, "SESSION"), statement.isSymbol(index + 1, ".") { index += 2 }
            guard let name = statement.name(index)?.lowercased(), marks == 1 || Self.known.contains(name),
                statement.isSymbol(index + 1, "=")
            else { throw refusal }
            index += 2
            var value = ""
            while index < statement.count, !statement.isSymbol(index, ",") {
                let isPlain =
                    statement.tokens[index].kind != .symbol
                    || ["@", ".", "+", "-"].contains { statement.isSymbol(index, $0) }
                guard isPlain else { throw refusal }
                value += statement.text(index)
                index += 1
            }
            // What the dump itself began with is no setting of a routine's.
            let isBase = value.hasPrefix("@") || value == "'NO_AUTO_VALUE_ON_ZERO'"
            if marks != 1 { values[name] = isBase ? nil : value }
            index += 1
        } while index < statement.count
    }
}
