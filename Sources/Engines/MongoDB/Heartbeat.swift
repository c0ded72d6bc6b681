import Core

/// Asks the server, while one of our tools works there, whether its operation really does, and tells the meter.
///
/// An operation that waits for a lock makes no progress, and neither does a tool that waits for us to read or to send,
/// which has none: what holds us up then must be seen by the watchdog, not hidden from it. A probe that fails is no
/// sign of life, and is tried again.
final class MongoHeartbeat: Sendable {
    private let task: Task<Void, Never>

    /// Watches the operations of `application`, or of `tool` in one of `databases`: not every version of the tools says
    /// the application that it is told.
    init(
        _ endpoint: MongoEndpoint, application: String, tool: String, databases: [String], meter: ProgressMeter,
        timing: MongoDatabase.Timing
    ) {
        task = Task {
            var session: MongoSession?
            while !Task.isCancelled {
                do {
                    try await Task.sleep(for: timing.heartbeat)
                    let probe: MongoSession
                    if let session {
                        probe = session
                    } else {
                        probe = try await MongoSession.open(endpoint, timing: timing, purpose: "heartbeat")
                        session = probe
                    }
                    if try await Self.isWorking(application, tool, databases, seenFrom: probe) { meter.beat() }
                } catch {
                    session = nil
                }
            }
        }
    }

    deinit { task.cancel() }

    /// Returns when it has ended. Harmless twice.
    func stop() async {
        task.cancel()
        await task.value
    }

    static func isWorking(
        _ application: String, _ tool: String, _ databases: [String], seenFrom probe: MongoSession
    ) async throws -> Bool {
        let own = BSON.document(["appName": .string(application)])
        let named = databases.map { database in
            BSON.document([
                "appName": .string(tool),
                "$expr": .document([
                    "$eq": .array(of: [
                        .document([
                            "$arrayElemAt": .array(of: [
                                .document(["$split": .array(of: ["$ns", "."])]), 0,
                            ])
                        ]),
                        .document(["$literal": .string(database)]),
                    ])
                ]),
            ])
        }
        let answer = try await probe.run(
            [
                "aggregate": 1,
                "pipeline": .array(of: [
                    .document(["$currentOp": .document(["allUsers": false, "idleConnections": false])]),
                    .document([
                        "$match": .document([
                            "active": true, "waitingForLock": .document(["$ne": true]),
                            "$or": .array(of: [own] + named),
                        ])
                    ]),
                    .document(["$limit": 1]),
                ]),
                "cursor": .document([:]),
            ], in: "admin", to: "see whether our operation works")
        return !(answer.value(at: "cursor", "firstBatch")?.documents ?? []).isEmpty
    }
}
