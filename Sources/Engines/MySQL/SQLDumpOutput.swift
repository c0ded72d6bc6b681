import Core
import Streams

extension StreamTail {
    /// Whether a dump's completion line stands at the end. It has the time behind it, unless that was switched off.
    var endsWithCompletedDump: Bool {
        lastLine { $0.isEmpty }?.starts(with: "-- Dump completed".utf8) ?? false
    }
}

/// The output of a dump tool. Its end is only reported when the tool has exited 0 and its completion line has come.
final class SQLDumpOutput: ByteSource {
    private let child: ChildOutput
    private let label: String
    private let object: String
    // The child reads them for as long as it runs.
    private let programs: ClientPrograms
    private let tail = Guarded(StreamTail())
    private let ended = Guarded(false)

    init(_ command: ChildCommand, of programs: ClientPrograms, object: String) throws {
        child = try ChildOutput(command)
        label = command.label
        self.programs = programs
        self.object = object
    }

    func next() throws -> Chunk? {
        let chunk: Chunk?
        do {
            chunk = try child.next()
        } catch let failure as ChildFailure {
            throw MySQLError.dumpTool(failure, on: object)
        }
        if let chunk {
            tail.withLock { $0.add(chunk.bytes) }
            return chunk
        }
        guard tail.value.endsWithCompletedDump else { throw MySQLError.incompleteDump(label, of: object) }
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
