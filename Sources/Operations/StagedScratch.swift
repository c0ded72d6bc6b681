package import Core

/// A scratch place for engines without a server of their own inside the job: sets are staged beside what stands at a
/// destination, compared there, and removed. They never take the place of anything.
package struct StagedScratch: ScratchPlace {
    package let label: String
    package var holdsOne: Bool { true }
    private let engine: any Engine
    private let clock: any WallClock
    private let prepare: @Sendable () async throws -> Void
    private let cleanUp: @Sendable () async throws -> Void
    private let onLeftover: @Sendable (any Error) -> Void

    /// `engine`: bound to a name of its own at the destination, under which nothing stands. What is staged under it by a
    /// run that was killed is cleared by the next. `prepare` makes what the engine expects to be there, `cleanUp` removes
    /// it once nothing is staged any more. `onLeftover` is told why something could not be removed.
    package init(
        label: String, engine: any Engine, clock: any WallClock,
        prepare: @escaping @Sendable () async throws -> Void = {},
        cleanUp: @escaping @Sendable () async throws -> Void = {},
        onLeftover: @escaping @Sendable (any Error) -> Void
    ) {
        self.label = label
        self.engine = engine
        self.clock = clock
        self.prepare = prepare
        self.cleanUp = cleanUp
        self.onLeftover = onLeftover
    }

    package func open(for manifest: Manifest, meter: ProgressMeter) async throws -> any Scratch {
        try await prepare()
        return StagedScratchInUse(engine: engine, clock: clock, cleanUp: cleanUp, onLeftover: onLeftover)
    }
}

/// Holds what was staged until it is closed.
private final class StagedScratchInUse: Scratch {
    let destination: any Engine
    private let copies: StagedCopies
    private let cleanUp: @Sendable () async throws -> Void
    private let onLeftover: @Sendable (any Error) -> Void

    init(
        engine: any Engine, clock: any WallClock, cleanUp: @escaping @Sendable () async throws -> Void,
        onLeftover: @escaping @Sendable (any Error) -> Void
    ) {
        let copies = StagedCopies()
        self.copies = copies
        destination = StagingEngine(engine: engine, copies: copies, clock: clock)
        self.cleanUp = cleanUp
        self.onLeftover = onLeftover
    }

    /// The comparison is all that a staged copy can be asked for.
    func check(meter: ProgressMeter) async throws -> [String] { [] }

    func close() async {
        let copies = copies.takeAll()
        await uncancelled {
            for copy in copies { await self.reporting { try await copy.discard() } }
            await self.reporting { try await self.cleanUp() }
        }
    }

    private func reporting(_ body: () async throws -> Void) async {
        do {
            try await body()
        } catch {
            onLeftover(error)
        }
    }
}

/// Copies that are still to be removed.
private final class StagedCopies: Sendable {
    private let copies = Guarded<[any StagedRestore]>([])

    func add(_ copy: any StagedRestore) { copies.withLock { $0.append(copy) } }

    func takeAll() -> [any StagedRestore] {
        copies.withLock { copies in
            defer { copies = [] }
            return copies
        }
    }
}

/// Restores that end before the exchange.
private struct StagingEngine: Engine {
    let engine: any Engine
    let copies: StagedCopies
    let clock: any WallClock

    var capabilities: EngineCapabilities { engine.capabilities }

    func snapshot(_ request: SnapshotRequest) async throws -> SnapshotAnswer {
        throw JobFailure(
            .source, "take a picture of the source", object: engine.capabilities.endpoint,
            cause: "it is a scratch place, where nothing stands", hint: "back up the target itself")
    }

    func examine(_ request: ExamineRequest) async throws -> Examined { try await engine.examine(request) }

    func plan(_ request: RestoreRequest) async throws -> any RestorePlan {
        var request = request
        // Nothing stands under the name, and nothing will.
        request.createDatabase = true
        return StagingPlan(plan: try await engine.plan(request), copies: copies, clock: clock)
    }
}

private struct StagingPlan: RestorePlan {
    let plan: any RestorePlan
    let copies: StagedCopies
    let clock: any WallClock

    var summary: RestoreSummary {
        var summary = plan.summary
        summary.replaces = nil
        return summary
    }

    func stage() async throws -> any StagedRestore {
        let staged = try await plan.stage()
        copies.add(staged)
        return StagedCopy(staged: staged, clock: clock)
    }
}

private struct StagedCopy: StagedRestore {
    let staged: any StagedRestore
    let clock: any WallClock

    func inspect() async throws -> Contents { try await staged.inspect() }

    /// It stays where it is, to be removed when the place is closed.
    func promote(_ request: PromotionRequest) async throws -> Promotion {
        Promotion(
            time: clock.now(), replacedName: nil,
            notes: ["the set was compared where it was staged, and then removed"])
    }

    func discard() async throws { try await staged.discard() }
}
