import Core
import TestSupport
import Testing

@testable import Events

@Suite("Settings of recovery and rehearsal")
struct RecoveryConfigurationTests {
    private static let base = [
        "POSTGRES_HOST": "/run/postgresql", "POSTGRES_DB": "clinic", "POSTGRES_USER": "backup",
        "BACKUP_STORE": "file:///srv/backups/", "BACKUP_RECIPIENTS": "aes:/keys/clinic.key",
    ]

    private func target(_ changes: [String: String]) throws -> TargetSettings {
        try #require(try configuration(Self.base.merging(changes) { $1 }).settings.targets.first)
    }

    /// Shows that a target is logical unless it says otherwise, and has nowhere to rehearse.
    @Test func defaults() throws {
        let target = try target([:])
        #expect(target.recovery == RecoverySettings() && !target.isPhysical && target.awsBackup == nil)
        #expect(!target.forEvents.hasScratch && !target.forEvents.isPhysical)
    }

    /// Shows that each variable arrives where it should, and the slot's name that a target's comes to.
    @Test func everyVariable() throws {
        let target = try target([
            "BACKUP_METHOD": "physical", "BACKUP_TARGET": "Ward-1", "RESTORE_DIRECTORY": "/srv/restored/",
            "SCRATCH_DIRECTORY": "/srv/scratch", "VERIFY_MIN_INTEGRITY": "99", "VERIFY_MIN_ACCESSIBILITY": "98",
            "VERIFY_MAX_SECONDS": "3600", "VERIFY_MIN_RATE": "5000000000", "AWS_BACKUP_VAULT": "clinic",
            "AWS_BACKUP_RESOURCE_ARN": "arn:aws:rds:eu-central-1:123456789012:db:clinic",
            "AWS_BACKUP_ROLE_ARN": "arn:aws:iam::123456789012:role/service-role/backup",
            "POSTGRES_PRELOAD_LIBRARIES": "timescaledb, $libdir/pg_stat_statements",
            "BACKUP_DESTINATION_SHELF": "file:///srv/shelf",
            "BACKUP_DESTINATION_STAGING": "postgres://restore:x@127.0.0.1/staging",
        ])
        let recovery = target.recovery
        #expect(target.isPhysical && recovery.slot == "lifeboat_ward_1")
        #expect(recovery.restoreDirectory == "/srv/restored" && recovery.scratchDirectory == "/srv/scratch")
        #expect(
            recovery.thresholds
                == ProofThresholds(integrity: 99, accessibility: 98, seconds: 3600, bytesPerSecond: 5_000_000_000))
        #expect(recovery.preloadLibraries == ["timescaledb", "$libdir/pg_stat_statements"])
        #expect(target.awsBackup?.vault == "clinic" && target.awsBackup?.roleARN.hasSuffix("/backup") == true)
        #expect(target.awsBackup?.resourceARN == "arn:aws:rds:eu-central-1:123456789012:db:clinic")
        let event = target.forEvents
        #expect(event.isPhysical && event.hasScratch && event.hasRestoreDirectory)
        #expect(event.destinations == ["staging"] && event.directories == ["shelf"])
        #expect(try self.target(["BACKUP_METHOD": "physical", "BACKUP_WAL_SLOT": "own"]).recovery.slot == "own")
    }

    /// Shows that a file's targets have methods, slots and scratch places of their own, and that what stands under
    /// defaults concerns those only that can make something of it.
    @Test func fromAFile() throws {
        let yaml = """
            defaults:
              store: file:///srv/backups
              recipients: [aes:/keys/clinic.key]
              scratchDirectory: /srv/scratch
              scratchDestination: staging
              preloadLibraries: [auto_explain]
              verifyMaxSeconds: 60
            targets:
              server:
                method: physical
                restoreDirectory: /srv/restored
                source: {host: 127.0.0.1, database: clinic, user: backup}
              clinic:
                source: {host: 127.0.0.1, database: clinic, user: backup}
              shop:
                engine: mysql
                source: {host: 127.0.0.1, database: shop, user: backup}
            destinations:
              staging: {engine: mysql, host: 127.0.0.1, database: scratch, user: restore}
            """
        let targets = try configuration(["LIFEBOAT_CONFIG": "/c.yaml"], files: ["/c.yaml": yaml]).settings.targets
        #expect(targets.map(\.name) == ["clinic", "server", "shop"])
        #expect(targets.map(\.isPhysical) == [false, true, false])
        #expect(targets.map(\.recovery.slot) == [nil, "lifeboat_server", nil])
        #expect(targets.map(\.recovery.scratchDirectory) == ["/srv/scratch", "/srv/scratch", nil])
        #expect(targets.map(\.recovery.scratchDestination) == [nil, nil, "staging"])
        #expect(targets.map(\.recovery.preloadLibraries) == [["auto_explain"], ["auto_explain"], []])
        #expect(targets.allSatisfy { $0.recovery.thresholds.seconds == 60 && $0.recovery.hasScratch })
    }

    /// Shows that a destination which is the source itself, however its server is written, is no place to prove sets at,
    /// and that another database there is one.
    @Test(arguments: [
        ("mysql://b:x@127.0.0.1/clinic", "mysql://r:y@127.0.0.1:3306/clinic", true),
        ("mysql://b:x@127.0.0.1/clinic", "mysql://r:y@localhost/clinic", true),
        ("mysql://b:x@127.0.0.1/clinic", "mysql://r:y@127.0.0.1/bench", false),
        ("mysql://b:x@127.0.0.1/clinic", "mysql://r:y@127.0.0.1:3307/clinic", false),
        ("mongodb://127.0.0.1/clinic", "mongodb://localhost:27017/clinic", true),
        ("mongodb://127.0.0.1/", "mongodb://127.0.0.1:27017/bench", true),
        ("mongodb://127.0.0.1/clinic", "mongodb://127.0.0.1:27018/clinic", false),
        ("mongodb://127.0.0.1/clinic", "mongodb://127.0.0.1/bench", false),
    ])
    func sourceAsScratch(_ source: String, _ scratch: String, isRefused: Bool) throws {
        let engine = source.hasPrefix("mysql") ? "mysql" : "mongodb"
        let variables = [
            "BACKUP_ENGINE": engine, engine == "mysql" ? "MYSQL_URL" : "MONGODB_URL": source,
            "BACKUP_STORE": "file:///srv/backups/", "BACKUP_RECIPIENTS": "aes:/keys/clinic.key",
            "BACKUP_DESTINATION_BENCH": scratch, "BACKUP_SCRATCH_DESTINATION": "bench",
        ]
        guard isRefused else {
            #expect(try configuration(variables).settings.targets.first?.recovery.scratchDestination == "bench")
            return
        }
        let error = #expect(throws: ConfigurationError.self) { try configuration(variables) }
        #expect(error?.object == "BACKUP_SCRATCH_DESTINATION", "\(String(describing: error))")
    }

    /// Shows that files are not proven inside of what is backed up, and are beside or above it.
    @Test(arguments: [
        ("/srv/clinic", true), ("/srv/clinic/scratch", true), ("/srv/clinic2", false), ("/srv", false),
    ])
    func sourceAsScratchDirectory(_ directory: String, isRefused: Bool) throws {
        for (engine, variable, path) in [
            ("files", "FILES_PATHS", "/srv/clinic"), ("audit-records", "AUDIT_SOURCE", "/srv/clinic/*.jsonl"),
        ] {
            let variables = [
                "BACKUP_ENGINE": engine, variable: path, "BACKUP_STORE": "file:///backups/",
                engine == "files" ? "BACKUP_RECIPIENTS" : "AUDIT_BACKUP_KEY": "aes:/keys/clinic.key",
                "SCRATCH_DIRECTORY": directory,
            ]
            guard isRefused else {
                #expect(try configuration(variables).settings.targets.first?.recovery.scratchDirectory == directory)
                continue
            }
            let error = #expect(throws: ConfigurationError.self) { try configuration(variables) }
            #expect(error?.object == "SCRATCH_DIRECTORY", "\(String(describing: error))")
        }
    }
}
