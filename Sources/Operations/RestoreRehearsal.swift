import Core
import Sets

extension Restore {
    /// Checks everything a restore would, fetches and authenticates every part, and states the disk and the time it
    /// would need. Changes nothing and takes no lock. What a database needs that has yet to be recovered is an estimate.
    func rehearse(_ notes: ReadingNotes) async throws -> JobResult {
        let phases = Phases(workplace.clock)
        let destination = try workplace.destination(job.destination)
        if job.sourceDatabase != nil { _ = try workplace.requireScratch(for: "take one database out of the set") }
        let meter = ProgressMeter(stage: "check")
        let source = try await phases.measure("check") { try await rehearsalSource(notes) }
        let (reader, recovery) = source
        var result = result(of: reader)
        result.dryRun = true
        result.verdict = .inconclusive
        result.details.merge(recovery?.details ?? [:]) { $1 }
        if let needed = ThawNeeded(reader.archived, of: reader.manifest.key) {
            result.notes = notes.all
            result.note(needed)
            return result
        }
        let plan: RestoreSummary
        if let database = job.sourceDatabase {
            plan = try await phases.measure("preflight") { try await survey(database, of: source, at: destination) }
            try await addScratch(to: &result, source, phases, meter)
        } else {
            let material = RestoreMaterial(reader, contents: try await reader.contents(), recovery: recovery)
            plan = try await phases.measure("preflight") {
                try await preflight(material, at: destination, meter).summary
            }
        }
        meter.begin("fetch", expected: reader.manifest.plainSize)
        let examined = try await phases.measure("fetch") {
            try await workplace.watching(meter) {
                try await workplace.proveIntegrity(of: reader, recompute: false, meter: meter)
            }
        }
        result.phases = phases.all
        result.notes += plan.notes + examined.notes
        result.details["replaces"] = plan.replaces.map { .string($0) } ?? .null
        result.details["alreadyDone"] = .bool(plan.alreadyDone)
        result.details.merge(Self.disk(plan)) { $1 }
        try await estimate(&result, reader, recovery, phases, notes)
        result.notes += notes.all
        return result
    }

    private func rehearsalSource(
        _ notes: ReadingNotes
    ) async throws -> (reader: SetReader, recovery: RecoveryBase?) {
        if job.sourceDatabase != nil { return try await databaseSource(notes) }
        let reader = try await openSet(notes)
        return (reader, try await recovery(after: reader, notes))
    }

    /// Whether the server can be recovered where the database would be taken out of it.
    private func addScratch(
        to result: inout JobResult, _ source: (reader: SetReader, recovery: RecoveryBase?), _ phases: Phases,
        _ meter: ProgressMeter
    ) async throws {
        let acknowledgeDisk = job.acknowledgeDisk
        let scratch = try await failing(as: .restoreFailedOriginalIntact) {
            try await phases.measure("scratch.preflight") {
                try await workplace.surveyScratch(
                    for: source.reader, following: source.recovery?.recovery, acknowledgeDisk: acknowledgeDisk, meter)
            }
        }
        result.notes += scratch.notes
        result.details["scratch"] = .object(Self.disk(scratch))
    }

    private static func disk(_ summary: RestoreSummary) -> [String: JSON] {
        [
            "neededBytes": .exact(summary.neededBytes),
            "freeBytes": summary.freeBytes.map { .exact($0) } ?? .null,
        ]
    }

    // MARK: How long it would take

    private func estimate(
        _ result: inout JobResult, _ reader: SetReader, _ recovery: RecoveryBase?, _ phases: Phases,
        _ notes: ReadingNotes
    ) async throws {
        let manifest = reader.manifest
        guard PhysicalBase.isPhysical(manifest) else {
            result.details["estimatedSeconds"] = .integer(estimatedSeconds(manifest, phases.all["fetch"] ?? 0))
            return
        }
        // How fast files are written and log is replayed here shows in what earlier restores took, and nowhere else.
        let rates = try await MeasuredRates.find(besides: reader, at: workplace, notes)
        let logBytes = recovery?.needed.bytes ?? 0
        let seconds = rates.seconds(for: manifest.dataSize, log: logBytes)
        result.details["estimatedSeconds"] = seconds.map { .integer($0) } ?? .null
        result.details["estimate"] = .string(rates.text(isForLog: logBytes > 0))
    }

    /// Loading is the server's work: about 50 MB of dump a second with its indexes, and a fifth of that time again for
    /// reading it back; where fetching is slower than that, it decides.
    private func estimatedSeconds(_ manifest: Manifest, _ fetchSeconds: Double) -> Int64 {
        let loading = Double(manifest.dataSize) / 50_000_000
        return Int64((max(loading, fetchSeconds) + loading / 5).rounded(.up))
    }
}

/// What earlier restores of the target's sets took, from the proofs beside them: the newest of each kind.
struct MeasuredRates: Equatable, Sendable {
    struct Rate: Equatable, Sendable {
        var bytes: Int64
        var milliseconds: Int64
        /// The set that was restored.
        var key: BackupKey

        fileprivate init?(_ bytes: Int64, _ milliseconds: Int64, _ key: BackupKey) {
            guard bytes > 0, milliseconds > 0 else { return nil }
            self.bytes = bytes
            self.milliseconds = milliseconds
            self.key = key
        }

        fileprivate func seconds(for wanted: Int64) -> Double {
            Double(wanted) * Double(milliseconds) / 1000 / Double(bytes)
        }
    }

    var set: Rate?
    var log: Rate?

    /// Sets that are looked at besides the one to be restored.
    private static let others = 20

    static func find(
        besides reader: SetReader, at workplace: Workplace, _ notes: ReadingNotes
    ) async throws -> MeasuredRates {
        var rates = MeasuredRates()
        let listing = try await workplace.catalog.listing(Tier.selectable)
        let own = listing.entries.filter { $0.key == reader.manifest.key }
        let others = listing.entries.filter {
            $0.isCommitted && $0.key != reader.manifest.key && $0.records.contains { $0.hasSuffix("-proof.json") }
        }
        for entry in own + others.prefix(Self.others) where rates.set == nil || rates.log == nil {
            do {
                try await rates.take(entry, reader, workplace)
            } catch let failure as any Failure where [.keys, .verificationFailed].contains(failure.exitCode) {
                notes.add("what restores of \(entry.key) took was not read: \(failure.cause)")
            }
        }
        return rates
    }

    private mutating func take(_ entry: Catalog.Entry, _ own: SetReader, _ workplace: Workplace) async throws {
        var reader = own
        if entry.key != own.manifest.key {
            let stored = try await workplace.catalog.manifest(entry.key, of: workplace.target)
            // A dump is loaded at another pace than files are written.
            guard PhysicalBase.isPhysical(stored.manifest) else { return }
            reader = try await SetReader.open(
                stored, in: workplace.store, records: entry.records, configuration: workplace.reader)
        }
        for proof in try await reader.proofs(entry.records).reversed() {
            guard proof.verdict == .proven, let measured = proof.measured else { continue }
            set = set ?? Rate(measured.bytes, measured.milliseconds, entry.key)
            log = log ?? Rate(measured.logBytes, measured.logMilliseconds, entry.key)
        }
    }

    /// `nil` where a rate that is needed was never measured.
    func seconds(for bytes: Int64, log logBytes: Int64) -> Int64? {
        guard let set else { return nil }
        let first = set.seconds(for: bytes)
        guard logBytes > 0 else { return Int64(first.rounded(.up)) }
        return log.map { Int64((first + $0.seconds(for: logBytes)).rounded(.up)) }
    }

    func text(isForLog: Bool) -> String {
        guard let set else { return "no rate measured: no physical set of this target has been restored yet" }
        let base = "by the restore of \(set.key)"
        guard isForLog else { return base }
        return log.map { "\(base), and for the log by that of \($0.key)" }
            ?? "\(base); no rate measured for the log, which is replayed after it"
    }
}
