import Core
import Streams

/// What a dump must end with to be whole.
enum CompletionLine {
    static let database = "-- PostgreSQL database dump complete"
    static let globals = "-- PostgreSQL database cluster dump complete"
}

extension StreamTail {
    /// Whether `line` stands at the end, with nothing after it but blank lines, empty comments and the `\unrestrict` of
    /// newer versions.
    func ends(with line: String) -> Bool {
        let last = lastLine { $0.elementsEqual("--".utf8) || $0.starts(with: "\\unrestrict ".utf8) }
        return last?.elementsEqual(line.utf8) ?? false
    }
}

extension ToolOutput {
    /// Of a program of PostgreSQL that ends its dump with `completionLine`.
    convenience init(_ command: ChildCommand, completionLine: String, object: String) throws {
        let label = command.label
        try self.init(
            command, isWhole: { $0.ends(with: completionLine) }, failed: { PostgresError.dumpTool($0, on: object) },
            cutShort: { PostgresError.incompleteDump(label, of: object) })
    }
}
