import Core
import Sets

/// What a proof by restore came to, held against what it has to reach.
struct RestoreProof: Sendable {
    let comparison: ContentsComparison
    let measured: RestoreMeasurement
    /// Each one a sentence of why it does not count; empty for one that does.
    let shortfalls: [String]
    /// The set itself fell short, rather than the time it took.
    let isOfSet: Bool

    init(_ comparison: ContentsComparison, _ measured: RestoreMeasurement, _ thresholds: ProofThresholds) {
        self.comparison = comparison
        self.measured = measured
        let integrity = DrillRecord.percent(Int64(comparison.matched), of: Int64(comparison.objects))
        let present = comparison.recorded - comparison.missing
        let accessibility = DrillRecord.percent(Int64(present), of: Int64(comparison.recorded))
        var ofSet: [String] = []
        if comparison.objects > 0, integrity < Int64(thresholds.integrity) {
            ofSet.append(
                "\(comparison.matched) of \(comparison.objects) objects match, and \(thresholds.integrity) % have to")
        }
        if comparison.recorded > 0, accessibility < Int64(thresholds.accessibility) {
            ofSet.append(
                "\(present) of \(comparison.recorded) objects are there, and \(thresholds.accessibility) % have to be"
            )
        }
        isOfSet = !ofSet.isEmpty
        var slow: [String] = []
        if let limit = thresholds.seconds, measured.milliseconds > Int64(limit) * 1000 {
            slow.append("the restore took \(Self.seconds(measured.milliseconds)) s, and \(limit) s are allowed")
        }
        if let rate = thresholds.bytesPerSecond, measured.milliseconds > 0,
            Double(measured.bytes) * 1000 / Double(measured.milliseconds) < Double(rate)
        {
            slow.append(
                "the restore moved \(measured.bytes) bytes in \(Self.seconds(measured.milliseconds)) s, and "
                    + "\(rate) bytes a second are asked for")
        }
        shortfalls = ofSet + slow
    }

    /// Whether the restored copy is what was recorded. No threshold changes that. One of which nothing was compared is
    /// no proof, and no failure either.
    var isEqual: Bool { comparison.isEqual && !isEmpty }
    var isEmpty: Bool { comparison.objects == 0 }

    /// Why it is not equal, for people.
    var differences: [String] {
        isEmpty ? ["nothing is recorded of it that could be compared"] : Array(comparison.failures.prefix(20))
    }

    private static func seconds(_ milliseconds: Int64) -> String {
        let tenths = (milliseconds + 50) / 100
        return "\(tenths / 10).\(tenths % 10)"
    }

    var details: [String: JSON] {
        [
            "objectsCompared": .integer(Int64(comparison.objects)),
            "objectsMatched": .integer(Int64(comparison.matched)),
            "objectsMissing": .integer(Int64(comparison.missing)),
            "restoreMilliseconds": .exact(measured.milliseconds),
        ]
    }
}

extension Verify {
    /// Brings the set to life in the scratch place and compares what is there. `result` is that of its integrity, which
    /// has been proven already: what a restore does not look at.
    func proveByRestore(
        _ reader: SetReader, _ result: JobResult, _ phases: Phases, _ meter: ProgressMeter
    ) async throws -> JobResult {
        var result = result
        let proof: RestoreProof
        do {
            proof = try await workplace.withScratch { holder in
                let restored = try await workplace.restoreToScratch(reader, in: holder, phases, meter)
                result.notes += restored.notes
                return RestoreProof(
                    restored.comparison, phases.measurement(of: reader.manifest), workplace.thresholds)
            }
        } catch let failure as any Failure where failure.exitCode == .verificationFailed && !Task.isCancelled {
            // What breaks because the job is being ended says nothing about the set.
            try await record(.failed, .restore, reader)
            throw failure
        } catch let failure as any Failure where !Task.isCancelled {
            // The scratch server could not be had, say. What was proven before stays proven.
            try await record(.proven, .integrity, reader)
            throw failure
        }
        result.details.merge(proof.details) { $1 }
        if proof.isOfSet {
            result.end(
                .failed, .verificationFailed, proof.shortfalls + proof.differences,
                of: reader, "do not use this set; verify others and restore one that is proven")
            try await record(.failed, .restore, reader)
            return result
        }
        guard proof.isEqual else {
            result.end(
                .inconclusive, .inconclusive, proof.differences, of: reader,
                proof.isEmpty
                    ? "see whether the source has anything in it; an empty copy proves nothing"
                    : "the thresholds let it pass, and yet it is no proof: look at what differs")
            try await record(.inconclusive, .restore, reader)
            return result
        }
        result.proofDepth = .restore
        result.details["contentsCompared"] = .bool(true)
        try await record(.proven, .restore, reader, measured: proof.measured)
        // The set is proven, and the promise of how soon it is back is not kept.
        if !proof.shortfalls.isEmpty {
            result.end(
                .inconclusive, .inconclusive, proof.shortfalls, of: reader,
                "the contents are proven; find out what slows the restore down, or allow more with VERIFY_MAX_SECONDS "
                    + "and VERIFY_MIN_RATE")
        }
        return result
    }
}

extension Phases {
    /// What a restore of the set took. The phase `exchange` is that of the log where that was followed: `log` says how
    /// many bytes of it.
    func measurement(
        of manifest: Manifest, exchange: String = "promote", log bytes: Int64? = nil
    ) -> RestoreMeasurement {
        let exchange = seconds(of: [exchange])
        let rest = seconds(of: ["preflight", "stage", "compare"])
        return RestoreMeasurement(
            bytes: manifest.dataSize,
            milliseconds: Int64(((bytes == nil ? rest + exchange : rest) * 1000).rounded()),
            logBytes: bytes ?? 0, logMilliseconds: bytes == nil ? 0 : Int64((exchange * 1000).rounded()))
    }
}

extension JobResult {
    fileprivate mutating func end(
        _ verdict: Verdict, _ code: ExitCode, _ causes: [String], of reader: SetReader, _ hint: String
    ) {
        self.verdict = verdict
        exitCode = code
        failure = JobFailure(
            code, "prove the set by restoring it", object: reader.manifest.key.description,
            cause: causes.joined(separator: "; "), hint: hint)
    }
}
