import Core
import Sets

extension Restore {
    /// Checks everything a restore would, fetches and authenticates every part, and states the disk and the time it
    /// would need. Changes nothing and takes no lock.
    func rehearse(_ notes: ReadingNotes) async throws -> JobResult {
        let phases = Phases(workplace.clock)
        let destination = try workplace.destination(job.destination)
        let meter = ProgressMeter(stage: "check")
        let reader = try await phases.measure("check") { try await openSet(notes) }
        if let needed = ThawNeeded(reader.archived, of: reader.manifest.key) {
            var result = result(of: reader)
            result.dryRun = true
            result.verdict = .inconclusive
            result.notes = notes.all
            result.note(needed)
            return result
        }
        let plan = try await phases.measure("preflight") {
            try await preflight(reader, try await reader.contents(), at: destination, meter)
        }
        meter.begin("fetch", expected: reader.manifest.plainSize)
        let examined = try await phases.measure("fetch") {
            try await workplace.watching(meter) {
                try await workplace.proveIntegrity(of: reader, recompute: false, meter: meter)
            }
        }
        var result = result(of: reader)
        result.dryRun = true
        result.verdict = .inconclusive
        result.phases = phases.all
        result.notes = plan.summary.notes + examined.notes + notes.all
        result.details["replaces"] = plan.summary.replaces.map { .string($0) } ?? .null
        result.details["alreadyDone"] = .bool(plan.summary.alreadyDone)
        result.details["neededBytes"] = .exact(plan.summary.neededBytes)
        result.details["freeBytes"] = plan.summary.freeBytes.map { .exact($0) } ?? .null
        result.details["estimatedSeconds"] = .integer(estimatedSeconds(reader.manifest, phases.all["fetch"] ?? 0))
        return result
    }

    /// Loading is the server's work: about 50 MB of dump a second with its indexes, and a fifth of that time again for
    /// reading it back; where fetching is slower than that, it decides.
    private func estimatedSeconds(_ manifest: Manifest, _ fetchSeconds: Double) -> Int64 {
        let loading = Double(manifest.plainSize) / 50_000_000
        return Int64((max(loading, fetchSeconds) + loading / 5).rounded(.up))
    }
}
