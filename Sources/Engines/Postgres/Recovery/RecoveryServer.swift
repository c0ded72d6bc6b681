import Core
import Glibc
import Streams

/// A PostgreSQL server of our own on a restored cluster, reached over a private socket only.
///
/// It is gone with this process, whatever ends it. ``stop()`` or ``kill()`` has to be awaited before its files are
/// touched again.
final class RecoveryServer: Sendable {
    /// Seconds that a server may take to shut down in order: what it holds is written by then, and not flushed.
    private static let shutdownPatience = 120

    let cluster: ClusterDirectory
    let tools: ServerTools
    let owner: ClusterOwner?
    let log: RecoveryLog
    /// The directory of its socket: the host to connect to.
    var host: String { sockets.path }

    private let sockets: SocketDirectory
    private let process: ServerProcess

    private init(
        cluster: ClusterDirectory, tools: ServerTools, owner: ClusterOwner?, log: RecoveryLog,
        sockets: SocketDirectory, process: ServerProcess
    ) {
        self.cluster = cluster
        self.tools = tools
        self.owner = owner
        self.log = log
        self.sockets = sockets
        self.process = process
    }

    /// Starts the server on what is in `cluster`. It has its settings from `options` alone, but for what
    /// `postgresql.auto.conf` says of things that those do not name.
    static func start(
        _ cluster: ClusterDirectory, tools: ServerTools, owner: ClusterOwner?, options: ServerLaunch,
        sockets: SocketDirectory, meter: ProgressMeter
    ) async throws -> RecoveryServer {
        try await onThread("server files") {
            try sockets.write("", to: options.settingsFile)
            try sockets.write("", to: options.identFile)
            try sockets.write(ServerLaunch.access, to: options.accessFile)
        }
        let log = RecoveryLog(meter: meter)
        let process = try ServerProcess(
            tools.command(
                "postgres", options.arguments(data: cluster.data, major: tools.major), in: cluster.data, owner: owner)
        ) { log.read($0) }
        return RecoveryServer(
            cluster: cluster, tools: tools, owner: owner, log: log, sockets: sockets, process: process)
    }

    /// Another server on the same files, after this one was stopped.
    func again(_ options: ServerLaunch, meter: ProgressMeter) async throws -> RecoveryServer {
        try await Self.start(
            cluster, tools: tools, owner: owner, options: options, sockets: sockets, meter: meter)
    }

    /// Returns once it is an ordinary server: recovery has reached its end, and sessions are let in. Throws what the
    /// server gave up with. How long that takes depends on the log; its signs of life go to the meter.
    func waitUntilReady() async throws {
        while true {
            if process.isGone { throw try await failure() }
            if try isReady() { return }
            try await Task.sleep(for: .milliseconds(25))
        }
    }

    /// The last line of the server's own file says what it is doing.
    private func isReady() throws(PostgresError) -> Bool {
        let path = "\(cluster.data)/postmaster.pid"
        guard access(path, F_OK) == 0 else { return false }
        let bytes: [UInt8]
        do {
            bytes = try cluster.contents(of: path)
        } catch {
            // It goes away when the server does, which is looked at next.
            return false
        }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        return lines.count >= 8 && lines[7].hasPrefix("ready")
    }

    /// What the server ended with; waits for its end.
    private func failure() async throws -> PostgresError {
        let ending = try await process.ending()
        let findings = log.findings
        if let known = findings.failure {
            let end = findings.end.map { "; it was followed to \($0)" } ?? ""
            let commit = findings.lastCommit.map { ", its last commit is of \($0)" } ?? ""
            return .recovery(known.cause + end + commit, hint: known.hint, on: cluster.path)
        }
        let code = findings.fatalCode.map { ", SQLSTATE \($0)" } ?? ""
        let words =
            switch ending {
            case .exited(let status): "exited with status \(status)"
            case .signalled(let signal): "was ended by signal \(signal)"
            }
        return .recovery(
            "the server \(words)\(code)",
            hint: ending == .signalled(SIGKILL)
                ? "it was killed: look for the memory limit of the pod, then run again"
                : "its words may quote rows and are not shown: recover the set by hand to see them", on: cluster.path)
    }

    /// Shuts it down so that its files are whole; throws where it does not end well. A task that is cancelled has it ended
    /// at once, for what is thrown away.
    func stop() async throws {
        process.signal(SIGINT)
        // One that is ended at once says 0 like one that has shut down.
        let isEndedAtOnce = Guarded(false)
        let endAtOnce: @Sendable () -> Void = { [process] in
            isEndedAtOnce.withLock { $0 = true }
            process.signal(SIGQUIT)
        }
        let watch = Task {
            try await Task.sleep(for: .seconds(Self.shutdownPatience))
            endAtOnce()
        }
        defer { watch.cancel() }
        let ending = try await withTaskCancellationHandler {
            try await process.ending()
        } onCancel: {
            endAtOnce()
        }
        guard ending == .exited(0), !isEndedAtOnce.value else {
            try Task.checkCancellation()
            throw PostgresError.recovery(
                "the server did not shut down in order", hint: "run again; look at the disk and at the memory limit",
                on: cluster.path)
        }
    }

    /// Ends it at once, for what is thrown away. Harmless twice, and after ``stop()``.
    func kill() async {
        process.signal(SIGQUIT)
        let watch = Task { [process] in
            try await Task.sleep(for: .seconds(5))
            process.signal(SIGKILL)
        }
        // How it ends says nothing here.
        _ = await Result { try await process.ending() }
        watch.cancel()
    }
}
