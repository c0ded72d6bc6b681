import Core
import Sets
import TestSupport
import Testing
import WALArchive

@testable import Operations

@Suite("Drill: damage to the stored log")
struct LogCorruptionTests {
    private static let system = "7001"
    private static let size: UInt64 = 1 << 14
    private static let detections = LogCorruptionKind.allCases.map { "DETECT_\($0.rawValue)" }

    private static func segment(_ number: UInt64, timeline: UInt32 = 1) -> WALSegment {
        WALSegment(timeline: timeline, number: number, size: size)
    }

    /// A set of a whole server that ended in segment 2, and whole segments from there on; of the last, where
    /// `partialBytes` says so, no more than that.
    private func withLog(
        of segments: Int, partialBytes: UInt64? = nil, _ body: (inout DrillSite) async throws -> Void
    ) async throws {
        try await DrillSite.with { site in
            site.clinic.engine.details = [
                "method": "physical", "systemIdentifier": Self.system, "timeline": "1",
                "startLSN": Self.segment(2).begin.description,
                "endLSN": LSN(Self.segment(2).begin.value + 0x100).description,
                "walSegmentSize": String(Self.size), "endTime": site.clinic.clock.now().description,
            ]
            _ = try await site.clinic.backup()
            site.clinic.workplace.log = site.clinic.workplace.recoveryLog
            let archive = site.clinic.workplace.logArchive(in: site.clinic.first)
            for number in 0..<UInt64(segments) {
                let segment = Self.segment(2 + number)
                let isLast = number == UInt64(segments) - 1
                let end = isLast ? partialBytes.map { LSN(segment.begin.value + $0) } : nil
                _ = try await archive.store(
                    WALPiece(
                        file: .segment(segment), end: end ?? segment.end,
                        source: MemorySource(
                            madeUpSegment(segment, system: Self.system, seed: UInt8(number), upTo: end))),
                    of: WALOrigin(systemID: Self.system, segmentSize: Self.size), meter: ProgressMeter())
            }
            try await body(&site)
        }
    }

    private func logSteps(_ result: JobResult) -> [DrillRecord.Step] {
        (result.drill?.steps ?? []).filter { $0.name.contains("LOG_") || $0.name.hasSuffix("_LOG") }
    }

    /// Shows that each kind of damage to the log is found, wherever it falls: in a log of one segment or of more than are
    /// read, and in one whose newest segment is a beginning; that one segment alone is not exchanged with another; and
    /// that nothing of the log is changed.
    @Test(arguments: 0..<16)
    func finds(_ seed: Int) async throws {
        try await withLog(of: 1 + seed % 7, partialBytes: seed % 3 == 0 ? 8192 : nil) { site in
            let objects = site.clinic.firstMemory.keys.filter { $0.hasPrefix("wal/") }
            let before = objects.map { site.clinic.firstMemory.bytes($0) }
            let result = try await site.drill(.dataCorruption)
            #expect(result.verdict == .proven, "\(result.failure?.cause ?? "")")
            let wanted = seed % 7 == 0 ? Self.detections.dropLast() : Self.detections[...]
            #expect(logSteps(result).map(\.name) == ["RETRIEVE_LOG"] + wanted)
            #expect(logSteps(result).allSatisfy { $0.outcome == .passed })
            #expect(result.drill?.scope.components.contains("write-ahead log") == true)
            #expect(result.drill?.steps.last?.name == "RESTORE_SYSTEM")
            #expect(objects.map { site.clinic.firstMemory.bytes($0) } == before && objects.count == 1 + seed % 7)
        }
    }

    /// Shows for each kind that the drill fails and names it where the reading of the log is blind to it alone.
    @Test(arguments: LogCorruptionKind.allCases)
    func noticesBlindness(_ kind: LogCorruptionKind) async throws {
        try await withLog(of: 3) { site in
            let run = Guarded(0)
            let blind = LogCorruptionKind.allCases.firstIndex(of: kind)
            let result = try await Drill(
                DrillJob(
                    target: "clinic", scenario: .dataCorruption, key: .latest(nil), requestID: .random("d"),
                    dryRun: false), at: site.clinic.workplace,
                logVerification: { workplace, stretch, store, meter in
                    let number = run.withLock { run in
                        defer { run += 1 }
                        return run
                    }
                    if number != blind { try await Drill.verifyLog(workplace, stretch, store, meter) }
                }
            ).run()
            #expect(run.value == LogCorruptionKind.allCases.count)
            #expect(result.verdict == .failed && result.exitCode == .verificationFailed)
            for other in LogCorruptionKind.allCases {
                #expect(
                    try site.step("DETECT_\(other.rawValue)", result).outcome == (other == kind ? .failed : .passed))
            }
            #expect(try site.validation("DETECTION_CHECK", result) == .failed)
            #expect(result.failure?.object.contains(kind.rawValue) == true)
        }
    }

    /// Shows that a check which only lists what is stored finds a missing segment and nothing else.
    @Test func listingIsNotEnough() async throws {
        try await withLog(of: 4) { site in
            let result = try await Drill(
                DrillJob(
                    target: "clinic", scenario: .dataCorruption, key: .latest(nil), requestID: .random("d"),
                    dryRun: false), at: site.clinic.workplace,
                logVerification: { workplace, stretch, store, _ in
                    let ranges = try await workplace.logArchive(in: store).ranges(of: Self.system)
                    guard ranges.contains(where: { stretch.lies(in: $0) }) else {
                        throw JobFailure(.verificationFailed, "list", cause: "a gap", hint: "")
                    }
                }
            ).run()
            #expect(try site.step("DETECT_LOG_MISSING_SEGMENT", result).outcome == .passed)
            #expect(try site.step("DETECT_LOG_BIT_FLIP", result).outcome == .failed)
            #expect(try site.step("DETECT_LOG_SWAPPED_SEGMENTS", result).outcome == .failed)
        }
    }

    /// Shows that a log which is damaged or has a gap already fails the drill before anything is done to a copy of it.
    @Test(arguments: ["bit", "gap"])
    func damagedAlready(_ what: String) async throws {
        try await withLog(of: 3) { site in
            let key = try #require(site.clinic.firstMemory.keys.filter { $0.hasPrefix("wal/") }.dropFirst().first)
            if what == "bit" {
                site.clinic.firstMemory.damage(key) { $0[$0.count - 20] ^= 1 }
            } else {
                try await site.clinic.firstMemory.delete(key)
            }
            let result = try await site.drill(.dataCorruption)
            if what == "bit" {
                #expect(result.verdict == .failed && result.exitCode == .verificationFailed)
                #expect(logSteps(result).map(\.name) == ["RETRIEVE_LOG"])
                #expect(result.drill?.status == .aborted)
            } else {
                // Either side of the gap is a log of its own, sound as far as it goes; SYSTEM_FAILURE finds the gap.
                #expect(result.verdict == .proven)
                #expect(logSteps(result).count == 4)
            }
        }
    }

    /// Shows that without a log after the set nothing of one is damaged, and that this is said.
    @Test func noLog() async throws {
        try await withLog(of: 0) { site in
            let result = try await site.drill(.dataCorruption)
            #expect(result.verdict == .proven && logSteps(result).isEmpty)
            #expect(result.notes.contains { $0.contains("no log after the set is stored") })
        }
    }
}
