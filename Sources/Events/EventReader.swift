package import Core

/// From an event to a job that is whole: every field known, of its type, in its range, and in agreement with the
/// others. Does no input or output; what it refuses has touched nothing.
package struct EventReader: Sendable {
    static let confirmation = "YES_I_WANT_TO_RESTORE"
    static let noSafetyBackup = "I_ACCEPT_NO_SAFETY_BACKUP"
    /// Nominal times before this are slips of the keyboard: 2000-01-01T00:00:00Z.
    private static let earliest = Timestamp(milliseconds: 946_684_800_000)
    /// Seconds a nominal time may lie ahead of the clock: a day, for schedules in other time zones.
    private static let furthestAhead: Int64 = 86_400

    /// Seconds that a job may wait for a thaw: a week, for the slowest takes two days.
    private static let longestThaw: Int64 = 604_800

    private let targets: [EventTarget]
    private let runID: String?
    private let dryRun: Bool
    let clock: any WallClock
    private let random: RandomBytes

    /// `targets`: all that is configured. `runID`: `LIFEBOAT_RUN_ID`. `dryRun`: `DRY_RUN`, which makes every job a dry
    /// one.
    package init(
        targets: [EventTarget], runID: String?, dryRun: Bool, clock: any WallClock, random: @escaping RandomBytes
    ) {
        self.targets = targets.sorted { $0.name < $1.name }
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
        case .prune: return .prune(prune(common))
        case .hold: return .hold(try hold(fields, .hold, common))
        case .release: return .hold(try hold(fields, .release, common))
        case .rewrap: return .rewrap(try rewrap(fields, common))
        case .export: return .export(try export(fields, common))
        case .wal: return .wal(try wal(fields, common))
        case .drill: return .drill(try drill(fields, common))
        case .monitor, .report: throw notBuilt(action, fields)
        }
    }

    /// What every job has.
    struct Common {
        var target: EventTarget
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
            case (.confirmRestore, _), (.recoveryTarget, _), (.sourceDatabase, _):
                hint = "for a restore give action restore, or leave action out"
            case (.reason, _): hint = "leave it out; nothing is recorded with a \(action.rawValue)"
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
    private func target(_ fields: EventFields) throws(EventError) -> EventTarget {
        let names = targets.map(\.name)
        guard let name = fields.text(.target) else {
            guard let only = targets.first, targets.count == 1 else {
                throw fields.error(
                    .target, "it is missing, and \(targets.count) targets are configured",
                    hint: "name one of them: \(names.joined(separator: ", "))")
            }
            return only
        }
        guard let target = targets.first(where: { $0.name == name }) else {
            let near = nearest(to: name, in: names).map { "did you mean '\($0)'? " } ?? ""
            throw fields.error(
                .target, "no target '\(shown(name))' is configured",
                hint: "\(near)configured: \(names.joined(separator: ", "))")
        }
        return target
    }

    private func store(
        _ fields: EventFields, _ action: EventAction, _ target: EventTarget
    ) throws(EventError) -> StoreChoice {
        // A copy that kept its old keys would be opened by them: a rewrap is for both unless one is named.
        let usual: StoreChoice = action == .rewrap && target.isCopied ? .both : .primary
        let takesBoth = action == .verify || action == .rewrap
        if !takesBoth, fields.text(.store) == StoreChoice.both.rawValue {
            throw fields.error(
                .store, "only a verify and a rewrap take both copies",
                hint: "leave it out: a restore takes the second copy by itself where the first one fails")
        }
        let known: [StoreChoice] = takesBoth ? StoreChoice.allCases : [.primary, .secondary]
        guard let choice = try fields.word(.store, of: known) else { return usual }
        guard choice == .primary || target.isCopied else {
            throw fields.error(
                .store, "\(target.name) has no second store", hint: "leave it out, or set BACKUP_SECONDARY_STORE")
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
