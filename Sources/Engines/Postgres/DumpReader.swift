import Core
import Glibc

/// Reads the plain output of `pg_dump` (13 to 17) as it streams by and says what is in it.
///
/// `update` takes the bytes in any pieces; `finish` must be called once at their end. Memory stays below about 16 MiB
/// for any dump: a row is hashed where it lies, and of a statement at most 4 MiB are kept. `docs/contents.md` states
/// how every digest is made.
///
/// The text may have been written by anybody who holds a public key, and psql runs commands on the machine it runs
/// on, so the reader follows psql's own rules for what is quoted and refuses every psql command but
/// `\restrict`/`\unrestrict`. A server can change those rules while it executes a statement
/// (`standard_conforming_strings` set by a function), which no reader can see: whoever loads a dump should also put
/// psql into its restricted mode where it has one.
package struct DumpReader {
    private enum Position {
        case statements
        /// The COPY statement has ended; its line has to end too, because psql runs the rest of it after the data.
        case lineAfterCopy
        case rows
    }

    private var lexer = DumpLexer()
    private var frame = DumpFrame(.database)
    private var catalog = DumpCatalog()
    private var position = Position.statements
    private var table: DumpCopy?
    private var rows = DumpRows()
    /// Lines before the piece that is being read.
    private var line = 0

    package init() {}

    /// Reads the next bytes. Throws ``DumpError``, after which nothing more is to be read.
    package mutating func update(_ bytes: UnsafeRawBufferPointer) throws(DumpError) {
        // psql cuts its lines there, so that it could see the end of the data in another place.
        guard dumpIndex(of: 0, in: bytes, from: 0) == nil else { throw malformed("it contains a byte of zero") }
        var offset = 0
        while offset < bytes.count {
            switch position {
            case .statements:
                try readStatements(bytes, &offset)
            case .lineAfterCopy:
                guard bytes[offset] == UInt8(ascii: "\n") else {
                    throw malformed("something follows a COPY statement on its line")
                }
                offset += 1
                line += 1
                position = .rows
            case .rows:
                try readRows(bytes, &offset)
            }
        }
    }

    /// After the last byte. Throws ``DumpError`` where the dump is not complete.
    package consuming func finish() throws(DumpError) -> DumpSummary {
        guard position == .statements, lexer.isBetweenStatements else {
            throw .incomplete(.database, line: line + 1)
        }
        try frame.finish(line: line + 1)
        catalog.setUsesRestrict(frame.usesRestrict)
        return DumpSummary(contents: catalog.contents(), facts: catalog.facts)
    }

    private func malformed(_ reason: String) -> DumpError {
        .malformed(.database, line: line + 1, reason: reason)
    }

    private mutating func readStatements(_ bytes: UnsafeRawBufferPointer, _ offset: inout Int) throws(DumpError) {
        let start = offset
        let event: DumpLexer.Event?
        do {
            event = try lexer.next(bytes, &offset)
        } catch {
            line += dumpLines(bytes, start..<min(offset, bytes.count))
            throw error.isCommand ? .command(.database, line: line + 1) : malformed(error.reason)
        }
        line += dumpLines(bytes, start..<offset)
        switch event {
        case .comment:
            try frame.comment(lexer.comment, line: line + 1)
            catalog.comment(lexer.comment)
        case .command:
            try frame.command(lexer.comment, line: line + 1)
        case .statement:
            try frame.statement(line: line + 1)
            try takeStatement()
            lexer.startStatement()
        case nil:
            break
        }
    }

    private mutating func takeStatement() throws(DumpError) {
        do throws(DumpCatalog.Refusal) {
            if !lexer.isLong, try catalog.takeLargeObject(lexer.text) { return }
            let digest = lexer.digest().finish()
            let statement = DumpStatement(lexer.knownText, standardStrings: lexer.standardStrings)
            if statement.isWord(0, "COPY") || statement.name(0)?.lowercased() == "copy" {
                guard !lexer.isLong, let copy = DumpCopy(statement) else {
                    throw DumpCatalog.Refusal(reason: "it contains a COPY that pg_dump does not write")
                }
                table = copy
                rows = DumpRows()
                position = .lineAfterCopy
                return
            }
            if statement.isWord(0, "SET"), statement.name(1) == "standard_conforming_strings" {
                lexer.standardStrings = statement.name(3) == "on"
            }
            try catalog.statement(statement, digest: digest, isLong: lexer.isLong)
        } catch {
            throw malformed(error.reason)
        }
    }

    private mutating func readRows(_ bytes: UnsafeRawBufferPointer, _ offset: inout Int) throws(DumpError) {
        switch rows.update(UnsafeRawBufferPointer(rebasing: bytes[offset...])) {
        case .more:
            offset = bytes.count
        case .ended(let consumed):
            offset += consumed
            line += Int(rows.rows) + 1
            if let table { catalog.table(table, rows) }
            position = .statements
            lexer.resumeAtLineStart()
        case .foreignEnd:
            line += Int(rows.rows)
            throw malformed("a row is what psql takes for the end of the data")
        }
    }
}

/// Reads the output of `pg_dumpall --globals-only` as it streams by, and says whether it is whole and safe to load.
/// The same rules hold as for ``DumpReader``.
package struct GlobalsReader {
    private var lexer = DumpLexer()
    private var frame = DumpFrame(.globals)
    private var summary = GlobalsSummary()
    private var line = 0

    package init() {}

    /// Reads the next bytes. Throws ``DumpError``, after which nothing more is to be read.
    package mutating func update(_ bytes: UnsafeRawBufferPointer) throws(DumpError) {
        guard dumpIndex(of: 0, in: bytes, from: 0) == nil else {
            throw .malformed(.globals, line: line + 1, reason: "it contains a byte of zero")
        }
        var offset = 0
        while offset < bytes.count {
            let start = offset
            let event: DumpLexer.Event?
            do {
                event = try lexer.next(bytes, &offset)
            } catch {
                line += dumpLines(bytes, start..<min(offset, bytes.count))
                throw error.isCommand
                    ? .command(.globals, line: line + 1)
                    : .malformed(.globals, line: line + 1, reason: error.reason)
            }
            line += dumpLines(bytes, start..<offset)
            try take(event)
        }
    }

    /// After the last byte. Throws ``DumpError`` where the dump is not complete.
    package consuming func finish() throws(DumpError) -> GlobalsSummary {
        guard lexer.isBetweenStatements else { throw .incomplete(.globals, line: line + 1) }
        try frame.finish(line: line + 1)
        summary.usesRestrict = frame.usesRestrict
        return summary
    }

    private mutating func take(_ event: DumpLexer.Event?) throws(DumpError) {
        switch event {
        case .comment:
            try frame.comment(lexer.comment, line: line + 1)
        case .command:
            try frame.command(lexer.comment, line: line + 1)
        case .statement:
            try frame.statement(line: line + 1)
            try takeStatement()
            lexer.startStatement()
        case nil:
            break
        }
    }

    private mutating func takeStatement() throws(DumpError) {
        let statement = DumpStatement(lexer.knownText, standardStrings: lexer.standardStrings)
        if statement.name(0)?.lowercased() == "copy" {
            throw .malformed(.globals, line: line + 1, reason: "it contains a COPY, which roles have no use for")
        }
        if statement.begins("CREATE", "ROLE"), let name = statement.name(2) {
            summary.roles.append(name)
        } else if statement.begins("CREATE", "TABLESPACE"), let name = statement.name(2) {
            summary.tablespaces.append(name)
        } else if statement.isWord(0, "SET"), statement.name(1) == "standard_conforming_strings" {
            lexer.standardStrings = statement.name(3) == "on"
        }
    }
}

/// How many lines end in `range` of `bytes`.
private func dumpLines(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> Int {
    let piece = UnsafeRawBufferPointer(rebasing: bytes[range])
    var count = 0
    var offset = 0
    while let newline = dumpIndex(of: UInt8(ascii: "\n"), in: piece, from: offset) {
        count += 1
        offset = newline + 1
    }
    return count
}
