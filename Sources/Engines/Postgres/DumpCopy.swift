/// The table and columns of a `COPY … FROM stdin`.
struct DumpCopy {
    var schema: String
    var name: String
    var columns: [String] = []

    /// From a statement that begins with COPY; `nil` where it is not exactly what pg_dump writes, because psql would
    /// then read something else as data than this reader does.
    init?(_ statement: DumpStatement) {
        guard statement.isWord(0, "COPY"), let (schema, name, next) = statement.qualifiedName(1) else { return nil }
        self.schema = schema
        self.name = name
        var index = next
        if statement.isSymbol(index, "(") {
            repeat {
                guard let column = statement.name(index + 1) else { return nil }
                columns.append(column)
                index += 2
            } while statement.isSymbol(index, ",")
            guard statement.isSymbol(index, ")") else { return nil }
            index += 1
        }
        guard statement.isWord(index, "FROM"), statement.isWord(index + 1, "stdin"), statement.count == index + 2
        else { return nil }
    }
}
