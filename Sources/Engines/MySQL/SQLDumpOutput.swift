import Core
import Streams

extension StreamTail {
    /// Whether a dump's completion line stands at the end. It has the time behind it, unless that was switched off.
    var endsWithCompletedDump: Bool {
        lastLine { $0.isEmpty }?.starts(with: "-- Dump completed".utf8) ?? false
    }
}

extension ToolOutput {
    /// Of the dump program. `programs` holds what it reads its password from, for as long as it runs.
    convenience init(_ command: ChildCommand, of programs: ClientPrograms, object: String) throws {
        let label = command.label
        try self.init(
            command, isWhole: { [programs] tail in withExtendedLifetime(programs) { tail.endsWithCompletedDump } },
            failed: { MySQLError.dumpTool($0, on: object) },
            cutShort: { MySQLError.incompleteDump(label, of: object) })
    }
}
