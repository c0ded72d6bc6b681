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
                recipients: "aes:\(site.directory)/clinic.key,aes:\(site.directory)/escrow.key"
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
            #expect(try await everything(in: site.directory + "/scratch").isEmpty)
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
