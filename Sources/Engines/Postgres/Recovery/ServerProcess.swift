import CLinux
import Core
import Glibc

/// Who owns a cluster's files: the user that PostgreSQL's programs have to run as.
struct ClusterOwner: Equatable, Sendable {
    var user: UInt32
    var group: UInt32
}

/// One of PostgreSQL's own programs, run as the owner of a cluster.
///
/// However this process ends, the program is sent its last signal by the kernel. What it writes may hold patients' data:
/// its lines are given to whoever looks for known ones, and never logged, stored or sent.
final class ServerProcess: Sendable {
    struct Command: Sendable {
        /// Absolute path.
        var executable: String
        /// Without the program's own name. Others can read them: nothing secret.
        var arguments: [String]
        /// Where it runs: one that the owner may enter.
        var directory: String
        /// `nil` runs it as ourselves.
        var owner: ClusterOwner?
        /// What it reads from its standard input: 4 KiB at most.
        var input: [UInt8] = []
        /// For people: `postgres`.
        var label: String
        /// What it is sent when this process is gone. The server's own "stop at once" by default.
        var lastSignal: Int32 = SIGQUIT
    }

    enum Ending: Equatable, Sendable {
        case exited(Int32)
        case signalled(Int32)

        /// Of what `waitpid` says.
        init(status: Int32) {
            self = status & 0x7F == 0 ? .exited((status >> 8) & 0xFF) : .signalled(status & 0x7F)
        }
    }

    private enum State {
        case starting(isUnwanted: Bool)
        case running(Int32)
        case gone
    }

    /// Bytes of a line that are looked at.
    private static let longestLine = 8 << 10

    let label: String
    private let state: Guarded<State>
    private let task: Task<Ending, any Error>
    private let reading: Task<Void, any Error>

    /// Starts it. `line` is given each line of its output and of its errors, without the line break, from one thread.
    init(_ command: Command, line: @escaping @Sendable (String) -> Void) throws(PostgresError) {
        var ends: [Int32] = [-1, -1]
        guard linux_pipe(&ends, 64 << 10) == 0 else { throw .cannotStart(command.label, error: errno) }
        let (readEnd, writeEnd) = (ends[0], ends[1])
        let state = Guarded(State.starting(isUnwanted: false))
        label = command.label
        self.state = state
        reading = Task {
            try await onThread("server log") {
                Self.read(readEnd, line)
                close(readEnd)
            }
        }
        task = Task {
            try await withCheckedThrowingContinuation { continuation in
                do {
                    // This very thread has to live as long as the program does.
                    try startThread("server", yields: false) {
                        continuation.resume(with: Result { try Self.run(command, output: writeEnd, state) })
                    }
                } catch {
                    close(writeEnd)
                    continuation.resume(throwing: error)
                }
            }
        }
    }

    deinit { signal(SIGQUIT) }

    var isGone: Bool { if case .gone = state.value { true } else { false } }

    /// Sends it a signal; one that is gone is none to send to.
    func signal(_ number: Int32) {
        state.withLock { state in
            switch state {
            case .starting: state = .starting(isUnwanted: true)
            // Under the lock: until it has been waited for nobody else is given its number.
            case .running(let identifier): kill(identifier, number)
            case .gone: break
            }
        }
    }

    /// Waits until it is gone and all that it wrote has been read.
    func ending() async throws -> Ending {
        let ending = try await task.value
        try await reading.value
        return ending
    }

    private static func run(_ command: Command, output: Int32, _ state: Guarded<State>) throws -> Ending {
        let started: Result<Int32, PostgresError> = state.withLock { state in
            defer { close(output) }
            if case .starting(isUnwanted: true) = state {
                state = .gone
                return .success(0)
            }
            let identifier = start(command, output: output)
            let code = errno
            state = identifier > 0 ? .running(identifier) : .gone
            return identifier > 0 ? .success(identifier) : .failure(.cannotStart(command.label, error: code))
        }
        let identifier = try started.get()
        guard identifier > 0 else { throw CancellationError() }
        var facts = siginfo_t()
        while waitid(P_PID, id_t(identifier), &facts, WEXITED | WNOWAIT) != 0, errno == EINTR {}
        return state.withLock { state in
            var status: Int32 = 0
            while waitpid(identifier, &status, 0) < 0, errno == EINTR {}
            state = .gone
            return Ending(status: status)
        }
    }

    private static func start(_ command: Command, output: Int32) -> Int32 {
        // Messages in English, so that the few known ones can be told apart.
        let environment = Tool.baseEnvironment.merging(["TZ": "UTC"]) { _, ours in ours }.map {
            "\($0.key)=\($0.value)"
        }
        let input = Self.input(command.input)
        defer { if input >= 0 { close(input) } }
        return withPointers([command.executable] + command.arguments) { arguments in
            withPointers(environment) { environment in
                linux_start_owned(
                    command.executable, arguments, environment, command.directory, input, output,
                    command.owner.map { Int32(bitPattern: $0.user) } ?? -1,
                    command.owner.map { Int32(bitPattern: $0.group) } ?? -1, command.lastSignal)
            }
        }
    }

    /// The reading end of a pipe that holds `bytes`; -1 for none.
    private static func input(_ bytes: [UInt8]) -> Int32 {
        var ends: [Int32] = [-1, -1]
        guard !bytes.isEmpty, linux_pipe(&ends, 4096) == 0 else { return -1 }
        // A pipe takes as much as that without a reader.
        let written = write(ends[1], bytes, bytes.count)
        close(ends[1])
        if written == bytes.count { return ends[0] }
        close(ends[0])
        return -1
    }

    private static func withPointers<Result>(
        _ texts: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>?) -> Result
    ) -> Result {
        let copies: [UnsafeMutablePointer<CChar>?] = texts.map { strdup($0) } + [nil]
        defer { for copy in copies { free(copy) } }
        return copies.withUnsafeBufferPointer { body($0.baseAddress) }
    }

    /// Reads to the end, so that the program never waits for us.
    private static func read(_ descriptor: Int32, _ give: (String) -> Void) {
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        var pending: [UInt8] = []
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            if count <= 0 { break }
            for byte in buffer[..<count] {
                if byte == UInt8(ascii: "\n") {
                    give(String(decoding: pending, as: UTF8.self))
                    pending.removeAll(keepingCapacity: true)
                } else if pending.count < longestLine {
                    pending.append(byte)
                }
            }
        }
        if !pending.isEmpty { give(String(decoding: pending, as: UTF8.self)) }
    }
}

extension ServerProcess {
    /// Runs a program to its end and returns its lines, `limit` bytes of them at most. Cancelling the task ends it.
    static func run(_ command: Command, limit: Int = 1 << 20) async throws -> (ending: Ending, lines: [String]) {
        let lines = Guarded<(kept: [String], bytes: Int)>(([], 0))
        let process = try ServerProcess(command) { line in
            lines.withLock { lines in
                lines.bytes += line.utf8.count
                if lines.bytes <= limit { lines.kept.append(line) }
            }
        }
        let ending = try await withTaskCancellationHandler {
            try await process.ending()
        } onCancel: {
            process.signal(SIGKILL)
        }
        try Task.checkCancellation()
        return (ending, lines.withLock { $0.kept })
    }
}
