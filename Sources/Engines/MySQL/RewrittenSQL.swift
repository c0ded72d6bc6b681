import Core
import Streams

/// What becomes of a dump's statements on their way to a client.
struct SQLRewriting {
    /// The database they are loaded into: it takes the place of the dump's own in names.
    var target: String
    /// Only views, triggers, routines and events, without tables and rows.
    var codeOnly = false
    /// Events are made switched off, so that none runs beside the original.
    var holdsEvents = false
    /// Events that were made so are switched on.
    var releasedEvents: Set<String> = []

    func append(_ piece: SQLDumpReader.Piece, to output: inout [UInt8]) {
        switch piece {
        case .delimiter(let delimiter):
            output += Array("DELIMITER ".utf8) + delimiter + [UInt8(ascii: "\n")]
        case .statement(let item):
            guard !codeOnly || item.use.isCode || item.statement.isWord(0, "SET") else { return }
            // Nobody else is where it is loaded, and a server refuses rows for a table whose default takes a sequence's
            // next value while the table is locked and the sequence, of which the dump does not think, is not.
            guard !item.statement.isWord(0, "LOCK"), !item.statement.isWord(0, "UNLOCK") else { return }
            output += item.statement.replacing(edits(of: item))
            // On a line of its own: the statement may end in a comment.
            output += [UInt8(ascii: "\n")] + item.statement.delimiter + [UInt8(ascii: "\n")]
        case .insert(let text):
            if !codeOnly { output += text }
        case .rows(let bytes):
            if !codeOnly { output.append(contentsOf: bytes) }
        }
    }

    private func edits(of item: SQLItem) -> [SQLEdit] {
        // A trigger is made where its table is; tables and views are named in full where the dump does so.
        let qualifier = item.use == .trigger ? [] : Array("\(backticked(target)).".utf8)
        var edits = item.ownNames.map { SQLEdit(range: $0, replacement: qualifier) }
        if let range = item.databaseName {
            edits.append(SQLEdit(range: range, replacement: Array(backticked(target).utf8)))
        }
        if let range = item.eventStatus {
            if item.isEnabledEvent, holdsEvents {
                edits.append(SQLEdit(range: range, replacement: Array("DISABLE".utf8)))
            } else if !item.isEnabledEvent, releasedEvents.contains(item.name) {
                edits.append(SQLEdit(range: range, replacement: Array("ENABLE".utf8)))
            }
        }
        return edits
    }
}

/// A dump on its way to a client, read by us first: nothing reaches the client that no dump contains, and the end only
/// when the dump is complete and `check` agrees with what it held.
final class RewrittenSQL: ByteSource {
    private struct State {
        var reader: SQLDumpReader?
        var output: [UInt8] = []
        var tail = StreamTail()
        var isOver = false
    }

    private let base: any ByteSource
    private let rewriting: SQLRewriting
    private let check: @Sendable (Contents, SQLDumpFacts) throws -> Void
    private let state: Guarded<State>

    /// Statements that hold for the client's session, whatever server and user bring along: waiting for us may last.
    private static let session =
        "SET SESSION wait_timeout = 28800, net_read_timeout = 600, net_write_timeout = 600;\n"

    init(
        _ base: any ByteSource, database: String, _ rewriting: SQLRewriting,
        check: @escaping @Sendable (Contents, SQLDumpFacts) throws -> Void
    ) {
        self.base = base
        self.rewriting = rewriting
        self.check = check
        state = Guarded(
            State(reader: SQLDumpReader(database: database), output: Array(Self.session.utf8)))
    }

    func next() throws -> Chunk? {
        while true {
            if let ready = state.withLock({ Self.ready(&$0) }) { return ready }
            if state.value.isOver { return nil }
            if let chunk = try base.next() {
                try state.withLock { try take(chunk, &$0) }
            } else {
                try finish()
            }
        }
    }

    func cancel() { base.cancel() }

    private static func ready(_ state: inout State) -> Chunk? {
        guard !state.output.isEmpty, state.isOver || state.output.count >= Chunk.size else { return nil }
        let chunk = Chunk(state.output.prefix(Chunk.size))
        state.output.removeFirst(chunk.count)
        return chunk
    }

    private func take(_ chunk: Chunk, _ state: inout State) throws {
        state.tail.add(chunk.bytes)
        // Taken out and put back, so that it is not copied.
        guard var reader = state.reader.take() else { throw CancellationError() }
        try reader.update(chunk.bytes) { rewriting.append($0, to: &state.output) }
        state.reader = reader
    }

    private func finish() throws {
        let (reader, tail) = state.withLock { ($0.reader.take(), $0.tail) }
        guard let reader else { throw CancellationError() }
        guard tail.endsWithCompletedDump else {
            throw MySQLError.damagedPart(
                DatabaseSnapshot.PartName.database, "it does not end with the completion line of a dump")
        }
        let (contents, facts) = try reader.finish()
        try check(contents, facts)
        state.withLock { $0.isOver = true }
    }
}
