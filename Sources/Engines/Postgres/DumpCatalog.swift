import Core

/// The header that pg_dump writes above each thing: `-- Name: t; Type: TABLE; Schema: public; Owner: o`.
struct DumpHeader {
    var name = ""
    var type = ""
    var schema = ""
    var owner = ""
    var tablespace = ""

    init() {}

    /// From a comment without its dashes; `nil` where it is not such a header. Names may contain anything but line
    /// breaks, so the fields are found from the right.
    init?(_ comment: [UInt8]) {
        let text = String(decoding: comment, as: UTF8.self)
        let starts = [" Name: ", " Data for Name: "]
        guard let start = starts.first(where: { text.hasPrefix($0) }) else { return nil }
        var rest = text.dropFirst(start.count)
        tablespace = Self.cut(&rest, at: "; Tablespace: ") ?? ""
        guard let owner = Self.cut(&rest, at: "; Owner: "), let schema = Self.cut(&rest, at: "; Schema: "),
            let type = Self.cut(&rest, at: "; Type: ")
        else { return nil }
        self.owner = owner == "-" ? "" : owner
        self.schema = schema == "-" ? "" : schema
        self.type = type
        name = String(rest)
    }

    /// Takes what stands behind the last `separator` off `text`.
    private static func cut(_ text: inout Substring, at separator: String) -> String? {
        let bytes = Array(text.utf8)
        let wanted = Array(separator.utf8)
        guard bytes.count >= wanted.count else { return nil }
        for start in stride(from: bytes.count - wanted.count, through: 0, by: -1)
        where bytes[start] == wanted[0] && bytes[start...].starts(with: wanted) {
            text = Substring(decoding: bytes[..<start], as: UTF8.self)
            return String(decoding: bytes[(start + wanted.count)...], as: UTF8.self)
        }
        return nil
    }
}

/// Gathers what a dump's statements say: schema entries, sequences, large objects, and what the dump needs.
struct DumpCatalog {
    private struct Key: Hashable {
        var type: String
        var schema: String
        var name: String
        var owner: String
    }

    private struct Sums {
        var count: Int64 = 0
        var binding = RowSum()
        var printed = RowSum()
    }

    struct Refusal: Error { var reason: String }

    private(set) var data: [DataEntry] = []
    private(set) var facts = DumpFacts()
    private var schema: [Key: Sums] = [:]
    private var header = DumpHeader()
    private var accessMethod = "heap"
    private var largeObject: (name: String, hash: DumpHash)?

    mutating func comment(_ text: [UInt8]) {
        if let header = DumpHeader(text) {
            self.header = header
            if !header.tablespace.isEmpty { facts.tablespaces.insert(header.tablespace) }
            return
        }
        facts.serverVersion = facts.serverVersion ?? Self.value(of: " Dumped from database version ", in: text)
        facts.clientVersion = facts.clientVersion ?? Self.value(of: " Dumped by pg_dump version ", in: text)
    }

    private static func value(of start: String, in text: [UInt8]) -> String? {
        guard text.starts(with: start.utf8) else { return nil }
        return String(decoding: text.dropFirst(start.utf8.count), as: UTF8.self)
    }

    mutating func setUsesRestrict(_ value: Bool) { facts.usesRestrict = value }

    mutating func table(_ table: DumpCopy, _ rows: DumpRows) {
        data.append(
            DataEntry(
                kind: .table, schema: table.schema, name: table.name, columns: table.columns, rows: rows.rows,
                sum: rows.sum))
    }

    /// A statement other than COPY. `digest` is that of its whole text; with `isLong` only the beginning of the text
    /// is known.
    mutating func statement(_ statement: DumpStatement, digest: RowSum, isLong: Bool) throws(Refusal) {
        if !isLong, try takeOutsideSchema(statement) { return }
        facts.add(statement)
        var sums = schema[key(of: statement), default: Sums()]
        sums.count += 1
        sums.printed.add(digest)
        let binding = isLong ? nil : DumpBinding.text(of: statement)
        sums.binding.add(binding.map { DumpHash.sum(of: $0) } ?? digest)
        for text in storage(of: statement) {
            let extra = DumpHash.sum(of: Array(text.utf8))
            sums.printed.add(extra)
            sums.binding.add(extra)
        }
        schema[key(of: statement)] = sums
    }

    /// The dump states where a thing is stored in its header and in a setting, not in the statement.
    private func storage(of statement: DumpStatement) -> [String] {
        var texts: [String] = []
        let isTable =
            statement.begins("CREATE", "TABLE") || statement.begins("CREATE", "UNLOGGED", "TABLE")
            || statement.begins("CREATE", "MATERIALIZED", "VIEW")
        let isStored =
            isTable || statement.begins("CREATE", "INDEX") || statement.begins("CREATE", "UNIQUE", "INDEX")
            || statement.index(of: "ADD", "CONSTRAINT") != nil
        if isStored, !header.tablespace.isEmpty { texts.append("tablespace \(header.tablespace)") }
        if isTable, accessMethod != "heap" { texts.append("access method \(accessMethod)") }
        return texts
    }

    /// By the header above the statement. Large objects, of which newer versions put many under one header, are told
    /// apart by number.
    private func key(of statement: DumpStatement) -> Key {
        var key = Key(type: header.type, schema: header.schema, name: header.name, owner: header.owner)
        if key.type.isEmpty { key.type = "STATEMENT" }
        if let index = statement.index(of: "LARGE", "OBJECT"), let number = statement.name(index + 2) {
            let isOwner = statement.isWord(0, "ALTER")
            key.type = isOwner ? "LARGE OBJECT" : header.type
            key.name = isOwner ? number : "LARGE OBJECT \(number)"
        } else if Self.function(statement) == "lo_create", let number = statement.string(5) {
            key.type = "LARGE OBJECT"
            key.name = number
        }
        return key
    }

    func contents() -> Contents {
        Contents(
            data: data,
            schema: schema.map { key, sums in
                SchemaEntry(
                    type: key.type, schema: key.schema, name: key.name, owner: key.owner, count: sums.count,
                    binding: sums.binding, printed: sums.printed)
            })
    }
}

// MARK: What is not schema

extension DumpCatalog {
    /// `f` of `SELECT pg_catalog.f(`.
    fileprivate static func function(_ statement: DumpStatement) -> String? {
        guard statement.isWord(0, "SELECT"), statement.name(1) == "pg_catalog", statement.isSymbol(2, "."),
            statement.isSymbol(4, "(")
        else { return nil }
        return statement.name(3)
    }

    /// Settings, transactions, sequence values and the contents of large objects; `false` for all else.
    private mutating func takeOutsideSchema(_ statement: DumpStatement) throws(Refusal) -> Bool {
        if statement.isWord(0, "SET"), !statement.isWord(1, "SESSION") {
            try takeSetting(statement)
            return true
        }
        if statement.begins("RESET", "SESSION", "AUTHORIZATION") { return true }
        if statement.isWord(0, "BEGIN") || statement.isWord(0, "COMMIT") { return statement.count == 1 }
        switch Self.function(statement) {
        case "set_config":
            return statement.string(5) == "search_path"
        case "setval":
            try takeSequence(statement)
        case "lo_open":
            guard let name = statement.string(5), largeObject == nil else { return false }
            largeObject = (name, DumpHash())
        case "lo_close":
            guard let finished = largeObject.take() else { return false }
            data.append(
                DataEntry(
                    kind: .largeObject, schema: "", name: finished.name, columns: [], rows: 1,
                    sum: finished.hash.finish()))
        default:
            return false
        }
        return true
    }

    private mutating func takeSetting(_ statement: DumpStatement) throws(Refusal) {
        guard let name = statement.name(1) else { return }
        let value = statement.string(3) ?? statement.name(3) ?? ""
        switch name {
        case "default_table_access_method":
            accessMethod = value
        case "client_encoding":
            // In these a byte of a letter can look like a quote or a backslash.
            let unsafe = ["SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004"]
            guard !unsafe.contains(value.uppercased()) else {
                throw Refusal(reason: "its encoding is one that dumps of this program never have")
            }
        default: break
        }
    }

    private mutating func takeSequence(_ statement: DumpStatement) throws(Refusal) {
        guard let text = statement.string(5), statement.isSymbol(6, ","),
            let (schema, name, next) = DumpStatement(Array(text.utf8), standardStrings: true).qualifiedName(0),
            next > 0
        else { throw Refusal(reason: "it sets a sequence in a way that pg_dump does not") }
        var value: [UInt8] = []
        for index in 7..<max(7, statement.count - 1) { value.append(contentsOf: statement.bytes(index)) }
        data.append(
            DataEntry(
                kind: .sequence, schema: schema, name: name, columns: [], rows: 1, sum: DumpHash.sum(of: value)))
    }

    /// Takes the statement that writes a piece of a large object, `SELECT pg_catalog.lowrite(0, '\x…')`, of which a
    /// dump may have millions; `false` where `text` is none.
    mutating func takeLargeObject(_ text: [UInt8]) throws(Refusal) -> Bool {
        guard text.starts(with: Self.writeStart), text.count >= Self.writeStart.count + 4 else { return false }
        guard let (name, begun) = largeObject.take() else {
            throw Refusal(reason: "a piece of a large object stands outside one")
        }
        var hash = begun
        var start = Self.writeStart.count + 1
        // Without standard_conforming_strings the backslash is doubled.
        if text[start] == UInt8(ascii: "\\") { start += 1 }
        guard text[Self.writeStart.count] == UInt8(ascii: "\\"), text[start] == UInt8(ascii: "x"),
            text.suffix(2).elementsEqual("')".utf8), let piece = Self.decoded(text[(start + 1)..<(text.count - 2)])
        else { throw Refusal(reason: "a piece of a large object is not in hexadecimal") }
        hash.update(piece)
        largeObject = (name, hash)
        return true
    }

    private static let writeStart = Array("SELECT pg_catalog.lowrite(0, '".utf8)

    private static func decoded(_ digits: ArraySlice<UInt8>) -> [UInt8]? {
        guard digits.count.isMultiple(of: 2) else { return nil }
        var isValid = true
        let value = { (digit: UInt8) -> UInt8 in
            switch digit {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): return digit - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): return digit - UInt8(ascii: "a") + 10
            default:
                isValid = false
                return 0
            }
        }
        let bytes = [UInt8](unsafeUninitializedCapacity: digits.count / 2) { buffer, count in
            var index = digits.startIndex
            while index < digits.endIndex {
                buffer.initializeElement(at: count, to: value(digits[index]) << 4 | value(digits[index + 1]))
                count += 1
                index += 2
            }
        }
        return isValid ? bytes : nil
    }
}
