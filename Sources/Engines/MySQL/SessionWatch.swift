import Core

/// Asks the server, while one of our programs works there, whether its session really does, and tells the meter.
///
/// A session that waits for a lock makes no progress, and neither does one that waits for us to read or to send: what
/// holds us up then must be seen by the watchdog, not hidden from it. A probe that fails is no sign of life, and is
/// tried again.
final class SessionWatch: Sendable {
    private let task: Task<Void, Never>

    /// Watches the sessions of our user in `database` that were not there before, which `known` are.
    init(
        _ endpoint: MySQLEndpoint, database: String, known: Set<Int64>, meter: ProgressMeter, every interval: Duration
    ) {
        task = Task {
            var session: ServerSession?
            while !Task.isCancelled {
                do {
                    try await Task.sleep(for: interval)
                    let probe: ServerSession
                    if let session {
                        probe = session
                    } else {
                        probe = try await ServerSession.open(endpoint, database: nil)
                        session = probe
                    }
                    if try await Self.isWorking(in: database, besides: known, seenFrom: probe) { meter.beat() }
                } catch {
                    session?.close()
                    session = nil
                }
            }
            session?.close()
        }
    }

    deinit { task.cancel() }

    /// Returns when its session is gone. Harmless twice.
    func stop() async {
        task.cancel()
        await task.value
    }

    /// The sessions of our user that are in `database` now.
    static func sessions(in database: String, seenFrom session: ServerSession) async throws -> Set<Int64> {
        let rows = try await session.rows(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE DB = \(quotedText(database))",
            to: "see who is in the database")
        return Set(rows.map { $0.integer(0) })
    }

    static func isWorking(
        in database: String, besides known: Set<Int64>, seenFrom session: ServerSession
    ) async throws -> Bool {
        let rows = try await session.rows(
            """
            SELECT ID FROM information_schema.PROCESSLIST WHERE DB = \(quotedText(database))
            AND USER = SUBSTRING_INDEX(USER(), '@', 1) AND ID <> CONNECTION_ID() AND COMMAND <> 'Sleep'
            AND STATE NOT LIKE 'Waiting for%' AND STATE NOT IN ('Writing to net', 'Reading from net',
                'Sending to client', 'Receiving from client', '')
            """, to: "see whether our session works")
        return rows.contains { !known.contains($0.integer(0)) }
    }
}
