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

/// The output of a dump tool. Its end is only reported when the tool has exited 0 and its completion line has come.
final class DumpOutput: ByteSource {
    private let child: ChildOutput
    private let label: String
    private let completionLine: String
    private let object: String
    private let tail = Guarded(StreamTail())
    private let ended = Guarded(false)

    init(_ command: ChildCommand, completionLine: String, object: String) throws {
        child = try ChildOutput(command)
        label = command.label
        self.completionLine = completionLine
        self.object = object
    }

    func next() throws -> Chunk? {
        let chunk: Chunk?
        do {
            chunk = try child.next()
        } catch let failure as ChildFailure {
            throw PostgresError.dumpTool(failure, on: object)
        }
        if let chunk {
            tail.withLock { $0.add(chunk.bytes) }
            return chunk
        }
        guard tail.value.ends(with: completionLine) else { throw PostgresError.incompleteDump(label, of: object) }
        ended.withLock { $0 = true }
        return nil
    }

    /// Whether the end has been reported.
    var isComplete: Bool { ended.value }

    func cancel() { child.cancel() }

    /// Ends the tool and waits until it is gone.
    func end() async {
        child.cancel()
        await child.ended()
    }
}
