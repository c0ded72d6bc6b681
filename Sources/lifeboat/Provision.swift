import Core
import Events
import Logging
import S3Store

/// `lifeboat provision`: makes a target's bucket what its settings ask, or only says what it lacks.
struct Provision {
    let settings: Settings
    let cloud: Cloud
    let logger: Logger

    /// `target` may be left out where there is one. Prints a line for each finding. Where something falls short it ends
    /// with the code of a failed verification, so that a CronJob can watch for drift.
    func run(check: Bool, store: StoreChoice, target name: String?) async throws -> ExitCode {
        let target = try target(name)
        let provisioning = try provisioning(target, store)
        let findings = try await check ? provisioning.check() : provisioning.apply()
        for finding in findings { Output.write(finding.description) }
        return findings.fallsShort ? .verificationFailed : .done
    }

    private func target(_ name: String?) throws -> TargetSettings {
        if let name {
            if let found = settings.targets.first(where: { $0.name == name }) { return found }
        } else if let only = settings.targets.first, settings.targets.count == 1 {
            return only
        }
        throw JobFailure(
            .eventRefused, "choose the target", object: "--target",
            cause: name == nil ? "several targets are configured" : "no such target is configured",
            hint: "name one of them: \(settings.targets.map(\.name).joined(separator: ", "))")
    }

    private func provisioning(_ target: TargetSettings, _ store: StoreChoice) throws -> Provisioning {
        let isSecond = store == .secondary
        let place = isSecond ? StorePlace.secondary(of: target) : StorePlace.primary(of: target)
        guard let place, let bucket = place.location.bucket else {
            throw JobFailure(
                .configuration, "provision the store", object: place.map { "\($0.location)" } ?? "--store",
                cause: place == nil ? "\(target.name) has no second store" : "only buckets are provisioned",
                hint: isSecond ? "set BACKUP_SECONDARY_STORE to s3://…" : "set BACKUP_STORE to s3://…")
        }
        // Looks at the endpoint as a run does, and sends nothing.
        _ = try Composition.store(at: place, of: target, cloud: cloud, logger: logger)
        let account = try cloud.account(place.access)
        let s3 = Composition.s3Settings(bucket, of: target)
        // Recipients belong to the first store's account; a log's bucket has to be in the region of what it is about.
        let wish = ProvisionWish(
            settings: s3, objectLock: target.keeping.lock != nil || target.keeping.legalHold,
            accessLogBucket: isSecond ? nil : target.keeping.accessLogBucket,
            noncurrentDays: target.keeping.noncurrentDays, auditStages: try auditStages(in: place.location),
            keys: isSecond ? [] : target.kmsKeys)
        return try Provisioning(
            settings: s3, wish: wish, client: account.client, configuration: account.configuration, logger: logger)
    }

    /// When audit records that any target keeps there move on. The bucket has one rule for them, so targets that share
    /// it have to agree.
    private func auditStages(in location: StoreLocation) throws -> AuditStages? {
        let there = settings.targets.filter { target in
            [target.store, target.secondary?.store].contains { $0?.place(of: "") == location.place(of: "") }
        }
        let stages = there.compactMap(\.auditStages)
        guard stages.allSatisfy({ $0 == stages.first }) else {
            let names = there.filter { $0.auditStages != nil }.map(\.name).joined(separator: ", ")
            throw JobFailure(
                .configuration, "provision the store", object: "\(location)",
                cause: "its targets with audit records (\(names)) differ in activeDays or archiveDays",
                hint: "let them agree, or keep them under prefixes of the bucket that differ")
        }
        return stages.first
    }
}
