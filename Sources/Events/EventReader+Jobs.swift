import Core

/// What each action makes of an event's fields.
extension EventReader {
    func backup(_ fields: EventFields, _ common: Common) throws(EventError) -> BackupJob {
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
            target: common.target.name, tier: tier, requestID: common.requestID,
            records: try records(fields, common.target), dryRun: common.dryRun)
    }

    func list(_ fields: EventFields, _ common: Common) throws(EventError) -> ListJob {
        ListJob(
            target: common.target.name, requestID: common.requestID, tier: try fields.word(.tier, of: Tier.allCases),
            limit: try fields.number(.limit, in: 1...100_000, default: 100), store: common.store)
    }

    func prune(_ common: Common) -> PruneJob {
        PruneJob(target: common.target.name, requestID: common.requestID, dryRun: common.dryRun)
    }

    func hold(
        _ fields: EventFields, _ change: HoldJob.Change, _ common: Common
    ) throws(EventError) -> HoldJob {
        let key = try demandedKey(fields, "to \(change.rawValue)")
        guard let reason = fields.text(.reason), reason.contains(where: { !$0.isWhitespace }) else {
            throw fields.error(
                .reason, "a \(change.rawValue) needs a reason",
                hint: "say in a sentence why, with the number of the case; it is kept with the set")
        }
        return HoldJob(
            target: common.target.name, key: key, requestID: common.requestID, change: change, reason: reason,
            dryRun: common.dryRun)
    }

    func rewrap(_ fields: EventFields, _ common: Common) throws(EventError) -> RewrapJob {
        RewrapJob(
            target: common.target.name, key: fields.has(.backupKey) ? try demandedKey(fields, "to rewrap") : nil,
            requestID: common.requestID, store: common.store, dryRun: common.dryRun)
    }

    func export(_ fields: EventFields, _ common: Common) throws(EventError) -> ExportJob {
        let key = try demandedKey(fields, "to export")
        guard let text = fields.text(.directory) else {
            throw fields.error(
                .directory, "it is missing",
                hint: "say where to: the absolute path of a directory that is not there "
                    + "yet, or is empty")
        }
        guard let directory = AbsolutePath.normal(text), directory != "/" else {
            throw fields.error(
                .directory, "it is not the absolute path of a directory",
                hint: "write it from the root on, like /mnt/export, without '.' and '..'")
        }
        return ExportJob(
            target: common.target.name, key: key, requestID: common.requestID, store: common.store,
            directory: directory, dryRun: common.dryRun)
    }

    /// One set that somebody means, not any one.
    private func demandedKey(_ fields: EventFields, _ purpose: String) throws(EventError) -> KeySelector {
        guard let key = try key(fields) else {
            throw fields.error(.backupKey, "it is missing", hint: "say which set \(purpose): \(EventKeys.forms)")
        }
        guard key != .random else {
            throw fields.error(
                .backupKey, "no set is taken at random \(purpose)", hint: "give \(EventKeys.forms)")
        }
        return key
    }

    func key(_ fields: EventFields) throws(EventError) -> KeySelector? {
        guard let text = fields.text(.backupKey) else { return nil }
        do {
            return try EventKeys.selector(text)
        } catch {
            throw fields.error(.backupKey, error.cause, hint: error.hint)
        }
    }

    func skipReason(_ fields: EventFields) throws(EventError) -> String? {
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
