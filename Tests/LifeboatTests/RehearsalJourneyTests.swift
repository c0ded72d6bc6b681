import Core
import Glibc
import TestSupport
import Testing

/// Proofs by restore and drills, with every kind of source alike.
@Suite(.serialized)
struct RehearsalJourneyTests {
    @Test(
        "A set is proven by a restore that leaves no trace, and each disaster is rehearsed and recorded",
        arguments: SourceKind.present)
    func rehearsed(_ kind: SourceKind) async throws {
        try await EngineSite.with(kind) { site in
            let scratch = try site.scratch()
            try writeFile(site.directory + "/escrow.key", String(repeating: "a5", count: 32))
            let recipients = kind == .auditRecords ? "AUDIT_BACKUP_KEY" : "BACKUP_RECIPIENTS"
            // A lost key is only survived by sets that another one opens too.
            let environment = scratch.merging([
                recipients: "aes:\(site.directory)/clinic.key,aes:\(site.directory)/escrow.key",
                "METRICS_DIR": site.directory, "BACKUP_TARGET": "rehearsal",
            ]) { $1 }
            let made = try await site.event(["backupType": .string("daily")], environment: environment)
            let key = try #require(made.text("backupKey"))
            let before = try await site.source.fingerprint()

            let proven = try await site.event(
                ["action": .string("verify"), "backupKey": .string(key), "depth": .string("restore")],
                environment: environment)
            #expect(proven.text("verdict") == "proven" && proven.text("proofDepth") == "restore", "\(proven)")

            for scenario in DrillJob.Scenario.allCases {
                let records = try await site.listing().filter { $0.hasPrefix("proofs/") }.count
                let drill: [String: JSON] = [
                    "action": .string("drill"), "scenario": .string(scenario.rawValue),
                    "backupKey": .string("latest"),
                ]
                let planned = try await site.event(
                    drill.merging(["dryRun": .bool(true)]) { $1 }, environment: environment)
                #expect(planned.text("verdict") == "inconclusive")
                #expect(try await site.listing().filter { $0.hasPrefix("proofs/") }.count == records)
                let drilled = try await site.event(drill, environment: environment)
                #expect(drilled.text("verdict") == "proven", "\(drilled)")
                #expect(try await site.listing().filter { $0.hasPrefix("proofs/") }.count == records + 1)
            }
            #expect(try await site.source.fingerprint() == before)
            #expect(try await site.source.leftovers().isEmpty)
            let left = try await site.scratchLeftovers()
            #expect(left.isEmpty, "\(left)")
            let metrics = String(
                decoding: try contentsOfFile(site.directory + "/lifeboat_rehearsal.prom"), as: UTF8.self)
            for scenario in DrillJob.Scenario.allCases {
                let labels = "{target=\"rehearsal\",scenario=\"\(scenario.rawValue)\""
                var lines = [
                    "success_total\(labels)} 1", "last_verdict\(labels),verdict=\"proven\"} 1",
                    "integrity_ratio\(labels)} 1", "last_timestamp_seconds\(labels)} ",
                ]
                if scenario != .keyLoss { lines.append("recovery_seconds\(labels)} ") }
                if scenario == .systemFailure { lines.append("data_loss_seconds\(labels)} ") }
                for line in lines { #expect(metrics.contains("lifeboat_drill_\(line)"), "\(line)") }
            }
            #expect(metrics.contains("lifeboat_backup_restore_proof_last_success_timestamp_seconds{"))
        }
    }

    @Test("A restore that is slower than is asked for proves the set and fails the job, by the program's settings")
    func thresholds() async throws {
        try await EngineSite.with(.files) { site in
            let scratch = try site.scratch()
            _ = try await site.backup()
            let verify: [String: JSON] = ["backupKey": .string("latest"), "depth": .string("restore")]
            let enough = try await site.event(
                verify,
                environment: scratch.merging(["VERIFY_MIN_RATE": "1", "VERIFY_MAX_SECONDS": "604800"]) { $1 })
            #expect(enough.text("verdict") == "proven")
            let slow = scratch.merging(["VERIFY_MIN_RATE": "9000000000000000"]) { $1 }
            let missed = try await site.event(verify, environment: slow, expecting: .inconclusive)
            #expect(missed.error("cause").contains("9000000000000000 bytes a second are asked for"), "\(missed)")
            #expect(missed.error("hint").contains("VERIFY_MIN_RATE"))
            let drilled = try await site.event(
                [
                    "action": .string("drill"), "scenario": .string("SYSTEM_FAILURE"),
                    "backupKey": .string("latest"),
                ], environment: slow, expecting: .verificationFailed)
            #expect(drilled.error("cause").contains("RECOVERY_TIME FAILED"), "\(drilled)")
        }
    }

    @Test("The drill's record with one byte of it changed is refused by name, and is found again when it is whole")
    func tampered() async throws {
        try await EngineSite.with(.files) { site in
            let scratch = try site.scratch()
            _ = try await site.backup()
            let drill: [String: JSON] = [
                "action": .string("drill"), "scenario": .string("SYSTEM_FAILURE"), "backupKey": .string("latest"),
                "timestamp": .string("2025-01-15T08:00:00Z"),
            ]
            let made = try await site.event(drill, environment: scratch)
            guard case .string(let path)? = made.details["record"] else { throw TestFailure("no record: \(made)") }
            let file = "\(site.store)/\(path)"
            let record = String(decoding: try contentsOfFile(file), as: UTF8.self)
            for changed in [
                record.replacing("\"proven\"", with: "\"failed\""), record.replacing("PASSED", with: "FAILED"),
                record.replacing("\"mac\":\"", with: "\"mac\":\"0"),
            ] {
                try writeFile(file, changed)
                let refused = try await site.event(drill, environment: scratch, expecting: .verificationFailed)
                #expect(refused.error("cause").contains(path) || refused.error("object").contains(path), "\(refused)")
            }
            try writeFile(file, record)
            #expect(try await site.event(drill, environment: scratch).result["replayed"] == .bool(true))
        }
    }

    @Test(
        "A drill that is ended leaves its record, and no server, process or file of the scratch place",
        .needs(.postgres))
    func ended() async throws {
        try await ServerSite.with { site in
            _ = try await site.backup()
            let drill: [String: JSON] = [
                "action": .string("drill"), "scenario": .string("SYSTEM_FAILURE"), "backupKey": .string("latest"),
                "timestamp": .string("2025-01-15T08:00:00Z"),
            ]
            let ended = try await site.run(drill) { pid in
                try await until("the scratch server is being made") {
                    try await everything(in: site.scratch).contains { $0.hasSuffix("/cluster/data") }
                }
                kill(pid, SIGTERM)
            }
            #expect(ended.exitCode == ExitCode.terminated.rawValue, "\(ended)")
            #expect(ended.text("verdict") == "inconclusive" && ended.error("cause").contains("ended from outside"))
            guard case .string(let path)? = ended.details["record"] else { throw TestFailure("no record: \(ended)") }
            let record = try JSON(parsing: contentsOfFile("\(site.store)/\(path)"))
            guard case .object(let members) = record else { throw TestFailure("no object: \(record)") }
            #expect(members["status"] == .string("ABORTED") && members["mac"] != nil)
            #expect(try await (everything(in: site.scratch) + everything(in: site.temporary)).isEmpty)
            #expect(try processes(naming: site.scratch).isEmpty)
            // The set is as good as before, and the same request is made again.
            try await site.mark("before")
            try await site.mark("after")
            try await site.archive()
            let next = try await site.event(drill)
            #expect(next.text("verdict") == "proven" && next.result["replayed"] == .bool(false), "\(next)")
            #expect(try await site.listing().filter { $0.hasPrefix("proofs/") }.count == 2)
        }
    }

    @Test("A proof by restore with nowhere to go is refused by name", arguments: SourceKind.present)
    func noScratch(_ kind: SourceKind) async throws {
        try await EngineSite.with(kind) { site in
            let key = try await site.backup()
            let refused = try await site.event(
                ["backupKey": .string(key), "depth": .string("restore")], expecting: .eventRefused)
            #expect(refused.error("object") == "depth")
        }
    }
}

extension EngineSite {
    /// What is left of copies that were staged to be proven.
    fileprivate func scratchLeftovers() async throws -> [String] {
        let names: [String] =
            switch source {
            case let mysql as MySQLSource:
                try await mysql.server.sql("SHOW DATABASES").split(separator: "\n").map(String.init)
            case let mongo as MongoSource: try await mongo.server.databaseNames()
            default: []
            }
        return try await everything(in: directory + "/scratch")
            + names.filter { $0.hasPrefix("lifeboat_scratch_rehearsal") }
    }

    /// The variables that name a place to prove sets in, which is made.
    func scratch() throws -> [String: String] {
        let path = directory + "/scratch"
        mkdir(path, 0o700)
        switch source {
        case let mysql as MySQLSource:
            let host = mysql.server.host.replacing("/", with: "%2F")
            return [
                "BACKUP_DESTINATION_BENCH": "mysql://root@\(host)/bench", "BACKUP_SCRATCH_DESTINATION": "bench",
            ]
        case let mongo as MongoSource:
            return [
                "BACKUP_DESTINATION_BENCH": mongo.server.uri("bench"), "BACKUP_SCRATCH_DESTINATION": "bench",
            ]
        case is PostgresSource:
            // PostgreSQL's programs refuse to be root, and run as the owner of what they are given.
            if getuid() == 0, let user = getpwnam("postgres") {
                #expect(chown(path, user.pointee.pw_uid, user.pointee.pw_gid) == 0)
            }
        default: break
        }
        return ["SCRATCH_DIRECTORY": path]
    }
}
