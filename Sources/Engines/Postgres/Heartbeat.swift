import Core

/// Asks the server, while one of our tools works there, whether its session really does, and tells the meter.
///
/// A session that waits for a lock makes no progress, and neither does one that waits for us to read or to send: what
/// holds us up then must be seen by the watchdog, not hidden from it. A probe that fails is no sign of life, and is
/// tried again.
final class Heartbeat: Sendable {
    private let task: Task<Void, Never>

    /// Watches the sessions that are called `application`, from a session in `database`.
    init(
        _ endpoint: PostgresEndpoint, database: String, application: String, meter: ProgressMeter,
        every interval: Duration = .seconds(5)
    ) {
        task = Task {
            var connection: Connection?
            while !Task.isCancelled {
                do {
                    try await Task.sleep(for: interval)
                    let probe: Connection
                    if let connection {
                        probe = connection
                    } else {
                        probe = try await Connection.open(endpoint, database: database, purpose: "heartbeat")
                        connection = probe
                    }
                    if try await Self.isWorking(application, seenFrom: probe) { meter.beat() }
                } catch {
                    connection?.close()
                    connection = nil
                }
            }
            connection?.close()
        }
    }

    deinit { task.cancel() }

    /// Returns when its session is gone. Harmless twice.
    func stop() async {
        task.cancel()
        await task.value
    }

    static func isWorking(_ application: String, seenFrom probe: Connection) async throws -> Bool {
        try await !probe.rows(
            """
            SELECT 1 FROM pg_catalog.pg_stat_activity WHERE application_name = $1 AND state = 'active'
            AND (wait_event_type IS NULL OR wait_event_type NOT IN ('Lock', 'Client'))
            """, [application], to: "see whether our session works"
        ).isEmpty
    }
}
