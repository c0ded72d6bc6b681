import Core
import Glibc

/// Reads what `mariadb-dump` and `mysqldump` write as it streams by, and says what is in it.
///
/// `update` takes the bytes in any pieces; `finish` must be called once at their end. Memory is bounded: a row is hashed
/// where it lies, and of statements one is held. `docs/contents.md` states how every digest is made.
struct SQLDumpReader {
    /// What of the text is given on.
    enum Piece {
        case delimiter([UInt8])
        case statement(SQLItem)
        /// An INSERT up to and with VALUES.
        case insert([UInt8])
        /// Rows as they stand there, up to and with the `;`.
        case rows(UnsafeRawBufferPointer)
    }

    private var lexer = SQLLexer()
    private var catalog: SQLDumpCatalog
    private var target: SQLInsertTarget?
    private var rows = InsertedRows(plainBackslashes: false)
    private var insertLength: Int64 = 0
    /// Line breaks before what is read next.
    private var line = 1

    /// For a dump of the database `database`. `heldEvents` are read as if they were enabled.
    init(database: String, heldEvents: Set<String> = []) {
        catalog = SQLDumpCatalog(database: database, heldEvents: heldEvents)
    }

    var facts: SQLDumpFacts { catalog.facts }

    /// Reads the next bytes and gives what they hold to `emit`. Throws ``SQLDumpError``, after which nothing more is to
    /// be read, and what `emit` throws.
    mutating func update(_ bytes: UnsafeRawBufferPointer, _ emit: (Piece) throws -> Void) throws {
        var offset = 0
        while offset < bytes.count {
            let start = offset
            if target != nil {
                try readRows(bytes, &offset, emit)
            } else {
                try readStatement(bytes, &offset, emit)
            }
            countLines(bytes, start..<offset)
        }
    }

    /// After the last byte.
    consuming func finish() throws -> (contents: Contents, facts: SQLDumpFacts) {
        guard lexer.isBetween, target == nil else { throw SQLDumpError.incomplete(line: line) }
        do throws(SQLRefusal) {
            return (try catalog.contents(), catalog.facts)
        } catch {
            throw SQLDumpError.malformed(line: line, reason: error.reason)
        }
    }

    private mutating func readRows(
        _ bytes: UnsafeRawBufferPointer, _ offset: inout Int, _ emit: (Piece) throws -> Void
    ) throws {
        let rest = UnsafeRawBufferPointer(rebasing: bytes[offset...])
        switch rows.update(rest) {
        case .more:
            insertLength += Int64(rest.count)
            offset = bytes.count
            try emit(.rows(rest))
        case .ended(let consumed):
            insertLength += Int64(consumed)
            try emit(.rows(UnsafeRawBufferPointer(rebasing: rest[..<consumed])))
            offset += consumed
            if let target {
                try refusing { (reader) throws(SQLRefusal) in
                    try reader.catalog.add(reader.rows, to: target)
                }
            }
            catalog.add(statementLength: insertLength)
            target = nil
        case .foreign:
            throw malformed("something stands among rows that no dump has there")
        }
    }

    private mutating func readStatement(
        _ bytes: UnsafeRawBufferPointer, _ offset: inout Int, _ emit: (Piece) throws -> Void
    ) throws {
        let event: SQLLexer.Event?
        do throws(SQLLexer.Refusal) {
            event = try lexer.next(bytes, &offset)
        } catch {
            switch error {
            case .command: throw SQLDumpError.command(line: line)
            case .malformed(let reason): throw malformed(reason)
            }
        }
        switch event {
        case nil: return
        case .comment: takeComment()
        case .delimiter: try emit(.delimiter(lexer.delimiter))
        case .insert:
            guard let target = SQLInsertTarget(lexer.text) else {
                throw malformed("an INSERT is not as dumps have it")
            }
            self.target = target
            rows = InsertedRows(plainBackslashes: catalog.plainBackslashes)
            insertLength = Int64(lexer.text.count)
            try emit(.insert(lexer.text))
        case .statement:
            let statement = SQLStatement(
                lexer.text, delimiter: lexer.delimiter, plainBackslashes: lexer.plainBackslashes)
            catalog.add(statementLength: Int64(statement.bytes.count))
            let item = try refusing { (reader) throws(SQLRefusal) in try reader.catalog.take(statement) }
            lexer.plainBackslashes = catalog.plainBackslashes
            try emit(.statement(item))
        }
        lexer.reset()
    }

    private mutating func refusing<Value>(
        _ body: (inout SQLDumpReader) throws(SQLRefusal) -> Value
    ) throws(SQLDumpError) -> Value {
        do throws(SQLRefusal) {
            return try body(&self)
        } catch {
            throw malformed(error.reason)
        }
    }

    private func malformed(_ reason: String) -> SQLDumpError { .malformed(line: line, reason: reason) }

    /// Where the binary log stood, in one of the words that the programs have for it:
    ///
    ///     -- CHANGE MASTER TO MASTER_LOG_FILE='binlog.000001', MASTER_LOG_POS=512;
    ///     -- CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='binlog.000001', SOURCE_LOG_POS=157;
    ///     -- SET GLOBAL gtid_slave_pos='0-1-1';
    private mutating func takeComment() {
        let text = String(decoding: lexer.text, as: UTF8.self)
        if text.hasPrefix("-- CHANGE "), let file = Self.value(in: text, after: "_LOG_FILE='", until: "'"),
            let position = Self.value(in: text, after: "_LOG_POS=", until: ";")
        {
            catalog.addPosition(file: file, position: position)
        } else if text.hasPrefix("-- SET GLOBAL gtid_slave_pos='"),
            let gtid = Self.value(in: text, after: "gtid_slave_pos='", until: "'"), !gtid.isEmpty
        {
            catalog.addGTID(gtid)
        }
    }

    private static func value(in text: String, after start: String, until end: Character) -> String? {
        guard let found = text.firstRange(of: start) else { return nil }
        return String(text[found.upperBound...].prefix { $0 != end })
    }

    private mutating func countLines(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) {
        guard let base = bytes.baseAddress else { return }
        var position = base + range.lowerBound
        let end = base + range.upperBound
        while let found = memchr(position, Int32(UInt8(ascii: "\n")), end - position) {
            line += 1
            position = UnsafeRawPointer(found) + 1
        }
    }
}

/// The reader of dumps, shared between the thread that feeds it and whoever wants what it found.
final class SQLContentsReader: Sendable {
    private let reader: Guarded<SQLDumpReader?>

    init(database: String, heldEvents: Set<String> = []) {
        reader = Guarded(SQLDumpReader(database: database, heldEvents: heldEvents))
    }

    /// Reads on. Refuses what no dump contains.
    func read(_ chunk: Chunk) throws {
        try reader.withLock { try $0?.update(chunk.bytes) { _ in } }
    }

    /// What was in the dump. Once.
    func finish() throws -> (contents: Contents, facts: SQLDumpFacts) {
        let reader = reader.withLock { reader in
            defer { reader = nil }
            return reader
        }
        guard let reader else { throw CancellationError() }
        return try reader.finish()
    }
}
