import Core
import Glibc
import MetricsReporter
import TestSupport
import Testing

@Suite struct TextfileMetricsTests {
    private let clock = ManualClock()

    private func identity(_ action: String, tier: Tier? = .daily, target: String = "clinic") -> RunIdentity {
        RunIdentity(
            action: action, target: target, tier: tier, requestID: .run("r"), started: clock.now())
    }

    private func finished(
        _ action: String, _ exitCode: ExitCode = .done, tier: Tier? = .daily, target: String = "clinic",
        verdict: Verdict? = nil, replayed: Bool = false, age: Int64 = 10, copies: CopyCount? = nil,
        keyExpiries: [KeyExpiry]? = nil, proofDepth: ProofDepth? = nil, drill: DrillOutcome? = nil
    ) -> RunEvent {
        .finished(
            identity(action, tier: tier, target: target),
            RunOutcome(
                exitCode: exitCode, verdict: verdict, finished: clock.now(), duration: 12.5, storedBytes: 4096,
                sourceBytes: 10000, snapshotTime: clock.now().adding(seconds: -age), replayed: replayed,
                chainSequence: 7, copies: copies, keyExpiries: keyExpiries, proofDepth: proofDepth, drill: drill))
    }

    private func read(_ directory: String, target: String = "clinic") throws -> String {
        try readText("\(directory)/\(TextfileMetrics.fileName(target: target))")
    }

    @Test("the first backup writes this file, byte for byte")
    func firstBackup() async throws {
        try await withScratchDirectory { directory in
            let metrics = try TextfileMetrics(directory: directory)
            try await metrics.record(finished("backup"))
            let labels = "{target=\"clinic\",tier=\"daily\",type=\"full\"}"
            #expect(
                try read(directory) == """
                    # HELP lifeboat_backup_duration_seconds Wall time of the last successful backup.
                    # TYPE lifeboat_backup_duration_seconds gauge
                    lifeboat_backup_duration_seconds\(labels) 12.5
                    # HELP lifeboat_backup_size_bytes Bytes of the last successful backup as stored.
                    # TYPE lifeboat_backup_size_bytes gauge
                    lifeboat_backup_size_bytes\(labels) 4096
                    # HELP lifeboat_backup_success_total Backups that ended with exit code 0.
                    # TYPE lifeboat_backup_success_total counter
                    lifeboat_backup_success_total\(labels) 1
                    # HELP lifeboat_backup_failure_total Backups that ended with another exit code \
                    than 0, 19 or 75.
                    # TYPE lifeboat_backup_failure_total counter
                    lifeboat_backup_failure_total\(labels) 0
                    # HELP lifeboat_backup_age_seconds Age of the newest backup's data when this file \
                    was last written.
                    # TYPE lifeboat_backup_age_seconds gauge
                    lifeboat_backup_age_seconds\(labels) 10
                    # HELP lifeboat_backup_last_snapshot_timestamp_seconds When the data of the newest backup was \
                    read, in Unix time.
                    # TYPE lifeboat_backup_last_snapshot_timestamp_seconds gauge
                    lifeboat_backup_last_snapshot_timestamp_seconds\(labels) 1736924390
                    # HELP lifeboat_backup_last_success_timestamp_seconds When the last successful backup ended, \
                    in Unix time.
                    # TYPE lifeboat_backup_last_success_timestamp_seconds gauge
                    lifeboat_backup_last_success_timestamp_seconds\(labels) 1736924400
                    # HELP lifeboat_backup_chain_sequence Number of the newest backup in its target's chain.
                    # TYPE lifeboat_backup_chain_sequence gauge
                    lifeboat_backup_chain_sequence{target="clinic"} 7

                    """)
            var status = stat()
            #expect(stat("\(directory)/lifeboat_clinic.prom", &status) == 0)
            #expect(status.st_mode & 0o7777 == 0o644)
        }
    }

    @Test("counters go on, tier by tier, and what a failed run says nothing about stays")
    func countersGoOn() async throws {
        try await withScratchDirectory { directory in
            let metrics = try TextfileMetrics(directory: directory)
            try await metrics.record(finished("backup"))
            try await metrics.record(finished("backup", tier: .weekly))
            clock.advance(seconds: 3600)
            try await metrics.record(finished("backup", .source))
            try await metrics.record(finished("backup", .terminated, tier: nil))
            try await metrics.record(finished("backup"))
            clock.advance(seconds: 100)
            try await metrics.record(finished("backup", .store))
            let text = try read(directory)
            #expect(value(text, "backup_success_total", "daily") == "2")
            #expect(value(text, "backup_failure_total", "daily") == "2")
            #expect(value(text, "backup_success_total", "weekly") == "1")
            #expect(value(text, "backup_failure_total", "unknown") == "1")
            #expect(value(text, "backup_success_total", "unknown") == "0")
            #expect(value(text, "backup_last_success_timestamp_seconds", "daily") == "1736928000")
            #expect(value(text, "backup_duration_seconds", "unknown") == nil)
            // The ages of all tiers are those of this moment.
            #expect(value(text, "backup_age_seconds", "daily") == "110")
            #expect(value(text, "backup_age_seconds", "weekly") == "3710")
        }
    }

    @Test("jobs of the log tell until when all is stored, and a failed one leaves that as it was")
    func log() async throws {
        try await withScratchDirectory { directory in
            let metrics = try TextfileMetrics(directory: directory)
            func line(_ name: String) throws -> String? {
                let start = "lifeboat_wal_\(name){target=\"clinic\"} "
                return try read(directory).split(separator: "\n").first { $0.hasPrefix(start) }
                    .map { String($0.dropFirst(start.count)) }
            }
            try await metrics.record(finished("wal", tier: nil))
            #expect(try line("last_archived_timestamp_seconds") == "1736924390")
            #expect(try line("archived_bytes_total") == "10000")
            #expect(try line("success_total") == "1")
            #expect(try line("failure_total") == "0")
            clock.advance(seconds: 60)
            try await metrics.record(finished("wal", .source, tier: nil))
            try await metrics.record(finished("wal", .locked, tier: nil))
            #expect(try line("last_archived_timestamp_seconds") == "1736924390")
            #expect(try line("failure_total") == "1")
            // Stored, though not in both stores.
            try await metrics.record(finished("wal", .notReplicated, tier: nil))
            #expect(try line("last_archived_timestamp_seconds") == "1736924450")
            #expect(try line("failure_total") == "2")
            #expect(try line("success_total") == "1")
        }
    }

    @Test("what counts as a success and what as a failure", arguments: ExitCode.allCases)
    func exitCodes(_ code: ExitCode) async throws {
        try await withScratchDirectory { directory in
            let metrics = try TextfileMetrics(directory: directory)
            for action in ["backup", "restore"] {
                try await metrics.record(finished(action, code))
                let text = try read(directory)
                let counts = [
                    value(text, "\(action)_success_total", "daily"), value(text, "\(action)_failure_total", "daily"),
                ]
                switch code {
                case .done: #expect(counts == ["1", "0"])
                case .locked, .thawRequested: #expect(counts == [nil, nil])
                default: #expect(counts == ["0", "1"])
                }
            }
        }
    }

    @Test("only a proof is a verification that succeeded; an inconclusive one failed")
    func verification() async throws {
        try await withScratchDirectory { directory in
            let metrics = try TextfileMetrics(directory: directory)
            try await metrics.record(finished("verify", .done, verdict: .proven))
            try await metrics.record(finished("verify", .inconclusive, verdict: .inconclusive))
            try await metrics.record(finished("verify", .verificationFailed, verdict: .failed))
            try await metrics.record(finished("verify", .done, verdict: .inconclusive))
            try await metrics.record(finished("verify", .done, verdict: nil))
            try await metrics.record(finished("verify", .locked))
            let text = try read(directory)
            #expect(value(text, "backup_verification_success_total", "daily") == "1")
            #expect(value(text, "backup_verification_failure_total", "daily") == "4")
            #expect(value(text, "backup_verification_last_success_timestamp_seconds", "daily") == "1736924400")
            #expect(value(text, "backup_success_total", "daily") == nil)
        }
    }

    @Test("a restore counts with its time; a replay of anything is not counted again")
    func restoreAndReplay() async throws {
        try await withScratchDirectory { directory in
            let metrics = try TextfileMetrics(directory: directory)
            try await metrics.record(finished("restore"))
            try await metrics.record(finished("restore", replayed: true))
            // This run's report was lost; its replay tells at least how old the data is.
            try await metrics.record(finished("backup", replayed: true, age: 500))
            try await metrics.record(finished("backup", replayed: true, age: 900))
            let text = try read(directory)
            #expect(value(text, "restore_success_total", "daily") == "1")
            #expect(value(text, "restore_duration_seconds", "daily") == "12.5")
            #expect(value(text, "restore_last_success_timestamp_seconds", "daily") == "1736924400")
            #expect(value(text, "backup_success_total", "daily") == nil)
            #expect(value(text, "backup_age_seconds", "daily") == "500")
        }
    }

    @Test("copies count by the set, in replays too; a backup without its copy failed, and its data is there")
    func copies() async throws {
        try await withScratchDirectory { directory in
            let metrics = try TextfileMetrics(directory: directory)
            func target(_ name: String) throws -> String? {
                let start = "lifeboat_\(name){target=\"clinic\"} "
                return try read(directory).split(separator: "\n").first { $0.hasPrefix(start) }
                    .map { String($0.dropFirst(start.count)) }
            }
            try await metrics.record(finished("backup"))
            #expect(try target("backup_copy_success_total") == nil)
            clock.advance(seconds: 100)
            let failed = CopyCount(made: 0, failed: 1, missing: 1)
            try await metrics.record(finished("backup", .notReplicated, copies: failed))
            #expect(try target("backup_copy_success_total") == "0")
            #expect(try target("backup_copy_failure_total") == "1")
            #expect(try target("backup_copies_missing") == "1")
            let text = try read(directory)
            #expect(value(text, "backup_failure_total", "daily") == "1")
            #expect(value(text, "backup_last_snapshot_timestamp_seconds", "daily") == "1736924490")
            #expect(value(text, "backup_last_success_timestamp_seconds", "daily") == "1736924400")
            // The store could not be listed: the number stays what it was.
            try await metrics.record(finished("backup", .notReplicated, copies: CopyCount(failed: 1)))
            #expect(try target("backup_copies_missing") == "1")
            let made = CopyCount(made: 3, missing: 0)
            try await metrics.record(finished("backup", replayed: true, copies: made))
            #expect(try target("backup_copy_success_total") == "3")
            #expect(try target("backup_copy_failure_total") == "2")
            #expect(try target("backup_copies_missing") == "0")
        }
    }

    @Test("when keys end is told by key, stays where a run does not say, and goes with a key that is used no more")
    func keyExpiries() async throws {
        try await withScratchDirectory { directory in
            let metrics = try TextfileMetrics(directory: directory)
            let expiry = { (key: String, seconds: Int64) in
                KeyExpiry(key: key, expires: Timestamp(milliseconds: seconds * 1000))
            }
            let lines = {
                try read(directory).split(separator: "\n").filter { $0.hasPrefix("lifeboat_key_expiry") }.map(
                    String.init)
            }
            let start = "lifeboat_key_expiry_timestamp_seconds{target=\"clinic\",key="
            try await metrics.record(
                finished(
                    "backup",
                    keyExpiries: [expiry("pkcs11:a \"b\\c", 1_800_000_000), expiry("gpg:AB", 1_700_000_000)]))
            let both = [start + "\"gpg:AB\"} 1700000000", start + "\"pkcs11:a \\\"b\\\\c\"} 1800000000"]
            #expect(try lines() == both)
            try await metrics.record(finished("verify", verdict: .proven))
            try await metrics.record(finished("backup", .keys))
            #expect(try lines() == both)
            #expect(try read(directory).contains("# TYPE lifeboat_key_expiry_timestamp_seconds gauge\n"))
            try await metrics.record(finished("backup", keyExpiries: [expiry("gpg:AB", 1_900_000_000)]))
            #expect(try lines() == [start + "\"gpg:AB\"} 1900000000"])
            try await metrics.record(finished("backup", keyExpiries: []))
            #expect(try lines().isEmpty)
        }
    }

    @Test("a proof by restore has a time of its own, whatever job it came of; one of integrity has none")
    func proofsByRestore() async throws {
        try await withScratchDirectory { directory in
            let metrics = try TextfileMetrics(directory: directory)
            let name = "lifeboat_backup_restore_proof_last_success_timestamp_seconds"
            try await metrics.record(finished("verify", verdict: .proven, proofDepth: .integrity))
            try await metrics.record(finished("verify", .inconclusive, verdict: .inconclusive, proofDepth: .restore))
            try await metrics.record(finished("drill", verdict: .proven, replayed: true, proofDepth: .restore))
            #expect(try !read(directory).contains(name))
            for action in ["verify", "restore", "drill"] {
                clock.advance(seconds: 60)
                try await metrics.record(finished(action, verdict: .proven, proofDepth: .restore))
                let line = "\(name){target=\"clinic\",tier=\"daily\",type=\"full\"} "
                #expect(try read(directory).contains("\(line)\(clock.now().milliseconds / 1000)\n"), "\(action)")
            }
        }
    }

    @Test("a drill counts by its scenario, with what it measured; what it did not stays, and a replay is none")
    func drills() async throws {
        try await withScratchDirectory { directory in
            let metrics = try TextfileMetrics(directory: directory)
            let labels = "{target=\"clinic\",scenario=\"SYSTEM_FAILURE\"}"
            let full = DrillOutcome(
                scenario: .systemFailure, recoverySeconds: 27.5, lossSeconds: 300, compared: 4, matched: 3)
            try await metrics.record(finished("drill", .verificationFailed, verdict: .failed, drill: full))
            var text = try read(directory)
            for line in [
                "drill_failure_total\(labels) 1", "drill_success_total\(labels) 0",
                "drill_recovery_seconds\(labels) 27.5", "drill_data_loss_seconds\(labels) 300",
                "drill_integrity_ratio\(labels) 0.75", "drill_last_timestamp_seconds\(labels) 1736924400",
            ] { #expect(text.contains("lifeboat_\(line)\n"), "\(line)") }
            #expect(!text.contains("drill_last_success"))
            #expect(verdicts(text, "SYSTEM_FAILURE") == ["proven": "0", "failed": "1", "inconclusive": "0"])

            clock.advance(seconds: 60)
            let bare = DrillOutcome(
                scenario: .systemFailure, recoverySeconds: nil, lossSeconds: nil, compared: 0, matched: 0)
            try await metrics.record(finished("drill", verdict: .proven, drill: bare))
            try await metrics.record(finished("drill", verdict: .proven, replayed: true, drill: bare))
            try await metrics.record(finished("drill", .thawRequested, drill: bare))
            let other = DrillOutcome(
                scenario: .keyLoss, recoverySeconds: 1, lossSeconds: 2, compared: 5, matched: 5)
            try await metrics.record(finished("drill", verdict: .proven, drill: other))
            text = try read(directory)
            for line in [
                "drill_failure_total\(labels) 1", "drill_success_total\(labels) 1",
                "drill_recovery_seconds\(labels) 27.5", "drill_integrity_ratio\(labels) 0.75",
                "drill_last_success_timestamp_seconds\(labels) 1736924460",
                "drill_last_timestamp_seconds\(labels) 1736924460",
                "drill_integrity_ratio{target=\"clinic\",scenario=\"KEY_LOSS\"} 1",
            ] { #expect(text.contains("lifeboat_\(line)\n"), "\(line)") }
            #expect(verdicts(text, "SYSTEM_FAILURE") == ["proven": "1", "failed": "0", "inconclusive": "0"])
            // One that was ended from outside is the last one, and showed nothing.
            clock.advance(seconds: 60)
            try await metrics.record(finished("drill", .terminated, verdict: .inconclusive, drill: bare))
            text = try read(directory)
            #expect(text.contains("lifeboat_drill_last_timestamp_seconds\(labels) 1736924520\n"))
            #expect(text.contains("lifeboat_drill_last_success_timestamp_seconds\(labels) 1736924460\n"))
            #expect(verdicts(text, "SYSTEM_FAILURE") == ["proven": "0", "failed": "0", "inconclusive": "1"])
            #expect(verdicts(text, "KEY_LOSS") == ["proven": "1", "failed": "0", "inconclusive": "0"])
        }
    }

    /// What the metrics say of the last drill of a scenario, by verdict.
    private func verdicts(_ text: String, _ scenario: String) -> [String: String] {
        let start = "lifeboat_drill_last_verdict{target=\"clinic\",scenario=\"\(scenario)\",verdict=\""
        var found: [String: String] = [:]
        for line in text.split(separator: "\n") where line.hasPrefix(start) {
            let pieces = line.dropFirst(start.count).split(separator: "\"} ")
            if pieces.count == 2 { found[String(pieces[0])] = String(pieces[1]) }
        }
        return found
    }

    @Test("runs of other actions and unfinished ones write nothing")
    func otherEvents() async throws {
        try await withScratchDirectory { directory in
            let metrics = try TextfileMetrics(directory: directory)
            try await metrics.record(finished("list"))
            try await metrics.record(.started(identity("backup")))
            try await metrics.record(.step("dump"))
            #expect(access("\(directory)/lifeboat_clinic.prom", F_OK) != 0)
        }
    }

    @Test("a file damaged in any way loses what cannot be read of it, and nothing else")
    func damaged() async throws {
        try await withScratchDirectory { directory in
            let metrics = try TextfileMetrics(directory: directory)
            let path = "\(directory)/lifeboat_clinic.prom"
            try await metrics.record(finished("backup"))
            let good = Array(try read(directory).utf8)
            var generator = SeededGenerator(seed: 42)
            for round in 0..<200 {
                var bytes = good
                switch round % 4 {
                case 0: bytes = Array(bytes.prefix(Int.random(in: 0...bytes.count, using: &generator)))
                case 1: bytes[Int.random(in: 0..<bytes.count, using: &generator)] ^= UInt8(1 << (round / 4 % 8))
                case 2: bytes = (0..<500).map { _ in UInt8.random(in: 0...255, using: &generator) }
                default:
                    bytes.insert(contentsOf: [0, 0xFF, 0x0A], at: Int.random(in: 0..<bytes.count, using: &generator))
                }
                try writeBytes(path, bytes)
                try await metrics.record(finished("backup"))
                let text = try read(directory)
                let count = try #require(value(text, "backup_success_total", "daily").flatMap(Int.init))
                #expect(count >= 1)
            }
            // Half a number is another number: a line without its end is dropped.
            let line = "lifeboat_backup_failure_total{target=\"clinic\",tier=\"daily\",type=\"full\"} 12"
            try writeBytes(path, Array("\(line)\nnonsense\n\(line)3".utf8))
            try await metrics.record(finished("backup", .source))
            #expect(value(try read(directory), "backup_failure_total", "daily") == "13")
            for bad in ["-1", "1.5", "NaN", "+Inf", "1e999", "0x10", "1 2", ""] {
                try writeBytes(path, Array((line.dropLast(2) + bad + "\n").utf8))
                try await metrics.record(finished("backup", .source))
                #expect(value(try read(directory), "backup_failure_total", "daily") == "1", "after '\(bad)'")
            }
        }
    }

    @Test("two runs that end at once both count")
    func concurrent() async throws {
        try await withScratchDirectory { directory in
            let metrics = try TextfileMetrics(directory: directory)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<20 {
                    group.addTask { try await metrics.record(finished("backup")) }
                    group.addTask { try await metrics.record(finished("verify", verdict: .proven)) }
                }
                try await group.waitForAll()
            }
            let text = try read(directory)
            #expect(value(text, "backup_success_total", "daily") == "20")
            #expect(value(text, "backup_verification_success_total", "daily") == "20")
        }
    }

    @Test("a directory that is not there, and a prefix that is no name, are errors that say what to do")
    func errors() async throws {
        let metrics = try TextfileMetrics(directory: "/no/such/directory")
        let error = await #expect(throws: MetricsError.self) { try await metrics.record(finished("backup")) }
        #expect(error?.description.contains("/no/such/directory") == true)
        #expect(error?.hint.contains("METRICS_DIR") == true)
        for prefix in ["", "1x", "a-b", "Life", "a:b", "a\nb", "é"] {
            #expect(throws: MetricsError.badPrefix(prefix)) { try TextfileMetrics(directory: "/tmp", prefix: prefix) }
        }
    }

    @Test("no target's name leaves the directory, and no two share a file")
    func fileNames() {
        #expect(TextfileMetrics.fileName(target: "clinic-1.a_b") == "lifeboat_clinic-1.a_b.prom")
        #expect(TextfileMetrics.fileName(target: "../x y") == "lifeboat_..%2Fx%20y.prom")
        #expect(TextfileMetrics.fileName(target: "a%2Fb") == "lifeboat_a%252Fb.prom")
        #expect(TextfileMetrics.fileName(target: "é") == "lifeboat_%C3%A9.prom")
    }

    @Test("labels are escaped, and read back")
    func escaping() async throws {
        try await withScratchDirectory { directory in
            let target = "a\"b\\c\nd"
            let metrics = try TextfileMetrics(directory: directory, prefix: "clinic_backup")
            for _ in 0..<3 { try await metrics.record(finished("backup", target: target)) }
            let line =
                "clinic_backup_backup_success_total{target=\"a\\\"b\\\\c\\nd\",tier=\"daily\",type=\"full\"} 3\n"
            #expect(try read(directory, target: target).contains(line))
        }
    }

    @Test("docs/metrics.md has a row for every metric, with its type")
    func documentation() async throws {
        try await withScratchDirectory { directory in
            try await writeEverything(to: directory)
            let pages = try readText(
                #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 } + "/docs/metrics.md")
            let types = try read(directory).split(separator: "\n").filter { $0.hasPrefix("# TYPE ") }
            #expect(types.count == 32)
            for line in types {
                let words = line.split(separator: " ")
                #expect(pages.contains("| `\(words[2])` | \(words[3]) |"), "\(words[2])")
            }
        }
    }

    @Test("promtool finds nothing to say", .needs(.program("promtool")))
    func promtool() async throws {
        try await withScratchDirectory { directory in
            try await writeEverything(to: directory)
            let program = try Program(
                ["promtool", "check", "metrics"], input: "\(directory)/lifeboat_clinic.prom")
            #expect(program.read() == "")
            #expect(program.wait() == 0)
        }
    }

    @Test("node-exporter reads what is there, of several targets", .needs(.program("prometheus-node-exporter")))
    func nodeExporter() async throws {
        try await withScratchDirectory(mode: 0o755) { directory in
            try await writeEverything(to: directory)
            try await TextfileMetrics(directory: directory).record(finished("backup", target: "ward \"7\""))
            let port = try freePort()
            let exporter = try Program([
                "prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile",
                "--collector.textfile.directory=\(directory)", "--web.listen-address=127.0.0.1:\(port)",
            ])
            defer { exporter.stop() }
            let started = exporter.read(until: "TLS is disabled")
            try #require(started.contains("TLS is disabled"), "node-exporter said: \(started)")
            let answer = try httpGet(port: port, path: "/metrics")
            #expect(answer.contains("\nnode_textfile_scrape_error 0\n"))
            let lines = Set(answer.split(whereSeparator: \.isNewline).map(String.init))
            for line in try read(directory).split(separator: "\n") where !line.hasPrefix("#") {
                #expect(lines.contains { sameSample($0, String(line)) }, "\(line)")
            }
            #expect(answer.contains("lifeboat_backup_success_total{target=\"ward \\\"7\\\"\""))
        }
    }

    /// Every metric there is, with several tiers.
    private func writeEverything(to directory: String) async throws {
        let metrics = try TextfileMetrics(directory: directory)
        try await metrics.record(finished("backup", copies: CopyCount(made: 2, failed: 1, missing: 3)))
        for tier in [Tier.daily, .weekly, nil] {
            for action in ["backup", "restore"] {
                try await metrics.record(finished(action, tier: tier))
                try await metrics.record(finished(action, .source, tier: tier))
            }
            try await metrics.record(finished("verify", tier: tier, verdict: .proven))
            try await metrics.record(finished("verify", .inconclusive, tier: tier))
        }
        try await metrics.record(finished("verify", verdict: .proven, proofDepth: .restore))
        try await metrics.record(
            finished("backup", keyExpiries: [KeyExpiry(key: "gpg:00", expires: clock.now())]))
        try await metrics.record(finished("wal", tier: nil))
        for scenario in DrillJob.Scenario.allCases {
            let drill = DrillOutcome(scenario: scenario, recoverySeconds: 9, lossSeconds: 1, compared: 2, matched: 2)
            try await metrics.record(finished("drill", verdict: .proven, drill: drill))
        }
    }
}

/// Whether the two are one sample, however the number is written and in whatever order the labels stand.
private func sameSample(_ a: String, _ b: String) -> Bool {
    guard let first = a.lastIndex(of: " "), let second = b.lastIndex(of: " ") else { return false }
    return series(a[..<first]) == series(b[..<second])
        && Double(a[first...].dropFirst()) == Double(b[second...].dropFirst())
}

/// The metric's name and its labels, in order.
private func series(_ text: Substring) -> [String] {
    let pieces = text.split(separator: "{", maxSplits: 1)
    return [String(pieces[0])] + (pieces.last?.dropLast(2).split(separator: "\",").map(String.init).sorted() ?? [])
}

/// The value of `lifeboat_<name>` of the target clinic and this tier.
private func value(_ text: String, _ name: String, _ tier: String) -> String? {
    let start = "lifeboat_\(name){target=\"clinic\",tier=\"\(tier)\",type=\"full\"} "
    return text.split(separator: "\n").first { $0.hasPrefix(start) }.map { String($0.dropFirst(start.count)) }
}

private func readText(_ path: String) throws -> String {
    guard let file = fopen(path, "r") else { throw ProgramError(what: path, code: errno) }
    defer { fclose(file) }
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    let count = fread(&buffer, 1, buffer.count, file)
    return String(decoding: buffer[..<count], as: UTF8.self)
}

private func writeBytes(_ path: String, _ bytes: [UInt8]) throws {
    guard let file = fopen(path, "w") else { throw ProgramError(what: path, code: errno) }
    fwrite(bytes, 1, bytes.count, file)
    fclose(file)
}

/// The same bytes every time (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
