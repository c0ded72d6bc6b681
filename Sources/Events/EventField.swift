import Core

/// What an event may ask for, built or not.
package enum EventAction: String, CaseIterable, Sendable {
    case backup, verify, restore, list, prune, hold, release, rewrap, export
    case wal, drill, monitor, report

    /// The actions of this version.
    package static let built: [EventAction] = [
        .backup, .verify, .restore, .list, .prune, .hold, .release, .rewrap, .export, .wal, .drill,
    ]
}

/// Every field of an event, as `events/schema.json` lists them too.
package enum EventField: String, CaseIterable, Sendable {
    case action, backupType, target, backupKey
    case confirmRestore = "CONFIRM_RESTORE"
    case targetDatabase, createDatabase, skipSafetyBackup, reason, timestamp, dryRun, waitForLock, restoreRoles
    case acknowledgeDisk, acknowledgeBoundObjects, recomputeContents, tier, limit, store, depth, waitForThaw
    case records, directory, recoveryTarget, sourceDatabase, scenario

    /// As it is spelt in an event and as an environment variable.
    package var name: String { rawValue }

    enum Kind {
        case text, flag, number
        /// A list of objects.
        case records
        /// A word, or an object.
        case recoveryTarget

        var expectation: String {
            switch self {
            case .text: "a string in quotes"
            case .flag: "true or false, without quotes"
            case .number: "a whole number, without quotes"
            case .records: "a list of objects, [{…}, …]"
            case .recoveryTarget: RecoveryTargetReader.forms
            }
        }
    }

    var kind: Kind {
        switch self {
        case .createDatabase, .dryRun, .acknowledgeDisk, .acknowledgeBoundObjects, .recomputeContents: .flag
        case .waitForLock, .waitForThaw, .limit: .number
        case .records: .records
        case .recoveryTarget: .recoveryTarget
        default: .text
        }
    }

    /// The actions that the field means something to. In any other it is refused, for it would be ignored.
    package var actions: [EventAction] {
        switch self {
        case .action, .target, .timestamp, .dryRun: EventAction.built
        case .backupType, .records: [.backup]
        case .backupKey: [.verify, .restore, .hold, .release, .rewrap, .export, .drill]
        case .store: [.verify, .restore, .list, .rewrap, .export]
        case .waitForThaw: [.verify, .restore]
        case .recomputeContents, .depth: [.verify]
        case .tier, .limit: [.list]
        case .reason: [.restore, .hold, .release]
        case .directory: [.export]
        case .scenario: [.drill]
        case .confirmRestore, .targetDatabase, .createDatabase, .skipSafetyBackup, .waitForLock, .restoreRoles,
            .acknowledgeDisk, .acknowledgeBoundObjects, .recoveryTarget, .sourceDatabase:
            [.restore]
        }
    }
}
