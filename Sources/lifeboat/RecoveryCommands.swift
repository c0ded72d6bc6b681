import ArgumentParser
import Core

struct RestoreCommand: LifeboatCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore",
        abstract: "Put a set in the place of a database, after a verified safety backup of what stands there.")

    @Argument(
        help: "daily/backup-…, latest, daily/latest, daily/2025-01-15; may be left out with a --recovery-target-….")
    var key: String?

    @Option(name: .long, help: "Must be exactly YES_I_WANT_TO_RESTORE.")
    var confirm: String?

    @Option(
        name: .long,
        help: "A configured destination, a database's name, or for files a directory; without it the source's own.")
    var to: String?

    @Flag(name: .long, help: "Make the database or directory where there is none of this name.")
    var createDatabase = false

    @Option(name: .long, help: "I_ACCEPT_NO_SAFETY_BACKUP, with --reason: for a database that cannot be dumped.")
    var skipSafetyBackup: String?

    @Option(name: .long, help: "Why no safety backup is made.")
    var reason: String?

    @Option(name: .long, help: "Seconds to wait for another run's lock.")
    var waitForLock: Int?

    @Option(name: .long, help: "missing: make missing roles without any power; full: as the set has them.")
    var restoreRoles: String?

    @Flag(name: .long, help: "I know that the disk suffices where it cannot be measured.")
    var acknowledgeDisk = false

    @Flag(name: .long, help: "I accept that slots and subscriptions of the replaced database are lost.")
    var acknowledgeBoundObjects = false

    @OptionGroup var recovery: RecoveryOptions
    @OptionGroup var reading: ReadingOptions
    @OptionGroup var common: CommonOptions

    var invocation: Invocation {
        common.fields(
            "restore",
            [
                "backupKey": key.map { .string($0) }, "CONFIRM_RESTORE": confirm.map { .string($0) },
                "targetDatabase": to.map { .string($0) }, "createDatabase": createDatabase ? .bool(true) : nil,
                "skipSafetyBackup": skipSafetyBackup.map { .string($0) }, "reason": reason.map { .string($0) },
                "waitForLock": waitForLock.map { .exact(Int64($0)) },
                "restoreRoles": restoreRoles.map { .string($0) },
                "acknowledgeDisk": acknowledgeDisk ? .bool(true) : nil,
                "acknowledgeBoundObjects": acknowledgeBoundObjects ? .bool(true) : nil,
            ].merging(recovery.fields) { $1 }.merging(reading.fields) { $1 })
    }
}

/// Where a recovery stops, and what is taken out of the recovered server.
struct RecoveryOptions: ParsableArguments {
    @Option(help: "Recover up to this time, with its zone: '2025-01-15 14:59:00+01'.")
    var recoveryTargetTime: String?

    @Option(help: "Recover up to this transaction, as pg_current_xact_id() gives it.")
    var recoveryTargetXid: String?

    @Option(help: "Recover up to this place in the log, as 16/B374D848.")
    var recoveryTargetLsn: String?

    @Option(help: "Recover up to this restore point.")
    var recoveryTargetName: String?

    @Flag(help: "Recover up to the end of what is stored.")
    var recoveryTargetLatest = false

    @Flag(help: "Stop just before the time, transaction or place, rather than after it.")
    var recoveryTargetExclusive = false

    @Option(help: "Follow this branch of the log; without it the newest.")
    var recoveryTargetTimeline: Int?

    @Option(help: "Of a whole server: the one database to restore.")
    var sourceDatabase: String?

    var fields: [String: JSON?] {
        let members: [String: JSON?] = [
            "time": recoveryTargetTime.map { .string($0) }, "xid": recoveryTargetXid.map { .string($0) },
            "lsn": recoveryTargetLsn.map { .string($0) }, "name": recoveryTargetName.map { .string($0) },
            "latest": recoveryTargetLatest ? .bool(true) : nil,
            "inclusive": recoveryTargetExclusive ? .bool(false) : nil,
            "timeline": recoveryTargetTimeline.map { .exact(Int64($0)) },
        ]
        let target = members.compactMapValues { $0 }
        return [
            "recoveryTarget": target.isEmpty ? nil : .object(target),
            "sourceDatabase": sourceDatabase.map { .string($0) },
        ]
    }
}

struct DrillCommand: LifeboatCommand {
    static let configuration = CommandConfiguration(
        commandName: "drill", abstract: "Rehearse a disaster, and measure what it would cost.")

    @Argument(help: "KEY_LOSS, DATA_CORRUPTION or SYSTEM_FAILURE.")
    var scenario: String

    @Argument(help: "daily/backup-…, latest, daily/latest, daily/2025-01-15; without it a recent set is drawn.")
    var key: String?

    @OptionGroup var common: CommonOptions

    var invocation: Invocation {
        common.fields("drill", ["scenario": .string(scenario), "backupKey": key.map { .string($0) }])
    }
}
