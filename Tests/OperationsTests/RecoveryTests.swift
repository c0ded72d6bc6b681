import Core
import Sets
import TestSupport
import Testing

@testable import Operations

@Suite("The way through the log")
struct LogPathTests {
    private static let size: UInt64 = 1 << 24

    private static func base(
        end: LSN = Clinic.lsn(2, 0x100), timeline: UInt32 = 1, isOfStandby: Bool = true
    ) throws -> PhysicalBase {
        var manifest = manifest(end: end, timeline: timeline)
        manifest.details["standby"] = String(isOfStandby)
        return try #require(PhysicalBase(manifest))
    }

    private static func manifest(end: LSN, timeline: UInt32) -> Manifest {
        Manifest(
            key: BackupKey(tier: .daily, timestamp: Timestamp(milliseconds: 0)), target: "clinic", engine: "postgres",
            requestID: "r", attempt: "a", snapshotTime: Timestamp(milliseconds: 0),
            finishedTime: Timestamp(milliseconds: 0), sequence: 1, previous: nil,
            details: [
                "method": "physical", "systemIdentifier": "7001", "timeline": String(timeline),
                "startLSN": Clinic.lsn(2).description, "endLSN": end.description, "walSegmentSize": String(size),
            ], exceptions: [], sourceSize: 0, compression: .standard, parts: [], contents: ContentsSummary([:]),
            encryption: EncryptionInfo(algorithm: "", context: [:], dataKeys: []),
            retention: Retention(retainUntil: nil))
    }

    private static func range(_ timeline: UInt32, _ begin: LSN, _ end: LSN, _ stored: Int64? = nil) -> WALRange {
        WALRange(timeline: timeline, begin: begin, end: end, stored: stored.map { Timestamp(milliseconds: $0) })
    }

    /// Shows that ranges which touch or overlap are one way, in whatever order they come, and that its end says when it
    /// was stored.
    @Test func joined() throws {
        let path = LogPath(
            from: try Self.base(), along: [(1, nil)],
            in: [
                Self.range(1, Clinic.lsn(5), Clinic.lsn(7), 70), Self.range(1, Clinic.lsn(1), Clinic.lsn(3), 30),
                Self.range(1, Clinic.lsn(3), Clinic.lsn(5, 9), 50),
            ])
        #expect(path.end == Clinic.lsn(7) && path.gap == nil)
        #expect(path.stored == Timestamp(milliseconds: 70))
        // Segments 2 to 6.
        #expect(path.needed().segments == 5 && path.needed().bytes == 5 << 24)
        #expect(path.needed(until: Clinic.lsn(3)).segments == 2)
        #expect(path.needed(until: Clinic.lsn(2, 0x200)).segments == 1)
    }

    /// Shows that a missing stretch ends the way and is named; that what lies before the base does not help; and that a
    /// log which begins after the base is a gap from its end on.
    @Test func gaps() throws {
        let broken = LogPath(
            from: try Self.base(), along: [(1, nil)],
            in: [Self.range(1, Clinic.lsn(2), Clinic.lsn(4)), Self.range(1, Clinic.lsn(5), Clinic.lsn(9))])
        #expect(broken.end == Clinic.lsn(4))
        #expect(broken.gap == Self.range(1, Clinic.lsn(4), Clinic.lsn(5)))
        let late = LogPath(
            from: try Self.base(), along: [(1, nil)], in: [Self.range(1, Clinic.lsn(3), Clinic.lsn(4))])
        #expect(late.legs.isEmpty && late.end == Clinic.lsn(2, 0x100))
        #expect(late.gap == Self.range(1, Clinic.lsn(2, 0x100), Clinic.lsn(3)))
        let early = LogPath(
            from: try Self.base(), along: [(1, nil)], in: [Self.range(1, Clinic.lsn(1), Clinic.lsn(2))])
        #expect(early.legs.isEmpty && early.gap == nil && early.needed().segments == 0)
    }

    /// Shows that a log may begin with the segment after the one in which a base of a primary ended, which the base holds
    /// itself, and no later; and that the base alone is still possible to its own end only.
    @Test func afterPrimary() throws {
        for end in [Clinic.lsn(2, 0x100), Clinic.lsn(3)] {
            let base = try Self.base(end: end, isOfStandby: false)
            #expect(base.heldEnd == Clinic.lsn(3))
            let path = LogPath(
                from: base, along: [(1, nil)], in: [Self.range(1, Clinic.lsn(3), Clinic.lsn(5))])
            #expect(path.end == Clinic.lsn(5) && path.gap == nil)
            let late = LogPath(
                from: base, along: [(1, nil)], in: [Self.range(1, Clinic.lsn(4), Clinic.lsn(5))])
            #expect(late.end == end && late.legs.isEmpty)
            #expect(late.gap == Self.range(1, end, Clinic.lsn(4)))
            #expect(LogPath(from: base, along: [(1, nil)], in: []).end == end)
        }
    }

    /// Shows that a promotion is followed: the old timeline is needed up to the segment in which it was left, which the
    /// new one's first file holds; that what the old one has after that does not count; and that less is a gap.
    @Test func promoted() throws {
        let left = Clinic.lsn(4, 0x80)
        let new = Self.range(2, Clinic.lsn(4), Clinic.lsn(6), 60)
        for oldEnd in [Clinic.lsn(4), Clinic.lsn(4, 0x40), left, Clinic.lsn(9)] {
            let path = LogPath(
                from: try Self.base(), along: [(1, left), (2, nil)],
                in: [Self.range(1, Clinic.lsn(2), oldEnd), new])
            #expect(path.end == Clinic.lsn(6) && path.timeline == 2 && path.gap == nil, "\(oldEnd)")
            #expect(path.stored == Timestamp(milliseconds: 60))
        }
        let short = LogPath(
            from: try Self.base(), along: [(1, left), (2, nil)],
            in: [Self.range(1, Clinic.lsn(2), Clinic.lsn(3)), new])
        #expect(short.end == Clinic.lsn(3) && short.gap == Self.range(1, Clinic.lsn(3), left))
    }
}

@Suite("Restoring to a point in time")
struct RecoveryTests {
    private static let start = Timestamp(milliseconds: 1_736_924_400_000)

    /// Three bases an hour apart, ending in segments 2, 4 and 6, and the log of the segments 2 to 8, stored three hours
    /// after the first.
    private struct Site {
        var clinic: Clinic
        let place: TextScratchPlace
        let keys: [BackupKey]

        mutating func use(_ ranges: [WALRange], _ histories: [UInt32: String] = [:]) {
            clinic.workplace.log = MemoryLibrary(ranges: ranges, histories: histories)
        }

        func restore(
            _ target: RecoveryTarget?, _ key: KeySelector = .latest(nil), database: String? = nil,
            requestID: RequestID = .random("s"), dryRun: Bool = false
        ) async throws -> JobResult {
            clinic.clock.advance(seconds: 1)
            return try await Restore(
                RestoreJob(
                    target: "clinic", key: key, requestID: requestID, recoveryTarget: target,
                    sourceDatabase: database, dryRun: dryRun), at: clinic.workplace
            ).run()
        }
    }

    private static let whole = WALRange(
        timeline: 1, begin: Clinic.lsn(2), end: Clinic.lsn(9), stored: start.adding(seconds: 3 * 3600))

    private func withSite(_ body: (inout Site) async throws -> Void) async throws {
        try await Clinic.open { clinic in
            var clinic = clinic
            let place = TextScratchPlace(clock: clinic.clock)
            // Where the ready directory comes to be; nothing stands there.
            clinic.workplace.destination = { _ in TextScratchEngine(place: place) }
            clinic.workplace.scratch = place
            var keys: [BackupKey] = []
            for segment in [2, 4, 6] as [UInt64] {
                clinic.isPhysical(from: Clinic.lsn(segment), to: Clinic.lsn(segment, 0x100))
                keys.append(try #require(try await clinic.backup().backupKey))
                clinic.clock.advance(seconds: 3599)
            }
            clinic.engine.details = [:]
            var site = Site(clinic: clinic, place: place, keys: keys)
            site.use([Self.whole])
            try await body(&site)
            #expect(place.now.opened == place.now.closed)
        }
    }

    private static func time(_ seconds: Int64) -> RecoveryTarget {
        RecoveryTarget(.time(microseconds: start.adding(seconds: seconds).milliseconds * 1000))
    }

    /// Shows that of several bases the newest that ends before the target is taken, for every kind of target, and that
    /// the destination is asked to follow the log to just that point on the timeline that leads there.
    @Test func nearest() async throws {
        try await withSite { site in
            for (target, base) in [
                (Self.time(600), 0), (Self.time(3601), 1), (Self.time(3600), 0), (Self.time(3 * 3600), 2),
                (RecoveryTarget(.lsn(Clinic.lsn(3))), 0), (RecoveryTarget(.lsn(Clinic.lsn(4, 0x100))), 1),
                (RecoveryTarget(.lsn(Clinic.lsn(8, 5)), isInclusive: false), 2), (RecoveryTarget(.latest), 2),
                (RecoveryTarget(.name("before the upgrade")), 2), (RecoveryTarget(.transaction(99)), 2),
            ] {
                let result = try await site.restore(target)
                #expect(result.backupKey == site.keys[base], "\(target)")
                #expect(result.verdict == .proven && result.safetyBackupKey == nil)
                let asked = try #require(site.place.now.recoveries.last)
                #expect(asked.point == target.point && asked.isInclusive == target.isInclusive)
                #expect(asked.timeline == 1)
            }
            // A named base is taken at its word, and so is a tier that has none.
            #expect(try await site.restore(RecoveryTarget(.latest), .exact(site.keys[0])).backupKey == site.keys[0])
            let none = await #expect(throws: (any Error).self) {
                try await site.restore(RecoveryTarget(.latest), .latest(.weekly))
            }
            #expect((none as? any Failure)?.exitCode == .store)
        }
    }

    /// Shows that a target before the first base, after the log, or without a log is refused with what is possible, and
    /// nothing is begun.
    @Test func impossible() async throws {
        try await withSite { site in
            let oldest = "\(site.keys[0])"
            for (target, selector, hint) in [
                (Self.time(-5), KeySelector.latest(nil), oldest),
                (Self.time(4 * 3600), .latest(nil), "0/9000000"),
                (RecoveryTarget(.lsn(Clinic.lsn(2, 5))), .latest(nil), oldest),
                (RecoveryTarget(.lsn(Clinic.lsn(9))), .latest(nil), "0/9000000"),
                (Self.time(600), .exact(site.keys[1]), "0/4000100"),
            ] {
                let error = await #expect(throws: JobFailure.self) { try await site.restore(target, selector) }
                #expect(error?.exitCode == .eventRefused, "\(target)")
                #expect(error?.cause.contains(hint) == true, "\(error?.cause ?? "")")
            }
            site.use([])
            for target in [
                Self.time(2 * 3600 + 60), RecoveryTarget(.name("n")), RecoveryTarget(.transaction(1)),
                RecoveryTarget(.lsn(Clinic.lsn(7))),
            ] {
                let error = await #expect(throws: JobFailure.self) { try await site.restore(target) }
                #expect(error?.exitCode == .eventRefused, "\(target)")
                #expect(error?.cause.contains("possible") == true)
            }
            // Where nobody says when the end was stored, only the future can be told from the past.
            var undated = Self.whole
            undated.stored = nil
            site.use([undated])
            let future = await #expect(throws: JobFailure.self) { try await site.restore(Self.time(5 * 3600)) }
            #expect(future?.exitCode == .eventRefused && future?.cause.contains("future") == true)
            site.clinic.workplace.log = nil
            let unlogged = await #expect(throws: JobFailure.self) {
                try await site.restore(RecoveryTarget(.latest))
            }
            #expect(unlogged?.exitCode == .configuration)
            #expect(site.place.now.recoveries.isEmpty && site.place.now.promoted.isEmpty)
        }
    }

    /// Shows that a gap between base and target is an error that names what is missing, that a point before the gap can
    /// be had, and that a time in the first stretch can, for its end says when that was stored.
    @Test func gap() async throws {
        try await withSite { site in
            site.use([
                WALRange(
                    timeline: 1, begin: Clinic.lsn(2), end: Clinic.lsn(7), stored: Self.start.adding(seconds: 7300)),
                WALRange(
                    timeline: 1, begin: Clinic.lsn(8), end: Clinic.lsn(9), stored: Self.start.adding(seconds: 9000)),
            ])
            for target in [
                RecoveryTarget(.latest), RecoveryTarget(.lsn(Clinic.lsn(8, 1))), Self.time(8000),
            ] {
                let error = await #expect(throws: JobFailure.self) { try await site.restore(target) }
                #expect(error?.exitCode == .verificationFailed, "\(target)")
                #expect(error?.cause.contains("lacks 0/7000000 to 0/8000000") == true, "\(error?.cause ?? "")")
            }
            for target in [RecoveryTarget(.lsn(Clinic.lsn(6, 0x300))), Self.time(7250)] {
                let result = try await site.restore(target)
                #expect(result.verdict == .proven, "\(target)")
            }
        }
    }

    /// Shows that after a promotion both branches can be restored: the newest timeline where none is named, with only a
    /// base that leads there, and the old one by its number; and that a lost history is an error.
    @Test func branches() async throws {
        try await withSite { site in
            let fork = WALRange(
                timeline: 2, begin: Clinic.lsn(5), end: Clinic.lsn(6), stored: Self.start.adding(seconds: 9000))
            site.use([Self.whole, fork], [2: "1\t\(Clinic.lsn(5, 0x40))\tno recovery target specified\n"])
            // The third base is on the branch that was left.
            let newest = try await site.restore(RecoveryTarget(.latest))
            #expect(newest.backupKey == site.keys[1])
            #expect(site.place.now.recoveries.last?.timeline == 2)
            let old = try await site.restore(RecoveryTarget(.latest, timeline: 1))
            #expect(old.backupKey == site.keys[2])
            #expect(site.place.now.recoveries.last?.timeline == 1)
            let stray = await #expect(throws: JobFailure.self) {
                try await site.restore(RecoveryTarget(.latest), .exact(site.keys[2]))
            }
            #expect(stray?.exitCode == .eventRefused)
            #expect(stray?.cause.contains("does not lead to timeline 2") == true)
            site.use([Self.whole, fork])
            let lost = await #expect(throws: JobFailure.self) { try await site.restore(RecoveryTarget(.latest)) }
            #expect(lost?.cause.contains("00000002.history") == true)
        }
    }

    /// Shows that a repeated request takes the base that it took first, whatever was made since; and that a set of one
    /// database is no base.
    @Test func onceForARequest() async throws {
        try await withSite { site in
            #expect(
                try await site.restore(RecoveryTarget(.latest), requestID: .run("u")).backupKey == site.keys[2])
            site.clinic.isPhysical(from: Clinic.lsn(8), to: Clinic.lsn(8, 0x100))
            let newer = try #require(try await site.clinic.backup().backupKey)
            site.clinic.engine.details = [:]
            let logical = try #require(try await site.clinic.backup().backupKey)
            #expect(
                try await site.restore(RecoveryTarget(.latest), requestID: .run("u")).backupKey == site.keys[2])
            #expect(try await site.restore(RecoveryTarget(.latest), requestID: .run("v")).backupKey == newer)
            let error = await #expect(throws: JobFailure.self) {
                try await site.restore(RecoveryTarget(.latest), .exact(logical))
            }
            #expect(error?.exitCode == .eventRefused)
        }
    }

    /// Shows that a dry run says base, segments and bytes and changes nothing; that it names no time while none was
    /// measured, and one from what a restore took afterwards.
    @Test func dryRun() async throws {
        try await withSite { site in
            let before = site.clinic.firstMemory.keys
            let target = RecoveryTarget(.lsn(Clinic.lsn(7, 1)))
            let plan = try await site.restore(target, dryRun: true)
            #expect(plan.dryRun && plan.backupKey == site.keys[2])
            #expect(plan.details["base"]?["key"] == .string("\(site.keys[2])"))
            #expect(plan.details["log"]?["segments"] == .integer(2))
            #expect(plan.details["log"]?["bytes"] == .integer(2 << 24))
            #expect(plan.details["estimatedSeconds"] == .null)
            #expect(plan.details["estimate"] == .string(MeasuredRates().text(isForLog: true)))
            #expect(site.clinic.firstMemory.keys == before)
            #expect(site.place.now.promoted.isEmpty)

            let clock = site.clinic.clock
            site.place.set {
                $0.acts[.stage] = { clock.advance(seconds: 4) }
                $0.acts[.promote] = { clock.advance(seconds: 10) }
            }
            _ = try await site.restore(target)
            // As many bytes, and twice the log: segments 4 to 7.
            let next = try await site.restore(target, .exact(site.keys[1]), dryRun: true)
            #expect(next.details["log"]?["segments"] == .integer(4))
            #expect(next.details["estimatedSeconds"] == .integer(24))
            #expect(next.details["estimate"]?.canonicalText.contains("\(site.keys[2])") == true)
        }
    }

    /// Shows that one database is taken out of a server that was recovered in the scratch place, and goes the safe way
    /// into the live one: a safety set of what stood there, compared, exchanged; the scratch place is closed after it.
    @Test func oneDatabase() async throws {
        try await withSite { site in
            let live = Array("live rows\n".utf8)
            let wanted = Array("rows of an hour ago\n".utf8)
            site.clinic.engine.text = live
            site.place.set {
                $0.databases["patients"] = wanted
                $0.recovered = { _ in
                    RecoveredPoint(timeline: 1, lsn: Clinic.lsn(6, 0x500), lastCommit: Self.start)
                }
            }
            let engine = site.clinic.engine
            site.clinic.workplace.destination = { _ in engine }
            let result = try await site.restore(Self.time(7201), database: "patients")
            #expect(result.exitCode == .done && result.verdict == .proven)
            #expect(result.backupKey == site.keys[2])
            #expect(engine.text == wanted)
            #expect(result.details["recovered"]?["lsn"] == .string("0/6000500"))
            #expect(result.details["log"]?["segments"] == .integer(3))
            #expect(site.place.now.recoveries == [RecoveryTarget(Self.time(7201).point, timeline: 1)])
            let safety = try #require(result.safetyBackupKey)
            engine.text = [1]
            #expect(try await site.clinic.restore(.exact(safety)).exitCode == .done)
            #expect(engine.text == live)
        }
    }

    /// Shows that where anything fails on the way to the database the live server is as it was, and the scratch place is
    /// closed: a fault at each step, a database that is not there, and a set of one database.
    @Test func oneDatabaseFails() async throws {
        try await withSite { site in
            let engine = site.clinic.engine
            let live = Array("live rows\n".utf8)
            engine.text = live
            site.clinic.workplace.destination = { _ in engine }
            site.place.set { $0.databases["patients"] = [2] }
            for step in TextScratchPlace.Step.allCases {
                site.place.set {
                    $0.faults[step] = JobFailure(.source, "do it", cause: "the test wants it", hint: "")
                }
                let error = await #expect(throws: JobFailure.self) {
                    try await site.restore(Self.time(7201), database: "patients")
                }
                #expect(error?.exitCode == .restoreFailedOriginalIntact, "\(step)")
                #expect(engine.text == live)
            }
            let unknown = await #expect(throws: JobFailure.self) {
                try await site.restore(RecoveryTarget(.latest), database: "nobody")
            }
            #expect(unknown?.object == "nobody")
            let logical = try #require(try await site.clinic.backup().backupKey)
            let error = await #expect(throws: JobFailure.self) {
                try await site.restore(nil, .exact(logical), database: "patients")
            }
            #expect(error?.exitCode == .eventRefused)
            // A set of a whole server without a point in time is taken as it is.
            #expect(try await site.restore(nil, .exact(site.keys[0]), database: "patients").exitCode == .done)
            #expect(engine.text == [2])
            site.clinic.workplace.scratch = nil
            let nowhere = await #expect(throws: JobFailure.self) {
                try await site.restore(nil, .exact(site.keys[0]), database: "patients")
            }
            #expect(nowhere?.exitCode == .configuration)
        }
    }

    /// Shows that a dry run for one database looks at the scratch place and at the destination as the real run does, says
    /// what each needs and has, and leaves both as they were.
    @Test func oneDatabaseDryRun() async throws {
        try await withSite { site in
            let engine = site.clinic.engine
            let live = Array("live rows\n".utf8)
            engine.text = live
            site.clinic.workplace.destination = { _ in engine }
            let asked = Guarded<[SurveyRequest]>([])
            engine.onSurvey { request in
                asked.withLock { $0.append(request) }
                return RestoreSummary(
                    replaces: "the live one", alreadyDone: false, neededBytes: 700, freeBytes: 900, notes: ["seen"])
            }
            site.place.set {
                $0.summary.neededBytes = 70
                $0.summary.freeBytes = 90
            }
            let before = site.clinic.firstMemory.keys
            let plan = try await site.restore(Self.time(7201), database: "patients", dryRun: true)
            #expect(plan.dryRun && plan.backupKey == site.keys[2])
            #expect(plan.details["replaces"] == .string("the live one"))
            #expect(plan.details["neededBytes"] == .integer(700) && plan.details["freeBytes"] == .integer(900))
            #expect(plan.details["scratch"]?["neededBytes"] == .integer(70))
            #expect(plan.details["scratch"]?["freeBytes"] == .integer(90))
            #expect(plan.details["log"]?["segments"] == .integer(3))
            #expect(plan.notes.contains("seen") && plan.notes.contains("planned"))
            #expect(asked.value.map(\.database) == ["patients"])
            #expect(asked.value.first?.manifest.key == site.keys[2])
            #expect(site.place.now.recoveries == [RecoveryTarget(Self.time(7201).point, timeline: 1)])
            #expect(site.place.now.opened == 1 && site.place.now.promoted.isEmpty)
            #expect(engine.text == live && site.clinic.firstMemory.keys == before)
        }
    }

    /// Shows that what would stop the restore at the destination, or in the scratch place, stops the dry run and the real
    /// run with the same words before anything is recovered, and that a request that was carried out is not once more.
    @Test func oneDatabaseIsRefusedFirst() async throws {
        try await withSite { site in
            let engine = site.clinic.engine
            let live = Array("live rows\n".utf8)
            engine.text = live
            site.clinic.workplace.destination = { _ in engine }
            site.place.set { $0.databases["patients"] = [2] }
            let refusal = JobFailure(
                .restoreFailedOriginalIntact, "restore", object: "text", cause: "the disk is too small", hint: "")
            for dryRun in [true, false] {
                engine.onSurvey { _ in throw refusal }
                let error = await #expect(throws: JobFailure.self) {
                    try await site.restore(Self.time(7201), database: "patients", dryRun: dryRun)
                }
                #expect(error?.cause == refusal.cause && error?.exitCode == .restoreFailedOriginalIntact)
                #expect(site.place.now.opened == 0)
                engine.onSurvey { _ in
                    RestoreSummary(replaces: nil, alreadyDone: false, neededBytes: 0, freeBytes: nil, notes: [])
                }
                site.place.set { $0.faults[.plan] = refusal }
                let scratch = await #expect(throws: JobFailure.self) {
                    try await site.restore(Self.time(7201), database: "patients", dryRun: dryRun)
                }
                #expect(scratch?.cause == refusal.cause && scratch?.exitCode == .restoreFailedOriginalIntact)
                #expect(site.place.now.promoted.isEmpty)
                site.place.set {
                    $0.opened = 0; $0.closed = 0
                }
                // A set of one database has none to be taken out of it.
                site.clinic.engine.details = [:]
                let logical = try #require(try await site.clinic.backup().backupKey)
                let kind = await #expect(throws: JobFailure.self) {
                    try await site.restore(nil, .exact(logical), database: "patients", dryRun: dryRun)
                }
                #expect(kind?.exitCode == .eventRefused)
            }
            engine.onSurvey { _ in
                RestoreSummary(replaces: nil, alreadyDone: true, neededBytes: 0, freeBytes: nil, notes: [])
            }
            let replay = try await site.restore(Self.time(7201), database: "patients")
            #expect(replay.replayed && replay.verdict == .proven)
            #expect(site.place.now.opened == 0 && engine.text == live)
        }
    }
}
