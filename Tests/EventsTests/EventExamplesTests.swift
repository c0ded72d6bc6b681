import Core
import Events
import Foundation
import TestSupport
import Testing

@Suite("The examples and the schema in events/")
struct EventExamplesTests {
    private static let examples = (try? Fixture.names(in: "events").filter { $0 != "schema.json" }) ?? []
    private static let random = RequestID.random("000102030405060708090a0b0c0d0e0f")

    /// What each example asks for.
    private static func expected() throws -> [String: Job] {
        let backupTime = try #require(Timestamp("2025-01-15T07:00:00Z"))
        let restoreTime = try #require(Timestamp("2025-01-16T09:30:00Z"))
        let key = KeySelector.exact(BackupKey(tier: .daily, timestamp: backupTime))
        func backup(_ tier: Tier, _ id: RequestID = random, dryRun: Bool = false) -> Job {
            .backup(BackupJob(target: "default", tier: tier, requestID: id, dryRun: dryRun))
        }
        func verify(_ key: KeySelector, recompute: Bool = false, store: StoreChoice = .primary) -> Job {
            .verify(
                VerifyJob(
                    target: "default", key: key, requestID: random, recomputeContents: recompute, store: store))
        }
        func restore(
            _ key: KeySelector, _ id: RequestID = random, _ change: (inout RestoreJob) -> Void = { _ in }
        ) -> Job {
            var job = RestoreJob(target: "default", key: key, requestID: id)
            change(&job)
            return .restore(job)
        }
        return [
            "backup-daily.json": backup(.daily),
            "backup-weekly-at-its-time.json": backup(.weekly, .timestamp(backupTime)),
            "backup-dry-run.json": backup(.daily, dryRun: true),
            "verify-random.json": verify(.random),
            "verify-latest.json": verify(.latest(nil)),
            "verify-latest-daily.json": verify(.latest(.daily)),
            "verify-key-with-contents.json": verify(key, recompute: true),
            "verify-both-copies.json": verify(.latest(.daily), store: .both),
            "restore-from-the-second-store.json": restore(.latest(.daily)) { $0.store = .secondary },
            "restore-from-an-archive.json": restore(.latest(.annual)) { $0.waitForThaw = 172_800 },
            "restore-confirmed.json": restore(key, .timestamp(restoreTime)),
            "restore-a-day.json": restore(.day(.daily, "2025-01-15")) { $0.waitForLock = 0 },
            "restore-to-staging.json": restore(.latest(nil)) {
                $0.destination = "clinic_staging"
                $0.createDatabase = true
            },
            "restore-with-roles.json": restore(.latest(.monthly)) {
                $0.restoreRoles = .full
                $0.acknowledgeDisk = true
                $0.acknowledgeBoundObjects = true
            },
            "restore-without-safety-backup.json": restore(.latest(.daily)) {
                $0.skipSafetyBackupReason =
                    "pages of the table visits cannot be read any more, see incident 4711"
            },
            "restore-a-safety-backup.json": restore(
                .exact(BackupKey(tier: .safety, timestamp: restoreTime))),
            "restore-dry-run.json": restore(.latest(nil)) { $0.dryRun = true },
            "list.json": .list(ListJob(target: "default", requestID: random)),
            "list-safety-backups.json": .list(
                ListJob(target: "default", requestID: random, tier: .safety, limit: 10)),
            "list-the-second-store.json": .list(
                ListJob(target: "default", requestID: random, store: .secondary)),
            "prune.json": .prune(PruneJob(target: "default", requestID: random)),
            "prune-dry-run.json": .prune(PruneJob(target: "default", requestID: random, dryRun: true)),
            "hold.json": .hold(
                HoldJob(
                    target: "default", key: key, requestID: random, change: .hold,
                    reason: "evidence in the proceedings 12 C 4711/25")),
            "release.json": .hold(
                HoldJob(
                    target: "default", key: key, requestID: random, change: .release,
                    reason: "the proceedings 12 C 4711/25 are closed")),
            "rewrap-all.json": .rewrap(RewrapJob(target: "default", requestID: random, store: .both)),
            "rewrap-one-copy.json": .rewrap(
                RewrapJob(target: "default", key: .latest(.monthly), requestID: random, store: .secondary)),
            "export.json": .export(
                ExportJob(
                    target: "default", key: .latest(.daily), requestID: random, directory: "/mnt/export/clinic")),
            "export-from-the-second-store.json": .export(
                ExportJob(
                    target: "default", key: key, requestID: random, store: .secondary,
                    directory: "/mnt/export/clinic", dryRun: true)),
            "backup-audit-records.json": .backup(
                BackupJob(target: "default", tier: .hourly, requestID: random, records: try records())),
            "restore-files-beside.json": restore(.latest(.weekly)) {
                $0.destination = "/srv/restored"
                $0.createDatabase = true
            },
        ].merging(try expectedOfRecovery(key)) { $1 }
    }

    /// What each example of recovery and rehearsal asks for. `key` is that of the examples' one exact set.
    private static func expectedOfRecovery(_ key: KeySelector) throws -> [String: Job] {
        func drill(_ scenario: DrillJob.Scenario, _ key: KeySelector, _ id: RequestID = random) -> Job {
            .drill(DrillJob(target: "default", scenario: scenario, key: key, requestID: id))
        }
        func restore(
            _ target: RecoveryTarget, _ key: KeySelector = .latest(nil), _ change: (inout RestoreJob) -> Void
        ) -> Job {
            var job = RestoreJob(target: "default", key: key, requestID: random, recoveryTarget: target)
            change(&job)
            return .restore(job)
        }
        let backupTime = try #require(Timestamp("2025-01-15T07:00:00Z"))
        let mistake = try #require(Timestamp("2025-01-15T14:58:59.5Z")).milliseconds * 1000
        return [
            "wal.json": .wal(WALJob(target: "default", requestID: random)),
            "drill-key-loss.json": drill(.keyLoss, .random),
            "drill-data-corruption.json": drill(.dataCorruption, .random),
            "drill-system-failure.json": drill(.systemFailure, .latest(nil), .timestamp(backupTime)),
            "verify-by-restore.json": .verify(
                VerifyJob(target: "default", key: .random, requestID: random, depth: .restore)),
            "restore-to-a-time.json": restore(
                RecoveryTarget(.time(microseconds: mistake), isInclusive: false)
            ) {
                $0.sourceDatabase = "clinic"
                $0.destination = "clinic_at_three"
                $0.createDatabase = true
            },
            "restore-before-a-transaction.json": restore(
                RecoveryTarget(.transaction(4711), isInclusive: false, timeline: 2)
            ) { $0.sourceDatabase = "clinic" },
            "restore-to-a-named-point.json": restore(RecoveryTarget(.name("before-migration"))) {
                $0.destination = "/srv/restored"
            },
            "restore-to-a-place-in-the-log.json": restore(
                RecoveryTarget(.lsn(LSN(0x16_B374_D848))), key
            ) { $0.dryRun = true },
            "restore-to-the-latest.json": restore(RecoveryTarget(.latest)) { _ in },
        ]
    }

    private static func records() throws -> [JSON] {
        let texts = [
            #"{"id":4711,"at":"2025-01-15T07:00:00Z","who":"dr.weber","what":"read","patient":"P-0815"}"#,
            #"{"id":4712,"at":"2025-01-15T07:00:02Z","who":"dr.weber","what":"print","patient":"P-0815"}"#,
        ]
        return try texts.map { try JSON(parsing: Array($0.utf8)) }
    }

    /// What an example is for, where it is not for a database.
    private static let targets = [
        "backup-audit-records.json": EventTarget("default", engine: .auditRecords, takesRecords: true),
        "restore-files-beside.json": EventTarget("default", engine: .files),
    ]

    /// A whole server where an example is for one.
    private static func target(of example: String) -> EventTarget {
        let isOfServer = ["wal", "drill-", "verify-by-", "restore-to-a-", "restore-to-the-", "restore-before-"]
            .contains(where: example.hasPrefix)
        guard isOfServer else { return targets[example] ?? EventTarget("default", isCopied: true) }
        return EventTarget("default", isPhysical: true, hasRestoreDirectory: true, hasScratch: true)
    }

    /// Shows that every example is the job that it looks like.
    @Test("each example is replayed", arguments: examples)
    func replay(name: String) throws {
        let reader = EventReader(
            targets: [Self.target(of: name)], runID: nil, dryRun: false, clock: FixedClock(), random: countingBytes)
        let job = try reader.job(from: EventSources(file: (name, try Fixture.bytes("events/\(name)"))))
        #expect(try Self.expected()[name] == job)
    }

    @Test func allExamplesAreThere() throws {
        #expect(try Self.expected().keys.sorted() == Self.examples)
    }

    /// Shows that the schema lists the fields and types that the code knows, and refuses all others.
    @Test func schemaAndCodeAgree() throws {
        let schema = try Self.object(
            try JSONSerialization.jsonObject(with: Data(Fixture.bytes("events/schema.json"))))
        #expect(schema["additionalProperties"] as? Bool == false)
        let properties = try Self.object(schema["properties"])
        #expect(properties.keys.sorted() == EventField.allCases.map(\.name).sorted())
        for field in EventField.allCases {
            let property = try Self.object(properties[field.name])
            let types = property["type"] as? [String] ?? [property["type"] as? String ?? ""]
            #expect(types == field.schemaTypes, "\(field.name)")
            #expect((property["description"] as? String)?.isEmpty == false, "\(field.name)")
        }
        let actions = try Self.object(properties["action"])["enum"] as? [String]
        #expect(actions == EventAction.built.map(\.rawValue))
        let tiers = try Self.object(properties["backupType"])["enum"] as? [String]
        #expect(tiers == Tier.selectable.map(\.rawValue))
        let scenarios = try Self.object(properties["scenario"])["enum"] as? [String]
        #expect(scenarios == DrillJob.Scenario.allCases.map(\.rawValue))
    }

    /// Shows that the documentation's page has every field in its table, and every example.
    @Test func documentationIsComplete() throws {
        let text = String(decoding: try Fixture.bytes("docs/events.md"), as: UTF8.self)
        for field in EventField.allCases { #expect(text.contains("\n| `\(field.name)` |"), "\(field.name)") }
        for example in Self.examples { #expect(text.contains("](../events/\(example))"), "\(example)") }
    }

    private static func object(_ value: Any?) throws -> [String: Any] { try #require(value as? [String: Any]) }

    /// Shows with an independent validator (Python's jsonschema) that the schema is one, that every example is valid
    /// under it, and that an event with an unknown field, or a restore without its confirmation, is not.
    @Test(
        "an independent validator agrees",
        .needs(Python.withJSONSchema))
    func validator() throws {
        let script = """
            import json, pathlib, sys
            from jsonschema import Draft202012Validator
            directory = pathlib.Path(sys.argv[1])
            schema = json.loads((directory / "schema.json").read_text())
            Draft202012Validator.check_schema(schema)
            validator = Draft202012Validator(schema)
            for example in sorted(directory.glob("*.json")):
                if example.name == "schema.json": continue
                for error in validator.iter_errors(json.loads(example.read_text())):
                    sys.exit(f"{example.name}: {error.message}")
            for bad in [{}, {"backupType": "daily", "colour": "red"}, {"action": "restore", "backupKey": "latest"},
                        {"CONFIRM_RESTORE": "yes", "backupKey": "latest"}, {"backupKey": "../x"},
                        {"backupType": "safety"}, {"action": "verify", "reason": "because"},
                        {"backupKey": "latest", "store": "third"}, {"action": "list", "store": "both"},
                        {"action": "list", "waitForThaw": 1}, {"backupKey": "latest", "waitForThaw": 604801},
                        {"action": "hold", "backupKey": "latest"}, {"action": "release", "reason": "closed"},
                        {"action": "export", "backupKey": "latest"}, {"action": "export", "directory": "/x"},
                        {"action": "export", "backupKey": "latest", "directory": "x"},
                        {"action": "export", "backupKey": "latest", "directory": "/"},
                        {"action": "prune", "backupKey": "latest"}, {"action": "rewrap", "backupKey": "random"},
                        {"action": "rewrap", "reason": "rotation"}, {"action": "monitor"},
                        {"backupKey": "latest", "reason": "because"},
                        {"backupType": "hourly", "records": []}, {"backupType": "hourly", "records": [1]},
                        {"backupKey": "latest", "records": [{"id": 1}]},
                        {"action": "drill"}, {"action": "drill", "scenario": "FLOOD"}, {"scenario": "KEY_LOSS"},
                        {"action": "verify", "scenario": "KEY_LOSS"}, {"action": "wal", "backupKey": "latest"},
                        {"action": "drill", "scenario": "KEY_LOSS", "store": "primary"},
                        {"backupKey": "latest", "recoveryTarget": "latest"},
                        {"backupKey": "latest", "sourceDatabase": "clinic"},
                        {"backupKey": "latest", "depth": "restore", "recomputeContents": True},
                        *({"CONFIRM_RESTORE": "YES_I_WANT_TO_RESTORE", "recoveryTarget": target} for target in [
                            {}, "newest", 1, {"time": "2025-01-15T07:00:00"}, {"time": "2025-01-15"}, {"xid": 2},
                            {"xid": 7, "lsn": "0/7"}, {"lsn": "0/0"}, {"lsn": "7"}, {"name": ""}, {"latest": False},
                            {"name": "x", "inclusive": True}, {"latest": True, "inclusive": False},
                            {"xid": 7, "timeline": 0}, {"xid": 7, "colour": "red"}, {"timeline": 1}]),
                        {"CONFIRM_RESTORE": "YES_I_WANT_TO_RESTORE", "recoveryTarget": "latest",
                         "backupKey": "daily/latest"},
                        {"CONFIRM_RESTORE": "YES_I_WANT_TO_RESTORE", "recoveryTarget": "latest",
                         "createDatabase": True}]:
                if validator.is_valid(bad): sys.exit(f"accepted: {bad}")
            """
        let (status, output) = try Python.run(["-c", script, Fixture.root.appending(path: "events").path])
        #expect(status == 0, "\(output)")
    }
}

extension EventField {
    /// The types as JSON Schema names them.
    fileprivate var schemaTypes: [String] {
        switch self {
        case .createDatabase, .dryRun, .acknowledgeDisk, .acknowledgeBoundObjects, .recomputeContents: ["boolean"]
        case .waitForLock, .waitForThaw, .limit: ["integer"]
        case .records: ["array"]
        case .recoveryTarget: ["string", "object"]
        default: ["string"]
        }
    }
}
