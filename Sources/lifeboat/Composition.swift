import Core
import Events
import Glibc
import Logging
import Operations
import Sets

/// Puts the parts together: the only place that knows every one of them.
enum Composition {
    static func workplace(
        for target: TargetSettings, doing errand: Errand, environment: [String: String], keys: KeyHolders,
        logger: Logger, report: @escaping @Sendable (RunEvent) async -> Void
    ) throws -> Workplace {
        let (first, second) = try stores(of: target, cloud: keys.cloud, logger: logger)
        let sources = Sources(target: target, environment: environment, keys: keys)
        var workplace = Workplace(
            target: target.name,
            store: PrefixedStore(first.store, prefix: target.keyPrefix),
            secondary: second.map { PrefixedStore($0.store, prefix: target.keyPrefix) },
            thawDays: target.keeping.thawDays,
            sweepUnfinishedWrites: { tier in
                try await sweep(
                    first, second, under: (target.keyPrefix.isEmpty ? "" : target.keyPrefix + "/") + tier.rawValue,
                    logger: logger)
            },
            engine: try sources.engine(),
            destination: { name in try sources.destination(name, for: errand) },
            writer: SetWriterConfiguration(
                target: target.name, engine: target.source.engine,
                recipients: try providers(target.recipients, of: target, keys),
                optionalRecipients: try providers(target.optionalRecipients, of: target, keys),
                signer: try target.signingKey.map(signer), compression: target.compression,
                parallelJobs: target.parallelJobs, rateLimit: target.rateLimit,
                retention: target.retention,
                protection: SetProtection(lockMode: target.keeping.lock, legalHold: target.keeping.legalHold),
                storageClasses: target.keeping.storageClasses,
                bodies: target.auditStages == nil ? .byTier : .auditRecords, random: systemRandom,
                clock: blockingClock,
                cipher: sealingCipher(of: target, keys)),
            reader: SetReaderConfiguration(
                identities: try providers(target.identities, of: target, keys),
                trustedSigners: target.trustedSigners.compactMap { bytes(hexText: $0) },
                symmetricProviders: symmetricProviders, ciphers: [openPGP(of: target, keys)]),
            lease: LeaseConfiguration(
                holder: "\(hostName()) pid \(getpid()) \(errand.action)", seconds: target.lockLease,
                clock: SystemClock(),
                elapsed: secondsSinceBoot, sleep: systemSleep, random: systemRandom),
            exceptions: target.exceptions,
            stallTimeout: target.stallTimeout,
            onStall: { Termination.arm(.source, patience: 30) }, clock: SystemClock(), sleep: systemSleep,
            random: systemRandom,
            logger: logger, report: report)
        try addRecovery(to: &workplace, from: sources, logger: logger)
        workplace.vault = try vault(of: target, cloud: keys.cloud)
        return workplace
    }

    /// What waits in the second store can wait longer: a backup does not fail because that store is out of reach.
    private static func sweep(
        _ first: BuiltStore, _ second: BuiltStore?, under prefix: String, logger: Logger
    ) async throws -> Int {
        var count = try await first.sweep(prefix)
        guard let second else { return count }
        do {
            count += try await second.sweep(prefix)
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            logger.warning(
                "the second store was not swept of unfinished writes", metadata: ["why": "\(error)"])
        }
        return count
    }

    private static func hostName() -> String {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0 else { return "unknown host" }
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
