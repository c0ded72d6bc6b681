import Core
import Events
import Glibc
import Logging
import Operations
import PostgresEngine
import Sets

/// Puts the parts together: the only place that knows every one of them.
enum Composition {
    static func workplace(
        for target: TargetSettings, environment: [String: String], action: String, cloud: Cloud, logger: Logger,
        report: @escaping @Sendable (RunEvent) async -> Void
    ) throws -> Workplace {
        let (first, second) = try stores(of: target, cloud: cloud, logger: logger)
        let engine = engine(for: target.source, environment: environment)
        return Workplace(
            target: target.name,
            store: PrefixedStore(first.store, prefix: target.keyPrefix),
            secondary: second.map { PrefixedStore($0.store, prefix: target.keyPrefix) },
            thawDays: target.keeping.thawDays,
            sweepUnfinishedWrites: { tier in
                try await sweep(
                    first, second, under: (target.keyPrefix.isEmpty ? "" : target.keyPrefix + "/") + tier.rawValue,
                    logger: logger)
            },
            engine: engine,
            destination: { name in destination(name, of: target, environment: environment) },
            writer: SetWriterConfiguration(
                target: target.name, engine: target.source.engine,
                recipients: try providers(target.recipients, cloud: cloud),
                optionalRecipients: try providers(target.optionalRecipients, cloud: cloud),
                signer: try target.signingKey.map(signer), compression: target.compression,
                parallelJobs: target.parallelJobs, rateLimit: target.rateLimit,
                retention: RetentionPolicy(
                    tiers: target.retentionDays.map { [.daily: .days($0)] } ?? [:]),
                protection: SetProtection(lockMode: target.keeping.lock, legalHold: target.keeping.legalHold),
                storageClasses: target.keeping.storageClasses, random: systemRandom, clock: blockingClock),
            reader: SetReaderConfiguration(
                identities: try providers(target.identities, cloud: cloud),
                trustedSigners: target.trustedSigners.compactMap { bytes(hexText: $0) },
                symmetricProviders: symmetricProviders),
            lease: LeaseConfiguration(
                holder: "\(hostName()) pid \(getpid()) \(action)", seconds: target.lockLease, clock: SystemClock(),
                elapsed: secondsSinceBoot, sleep: systemSleep, random: systemRandom),
            exceptions: target.exceptions,
            stallTimeout: target.stallTimeout,
            onStall: { Termination.arm(.source, patience: 30) }, clock: SystemClock(), sleep: systemSleep,
            random: systemRandom,
            logger: logger, report: report)
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

    private static func engine(for source: SourceSettings, environment: [String: String]) -> any Engine {
        switch source {
        case .postgres(let settings):
            PostgresDatabase(
                endpoint(settings),
                tools: .standard(path: environment["PATH"], override: environment["POSTGRES_BIN"]))
        }
    }

    /// `name` is a configured destination, else a database on the source's own server; `nil` is the source itself.
    private static func destination(
        _ name: String?, of target: TargetSettings, environment: [String: String]
    ) -> any Engine {
        switch target.source {
        case .postgres(var settings):
            if let name {
                if let configured = target.destinations[name] {
                    settings = configured
                } else {
                    settings.database = name
                }
            }
            return engine(for: .postgres(settings), environment: environment)
        }
    }

    private static func endpoint(_ settings: PostgresSettings) -> PostgresEndpoint {
        PostgresEndpoint(
            host: settings.host, port: settings.port, database: settings.database, user: settings.user,
            password: settings.password, parameters: settings.parameters)
    }

    private static func hostName() -> String {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0 else { return "unknown host" }
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
