package import Core
import Glibc
import Subprocess
import SystemPackage

/// Runs `command` with everything `source` gives on its standard input, and waits for it.
///
/// Where the source fails, or the task is cancelled, the child is ended **before** its input is closed: a client that
/// loads takes the end of its input for the end of the work, and would commit half a table with exit status 0. Throws
/// the source's error unchanged, or ``ChildFailure``.
///
/// Returns the end of what it wrote to its standard error, for tools that say there what they could not do and exit 0.
/// It may hold patients' data: match it against known patterns, and never log, store or send it.
@discardableResult
package func feedChild(
    _ command: ChildCommand, from source: any ByteSource, meter: ProgressMeter
) async throws -> [UInt8] {
    let pipe = try Pipe()
    let child = Child(command, input: pipe.readEnd, output: nil)
    let isCancelled = Guarded(false)
    return try await withTaskCancellationHandler {
        try await onThread("feed") {
            let pumped = Result {
                try Feed(descriptor: pipe.writeEnd, isCancelled: isCancelled, meter: meter).pump(source)
            }
            guard case .failure(let error) = pumped else {
                close(pipe.writeEnd)
                try child.waitUntilExit()
                return child.errorTail
            }
            source.cancel()
            if !(error is BrokenPipe) { child.terminate() }
            let ending = Result { try child.waitUntilExit() }
            close(pipe.writeEnd)
            guard error is BrokenPipe else { throw error }
            try ending.get()
            throw ChildFailure(label: command.label, ending: .closedInput, errorTail: [])
        }
    } onCancel: {
        isCancelled.withLock { $0 = true }
        source.cancel()
        child.terminate()
    }
}

/// Runs `command` without input and returns what it writes, `outputLimit` bytes at most.
package func runChild(_ command: ChildCommand, outputLimit: Int) async throws -> [UInt8] {
    let output = try ChildOutput(command)
    return try await withTaskCancellationHandler {
        try await onThread("run") { try output.collect(limit: outputLimit) }
    } onCancel: {
        output.cancel()
    }
}

/// The child no longer reads.
struct BrokenPipe: Error {}

/// Moves a source into a pipe.
struct Feed {
    let descriptor: FileDescriptor
    let isCancelled: Guarded<Bool>
    let meter: ProgressMeter?

    func pump(_ source: any ByteSource) throws {
        blockBrokenPipeSignal()
        // Non-blocking, so that a child that reads nothing cannot hold this thread past a cancellation.
        guard fcntl(descriptor.rawValue, F_SETFL, O_NONBLOCK) == 0 else { throw Errno(rawValue: errno) }
        while let chunk = try source.next() {
            var rest = chunk.bytes
            while !rest.isEmpty {
                try waitUntilReady(descriptor, POLLOUT) { isCancelled.value }
                let count = write(descriptor.rawValue, rest.baseAddress, rest.count)
                if count > 0 {
                    meter?.add(count)
                    rest = UnsafeRawBufferPointer(rebasing: rest[count...])
                } else if errno == EPIPE {
                    throw BrokenPipe()
                } else if errno != EAGAIN, errno != EINTR {
                    throw Errno(rawValue: errno)
                }
            }
        }
    }

    /// A child that died early is an error to be reported, not a signal that ends us. This thread ends with the feed,
    /// and with it the signal that waits.
    private func blockBrokenPipeSignal() {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGPIPE)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
    }
}
