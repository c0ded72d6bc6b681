package import Core
package import Logging
package import Sets

/// Everything an operation works with, put together by the executable. One target's: its sets, its chain, its lock.
package struct Workplace: Sendable {
    package var target: String
    /// The target's own part of the store.
    package var store: any Store
    /// The source.
    package var engine: any Engine
    /// Where a restore goes, by the event's `targetDatabase`; `nil` means the source itself. Throws where the name is no
    /// destination.
    package var destination: @Sendable (String?) throws -> any Engine
    package var writer: SetWriterConfiguration
    package var reader: SetReaderConfiguration
    package var lease: LeaseConfiguration
    /// Checks that the configuration switched off by name; each manifest records them.
    package var exceptions: [String]
    /// Seconds without progress that end the job.
    package var stallTimeout: Int
    package var clock: any WallClock
    package var sleep: @Sendable (Double) async throws -> Void
    package var random: RandomBytes
    package var logger: Logger
    /// Tells the reporters; what goes wrong there is logged by whoever put them together.
    package var report: @Sendable (RunEvent) async -> Void

    package init(
        target: String, store: any Store, engine: any Engine,
        destination: @escaping @Sendable (String?) throws -> any Engine, writer: SetWriterConfiguration,
        reader: SetReaderConfiguration, lease: LeaseConfiguration, exceptions: [String], stallTimeout: Int,
        clock: any WallClock,
        sleep: @escaping @Sendable (Double) async throws -> Void, random: @escaping RandomBytes, logger: Logger,
        report: @escaping @Sendable (RunEvent) async -> Void
    ) {
        self.target = target
        self.store = store
        self.engine = engine
        self.destination = destination
        self.writer = writer
        self.reader = reader
        self.lease = lease
        self.exceptions = exceptions
        self.stallTimeout = stallTimeout
        self.clock = clock
        self.sleep = sleep
        self.random = random
        self.logger = logger
        self.report = report
    }

    var catalog: Catalog { Catalog(store) }

    /// Says which step of the operation begins.
    func step(_ name: String) async {
        logger.info("\(name)", metadata: ["step": "\(name)"])
        await report(.step(name))
    }

    /// The target's lock, held for `body` and given back whatever happens.
    func locked<Result: Sendable>(
        for requestID: RequestID, waiting seconds: Int, _ body: @escaping @Sendable (Lease) async throws -> Result
    ) async throws -> Result {
        let logger = logger
        let lease = try await Lease.acquire(
            in: store, configuration: lease, requestID: requestID.description, waiting: seconds,
            onWait: { holder in
                logger.notice(
                    "waiting for another run's lock",
                    metadata: [
                        "holder": "\(holder.name)", "since": "\(holder.since)", "expires": "\(holder.expires)",
                    ])
            })
        let result: Swift.Result<Result, any Error>
        do {
            result = .success(try await lease.guarding { try await body(lease) })
        } catch {
            result = .failure(error)
        }
        await uncancelled {
            do {
                try await lease.release()
            } catch {
                logger.warning("the lock was not given back; it runs out by itself", metadata: ["why": "\(error)"])
            }
        }
        return try result.get()
    }
}

/// Runs `body` to its end even where the task around it has been cancelled: for what cleans up.
func uncancelled<Result: Sendable>(
    _ body: @escaping @Sendable () async throws -> Result
) async throws -> Result {
    try await Task { try await body() }.value
}

func uncancelled(_ body: @escaping @Sendable () async -> Void) async {
    await Task { await body() }.value
}
