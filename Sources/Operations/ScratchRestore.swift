import Core
import Logging
import Sets

/// A set that was brought to life in a scratch place.
struct ScratchRestore: Sendable {
    let scratch: any Scratch
    let comparison: ContentsComparison
    /// How it was put in place; `nil` where the contents differ, for such a copy is not.
    let promotion: Promotion?
    /// What an operator should read.
    let notes: [String]
}

/// A scratch place that has been opened or not, and is closed once.
final class ScratchHolder: Sendable {
    private let scratch = Guarded<(any Scratch)?>(nil)

    func open(_ place: any ScratchPlace, for manifest: Manifest, _ meter: ProgressMeter) async throws -> any Scratch {
        let opened = try await place.open(for: manifest, meter: meter)
        scratch.withLock { $0 = opened }
        return opened
    }

    func close() async {
        let opened = scratch.withLock { scratch in
            defer { scratch = nil }
            return scratch
        }
        if let opened { await uncancelled { await opened.close() } }
    }
}

/// Bytes and seconds of one restore, from what its phases took.
extension Phases {
    /// Seconds of those of `names` that were gone through.
    func seconds(of names: [String]) -> Double {
        let all = all
        return names.reduce(0) { $0 + (all[$1] ?? 0) }
    }
}

extension Workplace {
    /// Throws where no scratch place is configured.
    func requireScratch(for what: String) throws -> any ScratchPlace {
        guard let scratch else {
            throw JobFailure(
                .configuration, what, object: target, cause: "no scratch place is configured",
                hint: "set SCRATCH_DIRECTORY, or for engines without a server of their own BACKUP_SCRATCH_DESTINATION"
            )
        }
        return scratch
    }

    /// Runs `body` while no other run of the target uses the scratch place, where that matters: what one has staged the
    /// next would take for the leftovers of a killed one. Throws, locked, where another is at it.
    func havingScratch<Result: Sendable>(
        for requestID: RequestID, _ body: @escaping @Sendable () async throws -> Result
    ) async throws -> Result {
        guard scratch?.holdsOne == true else { return try await body() }
        var place = self
        // A lock of its own: backups go on meanwhile.
        place.store = PrefixedStore(store, prefix: "locks/scratch")
        return try await place.locked(for: requestID, waiting: 0) { _ in try await body() }
    }

    /// Gives `body` a place to hold a scratch server in, which is gone afterwards whatever happens.
    func withScratch<Result: Sendable>(_ body: (ScratchHolder) async throws -> Result) async throws -> Result {
        let holder = ScratchHolder()
        let result: Swift.Result<Result, any Error>
        do {
            result = .success(try await body(holder))
        } catch {
            result = .failure(error)
        }
        await holder.close()
        return try result.get()
    }

    /// Looks at the scratch place as a restore there would. Nothing is left of it.
    func surveyScratch(
        for reader: SetReader, following recovery: Recovery?, acknowledgeDisk: Bool, _ meter: ProgressMeter
    ) async throws -> RestoreSummary {
        let place = try requireScratch(for: "bring the set to life")
        return try await withScratch { holder in
            let scratch = try await holder.open(place, for: reader.manifest, meter)
            let request = request(
                reader, try await reader.contents(), reader, recovery, acknowledgeDisk: acknowledgeDisk, meter)
            return try await planScratch(request, in: scratch, of: place).summary
        }
    }

    /// Restores the set to a scratch place as a restore to the source would: looked at, staged, read back, compared with
    /// what was recorded, put in place, and looked through by its server. `recovery` says how far the log is to be
    /// followed. Nothing of the source is used. Every part of the set has been read to its end afterwards. Where there is
    /// too little room for a whole server it is refused before anything is written, unless `acknowledgeDisk`.
    ///
    /// The phases `scratch`, `preflight`, `stage`, `compare`, `promote` and `check` are measured. A failure there is none
    /// of a restore: nothing stood there before.
    func restoreToScratch(
        _ reader: SetReader, following recovery: Recovery? = nil, acknowledgeDisk: Bool = false,
        in holder: ScratchHolder, _ phases: Phases, _ meter: ProgressMeter
    ) async throws -> ScratchRestore {
        do {
            return try await bringToLife(
                reader, following: recovery, acknowledgeDisk: acknowledgeDisk, in: holder, phases, meter)
        } catch let failure as any Failure where failure.exitCode.isOfReplacement {
            throw JobFailure(failure, as: .inconclusive)
        }
    }

    private func bringToLife(
        _ reader: SetReader, following recovery: Recovery?, acknowledgeDisk: Bool, in holder: ScratchHolder,
        _ phases: Phases, _ meter: ProgressMeter
    ) async throws -> ScratchRestore {
        let place = try requireScratch(for: "bring the set to life")
        // A set that cannot be read starts no server.
        let recorded = try await reader.contents()
        await step("scratch")
        meter.begin("scratch")
        let scratch = try await phases.measure("scratch") {
            try await holder.open(place, for: reader.manifest, meter)
        }
        let parts = NotingOpener(reader)
        let plan = try await phases.measure("preflight") {
            let request = request(reader, recorded, parts, recovery, acknowledgeDisk: acknowledgeDisk, meter)
            return try await planScratch(request, in: scratch, of: place)
        }
        await step("stage")
        meter.begin("stage", expected: reader.manifest.dataSize)
        let staged = try await phases.measure("stage") { try await plan.stage() }
        let comparison: ContentsComparison
        do {
            await step("compare")
            meter.begin("compare", expected: reader.manifest.dataSize)
            comparison = ContentsComparison(
                recorded: recorded, found: try await phases.measure("compare") { try await staged.inspect() })
        } catch {
            await discardScratch(staged)
            throw error
        }
        guard comparison.isEqual else {
            await discardScratch(staged)
            return ScratchRestore(
                scratch: scratch, comparison: comparison, promotion: nil, notes: plan.summary.notes)
        }
        let promotion = try await promoteScratch(staged, reader, phases, meter)
        await step("check")
        meter.begin("check")
        let findings = try await phases.measure("check") {
            try await reader.readThrough(parts.unopened, meter: meter)
            return try await scratch.check(meter: meter)
        }
        var known: Set<String> = []
        return ScratchRestore(
            scratch: scratch, comparison: comparison, promotion: promotion,
            notes: (plan.summary.notes + comparison.reprints + promotion.notes + findings).filter {
                known.insert($0).inserted
            })
    }

    private func planScratch(
        _ request: RestoreRequest, in scratch: any Scratch, of place: any ScratchPlace
    ) async throws -> any RestorePlan {
        let plan = try await scratch.destination.plan(request)
        // A scratch place in which something stands may be one that somebody needs.
        guard plan.summary.replaces == nil, !plan.summary.alreadyDone else {
            throw occupied(place, plan.summary.replaces)
        }
        return plan
    }

    private func promoteScratch(
        _ staged: any StagedRestore, _ reader: SetReader, _ phases: Phases, _ meter: ProgressMeter
    ) async throws -> Promotion {
        await step("promote")
        meter.begin("promote")
        do {
            return try await phases.measure("promote") {
                try await staged.promote(
                    PromotionRequest(
                        marker: RestoreMarker(
                            requestID: .random(hexText(random(8))), setKey: reader.manifest.key, safetyKey: nil,
                            time: clock.now()),
                        safety: nil, meter: meter))
            }
        } catch {
            await discardScratch(staged)
            throw error
        }
    }

    /// Nothing of what a scratch restore is asked for may depend on an earlier one, so its request is a new one.
    ///
    /// How much room there is for a whole server is always known, for its directory is here. On another's server it may
    /// not be, and nobody is there to say that it is enough.
    private func request(
        _ reader: SetReader, _ recorded: Contents, _ parts: any PartOpener, _ recovery: Recovery?,
        acknowledgeDisk: Bool, _ meter: ProgressMeter
    ) -> RestoreRequest {
        RestoreRequest(
            requestID: .random(hexText(random(8))), setKey: reader.manifest.key, manifest: reader.manifest,
            contents: recorded, parts: parts, createDatabase: true, restoreRoles: .missing,
            acknowledgeDisk: acknowledgeDisk || !PhysicalBase.isPhysical(reader.manifest),
            acknowledgeBoundObjects: true, verifiedContents: { _ in nil }, recovery: recovery, meter: meter)
    }

    private func occupied(_ place: any ScratchPlace, _ what: String?) -> JobFailure {
        JobFailure(
            .configuration, "use the scratch place", object: place.label,
            cause: what.map { "\($0) stands there and would be replaced" } ?? "a restore was finished there before",
            hint: "name a scratch place in which nothing stands; what is there has not been touched")
    }

    private func discardScratch(_ staged: any StagedRestore) async {
        let logger = logger
        await uncancelled {
            do {
                try await staged.discard()
            } catch {
                logger.warning(
                    "the scratch copy was not removed by itself; it goes with the scratch place",
                    metadata: ["why": "\(error)"])
            }
        }
    }
}

extension ExitCode {
    /// Says what became of what stood at the destination.
    fileprivate var isOfReplacement: Bool {
        switch self {
        case .restoreFailedOriginalIntact, .restoreFailedRolledBack, .rollbackFailed: true
        default: false
        }
    }
}
