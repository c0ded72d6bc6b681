package import Core

/// The output of a dump tool. Its end is only reported when the tool has exited 0 and what must stand at a whole dump's
/// end has come.
package final class ToolOutput: ByteSource {
    private let child: ChildOutput
    private let isWhole: @Sendable (StreamTail) -> Bool
    private let failed: @Sendable (ChildFailure) -> any Failure
    private let cutShort: @Sendable () -> any Failure
    private let tail = Guarded(StreamTail())
    private let ended = Guarded(false)

    /// The closures live as long as the child may: what it reads from may be held by one of them.
    package init(
        _ command: ChildCommand, isWhole: @escaping @Sendable (StreamTail) -> Bool,
        failed: @escaping @Sendable (ChildFailure) -> any Failure, cutShort: @escaping @Sendable () -> any Failure
    ) throws {
        child = try ChildOutput(command)
        self.isWhole = isWhole
        self.failed = failed
        self.cutShort = cutShort
    }

    package func next() throws -> Chunk? {
        let chunk: Chunk?
        do {
            chunk = try child.next()
        } catch let failure as ChildFailure {
            throw failed(failure)
        }
        if let chunk {
            tail.withLock { $0.add(chunk.bytes) }
            return chunk
        }
        guard isWhole(tail.value) else { throw cutShort() }
        ended.withLock { $0 = true }
        return nil
    }

    /// Whether the end has been reported.
    package var isComplete: Bool { ended.value }

    package func cancel() { child.cancel() }

    /// Ends the tool and waits until it is gone.
    package func end() async {
        child.cancel()
        await child.ended()
    }
}
