import Core
import Operations
import TestSupport
import Testing

@Suite("Scratch places beside a destination")
struct StagedScratchTests {
    /// Counts what was staged, taken in place and removed.
    private final class Staging: Engine {
        let clock = ManualClock()
        let text = Array("rows\n".utf8)
        let counts = Guarded<(staged: Int, promoted: Int, discarded: Int)>((0, 0, 0))
        let asked = Guarded<[Bool]>([])
        let discardFails: Bool
        let onInspect: @Sendable () async -> Void

        init(discardFails: Bool = false, onInspect: @escaping @Sendable () async -> Void = {}) {
            self.discardFails = discardFails
            self.onInspect = onInspect
        }

        var capabilities: EngineCapabilities { EngineCapabilities(name: "text", endpoint: "text") }

        func snapshot(_ request: SnapshotRequest) async throws -> SnapshotAnswer {
            .nothingToStore(NothingToStore(why: "a test"))
        }

        func examine(_ request: ExamineRequest) async throws -> Examined { Examined(contents: nil) }

        func plan(_ request: RestoreRequest) async throws -> any RestorePlan {
            asked.withLock { $0.append(request.createDatabase) }
            return Plan(engine: self)
        }

        struct Plan: RestorePlan {
            let engine: Staging

            var summary: RestoreSummary {
                RestoreSummary(
                    replaces: "the deployment", alreadyDone: false, neededBytes: 5, freeBytes: nil, notes: [])
            }

            func stage() async throws -> any StagedRestore {
                engine.counts.withLock { $0.staged += 1 }
                return Staged(engine: engine)
            }
        }

        struct Staged: StagedRestore {
            let engine: Staging

            func inspect() async throws -> Contents {
                await engine.onInspect()
                return TextEngine.contents(engine.text)
            }

            func promote(_ request: PromotionRequest) async throws -> Promotion {
                engine.counts.withLock { $0.promoted += 1 }
                return Promotion(time: engine.clock.now(), replacedName: "old", notes: [])
            }

            func discard() async throws {
                engine.counts.withLock { $0.discarded += 1 }
                if engine.discardFails { throw TestFailure("the server is gone") }
            }
        }
    }

    private func verify(with engine: Staging, leftovers: Guarded<Int> = Guarded(0)) async throws -> JobResult {
        try await Clinic.open { clinic in
            try await clinic.backup()
            var workplace = clinic.workplace
            workplace.scratch = StagedScratch(label: "text", engine: engine, clock: clinic.clock) { _ in
                leftovers.withLock { $0 += 1 }
            }
            return try await Verify(
                VerifyJob(target: "clinic", key: .latest(nil), requestID: .random("v"), depth: .restore),
                at: workplace
            ).run()
        }
    }

    /// Shows that a set is proven by what was staged, that nothing takes the place of anything, that the name may be
    /// one under which nothing stands, and that what was staged is gone afterwards.
    @Test func proof() async throws {
        let engine = Staging()
        let result = try await verify(with: engine)
        #expect(result.verdict == .proven && result.proofDepth == .restore, "\(result)")
        let counts = engine.counts.value
        #expect(counts.staged == 1 && counts.promoted == 0 && counts.discarded >= 1)
        #expect(engine.asked.value == [true])
    }

    /// Shows that a place which holds one set refuses a second run while the first is at it, whichever job that is, and
    /// that neither takes the other's copy for a leftover; that a lost key is rehearsed all the same; and that the place
    /// is free afterwards.
    @Test func one() async throws {
        try await Clinic.open { clinic in
            var clinic = clinic
            try await clinic.backup()
            let second = Guarded<[ExitCode?]>([])
            let inside = Guarded<Clinic?>(nil)
            let engine = Staging(onInspect: {
                guard
                    let clinic = inside.withLock({ clinic in
                        defer { clinic = nil }
                        return clinic
                    })
                else { return }
                for scenario in DrillJob.Scenario.allCases {
                    let drilled = await Self.code {
                        try await Drill(
                            DrillJob(
                                target: "clinic", scenario: scenario, key: .latest(nil), requestID: .random("d")),
                            at: clinic.workplace
                        ).run().exitCode
                    }
                    second.withLock { $0.append(drilled) }
                }
                let verified = await Self.code {
                    try await clinic.verify(.latest(nil), depth: .restore).exitCode
                }
                second.withLock { $0.append(verified) }
            })
            clinic.workplace.scratch = StagedScratch(label: "text", engine: engine, clock: clinic.clock) { _ in }
            inside.withLock { [clinic] in $0 = clinic }
            #expect(try await clinic.verify(.latest(nil), depth: .restore).verdict == .proven)
            // The one key of this clinic is its only one, which is what a drill of its loss finds.
            #expect(second.value == [.keys, .locked, .locked, .locked])
            #expect(engine.counts.value.staged == 1)
            #expect(try await clinic.verify(.latest(nil), depth: .restore).verdict == .proven)
        }
    }

    private static func code(_ body: () async throws -> ExitCode) async -> ExitCode? {
        do { return try await body() } catch { return (error as? any Failure)?.exitCode }
    }

    /// Shows that a staged copy which cannot be removed is reported, and is no reason to doubt the set.
    @Test func leftover() async throws {
        let leftovers = Guarded(0)
        let result = try await verify(with: Staging(discardFails: true), leftovers: leftovers)
        #expect(result.verdict == .proven && leftovers.value == 1, "\(result)")
    }
}
