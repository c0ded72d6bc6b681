package import Core
import Glibc
import SystemPackage

/// A child between two sources: it reads the one, and its output is the other.
///
/// The end is only reported when the child has read everything and exited 0. Where the source before it fails the
/// child is ended before its input is closed, and that error is this one's; where the child fails, ``ChildFailure``.
package final class ChildFilter: ByteSource {
    private let base: any ByteSource
    private let output: ChildOutput
    private let fed: ChunkQueue
    private let isCancelled: Guarded<Bool>
    private let isAtEnd = Guarded(false)
    private let label: String

    /// Starts `command` and begins to read `base` on a thread of its own.
    package init(_ command: ChildCommand, reading base: any ByteSource) throws {
        let pipe = try Pipe()
        let output = try ChildOutput(command, input: pipe.readEnd)
        let fed = ChunkQueue(capacity: 1)
        let isCancelled = Guarded(false)
        self.base = base
        self.output = output
        self.fed = fed
        self.isCancelled = isCancelled
        label = command.label
        do {
            try startThread("feed") {
                let result = Result {
                    try Feed(descriptor: pipe.writeEnd, isCancelled: isCancelled, meter: nil).pump(base)
                }
                if case .failure(let error) = result {
                    base.cancel()
                    // The end of its input would be taken for the end of the work.
                    if !(error is BrokenPipe) { output.terminateAndWait() }
                }
                close(pipe.writeEnd)
                fed.finish(result)
            }
        } catch {
            output.terminateAndWait()
            close(pipe.writeEnd)
            throw error
        }
    }

    /// Given up midway both ends are told. At its end the source is left alone: it may be one of several over another.
    deinit { if !isAtEnd.value { cancel() } }

    package func next() throws -> Chunk? {
        do {
            if let chunk = try output.next() { return chunk }
        } catch {
            // The source before may wait for something that nobody needs any more.
            base.cancel()
            do {
                try fed.waitForEnd()
            } catch let cause where !(cause is BrokenPipe) && !(cause is CancellationError) {
                throw cause
            } catch {
                // The child's own failure is the cause.
            }
            throw isCancelled.value ? CancellationError() : error
        }
        do {
            try fed.waitForEnd()
        } catch is BrokenPipe {
            throw ChildFailure(label: label, ending: .closedInput, errorTail: output.errorTail)
        }
        isAtEnd.withLock { $0 = true }
        return nil
    }

    package func cancel() {
        isCancelled.withLock { $0 = true }
        base.cancel()
        output.cancel()
    }

    /// The end of what the child has written to its standard error; empty before it has ended. As private as that of a
    /// ``ChildFailure``.
    package var errorTail: [UInt8] { output.errorTail }
}
