package import Core
import Glibc
import SystemPackage

/// The standard output of a child, as a source. Its end is only reported when the child has exited 0.
package final class ChildOutput: ByteSource {
    private struct State {
        var descriptor: FileDescriptor?
        var isCancelled = false
    }

    /// Dump tools write 4 KiB at a time. Woken for each of those, this thread and the tool spend their cores on
    /// switching between each other; a pipe of a mebibyte holds what comes in a few milliseconds.
    private static let worthWakingFor = 128 << 10
    /// Microseconds.
    private static let pause: UInt32 = 2000

    private let child: Child
    private let state: Guarded<State>

    /// Starts `command` with nothing on its standard input. A program that cannot be started shows as a
    /// ``ChildFailure`` at the first `next`.
    package convenience init(_ command: ChildCommand) throws { try self.init(command, input: nil) }

    /// The same with `input` as its standard input, which is closed in this process.
    init(_ command: ChildCommand, input: FileDescriptor?) throws {
        let pipe = try Pipe()
        child = Child(command, input: input, output: pipe.writeEnd)
        state = Guarded(State(descriptor: pipe.readEnd))
    }

    deinit {
        child.terminate()
        close(state.value.descriptor)
    }

    package func next() throws -> Chunk? {
        guard let descriptor = state.value.descriptor else { throw CancellationError() }
        let chunk = Chunk()
        while chunk.remaining > 0 {
            try waitUntilReady(descriptor, POLLIN) { state.value.isCancelled }
            let count = try chunk.append { room throws(Errno) in
                while true {
                    let count = read(descriptor.rawValue, room.baseAddress, room.count)
                    if count >= 0 { return count }
                    if errno != EINTR { throw Errno(rawValue: errno) }
                }
            }
            if count == 0 { break }
            if count < Self.worthWakingFor, chunk.remaining > 0 { usleep(Self.pause) }
        }
        if chunk.count > 0 { return chunk }
        if state.value.isCancelled { throw CancellationError() }
        try child.waitUntilExit()
        return nil
    }

    package func cancel() {
        state.withLock { $0.isCancelled = true }
        child.terminate()
    }

    /// The end of what the child has written to its standard error, once it has exited 0. As private as that of a
    /// ``ChildFailure``.
    package var errorTail: [UInt8] { child.errorTail }

    /// Ends the child, whatever it does, and blocks until it is gone.
    func terminateAndWait() {
        child.terminate()
        // How it ended shows at the reading end.
        _ = Result { try child.waitUntilExit() }
    }

    /// Waits until the child is gone; after ``cancel()``, for those who must not leave it behind.
    package func ended() async { await child.ended() }
}
