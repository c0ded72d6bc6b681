import CLinux
import Core
import Glibc

/// SIGTERM, SIGINT and SIGHUP end the job: its task is cancelled, which ends children and cleans up; a job that has not
/// ended nine seconds later is ended as it stands, which every step of it is made to survive.
final class Termination: Sendable {
    /// Seconds.
    static let patience: UInt32 = 9

    private struct State {
        var cancel: (@Sendable () -> Void)?
        var isAsked = false
    }

    private let state = Guarded(State())

    /// Begins to listen. Signals that come before ``onRequest(_:)`` are kept for it.
    init() throws {
        let descriptor = linux_watch_termination()
        guard descriptor >= 0 else { throw FileProblem(path: "signals", errno: errno) }
        // Writing to a child that has gone is an error where it happens, not a signal.
        signal(SIGPIPE, SIG_IGN)
        try startThread("signals") { [self] in
            var number: UInt8 = 0
            while read(descriptor, &number, 1) < 0, errno == EINTR {}
            request()
        }
    }

    /// Whether a signal has asked for the end.
    var isAsked: Bool { state.withLock { $0.isAsked } }

    func onRequest(_ cancel: @escaping @Sendable () -> Void) {
        let isLate = state.withLock { state in
            state.cancel = cancel
            return state.isAsked
        }
        if isLate { cancel() }
    }

    /// Ends the process with `code` where it is still there `patience` seconds from now.
    static func arm(_ code: ExitCode, patience: UInt32 = patience) {
        do {
            try startThread("patience") {
                sleep(patience)
                linux_exit_now(code.rawValue)
            }
        } catch {
            linux_exit_now(code.rawValue)
        }
    }

    private func request() {
        let cancel = state.withLock { state in
            state.isAsked = true
            return state.cancel
        }
        Self.arm(.terminated)
        cancel?()
    }
}
