import Core
import Glibc
import Subprocess
import SystemPackage

/// A program to run. Nothing secret in `arguments` or `environment`: both can be read by others on the machine.
package struct ChildCommand: Sendable {
    /// Absolute path.
    package var executable: String
    package var arguments: [String]
    /// All of it: nothing is inherited.
    package var environment: [String: String]
    /// For people: `pg_dump`.
    package var label: String

    package init(executable: String, arguments: [String], environment: [String: String], label: String) {
        self.executable = executable
        self.arguments = arguments
        self.environment = environment
        self.label = label
    }
}

/// A child that did not end as it should.
package struct ChildFailure: Error, Sendable {
    package enum Ending: Equatable, Sendable {
        case exited(Int32)
        case signalled(Int32)
        /// It could not be started at all; the words are the system's.
        case notStarted(String)
        /// It exited 0 without having read all of its input.
        case closedInput
    }

    package var label: String
    package var ending: Ending
    /// The end of what it wrote to its standard error. It may hold patients' data: match it against known patterns,
    /// and never log, store or send it.
    package var errorTail: [UInt8]

    package init(label: String, ending: Ending, errorTail: [UInt8]) {
        self.label = label
        self.ending = ending
        self.errorTail = errorTail
    }

    /// `pg_dump exited with status 1`: safe to show.
    package var summary: String {
        switch ending {
        case .exited(let status): "\(label) exited with status \(status)"
        case .signalled(let signal): "\(label) was ended by signal \(signal)"
        case .notStarted(let words): "\(label) could not be started: \(words)"
        case .closedInput: "\(label) stopped reading before the end of its input"
        }
    }
}

/// A running child in a session of its own, so that ending it ends what it started too.
final class Child: Sendable {
    /// How much of its standard error is kept, in bytes.
    static let errorLimit = 16 << 10

    private let task: Task<Void, Never>
    private let ended: ChunkQueue
    private let identifier: Guarded<Int32?>
    private let tail: Guarded<[UInt8]>

    /// The end of what a child that is gone, and exited 0, wrote to its standard error.
    var errorTail: [UInt8] { tail.value }

    /// Starts `command`; `input` and `output` are closed in this process once the child has them.
    init(_ command: ChildCommand, input: FileDescriptor?, output: FileDescriptor?) {
        let ended = ChunkQueue(capacity: 1)
        let identifier = Guarded<Int32?>(nil)
        let tail = Guarded<[UInt8]>([])
        self.ended = ended
        self.identifier = identifier
        self.tail = tail
        task = Task {
            do {
                let words = try await Self.run(command, input: input, output: output, identifier: identifier)
                tail.withLock { $0 = words }
                ended.finish(.success(()))
            } catch {
                ended.finish(.failure(error))
            }
        }
    }

    /// Blocks until the child is gone; throws ``ChildFailure`` unless it exited 0.
    func waitUntilExit() throws { try ended.waitForEnd() }

    func ended() async { await task.value }

    /// Asks it to end, then, after two seconds, makes it.
    func terminate() { task.cancel() }

    private static func run(
        _ command: ChildCommand, input: FileDescriptor?, output: FileDescriptor?, identifier: Guarded<Int32?>
    ) async throws -> [UInt8] {
        var options = PlatformOptions()
        options.createSession = true
        options.teardownSequence = [
            .send(signal: .terminate, toProcessGroup: true, allowedDurationToNextStep: .seconds(2)),
            .send(signal: .kill, toProcessGroup: true, allowedDurationToNextStep: .milliseconds(100)),
        ]
        let environment = Environment.custom(
            Dictionary(uniqueKeysWithValues: command.environment.map { (Environment.Key(stringLiteral: $0), $1) }))
        let nothing = try input == nil || output == nil ? FileDescriptor.open("/dev/null", .readWrite) : nil
        defer { close(nothing) }
        guard let childInput = input ?? nothing, let childOutput = output ?? nothing else { return [] }
        let status: TerminationStatus
        let tail: [UInt8]
        do {
            let result = try await Subprocess.run(
                .path(FilePath(command.executable)), arguments: Arguments(command.arguments),
                environment: environment, platformOptions: options,
                input: .fileDescriptor(childInput, closeAfterSpawningProcess: input != nil),
                output: .fileDescriptor(childOutput, closeAfterSpawningProcess: output != nil), error: .sequence
            ) { execution in
                identifier.withLock { $0 = execution.processIdentifier.value }
                return try await Self.tail(of: execution.standardError)
            }
            status = result.terminationStatus
            tail = result.closureResult
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            throw ChildFailure(
                label: command.label, ending: .notStarted(startFailure(command, error)), errorTail: [])
        }
        switch status {
        case .exited(0): return tail
        case .exited(let code):
            throw ChildFailure(label: command.label, ending: .exited(code), errorTail: tail)
        case .signaled(let signal):
            throw ChildFailure(label: command.label, ending: .signalled(signal), errorTail: tail)
        }
    }

    private static func startFailure(_ command: ChildCommand, _ error: any Error) -> String {
        access(command.executable, X_OK) == 0
            ? "the system refused to run \(command.executable)"
            : "there is no program that may be run at \(command.executable)"
    }

    /// Reads standard error to its end, so that the child never waits for us, and keeps the last of it.
    private static func tail(of errors: SubprocessOutputSequence) async throws -> [UInt8] {
        var tail: [UInt8] = []
        for try await buffer in errors {
            buffer.withUnsafeBytes { tail.append(contentsOf: $0) }
            if tail.count > 2 * errorLimit { tail.removeFirst(tail.count - errorLimit) }
        }
        return Array(tail.suffix(errorLimit))
    }
}
