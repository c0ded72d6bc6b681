import Core

/// What an event may ask for, built or not.
package enum EventAction: String, CaseIterable, Sendable {
    case backup, verify, restore, list, prune, hold, release, rewrap, export
    case monitor, drill, wal, report

    /// The actions of this version.
    package static let built: [EventAction] = [
        .backup, .verify, .restore, .list, .prune, .hold, .release, .rewrap, .export,
    ]
}

/// Every field of an event, as `events/schema.json` lists them too.
package enum EventField: String, CaseIterable, Sendable {
    case action, backupType, target, backupKey
    case confirmRestore = "CONFIRM_RESTORE"
    case targetDatabase, createDatabase, skipSafetyBackup, reason, timestamp, dryRun, waitForLock, restoreRoles
    case acknowledgeDisk, acknowledgeBoundObjects, recomputeContents, tier, limit, store, depth, waitForThaw
    case records, directory

    /// Fields that the contract knows and this version does not carry out.
    static let later = ["recoveryTarget"]

    /// As it is spelt in an event and as an environment variable.
    package var name: String { rawValue }

    enum Kind {
        case text, flag, number
        /// A list of objects.
        case records

        var expectation: String {
            switch self {
            case .text: "a string in quotes"
            case .flag: "true or false, without quotes"
            case .number: "a whole number, without quotes"
            case .records: "a list of objects, [{…}, …]"
            }
        }
    }

    var kind: Kind {
        switch self {
        case .createDatabase, .dryRun, .acknowledgeDisk, .acknowledgeBoundObjects, .recomputeContents: .flag
        case .waitForLock, .waitForThaw, .limit: .number
        case .records: .records
        default: .text
        }
    }

    /// The actions that the field means something to. In any other it is refused, for it would be ignored.
    package var actions: [EventAction] {
        switch self {
        case .action, .target, .timestamp, .dryRun: EventAction.built
        case .backupType, .records: [.backup]
        case .backupKey: [.verify, .restore, .hold, .release, .rewrap, .export]
        case .store: [.verify, .restore, .list, .rewrap, .export]
        case .waitForThaw: [.verify, .restore]
        case .recomputeContents, .depth: [.verify]
        case .tier, .limit: [.list]
        case .reason: [.restore, .hold, .release]
        case .directory: [.export]
        case .confirmRestore, .targetDatabase, .createDatabase, .skipSafetyBackup, .waitForLock, .restoreRoles,
            .acknowledgeDisk, .acknowledgeBoundObjects:
            [.restore]
        }
    }
}
