/// What of a statement must be equal after a restore: everything, or for the kinds listed here everything but the
/// expressions, because a server keeps those parsed and may print them differently once they have been restored.
/// `docs/contents.md` states the same rules for other implementations.
struct DumpBinding {
    private let statement: DumpStatement
    private var kept: [UInt8] = []

    /// The tokens that bind, joined by single spaces; `nil` where the whole text does.
    static func text(of statement: DumpStatement) -> [UInt8]? {
        var binding = DumpBinding(statement: statement)
        return binding.select() ? binding.kept : nil
    }

    private init(statement: DumpStatement) { self.statement = statement }

    private mutating func select() -> Bool {
        if statement.isWord(0, "ALTER") { return selectAlter() }
        guard statement.isWord(0, "CREATE") else { return false }
        var kind = 1
        while ["OR", "REPLACE", "UNLOGGED", "FOREIGN", "UNIQUE", "CONSTRAINT", "MATERIALIZED"].contains(where: {
            statement.isWord(kind, $0)
        }) { kind += 1 }
        if statement.isWord(kind, "TABLE") {
            selectTable()
        } else if statement.isWord(kind, "VIEW") {
            keep(to: statement.index(of: "AS", from: kind))
        } else if statement.isWord(kind, "RULE") {
            let end = [statement.index(of: "WHERE", from: kind), statement.index(of: "DO", from: kind)]
            keep(to: end.compactMap { $0 }.min())
        } else if statement.isWord(kind, "INDEX") {
            selectIndex()
        } else if statement.isWord(kind, "TRIGGER") {
            keepWithoutGroups(after: ["WHEN"])
        } else if statement.isWord(kind, "POLICY") {
            keepWithoutGroups(after: ["USING", "CHECK"])
        } else if statement.isWord(kind, "DOMAIN") {
            keepColumn(0..<statement.count, depth: 0)
        } else if statement.isWord(kind, "STATISTICS") {
            keepWithoutGroups(after: ["ON", ","])
        } else if statement.isWord(kind, "FUNCTION") || statement.isWord(kind, "PROCEDURE") {
            selectRoutine()
        } else {
            return false
        }
        return true
    }

    private mutating func selectAlter() -> Bool {
        if let end = statement.index(of: "SET", "DEFAULT") {
            keep(to: end + 1)
        } else if statement.index(of: "ADD", "CONSTRAINT") != nil, statement.index(of: "CHECK") != nil {
            keepWithoutGroups(after: ["CHECK"])
        } else if statement.index(of: "ADD", "CONSTRAINT") != nil, let word = statement.index(of: "EXCLUDE") {
            keep(to: word)
        } else if statement.begins("ALTER", "PUBLICATION") {
            keepWithoutGroups(after: ["WHERE"])
        } else {
            return false
        }
        return true
    }

    private mutating func keep(_ index: Int) {
        if !kept.isEmpty { kept.append(UInt8(ascii: " ")) }
        kept.append(contentsOf: statement.bytes(index))
    }

    /// Everything up to and with the token at `end`.
    private mutating func keep(to end: Int?) {
        for index in 0..<min(statement.count, (end ?? statement.count) + 1) { keep(index) }
    }

    /// Everything but what stands in parentheses right after one of `words`, outside other parentheses.
    private mutating func keepWithoutGroups(after words: [StaticString]) {
        var index = 0
        while index < statement.count {
            keep(index)
            let token = statement.tokens[index]
            let opens = words.contains { statement.isWord(index, $0) || statement.isSymbol(index, $0) }
            index += 1
            if opens, token.depth == 0 { index = statement.afterGroup(index) }
        }
    }

    /// Each column by name and type; constraints by name; then what follows the columns.
    private mutating func selectTable() {
        guard let open = statement.tokens.indices.first(where: { statement.isSymbol($0, "(") }) else {
            keep(to: nil)
            return
        }
        let end = statement.afterGroup(open)
        for index in 0...open { keep(index) }
        var start = open + 1
        for index in (open + 1)..<max(open + 1, end) {
            let isEnd = index == end - 1
            guard isEnd || (statement.isSymbol(index, ",") && statement.tokens[index].depth == 1) else { continue }
            keepColumn(start..<index, depth: 1)
            keep(index)
            start = index + 1
        }
        // Of PARTITION BY the columns bind; expressions among them stand in parentheses of their own.
        let partition = statement.index(of: "PARTITION", "BY", from: end) ?? statement.count
        for index in end..<max(end, statement.count) where index < partition || statement.tokens[index].depth < 2 {
            keep(index)
        }
    }

    /// A column, a table constraint or a domain without default, generation expression and CHECK. That there is one
    /// binds.
    private mutating func keepColumn(_ range: Range<Int>, depth: Int) {
        var skips = false
        var index = range.lowerBound
        while index < range.upperBound {
            let isHere = statement.tokens[index].depth == depth
            if isHere,
                statement.isWord(index, "CONSTRAINT") || statement.isWord(index, "NOT")
                    || statement.isWord(index, "COLLATE") || statement.isWord(index, "CHECK")
            {
                skips = false
            }
            if !skips { keep(index) }
            if isHere, statement.isWord(index, "DEFAULT") || statement.isWord(index, "GENERATED") { skips = true }
            let isCheck = isHere && statement.isWord(index, "CHECK")
            index += 1
            if isCheck { index = statement.afterGroup(index) }
        }
    }

    /// The columns bind, expressions and the predicate do not.
    private mutating func selectIndex() {
        let predicate = statement.index(of: "WHERE") ?? statement.count
        for index in 0..<statement.count where index <= predicate && statement.tokens[index].depth < 2 {
            keep(index)
        }
    }

    /// Without the defaults of arguments, and without a body that the server keeps parsed (`RETURN`, `BEGIN ATOMIC`).
    private mutating func selectRoutine() {
        var skips = false
        for index in 0..<statement.count {
            let depth = statement.tokens[index].depth
            if depth == 0 || (depth == 1 && statement.isSymbol(index, ",")) { skips = false }
            if !skips { keep(index) }
            if depth == 1, statement.isWord(index, "DEFAULT") { skips = true }
            if depth == 0, statement.isWord(index, "RETURN") || statement.isWord(index, "ATOMIC") { return }
        }
    }
}
