import Core

/// Restores, recovery and its rehearsal.
extension EventReader {
    func restore(_ fields: EventFields, _ common: Common) throws(EventError) -> RestoreJob {
        try refuseForOthers(fields, common.target)
        let recoveryTarget = try recoveryTarget(fields, common.target)
        return RestoreJob(
            target: common.target.name, key: try restoreKey(fields, recoveryTarget), requestID: common.requestID,
            destination: try destination(fields, common.target), recoveryTarget: recoveryTarget,
            sourceDatabase: try sourceDatabase(fields, common.target),
            createDatabase: fields.flag(.createDatabase), skipSafetyBackupReason: try skipReason(fields),
            waitForLock: try fields.number(.waitForLock, in: 0...86_400, default: 300),
            restoreRoles: try fields.word(.restoreRoles, of: [RoleRestore.missing, .full]) ?? .missing,
            acknowledgeDisk: fields.flag(.acknowledgeDisk),
            acknowledgeBoundObjects: fields.flag(.acknowledgeBoundObjects), store: common.store,
            waitForThaw: common.waitForThaw, dryRun: common.dryRun)
    }

    private func restoreKey(
        _ fields: EventFields, _ recoveryTarget: RecoveryTarget?
    ) throws(EventError) -> KeySelector {
        guard let key = try key(fields) else {
            // The nearest set before the point is looked for.
            if recoveryTarget != nil { return .latest(nil) }
            throw fields.error(.backupKey, "it is missing", hint: "say what to restore: \(EventKeys.forms)")
        }
        guard key != .random else {
            throw fields.error(
                .backupKey, "a restore does not take a set at random", hint: "give \(EventKeys.forms)")
        }
        guard recoveryTarget != nil else { return key }
        switch key {
        case .exact, .latest(nil): return key
        case .latest, .day, .random:
            throw fields.error(
                .backupKey, "with a recoveryTarget the nearest set before it is taken, of whatever tier",
                hint: "leave it out, or give one set's exact key to go from there")
        }
    }

    private func recoveryTarget(
        _ fields: EventFields, _ target: EventTarget
    ) throws(EventError) -> RecoveryTarget? {
        guard let json = fields.json(.recoveryTarget) else { return nil }
        try demandPhysical(.recoveryTarget, fields, target)
        return try RecoveryTargetReader(origin: fields.origin, now: clock.now()).read(json)
    }

    private func sourceDatabase(_ fields: EventFields, _ target: EventTarget) throws(EventError) -> String? {
        guard let name = fields.text(.sourceDatabase) else { return nil }
        try demandPhysical(.sourceDatabase, fields, target)
        // The server is recovered there, and the database read out of it.
        try demandScratch(.sourceDatabase, fields, target)
        guard name.utf8.count <= Self.longestPostgresName else {
            throw fields.error(
                .sourceDatabase, "no database has so long a name",
                hint: "a database of the server that was backed up: at most \(Self.longestPostgresName) bytes")
        }
        return name
    }

    /// Only the files of a whole server can be followed by its log, and hold several databases.
    private func demandPhysical(
        _ field: EventField, _ fields: EventFields, _ target: EventTarget
    ) throws(EventError) {
        guard !target.isPhysical else { return }
        throw fields.error(
            field, "sets of \(target.name) are pictures of one moment each, which no log can be added to",
            hint: target.engine == .postgres
                ? "leave it out; targets with BACKUP_METHOD=physical take it"
                : "leave it out; it belongs to postgres with BACKUP_METHOD=physical")
    }

    // MARK: Proofs and rehearsals

    func verify(_ fields: EventFields, _ common: Common) throws(EventError) -> VerifyJob {
        let depth = try fields.word(.depth, of: [ProofDepth.integrity, .restore]) ?? .integrity
        if depth == .restore {
            try demandScratch(.depth, fields, common.target)
            if fields.has(.recomputeContents) {
                throw fields.error(
                    .recomputeContents, "a verify by restore compares every row anyway", hint: "leave it out")
            }
        }
        return VerifyJob(
            target: common.target.name, key: try key(fields) ?? .random, requestID: common.requestID,
            recomputeContents: fields.flag(.recomputeContents), depth: depth, store: common.store,
            waitForThaw: common.waitForThaw, dryRun: common.dryRun)
    }

    func drill(_ fields: EventFields, _ common: Common) throws(EventError) -> DrillJob {
        let scenarios = DrillJob.Scenario.allCases
        guard let scenario = try fields.word(.scenario, of: scenarios) else {
            throw fields.error(
                .scenario, "it is missing", hint: "write \(choices(scenarios.map(\.rawValue)))")
        }
        if scenario != .keyLoss { try demandScratch(.scenario, fields, common.target) }
        return DrillJob(
            target: common.target.name, scenario: scenario, key: try key(fields) ?? .random,
            requestID: common.requestID, dryRun: common.dryRun)
    }

    private func demandScratch(
        _ field: EventField, _ fields: EventFields, _ target: EventTarget
    ) throws(EventError) {
        guard !target.hasScratch else { return }
        throw fields.error(
            field, "there is no place where a set of \(target.name) could be brought to life",
            hint: target.engine.hasScratchServer
                ? "set SCRATCH_DIRECTORY to a directory with room for one"
                : "set BACKUP_SCRATCH_DESTINATION to a configured destination of the same kind")
    }

    func wal(_ fields: EventFields, _ common: Common) throws(EventError) -> WALJob {
        guard common.target.isPhysical else {
            throw fields.error(
                .action, "\(common.target.name) has no log to be archived beside its sets",
                hint: "wal belongs to postgres with BACKUP_METHOD=physical")
        }
        return WALJob(target: common.target.name, requestID: common.requestID, dryRun: common.dryRun)
    }
}
