import Core
import Glibc
import TestSupport
import Testing

/// What only audit records and keys do.
@Suite(.serialized)
struct TrailAndKeysTests {
    private static func backup(_ tier: String = "hourly") -> [String: JSON] { ["backupType": .string(tier)] }

    @Test("Records are stored once, each set goes on where the last ended, and comes back as the lines it is")
    func trail() async throws {
        try await EngineSite.with(.auditRecords) { site in
            let first = try await site.event(Self.backup())
            #expect(first.text("verdict") == "proven", "each set is verified after it is stored: \(first)")
            let begin = try #require(first.text("snapshotTime").flatMap { Timestamp($0) })
            let end = begin.adding(seconds: 2555 * 86_400)
            #expect(first.details["retainUntil"] == .string(end.description), "the law's term, although it is hourly")
            let none = try await site.event(Self.backup())
            #expect(none.details["stored"] == .bool(false) && none.text("backupKey") == nil, "\(none)")
            #expect(try await site.manifests().count == 1)
            try await site.source.spoil(7)
            let second = try await site.event(Self.backup())
            let key = try #require(second.text("backupKey"))
            #expect(second.details["records"] == .integer(1), "\(second)")
            try await site.event(["backupKey": .string("latest"), "recomputeContents": .bool(true)])
            let place = site.directory + "/restored"
            try await site.event(
                site.confirmedRestore(key, ["targetDatabase": .string(place), "createDatabase": .bool(true)]))
            let files = try await listFiles(place).filter { $0.hasSuffix(".jsonl") }
            let text = String(decoding: try contentsOfFile(place + "/" + (try #require(files.first))), as: UTF8.self)
            #expect(text.contains(#""id":51"#) && text.contains("spoilt 7") && !text.contains(#""id":50,"#))
        }
    }

    @Test("A batch that is not due yet ends well, says how many wait, and stores nothing")
    func batch() async throws {
        try await EngineSite.with(.auditRecords) { site in
            try await site.event(Self.backup())
            try await site.source.spoil(1)
            let waiting = try await site.event(Self.backup(), environment: ["AUDIT_BATCH_MINUTES": "60"])
            #expect(waiting.details["waiting"] == .integer(1) && waiting.details["stored"] == .bool(false))
            let due = try await site.event(
                Self.backup(), environment: ["AUDIT_BATCH_MINUTES": "60", "AUDIT_BATCH_RECORDS": "1"])
            #expect(due.text("backupKey") != nil)
        }
    }

    @Test("Records that an event brings are a set at once, and the same ones again are refused by their ids")
    func recordsOfEvents() async throws {
        try await EngineSite.with(.auditRecords) { site in
            let environment = ["AUDIT_SOURCE": "event", "AUDIT_BATCH_MINUTES": ""]
            func records(_ ids: ClosedRange<Int64>) -> [String: JSON] {
                let list = ids.map { JSON.object(["id": .integer($0), "what": .string("read")]) }
                return ["backupType": .string("hourly"), "records": .array(list)]
            }
            let first = try await site.event(records(1...3), environment: environment)
            #expect(first.text("backupKey") != nil)
            try await site.event(records(4...4), environment: environment)
            let again = try await site.event(records(4...5), environment: environment, expecting: .source)
            #expect(again.error("cause").contains("4") && again.error("hint") != "")
            #expect(try await site.manifests().count == 2)
        }
    }

    @Test("Keys that have not changed are not stored again, and the run says so")
    func unchangedKeys() async throws {
        try await EngineSite.with(.keys) { site in
            // The next of them to end is told in the metrics, without its name, and stays told.
            try writeFile(
                site.directory + "/home/keys/data-0.json",
                #"{"keyId":"data-0","version":1,"createdAt":"2025-01-01T00:00:00Z","algorithm":"AES-256","kind":"DATA","#
                    + #""expiresAt":"2100-01-01T00:00:00Z"}"#)
            mkdir(site.directory + "/metrics", 0o700)
            let onChange = ["KEYS_SCHEDULE": "ON_CHANGE", "METRICS_DIR": site.directory + "/metrics"]
            let expiry = #"key_expiry_timestamp_seconds{target="default",key="stored keys"} 4102444800"#
            func metrics() async throws -> String {
                let file = try #require(try await listFiles(site.directory + "/metrics").first)
                return String(decoding: try contentsOfFile(site.directory + "/metrics/" + file), as: UTF8.self)
            }
            try await site.event(Self.backup("daily"), environment: onChange)
            #expect(try await metrics().contains(expiry))
            let same = try await site.event(Self.backup("daily"), environment: onChange)
            #expect(same.details["stored"] == .bool(false))
            let still = try await metrics()
            #expect(still.contains(expiry) && !still.contains("data-0"))
            try await site.source.spoil(1)
            let changed = try await site.event(Self.backup("daily"), environment: onChange)
            #expect(changed.text("backupKey") != nil)
            #expect(try await site.manifests().count == 2)
            let copies = try await listFiles(site.directory + "/second").filter { $0.hasSuffix("/manifest.json") }
            #expect(copies.count == 2)
        }
    }

    @Test("A safe whose only key lies in it is refused before anything is stored")
    func safeWithItsOwnKey() async throws {
        try await EngineSite.with(.keys) { site in
            let own = try contentsOfFile(site.directory + "/clinic.key")
            try writeFile(site.directory + "/home/keys/copy-of-a-key", own)
            let refused = try await site.event(Self.backup("daily"), expecting: .keys)
            #expect(refused.error("cause").contains("clinic") || refused.error("object").contains("clinic"))
            try await site.expectNoSet(refused)
        }
    }
}

@Suite("A safe that holds its own OpenPGP key", .needs(.program("gpg")))
struct OpenPGPSafeTests {
    /// The private key of the only recipient lies among the keys, exported, armoured or not: refused by what it opens.
    /// Its public half may lie there.
    @Test(arguments: [true, false])
    func isRefused(isArmoured: Bool) async throws {
        try await EngineSite.with(.keys) { site in
            let person = try GnuPG(in: site.directory)
            let key = try person.makeKey("clinic")
            let open = try person.exported(key, secret: false)
            let environment = ["BACKUP_RECIPIENTS": "gpg:\(key)", "BACKUP_GPG_KEYS": open]
            try writeFile(site.directory + "/home/keys/public.pgp", try contentsOfFile(open))
            try await site.event(["backupType": .string("daily")], environment: environment)
            let place = site.directory + "/home/keys/harmless"
            try person.run((isArmoured ? ["--armor"] : []) + ["--output", place, "--export-secret-keys", key])
            let refused = try await site.event(
                ["backupType": .string("daily")], environment: environment, expecting: .keys)
            #expect(refused.error("cause").contains("gpg:\(key) in harmless"))
        }
    }
}
