/// What stands around the statements of a dump: the line it begins with, the line that completes it, and the pair of
/// psql commands with which newer versions of the tools shut psql's other commands off.
struct DumpFrame {
    private enum Stage { case before, inside, completed, closed }

    private let kind: DumpError.Kind
    private var stage = Stage.before
    private var token: [UInt8]?
    private var isRestricted = false

    init(_ kind: DumpError.Kind) { self.kind = kind }

    private var title: String {
        switch kind {
        case .database: " PostgreSQL database dump"
        case .globals: " PostgreSQL database cluster dump"
        }
    }

    /// A comment alone on its line, without its two dashes.
    mutating func comment(_ text: [UInt8], line: Int) throws(DumpError) {
        switch stage {
        case .before:
            if text == Array(title.utf8) {
                stage = .inside
            } else if !text.isEmpty {
                throw .notADump(kind)
            }
        case .inside:
            if text == Array((title + " complete").utf8) { stage = .completed }
        case .completed:
            guard text.isEmpty else { throw .trailing(kind, line: line) }
            stage = .closed
        case .closed:
            throw .trailing(kind, line: line)
        }
    }

    /// A statement is about to begin or has ended.
    func statement(line: Int) throws(DumpError) {
        switch stage {
        case .before: throw .notADump(kind)
        case .inside: return
        case .completed, .closed: throw .trailing(kind, line: line)
        }
    }

    /// A psql command, without its backslash. Only `restrict` and `unrestrict` with the same token are let through.
    mutating func command(_ text: [UInt8], line: Int) throws(DumpError) {
        let pieces = text.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        guard stage != .before, pieces.count == 2, !pieces[1].isEmpty, pieces[1].allSatisfy(Self.isAlphanumeric)
        else { throw .command(kind, line: line) }
        if pieces[0].elementsEqual("restrict".utf8), token == nil, stage == .inside {
            token = Array(pieces[1])
            isRestricted = true
        } else if pieces[0].elementsEqual("unrestrict".utf8), isRestricted, token == Array(pieces[1]) {
            isRestricted = false
        } else {
            throw .command(kind, line: line)
        }
    }

    /// The bytes have ended.
    func finish(line: Int) throws(DumpError) {
        guard stage == .closed, !isRestricted else { throw .incomplete(kind, line: line) }
    }

    var usesRestrict: Bool { token != nil }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        DumpWord.isPart(byte) && byte < 128 && byte != UInt8(ascii: "_") && byte != UInt8(ascii: "$")
    }
}
