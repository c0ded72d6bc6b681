package import Core

/// From an event to a job that is whole: every field known, of its type, in its range, and in agreement with the
/// others. Does no input or output; what it refuses has touched nothing.
package struct EventReader: Sendable {
    static let confirmation = "YES_I_WANT_TO_RESTORE"
    static let noSafetyBackup = "I_ACCEPT_NO_SAFETY_BACKUP"
    /// PostgreSQL's limit for a name, in bytes.
    private static let longestDatabaseName = 63
    /// Nominal times before this are slips of the keyboard: 2000-01-01T00:00:00Z.
    private static let earliest = Timestamp(milliseconds: 946_684_800_000)
    /// Seconds a nominal time may lie ahead of the clock: a day, for schedules in other time zones.
    private static let furthestAhead: Int64 = 86_400

    /// Seconds that a job may wait for a thaw: a week, for the slowest takes two days.
    private static let longestThaw: Int64 = 604_800

    private let targets: [String]
    private let copied: Set<String>
    private let runID: String?
    private let dryRun: Bool
    private let clock: any WallClock
    private let random: RandomBytes

    /// `targets`: the names of all that is configured. `copied`: those of them that have a second store. `runID`: `LIFEBOAT_RUN_ID`. `dryRun`: `DRY_RUN`, which makes
    /// every job a dry one.
    package init(
        targets: [String], copied: [String] = [], runID: String?, dryRun: Bool, clock: any WallClock,
        random: @escaping RandomBytes
    ) {
        self.copied = Set(copied)
        self.targets = targets.sorted()
        self.runID = runID
        self.dryRun = dryRun
        self.clock = clock
        self.random = random
    }

    /// The job of the one source that carries an event.
    package func job(from sources: EventSources) throws(EventError) -> Job {
        let (fields, origin) = try sources.fields()
        return try job(from: fields, origin: origin)
    }

    /// The job of an event's fields. `origin` is for messages: where the event came from.
    package func job(from json: JSON, origin: String) throws(EventError) -> Job {
        let fields = try EventFields(json, origin: origin)
        let action = try action(of: fields)
        try refuseForeign(fields, to: action)
        try confirm(fields, action)
        let target = try target(fields)
        let common = Common(
            target: target, requestID: try requestID(fields), dryRun: dryRun || fields.flag(.dryRun),
            store: try store(fields, action, target),
            waitForThaw: try fields.number(.waitForThaw, in: 0...Self.longestThaw, default: 0))
        switch action {
        case .backup: return .backup(try backup(fields, common))
        case .verify: return .verify(try verify(fields, common))
        case .restore: return .restore(try restore(fields, common))
        case .list: return .list(try list(fields, common))
        default: throw notBuilt(action, fields)
        }
    }

    private struct Common {
        var target: String
        var requestID: RequestID
        var dryRun: Bool
        var store: StoreChoice
        /// Seconds.
        var waitForThaw: Int
    }
}

// MARK: What is asked for

extension EventReader {
    private func action(of fields: EventFields) throws(EventError) -> EventAction {
        if fields.isEmpty {
            throw EventError(
                "event", "it has no fields", hint: "say what to do, for example {\"backupType\":\"daily\"}",
                origin: fields.origin)
        }
        if fields.has(.confirmRestore), fields.has(.backupType) {
            throw fields.error(
                .backupType, "the event asks for a backup and, with CONFIRM_RESTORE, for a restore",
                hint: "send two events; a restore makes its safety backup by itself")
        }
        if let later = fields.text(.action).flatMap(EventAction.init(rawValue:)), !EventAction.built.contains(later) {
            throw notBuilt(later, fields)
        }
        if let action = try fields.word(.action, of: EventAction.built) { return action }
        if fields.has(.confirmRestore) { return .restore }
        switch (fields.has(.backupType), fields.has(.backupKey)) {
        case (true, false): return .backup
        case (false, true): return .verify
        case (true, true):
            throw fields.error(
                .action, "backupType asks for a backup and backupKey for a verify",
                hint: "give one of the two, or say which with action")
        case (false, false):
            throw fields.error(
                .action, "nothing says what to do",
                hint: "give action: \(choices(EventAction.built.map(\.rawValue)))")
        }
    }

    private func notBuilt(_ action: EventAction, _ fields: EventFields) -> EventError {
        fields.error(
            .action, "'\(action.rawValue)' is not in this version yet",
            hint: "this version knows \(choices(EventAction.built.map(\.rawValue)))")
    }

    /// A field that the action would ignore is refused: who wrote it expects something of it.
    private func refuseForeign(_ fields: EventFields, to action: EventAction) throws(EventError) {
        for field in fields.present where !field.actions.contains(action) {
            let hint: String
            switch (field, action) {
            case (.backupType, .list): hint = "to list one tier's sets, give tier"
            case (.tier, .backup): hint = "to choose the backup's tier, give backupType"
            case (.confirmRestore, _):
                hint = "for a restore give action restore, or leave action out"
            case (.waitForLock, .backup), (.waitForLock, .verify):
                hint = "only a restore waits; a backup that finds another run ends with exit code 75"
            default: hint = "leave it out; it belongs to \(choices(field.actions.map(\.rawValue)))"
            }
            throw fields.error(field, "it means nothing to the action \(action.rawValue)", hint: hint)
        }
    }

    private func confirm(_ fields: EventFields, _ action: EventAction) throws(EventError) {
        guard action == .restore, fields.text(.confirmRestore) != Self.confirmation else { return }
        throw EventError(
            EventField.confirmRestore.name,
            fields.has(.confirmRestore) ? "it is not the exact confirmation" : "the confirmation is missing",
            hint: "a restore replaces a database: to confirm, set CONFIRM_RESTORE to exactly \(Self.confirmation)",
            origin: fields.origin, exitCode: .restoreNotConfirmed)
    }
}

// MARK: What every job has

extension EventReader {
    private func target(_ fields: EventFields) throws(EventError) -> String {
        guard let name = fields.text(.target) else {
            guard let only = targets.first, targets.count == 1 else {
                throw fields.error(
                    .target, "it is missing, and \(targets.count) targets are configured",
                    hint: "name one of them: \(targets.joined(separator: ", "))")
            }
            return only
        }
        guard targets.contains(name) else {
            let near = nearest(to: name, in: targets).map { "did you mean '\($0)'? " } ?? ""
            throw fields.error(
                .target, "no target '\(shown(name))' is configured",
                hint: "\(near)configured: \(targets.joined(separator: ", "))")
        }
        return name
    }

    private func store(
        _ fields: EventFields, _ action: EventAction, _ target: String
    ) throws(EventError) -> StoreChoice {
        let known: [StoreChoice] = action == .verify ? StoreChoice.allCases : [.primary, .secondary]
        if action != .verify, fields.text(.store) == StoreChoice.both.rawValue {
            throw fields.error(
                .store, "only a verify reads both copies",
                hint: "leave it out: a restore takes the second copy by itself where the first one fails")
        }
        guard let choice = try fields.word(.store, of: known), choice != .primary else { return .primary }
        guard copied.contains(target) else {
            throw fields.error(
                .store, "\(target) has no second store", hint: "leave it out, or set BACKUP_SECONDARY_STORE")
        }
        return choice
    }

    private func requestID(_ fields: EventFields) throws(EventError) -> RequestID {
        if let time = try timestamp(fields) { return .timestamp(time) }
        if let runID { return .run(runID) }
        return .random(hexText(random(16)))
    }

    private func timestamp(_ fields: EventFields) throws(EventError) -> Timestamp? {
        guard let text = fields.text(.timestamp) else { return nil }
        let hint = "a time with its zone, like 2025-01-15T07:00:00Z or 2025-01-15T09:00:00+02:00"
        guard let time = Timestamp(text) else {
            let lacksZone = Timestamp(text + "Z") != nil
            throw fields.error(
                .timestamp, lacksZone ? "it has no time zone" : "it is not a time that exists", hint: hint)
        }
        guard time >= Self.earliest else {
            throw fields.error(.timestamp, "it lies before the year 2000", hint: hint)
        }
        let now = clock.now()
        guard time <= now.adding(seconds: Self.furthestAhead) else {
            throw fields.error(
                .timestamp, "it lies more than a day in the future",
                hint: "by this machine's clock it is \(now); correct the event or the clock")
        }
        return time
    }
}

// MARK: The jobs

extension EventReader {
    private func backup(_ fields: EventFields, _ common: Common) throws(EventError) -> BackupJob {
        if fields.text(.backupType) == Tier.safety.rawValue {
            throw fields.error(
                .backupType, "safety backups are made by restores only",
                hint: "write \(choices(Tier.selectable.map(\.rawValue)))")
        }
        guard let tier = try fields.word(.backupType, of: Tier.selectable) else {
            throw fields.error(
                .backupType, "it is missing", hint: "write \(choices(Tier.selectable.map(\.rawValue)))")
        }
        return BackupJob(
            target: common.target, tier: tier, requestID: common.requestID, dryRun: common.dryRun)
    }

    private func verify(_ fields: EventFields, _ common: Common) throws(EventError) -> VerifyJob {
        if let depth = fields.text(.depth), depth != ProofDepth.integrity.rawValue {
            let isLater = depth == ProofDepth.restore.rawValue
            throw fields.error(
                .depth, isLater ? "a verify by restore is not in this version yet" : "'\(shown(depth))' is not known",
                hint: "write integrity, or leave it out")
        }
        return VerifyJob(
            target: common.target, key: try key(fields) ?? .random, requestID: common.requestID,
            recomputeContents: fields.flag(.recomputeContents), store: common.store, waitForThaw: common.waitForThaw,
            dryRun: common.dryRun)
    }

    private func restore(_ fields: EventFields, _ common: Common) throws(EventError) -> RestoreJob {
        guard let key = try key(fields) else {
            throw fields.error(.backupKey, "it is missing", hint: "say what to restore: \(EventKeys.forms)")
        }
        guard key != .random else {
            throw fields.error(
                .backupKey, "a restore does not take a set at random", hint: "give \(EventKeys.forms)")
        }
        return RestoreJob(
            target: common.target, key: key, requestID: common.requestID, destination: try targetDatabase(fields),
            createDatabase: fields.flag(.createDatabase), skipSafetyBackupReason: try skipReason(fields),
            waitForLock: try fields.number(.waitForLock, in: 0...86_400, default: 300),
            restoreRoles: try fields.word(.restoreRoles, of: [RoleRestore.missing, .full]) ?? .missing,
            acknowledgeDisk: fields.flag(.acknowledgeDisk),
            acknowledgeBoundObjects: fields.flag(.acknowledgeBoundObjects), store: common.store,
            waitForThaw: common.waitForThaw, dryRun: common.dryRun)
    }

    private func list(_ fields: EventFields, _ common: Common) throws(EventError) -> ListJob {
        ListJob(
            target: common.target, requestID: common.requestID, tier: try fields.word(.tier, of: Tier.allCases),
            limit: try fields.number(.limit, in: 1...100_000, default: 100), store: common.store)
    }

    private func key(_ fields: EventFields) throws(EventError) -> KeySelector? {
        guard let text = fields.text(.backupKey) else { return nil }
        do {
            return try EventKeys.selector(text)
        } catch {
            throw fields.error(.backupKey, error.cause, hint: error.hint)
        }
    }

    private func targetDatabase(_ fields: EventFields) throws(EventError) -> String? {
        guard let name = fields.text(.targetDatabase) else { return nil }
        guard name.utf8.count <= Self.longestDatabaseName else {
            throw fields.error(
                .targetDatabase, "it is longer than \(Self.longestDatabaseName) bytes",
                hint: "the name of a configured destination or of a database on the source's server")
        }
        return name
    }

    private func skipReason(_ fields: EventFields) throws(EventError) -> String? {
        guard let phrase = fields.text(.skipSafetyBackup) else {
            if fields.has(.reason) {
                throw fields.error(
                    .reason, "it stands without skipSafetyBackup",
                    hint: "leave it out, unless the safety backup is to be skipped")
            }
            return nil
        }
        guard phrase == Self.noSafetyBackup else {
            throw fields.error(
                .skipSafetyBackup, "it is not the exact phrase",
                hint: "to replace a database that cannot be saved first, write exactly \(Self.noSafetyBackup)")
        }
        guard let reason = fields.text(.reason), reason.contains(where: { !$0.isWhitespace }) else {
            throw fields.error(
                .reason, "a restore without a safety backup needs a reason",
                hint: "say in a sentence why the database cannot be saved first; it is kept in the records")
        }
        return reason
    }
}
