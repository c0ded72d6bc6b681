import Core

/// What a statement of a dump is for.
enum SQLUse: Equatable {
    /// A setting of the session, a lock, and the like: nothing stays of it.
    case session
    /// Makes room for what comes, where it is a table's; or for a view, routine or event.
    case dropTable, dropCode
    case table, sequence, sequenceValue
    /// Stands in for a view until all of them are there.
    case placeholder
    case view, trigger, routine, event
    /// The database's character set, for the routines that are made under it.
    case databaseProperties

    /// Whether it is of views, triggers, routines and events, which are made anew where tables are moved.
    var isCode: Bool {
        switch self {
        case .placeholder, .view, .trigger, .routine, .event, .dropCode, .databaseProperties: true
        case .session, .dropTable, .table, .sequence, .sequenceValue: false
        }
    }
}

/// A statement that was read, with what there is to know of it.
struct SQLItem {
    var statement: SQLStatement
    var use: SQLUse
    /// Where it names its own database: a name and its dot.
    var ownNames: [Range<Int>] = []
    /// Where the name of its own database stands alone (`ALTER DATABASE`).
    var databaseName: Range<Int>?
    /// The word that says whether an event runs.
    var eventStatus: Range<Int>?
    var isEnabledEvent = false
    var name = ""
}

/// What a reader learns about a dump beside its contents.
struct SQLDumpFacts: Sendable {
    var definers: Set<String> = []
    /// Events that would run.
    var enabledEvents: Set<String> = []
    /// Events that a server drops by itself once their time has passed, also when they are only then made.
    var expiringEvents: Set<String> = []
    /// Where the binary log stood at the picture.
    var binlogFile: String?
    var binlogPosition: String?
    var gtid: String?
    /// Bytes of the longest statement: what `max_allowed_packet` must let through.
    var longestStatement: Int64 = 0
}

/// Gathers what is in a dump, and refuses what no dump contains.
struct SQLDumpCatalog {
    /// The database the dump is of: its name in front of a table's is left out of every digest, so that a restore under
    /// another name compares equal.
    let database: String
    /// Events that were loaded switched off although they are to run: read as if they were on.
    let heldEvents: Set<String>

    private(set) var facts = SQLDumpFacts()
    private var tables: [String: Table] = [:]
    private var sequences: [String: RowSum] = [:]
    /// Tables that have a trigger.
    private var triggered: Set<String> = []
    private var views: [String: View] = [:]
    private var code: [SchemaEntry] = []
    private var settings = SQLSessionSettings()
    /// Bytes that entries take, against dumps made to fill our memory.
    private var weight = 0

    /// Tables, columns, views and routines: some hundred thousand of them.
    private static let heaviest = 48 << 20

    var plainBackslashes: Bool { settings.plainBackslashes }

    private struct Table {
        var columns: [String]
        var binding: RowSum
        var printed: RowSum
        var rows: Int64 = 0
        var sum = RowSum()
        var insertColumns: [String]?
    }

    private struct View {
        var owner = ""
        var binding: [UInt8] = []
        var printed = RowSum()
        var isWhole = false
    }

    init(database: String, heldEvents: Set<String>) {
        self.database = database
        self.heldEvents = heldEvents
    }

    mutating func addPosition(file: String, position: String) {
        facts.binlogFile = file
        facts.binlogPosition = position
    }

    mutating func addGTID(_ gtid: String) { facts.gtid = gtid }

    mutating func add(statementLength: Int64) {
        facts.longestStatement = max(facts.longestStatement, statementLength)
    }

    /// The rows of one INSERT.
    mutating func add(_ rows: InsertedRows, to target: SQLInsertTarget) throws(SQLRefusal) {
        guard var table = tables[target.name] else { throw SQLRefusal("rows come before their table") }
        // A trigger would run with its definer's rights for each row; dumps make them after the rows.
        guard !triggered.contains(target.name) else { throw SQLRefusal("rows come after a trigger on their table") }
        guard table.insertColumns == nil || table.insertColumns == target.columns else {
            throw SQLRefusal("rows of one table have different columns")
        }
        table.insertColumns = target.columns
        table.rows += rows.rows
        table.sum.add(rows.sum)
        tables[target.name] = table
    }

    /// Takes a statement and says what it is.
    mutating func take(_ statement: SQLStatement) throws(SQLRefusal) -> SQLItem {
        weight += min(statement.bytes.count, 256)
        guard weight <= Self.heaviest else { throw SQLRefusal("it has more tables and routines than can be kept") }
        guard let use = try SQLGrammar.use(of: statement) else {
            throw SQLRefusal("it contains a statement that no dump has")
        }
        var item = SQLItem(statement: statement, use: use)
        switch use {
        case .session:
            if statement.isWord(0, "SET") { try settings.take(statement) }
        case .dropTable, .dropCode: break
        case .table: try takeTable(&item)
        case .sequence: try takeSequence(&item)
        case .sequenceValue: try takeSequenceValue(item)
        case .placeholder, .view: try takeView(&item)
        case .trigger: try takeTrigger(&item)
        case .routine: try takeRoutine(&item)
        case .event: try takeEvent(&item)
        case .databaseProperties: item.databaseName = statement.tokens[2].range
        }
        return item
    }

    func contents() throws(SQLRefusal) -> Contents {
        var data: [DataEntry] = []
        var schema = code
        for (name, table) in tables {
            data.append(
                DataEntry(
                    kind: .table, schema: "", name: name, columns: table.insertColumns ?? table.columns,
                    rows: table.rows, sum: table.sum))
            schema.append(
                SchemaEntry(
                    type: "TABLE", schema: "", name: name, owner: "", count: 1, binding: table.binding,
                    printed: table.printed))
        }
        for (name, sum) in sequences {
            data.append(DataEntry(kind: .sequence, schema: "", name: name, columns: [], rows: 1, sum: sum))
        }
        for (name, view) in views {
            guard view.isWhole else { throw SQLRefusal("a view stays a placeholder") }
            schema.append(
                SchemaEntry(
                    type: "VIEW", schema: "", name: name, owner: view.owner, count: 1,
                    binding: RowHash.sum(of: view.binding), printed: view.printed))
        }
        return Contents(data: data, schema: schema)
    }

    // MARK: Kinds

    private mutating func takeTable(_ item: inout SQLItem) throws(SQLRefusal) {
        let statement = item.statement
        guard let name = statement.name(2), tables[name] == nil else { throw SQLRefusal("a table comes twice") }
        item.name = name
        item.ownNames = ownNames(in: statement, from: 3) { _ in true }
        let own = item.ownNames.map { SQLEdit(range: $0, replacement: []) }
        let columns = SQLGrammar.columns(of: statement)
        weight += columns.reduce(0) { $0 + $1.utf8.count + 32 }
        tables[name] = Table(
            columns: columns,
            binding: RowHash.sum(of: statement.replacing(own + SQLGrammar.autoIncrement(of: statement))),
            printed: RowHash.sum(of: statement.replacing(own)))
    }

    private mutating func takeSequence(_ item: inout SQLItem) throws(SQLRefusal) {
        guard let name = item.statement.name(2), sequences[name] == nil else {
            throw SQLRefusal("a sequence comes twice")
        }
        item.name = name
        sequences[name] = RowSum()
        addCode("SEQUENCE", item, owner: "", RowHash.sum(of: item.statement.bytes))
    }

    private mutating func takeSequenceValue(_ item: SQLItem) throws(SQLRefusal) {
        guard let name = item.statement.name(3), sequences[name] == RowSum() else {
            throw SQLRefusal("a value comes without its sequence")
        }
        sequences[name] = RowHash.sum(of: item.statement.bytes)
    }

    private mutating func takeView(_ item: inout SQLItem) throws(SQLRefusal) {
        let statement = item.statement
        guard
            let index = statement.index(
                of: item.use == .view ? "VIEW" : statement.isWord(1, "TABLE") ? "TABLE" : "VIEW"),
            let name = statement.name(index + 1)
        else { throw SQLRefusal("a view has no name") }
        item.name = name
        var view = views[name] ?? View()
        if item.use == .placeholder {
            guard view.binding.isEmpty else { throw SQLRefusal("a view comes twice") }
            view.binding = SQLGrammar.placeholderColumns(of: statement)
        } else {
            guard !view.isWhole else { throw SQLRefusal("a view comes twice") }
            guard tables[name] == nil else { throw SQLRefusal("a view has the name of a table") }
            let known = Set(tables.keys).union(views.keys)
            item.ownNames = ownNames(in: statement, from: index + 2) { known.contains($0) }
            view.owner = definer(of: statement)
            view.binding += [0]
            for token in statement.tokens[..<(index + 2)] { view.binding += statement.bytes[token.range] + [32] }
            view.binding += settings.code
            view.printed = sum(of: item)
            view.isWhole = true
        }
        views[name] = view
    }

    private mutating func takeTrigger(_ item: inout SQLItem) throws(SQLRefusal) {
        let statement = item.statement
        guard let word = statement.index(of: "TRIGGER") else { throw SQLRefusal("a trigger has no name") }
        var index = word + 1
        if statement.isWord(index, "IF") { index += 3 }
        let name = try qualified(statement, &index, &item)
        guard let on = statement.index(of: "ON", from: index) else { throw SQLRefusal("a trigger has no table") }
        index = on + 1
        let table = try qualified(statement, &index, &item)
        guard tables[table] != nil || tables.isEmpty else { throw SQLRefusal("a trigger comes before its table") }
        triggered.insert(table)
        item.name = name
        addCode("TRIGGER", item, owner: definer(of: statement), sum(of: item))
    }

    /// A name that a person may have written with the database in front: then the trigger would be made there.
    private func qualified(
        _ statement: SQLStatement, _ index: inout Int, _ item: inout SQLItem
    ) throws(SQLRefusal) -> String {
        guard let first = statement.name(index) else { throw SQLRefusal("a trigger has no name") }
        guard statement.isSymbol(index + 1, "."), let second = statement.name(index + 2) else {
            index += 1
            return first
        }
        guard first == database else { throw SQLRefusal("a trigger is made in another database") }
        item.ownNames.append(statement.tokens[index].range.lowerBound..<statement.tokens[index + 1].range.upperBound)
        index += 3
        return second
    }

    private mutating func takeRoutine(_ item: inout SQLItem) throws(SQLRefusal) {
        let statement = item.statement
        guard let (type, index) = SQLGrammar.routine(of: statement), let name = statement.name(index) else {
            throw SQLRefusal("a routine has no name")
        }
        guard !statement.isSymbol(index + 1, ".") else { throw SQLRefusal("a routine is made in another database") }
        // Without parameters it would be a function out of a library of the server's.
        guard type.hasPrefix("PACKAGE") || statement.isSymbol(index + 1, "(") else {
            throw SQLRefusal("a routine has no parameters")
        }
        item.name = name
        addCode(type, item, owner: definer(of: statement), sum(of: item))
    }

    private mutating func takeEvent(_ item: inout SQLItem) throws(SQLRefusal) {
        let statement = item.statement
        guard let word = statement.index(of: "EVENT"), let name = statement.name(word + 1),
            !statement.isSymbol(word + 2, "."),
            let status = SQLGrammar.eventStatus(of: statement, from: word + 2)
        else { throw SQLRefusal("an event is not as servers print it") }
        item.name = name
        item.eventStatus = statement.tokens[status].range
        item.isEnabledEvent = statement.isWord(status, "ENABLE")
        if SQLGrammar.expires(statement, until: status) { facts.expiringEvents.insert(name) }
        let isHeld = heldEvents.contains(name) && !item.isEnabledEvent
        if item.isEnabledEvent || isHeld { facts.enabledEvents.insert(name) }
        let edits = isHeld ? [SQLEdit(range: statement.tokens[status].range, replacement: Array("ENABLE".utf8))] : []
        let sum = RowHash.sum(of: statement.replacing(edits) + settings.code + settings.zone)
        addCode("EVENT", item, owner: definer(of: statement), sum)
    }

    private mutating func addCode(_ type: String, _ item: SQLItem, owner: String, _ sum: RowSum) {
        code.append(
            SchemaEntry(
                type: type, schema: "", name: item.name, owner: owner, count: 1, binding: sum, printed: sum))
    }

    /// Over the text without its own database's name, and the settings under which it is kept.
    private func sum(of item: SQLItem) -> RowSum {
        RowHash.sum(
            of: item.statement.replacing(item.ownNames.map { SQLEdit(range: $0, replacement: []) }) + settings.code)
    }

    private mutating func definer(of statement: SQLStatement) -> String {
        guard let definer = SQLGrammar.definer(of: statement) else { return "" }
        facts.definers.insert(definer)
        return definer
    }

    /// Every `database`.`name` of the own database whose name `isMeant`.
    private func ownNames(
        in statement: SQLStatement, from start: Int, _ isMeant: (String) -> Bool
    ) -> [Range<Int>] {
        statement.tokens.indices.compactMap { index in
            guard index >= start, statement.tokens[index].kind == .name, statement.isSymbol(index + 1, "."),
                statement.name(index) == database, let name = statement.name(index + 2), isMeant(name)
            else { return nil }
            return statement.tokens[index].range.lowerBound..<statement.tokens[index + 1].range.upperBound
        }
    }
}

/// Where the rows of an INSERT go.
struct SQLInsertTarget: Equatable {
    var name: String
    /// Where they are named, as for tables with generated or invisible columns.
    var columns: [String]?

    /// From its text up to and with VALUES; `nil` where it is not what dumps have.
    init?(_ text: [UInt8]) {
        let statement = SQLStatement(text, delimiter: [], plainBackslashes: false)
        guard statement.begins("INSERT", "INTO"), let name = statement.name(2) else { return nil }
        self.name = name
        var index = 3
        if statement.isSymbol(index, "(") {
            var columns: [String] = []
            repeat {
                guard let column = statement.name(index + 1) else { return nil }
                columns.append(column)
                index += 2
            } while statement.isSymbol(index, ",")
            guard statement.isSymbol(index, ")") else { return nil }
            index += 1
            self.columns = columns
        }
        guard statement.isWord(index, "VALUES"), statement.count == index + 1 else { return nil }
    }
}
