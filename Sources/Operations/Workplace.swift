package import Core
package import Logging
package import Sets

/// Everything an operation works with, put together by the executable. One target's: its sets, its chain, its lock.
package struct Workplace: Sendable {
    package var target: String
    /// The target's own part of the store.
    package var store: any Store
    /// Which of the two it is; the second only while the first does not answer.
    package var storeName: CopyName = .primary
    /// The target's own part of the second store, where each committed set is copied to; `nil` where there is none.
    package var secondary: (any Store)?
    /// Asked for a copy of its own with every set that a backup makes; `nil` where none is configured.
    package var vault: (any Vault)?
    /// Days that a thawed object stays readable.
    package var thawDays: Int
    /// Removes what writes that never finished have left among the sets of a tier, where the kind of store leaves
    /// anything; returns how much that was.
    package var sweepUnfinishedWrites: @Sendable (Tier) async throws -> Int
    /// The source.
    package var engine: any Engine
    /// Where a restore goes, by the event's `targetDatabase`; `nil` means the source itself. Throws where the name is no
    /// destination.
    package var destination: @Sendable (String?) throws -> any Engine
    /// What reads a set's parts, by its manifest; `nil` for the source, which reads all that it makes. A target of a whole
    /// server also has safety sets of single databases.
    package var examiner: @Sendable (Manifest) -> (any Engine)? = { _ in nil }
    /// Where sets are brought to life to be proven, and a server is recovered of which one database is wanted; `nil` where
    /// none is configured.
    package var scratch: (any ScratchPlace)?
    /// The stored log of the target's server; `nil` for sources without one.
    package var log: (any WALLibrary)?
    /// What a proof by restore has to reach.
    package var thresholds = ProofThresholds()
    package var writer: SetWriterConfiguration
    package var reader: SetReaderConfiguration
    package var lease: LeaseConfiguration
    /// Checks that the configuration switched off by name; each manifest records them.
    package var exceptions: [String]
    /// Seconds without progress that end the job.
    package var stallTimeout: Int
    /// Told when a job is ended because it stood still: what hangs in the system cannot be cancelled, only left.
    package var onStall: @Sendable () -> Void
    package var clock: any WallClock
    package var sleep: @Sendable (Double) async throws -> Void
    package var random: RandomBytes
    package var logger: Logger
    /// Tells the reporters; what goes wrong there is logged by whoever put them together.
    package var report: @Sendable (RunEvent) async -> Void

    package init(
        target: String, store: any Store, secondary: (any Store)? = nil, thawDays: Int = 7,
        sweepUnfinishedWrites: @escaping @Sendable (Tier) async throws -> Int,
        engine: any Engine,
        destination: @escaping @Sendable (String?) throws -> any Engine, writer: SetWriterConfiguration,
        reader: SetReaderConfiguration, lease: LeaseConfiguration, exceptions: [String], stallTimeout: Int,
        onStall: @escaping @Sendable () -> Void, clock: any WallClock,
        sleep: @escaping @Sendable (Double) async throws -> Void, random: @escaping RandomBytes, logger: Logger,
        report: @escaping @Sendable (RunEvent) async -> Void
    ) {
        self.target = target
        self.store = store
        self.secondary = secondary
        self.thawDays = thawDays
        self.sweepUnfinishedWrites = sweepUnfinishedWrites
        self.engine = engine
        self.destination = destination
        self.writer = writer
        self.reader = reader
        self.lease = lease
        self.exceptions = exceptions
        self.stallTimeout = stallTimeout
        self.onStall = onStall
        self.clock = clock
        self.sleep = sleep
        self.random = random
        self.logger = logger
        self.report = report
    }

    var catalog: Catalog { Catalog(store) }

    func reading(_ manifest: Manifest) -> any Engine { examiner(manifest) ?? engine }

    /// Says which step of the operation begins.
    func step(_ name: String) async {
        logger.info("\(name)")
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
