import Core
import Crypto
import Sets
import TestSupport
import Testing
import WALArchive

@testable import Operations

@Suite("Drill: system failure")
struct SystemFailureTests {
    /// A source and destinations that are gone.
    private struct Gone: Engine {
        static let failure = JobFailure(.source, "reach the source", cause: "it is gone", hint: "")
        var capabilities: EngineCapabilities { EngineCapabilities(name: "text", endpoint: "gone") }
        func snapshot(_ request: SnapshotRequest) async throws -> SnapshotAnswer { throw Self.failure }
        func examine(_ request: ExamineRequest) async throws -> Examined { throw Self.failure }
        func plan(_ request: RestoreRequest) async throws -> any RestorePlan { throw Self.failure }
    }

    /// Shows that with source and destinations gone the newest set comes to life, and that time and loss are measured.
    @Test func nothingButStoreAndKeys() async throws {
        try await DrillSite.with { site in
            _ = try await site.clinic.backup()
            let key = try #require(try await site.clinic.backup().backupKey)
            let text = site.clinic.engine.text
            site.clinic.workplace.engine = Gone()
            site.clinic.workplace.destination = { _ in throw Gone.failure }
            site.clinic.workplace.reader.identities = [site.escrow]
            site.clinic.clock.advance(seconds: 300)
            let clock = site.clinic.clock
            site.place.set {
                $0.acts[.open] = { clock.advance(seconds: 5) }
                $0.acts[.stage] = { clock.advance(seconds: 20) }
                $0.acts[.check] = { clock.advance(seconds: 2) }
            }
            let result = try await site.drill(.systemFailure)
            #expect(result.exitCode == .done && result.verdict == .proven && result.proofDepth == .restore)
            #expect(result.backupKey == key)
            let record = try #require(result.drill)
            #expect(record.steps.map(\.name) == ["RETRIEVE_BACKUP", "RESTORE_SYSTEM"])
            #expect(record.recoveryMilliseconds == 27_000)
            #expect(record.lossMilliseconds == 300_000)
            #expect(record.scope.dataTypes == ["text"])
            #expect(site.place.now.promoted == [text])
            let outcome = try #require(result.outcome(started: clock.now(), finished: clock.now()).drill)
            #expect(outcome.recoverySeconds == 27 && outcome.lossSeconds == 300)
            #expect(outcome.compared == 1 && outcome.matched == 1)
        }
    }

    /// Shows that a copy that differs fails the drill and the set, that the share that matched is in the record, and that
    /// the record, which lies in clear, names no table.
    @Test func different() async throws {
        try await DrillSite.with { site in
            let marker = "secretdisease"
            site.clinic.engine.text = Array("tables:\n\(marker)=1\nvisits=2\nbills=3\n".utf8)
            let key = try #require(try await site.clinic.backup().backupKey)
            site.place.set { $0.reading = { _ in Array("tables:\n\(marker)=1 more\nvisits=2\nbills=3\n".utf8) } }
            let result = try await site.drill(.systemFailure)
            #expect(result.verdict == .failed && result.exitCode == .verificationFailed)
            #expect(result.failure?.cause.contains(marker) == true)
            let record = try site.record(result)
            #expect(
                record["dataIntegrity"]
                    == JSON.object(["passed": .integer(2), "of": .integer(3), "percent": .integer(66)]))
            #expect(!record.canonicalText.contains(marker))
            #expect(try site.clinic.proofs(of: key).last?["verdict"] == .string("failed"))
        }
    }

    /// Shows that a drill in which nothing was compared has shown nothing.
    @Test func empty() async throws {
        try await DrillSite.with { site in
            site.clinic.engine.text = Array("tables:\n".utf8)
            let key = try #require(try await site.clinic.backup().backupKey)
            let result = try await site.drill(.systemFailure)
            #expect(result.verdict == .inconclusive && result.exitCode == .inconclusive)
            #expect(try site.validation("CONTENTS_CHECK", result) == .inconclusive)
            #expect(try site.clinic.proofs(of: key).last?["verdict"] == .string("inconclusive"))
        }
    }

    /// Shows that a failing step ends the drill with a record that says which, in words of our own alone, that the
    /// scratch place is gone, and that only what is wrong with the set is a failure.
    @Test(
        arguments: TextScratchPlace.Step.allCases.filter { $0 != .database }, [ExitCode.source, .verificationFailed])
    func failing(_ step: TextScratchPlace.Step, _ code: ExitCode) async throws {
        try await DrillSite.with { site in
            _ = try await site.clinic.backup()
            site.place.set {
                $0.faults[step] = JobFailure(
                    code, "start the server", object: "secretdisease", cause: "secretdisease", hint: "")
            }
            let result = try await site.drill(.systemFailure)
            #expect(result.verdict == (code == .source ? .inconclusive : .failed))
            #expect(result.exitCode == code)
            #expect(result.failure?.cause.contains("secretdisease") == true)
            let record = try site.record(result)
            #expect(record["status"] == .string("ABORTED"))
            #expect(!record.canonicalText.contains("secretdisease"))
            #expect(record.canonicalText.contains("cannot start the server"))
        }
    }

    /// Shows that a restore that takes longer than is allowed fails the drill, though the set is proven, and that one
    /// which takes just as long does not.
    @Test(arguments: [10, 11] as [Double])
    func tooSlow(_ seconds: Double) async throws {
        try await DrillSite.with { site in
            site.clinic.workplace.thresholds = ProofThresholds(seconds: 10)
            let key = try #require(try await site.clinic.backup().backupKey)
            let clock = site.clinic.clock
            site.place.set { $0.acts[.stage] = { clock.advance(seconds: seconds) } }
            let result = try await site.drill(.systemFailure)
            #expect(result.verdict == (seconds == 10 ? .proven : .failed))
            #expect(try site.validation("RECOVERY_TIME", result) == (seconds == 10 ? .passed : .failed))
            #expect(try site.validation("CONTENTS_CHECK", result) == .passed)
            #expect(try site.clinic.proofs(of: key).last?["verdict"] == .string("proven"))
        }
    }

    // MARK: Whole servers

    private func withServer(
        ranges: [WALRange], _ body: (inout DrillSite) async throws -> Void
    ) async throws {
        try await DrillSite.with { site in
            site.clinic.isPhysical()
            _ = try await site.clinic.backup()
            site.clinic.workplace.log = MemoryLibrary(ranges: ranges)
            site.clinic.clock.advance(seconds: 600)
            try await body(&site)
        }
    }

    private static let start = ManualClock().now()
    private static let log = WALRange(
        timeline: 1, begin: Clinic.lsn(2), end: Clinic.lsn(6), stored: start.adding(seconds: 541))

    /// Where recoveries end: the end of the log with its last commit, or the commit before that.
    private static func recovered(
        _ target: RecoveryTarget, last: Int64 = 500, before: Int64? = 400
    ) -> RecoveredPoint {
        target.point == .latest
            ? RecoveredPoint(timeline: 1, lsn: Clinic.lsn(5, 0x100), lastCommit: start.adding(seconds: last))
            : RecoveredPoint(
                timeline: 1, lsn: Clinic.lsn(4), lastCommit: before.map { start.adding(seconds: $0) })
    }

    /// Shows that a whole server is brought to the end of its log, and once more to between the last commit and the one
    /// before it; and that the loss counts from what is stored.
    @Test func pointInTime() async throws {
        try await withServer(ranges: [Self.log]) { site in
            site.place.set { $0.recovered = { Self.recovered($0) } }
            let result = try await site.drill(.systemFailure)
            #expect(result.verdict == .proven, "\(result.failure?.cause ?? "")")
            let record = try #require(result.drill)
            #expect(
                record.steps.map(\.name) == [
                    "RETRIEVE_BACKUP", "RETRIEVE_LOG", "RESTORE_SYSTEM", "RECOVER_TO_POINT",
                ])
            #expect(try site.validation("POINT_IN_TIME_CHECK", result) == .passed)
            #expect(record.lossMilliseconds == 60_000)
            let asked = site.place.now.recoveries
            #expect(asked.count == 2 && asked[0].point == .latest)
            let last = Self.start.adding(seconds: 500).milliseconds * 1000
            #expect(asked[1] == RecoveryTarget(.time(microseconds: last), isInclusive: false, timeline: 1))
            #expect(site.place.now.opened == 2)
        }
    }

    /// Shows from when on what was written would be lost, where nobody but the index of the log says until when all is
    /// stored: from then, as long as all that the index speaks of is there; else from the last commit that came back.
    @Test(arguments: [(nil, 101_000), (Clinic.lsn(6), 41_000), (Clinic.lsn(7), 101_000)] as [(LSN?, Int64)])
    func loss(_ indexed: LSN?, _ loss: Int64) async throws {
        let log = WALRange(timeline: 1, begin: Clinic.lsn(2), end: Clinic.lsn(6))
        try await withServer(ranges: [log]) { site in
            if let indexed {
                var advance = WALAdvance(timeline: 1, begin: Clinic.lsn(2), end: indexed)
                advance.coveredUntil = Self.start.adding(seconds: 560)
                try await site.clinic.workplace.logArchive(in: site.clinic.first).note(
                    advance, of: WALOrigin(systemID: "7001", segmentSize: 1 << 24), day: "2025-01-15")
            }
            site.place.set { $0.recovered = { Self.recovered($0) } }
            let result = try await site.drill(.systemFailure)
            #expect(result.verdict == .proven && result.drill?.lossMilliseconds == loss)
        }
    }

    /// Shows that a recovery that went too far is found, by one commit or more.
    @Test(arguments: [500, 501] as [Int64])
    func wrongPoint(_ before: Int64) async throws {
        try await withServer(ranges: [Self.log]) { site in
            site.place.set { $0.recovered = { Self.recovered($0, before: before) } }
            let result = try await site.drill(.systemFailure)
            #expect(result.verdict == .failed)
            #expect(try site.validation("POINT_IN_TIME_CHECK", result) == .failed)
        }
    }

    /// Shows that without a log after the base, without a commit in it, or without a word about where a recovery ended,
    /// no point in time is proven; and that a gap in the log fails the drill.
    @Test(arguments: ["no log", "no commit", "no word", "gap"])
    func notProven(_ what: String) async throws {
        let gap = [Self.log, WALRange(timeline: 1, begin: Clinic.lsn(7), end: Clinic.lsn(8))]
        try await withServer(ranges: what == "no log" ? [] : what == "gap" ? gap : [Self.log]) { site in
            site.place.set { state in
                switch what {
                case "no commit": state.recovered = { Self.recovered($0, last: 1) }
                case "no word": state.recovered = { _ in nil }
                default: state.recovered = { Self.recovered($0) }
                }
            }
            let result = try await site.drill(.systemFailure)
            #expect(result.verdict == (what == "gap" ? .failed : .inconclusive))
            if what == "gap" { #expect(result.failure?.cause.contains("lacks") == true) }
            if what == "no log" { #expect(site.place.now.recoveries.isEmpty) }
        }
    }
}

@Suite("The records of drills")
struct DrillRecordTests {
    /// Shows that a repeated request finds its record and does nothing again, that another scenario of the same request
    /// is another drill, and that one that showed nothing is made again beside what it left.
    @Test func replayed() async throws {
        try await DrillSite.with { site in
            _ = try await site.clinic.backup()
            let first = try await site.drill(.systemFailure, requestID: .run("uid"))
            let again = try await site.drill(.systemFailure, requestID: .run("uid"))
            #expect(again.replayed && again.verdict == .proven && again.drill == first.drill)
            #expect(site.place.now.opened == 1 && site.records.count == 1)
            #expect(try await !site.drill(.dataCorruption, requestID: .run("uid")).replayed)
            #expect(site.records.count == 2)

            site.place.set { $0.faults[.open] = JobFailure(.source, "start", cause: "no room", hint: "") }
            #expect(try await site.drill(.systemFailure, requestID: .run("other")).verdict == .inconclusive)
            let second = try await site.drill(.systemFailure, requestID: .run("other"))
            #expect(second.verdict == .proven && !second.replayed)
            #expect(second.drill?.testID.hasSuffix("-2") == true)
            #expect(try await site.drill(.systemFailure, requestID: .run("other")).replayed)
            #expect(site.records.count == 4)
        }
    }

    /// Shows that a failed drill is found again as failed: its request is not made good by repeating it.
    @Test func failedStays() async throws {
        try await DrillSite.with { site in
            _ = try await site.clinic.backup()
            site.place.set { $0.reading = { _ in [1] } }
            #expect(try await site.drill(.systemFailure, requestID: .run("uid")).verdict == .failed)
            site.place.set { $0.reading = { $0 } }
            let again = try await site.drill(.systemFailure, requestID: .run("uid"))
            #expect(again.replayed && again.verdict == .failed && again.exitCode == .verificationFailed)
        }
    }

    /// Shows that no bit of a record can be changed without its being refused, whichever member it is in.
    @Test func authenticated() async throws {
        try await DrillSite.with { site in
            _ = try await site.clinic.backup()
            let result = try await site.drill(.systemFailure, requestID: .run("uid"))
            guard case .string(let path)? = result.details["record"] else { throw TestFailure("no record") }
            let bytes = try #require(site.clinic.firstMemory.bytes(path))
            var accepted: [Int] = []
            for index in bytes.indices where index % 7 == 0 {
                site.clinic.firstMemory.damage(path) { $0[index] ^= 1 }
                do {
                    if try await site.drill(.systemFailure, requestID: .run("uid")).replayed {
                        accepted.append(index)
                    }
                } catch let failure as any Failure {
                    #expect(failure.exitCode == .verificationFailed)
                }
                for key in site.records where key != path { try await site.clinic.firstMemory.delete(key) }
                site.clinic.firstMemory.damage(path) { $0 = bytes }
            }
            #expect(accepted.isEmpty, "changed at \(accepted)")
        }
    }

    /// Shows that a record without a MAC that holds counts only where a trusted signer has signed it, and that one that
    /// somebody made up is not taken for the drill's.
    @Test func signed() async throws {
        try await DrillSite.with { site in
            _ = try await site.clinic.backup()
            let signer = Curve25519.Signing.PrivateKey()
            site.clinic.workplace.writer.signer = signer
            let result = try await site.drill(.systemFailure, requestID: .run("uid"))
            let record = try site.record(result)
            #expect(record["mac"] != nil && record["signature"] != nil)
            guard case .string(let path)? = result.details["record"], case .object(var members) = record else {
                throw TestFailure("no record")
            }
            // Without its MAC and signature nobody stands for it: the drill is made.
            members["mac"] = nil
            members["signature"] = nil
            let bare = JSON.object(members).canonicalBytes
            site.clinic.firstMemory.damage(path) { $0 = bare }
            #expect(try await !site.drill(.systemFailure, requestID: .run("uid")).replayed)
        }
    }

    /// Shows that a trusted signature vouches for a record whose set is gone, and another's does not.
    @Test(arguments: [true, false])
    func signedAlone(isTrusted: Bool) async throws {
        try await DrillSite.with { site in
            let signer = Curve25519.Signing.PrivateKey()
            site.clinic.workplace.writer.signer = signer
            site.clinic.workplace.reader.trustedSigners = [Array(signer.publicKey.rawRepresentation)]
            let key = try #require(try await site.clinic.backup().backupKey)
            #expect(try await site.drill(.systemFailure, .exact(key), requestID: .run("uid")).verdict == .proven)
            try await site.clinic.firstMemory.delete("\(key)/manifest.json")
            if isTrusted {
                #expect(try await site.drill(.systemFailure, .exact(key), requestID: .run("uid")).replayed)
            } else {
                site.clinic.workplace.reader.trustedSigners = [[UInt8](repeating: 1, count: 32)]
                await #expect(throws: (any Error).self) {
                    try await site.drill(.systemFailure, .exact(key), requestID: .run("uid"))
                }
            }
        }
    }

    /// Shows that a record outlives the reading of it: what is written is what is read, for all that can be in one, and
    /// a member more or less is refused.
    @Test func format() throws {
        let time = Timestamp(milliseconds: 1_736_924_400_000)
        let record = DrillRecord(
            testID: "key-loss-01", scenario: .keyLoss, target: "clinic", requestID: "r",
            set: ChainLink(key: BackupKey(tier: .daily, timestamp: time), sha256: [UInt8](repeating: 1, count: 32)),
            scope: DrillRecord.Scope(components: ["store"], dataTypes: ["postgres"], from: time, until: time),
            status: .completed, verdict: .proven,
            steps: [
                DrillRecord.Step(
                    name: "A", shows: "B", outcome: .passed, milliseconds: 5, findings: ["one", "two"]),
                DrillRecord.Step(name: "C", shows: nil, outcome: .inconclusive, milliseconds: 0, findings: []),
            ],
            validations: [DrillRecord.Validation(name: "D", outcome: .failed, findings: ["x"])], started: time,
            finished: time.adding(seconds: 3), compared: 10, matched: 9, recoveryMilliseconds: 7,
            lossMilliseconds: nil)
        #expect(try DrillRecord(json: record.json) == record)
        #expect(record.json["durationMilliseconds"] == .integer(3000))
        #expect(record.json["successRate"]?["percent"] == .integer(33))
        guard case .object(let members) = record.json else { throw TestFailure("no object") }
        for name in members.keys where name != "recoveryTimeMilliseconds" {
            var fewer = members
            fewer[name] = nil
            #expect(throws: JSONFieldError.self, "without \(name)") { try DrillRecord(json: .object(fewer)) }
        }
        var more = members
        more["note"] = .string("x")
        #expect(throws: JSONFieldError.self) { try DrillRecord(json: .object(more)) }
    }

    /// Shows that a drill which stands still is ended, keeps a record, and closes its scratch place; that one ended from
    /// outside does as well, with the exit code of that; and that neither vouches for anything or speaks against the set.
    @Test(arguments: [true, false])
    func ended(isCancelled: Bool) async throws {
        try await DrillSite.with { site in
            _ = try await site.clinic.backup()
            let clock = site.clinic.clock
            let (arrivals, arrival) = AsyncStream.makeStream(of: Void.self)
            site.place.set {
                $0.acts[.stage] = {
                    arrival.yield()
                    try await Task.sleep(for: .seconds(3600))
                }
            }
            let drilled = site
            let task = Task { try await drilled.drill(.systemFailure) }
            for await _ in arrivals { break }
            if isCancelled { task.cancel() }
            let result = isCancelled ? try await task.value : try await clock.running { try await task.value }
            #expect(result.verdict == .inconclusive)
            #expect(result.exitCode == (isCancelled ? .terminated : .source))
            let record = try site.record(result)
            #expect(record["status"] == .string("ABORTED") && record["verdict"] == .string("inconclusive"))
            #expect(try site.step("RESTORE_SYSTEM", result).findings == ["it was ended here"])
            #expect(try site.step("END", result).outcome == .inconclusive)
            #expect(site.records.count == 1)
            #expect(site.place.now.opened == 1 && site.place.now.closed == 1)
            let key = try #require(result.backupKey)
            #expect(try site.clinic.proofs(of: key).isEmpty)
        }
    }

    /// Shows that what breaks because a drill is being ended is no find and no verdict about the set: a verification that
    /// is cut short in the midst of damage, and a restore whose tool dies with it.
    @Test(arguments: [DrillJob.Scenario.dataCorruption, .systemFailure])
    func brokenByTheEnd(_ scenario: DrillJob.Scenario) async throws {
        try await DrillSite.with { site in
            let key = try #require(try await site.clinic.backup().backupKey)
            let (arrivals, arrival) = AsyncStream.makeStream(of: Void.self)
            let breaks: @Sendable () async throws -> Void = {
                arrival.yield()
                do { try await Task.sleep(for: .seconds(3600)) } catch {}
                throw JobFailure(.verificationFailed, "read", cause: "the tool was killed", hint: "")
            }
            site.place.set { $0.acts[.check] = breaks }
            let drilled = site
            let task = Task {
                try await drilled.drill(scenario, .exact(key), verification: { _, _, _, _ in try await breaks() })
            }
            for await _ in arrivals { break }
            task.cancel()
            let result = try await task.value
            #expect(result.exitCode == .terminated && result.verdict == .inconclusive)
            #expect(result.drill?.steps.contains { $0.outcome == .failed } == false)
            #expect(result.drill?.steps.contains { $0.findings.contains { $0.hasPrefix("found") } } == false)
            #expect(try site.clinic.proofs(of: key).isEmpty)
            // The next of the same kind finds no fault.
            site.place.set { $0.acts[.check] = nil }
            #expect(try await site.drill(scenario, .exact(key)).verdict == .proven)
        }
    }
}
