import Core
import Crypto
import Events
import FileSystemStore
import Glibc
import LocalKeyring
import Logging
import MetricsReporter
import Operations
import PostgresEngine
import ProgressReporter
import RSAKeyring
import Sets

/// Puts the parts together: the only place that knows every one of them.
enum Composition {
    /// Bytes of the longest object of a directory store; a longer part goes on in further segments.
    private static let largestObject: Int64 = 15 << 30

    static func workplace(
        for target: TargetSettings, environment: [String: String], action: String, logger: Logger,
        report: @escaping @Sendable (RunEvent) async -> Void
    ) throws -> Workplace {
        let recipients = try target.recipients.map(recipient)
        let identities = try target.identities.map(identity)
        let store = try store(at: target.store)
        let engine = engine(for: target.source, environment: environment)
        return Workplace(
            target: target.name,
            store: PrefixedStore(store, prefix: target.keyPrefix),
            sweepUnfinishedWrites: { tier in
                try await store.sweepTemporaryFiles(
                    under: (target.keyPrefix.isEmpty ? "" : target.keyPrefix + "/") + tier.rawValue)
            },
            engine: engine,
            destination: { name in destination(name, of: target, environment: environment) },
            writer: SetWriterConfiguration(
                target: target.name, engine: target.source.engine, recipients: recipients,
                signer: try target.signingKey.map(signer), compression: target.compression,
                parallelJobs: target.parallelJobs, rateLimit: target.rateLimit,
                dailyRetentionDays: target.retentionDays, random: systemRandom, clock: blockingClock),
            reader: SetReaderConfiguration(
                identities: identities, trustedSigners: target.trustedSigners.compactMap { bytes(hexText: $0) },
                symmetricProviders: ["lifeboat"]),
            lease: LeaseConfiguration(
                holder: "\(hostName()) pid \(getpid()) \(action)", seconds: target.lockLease, clock: SystemClock(),
                elapsed: secondsSinceBoot, sleep: systemSleep, random: systemRandom),
            exceptions: target.exceptions,
            stallTimeout: target.stallTimeout,
            onStall: { Termination.arm(.source, patience: 30) }, clock: SystemClock(), sleep: systemSleep,
            random: systemRandom,
            logger: logger, report: report)
    }

    private static func store(at location: StoreLocation) throws -> DirectoryStore {
        switch location {
        case .directory(let path): try DirectoryStore(root: path, largestObject: largestObject, random: systemRandom)
        }
    }

    static func recipient(_ key: KeySpecification) throws -> any KeyProvider {
        switch key {
        case .aes(let path): try AESKeyProvider(path: path)
        case .rsa(let path): try RSAKeyProvider(path: path)
        }
    }

    /// The same file may serve as both; a public key among the identities opens nothing and says so when asked.
    static func identity(_ key: KeySpecification) throws -> any KeyProvider { try recipient(key) }

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

    private static func signer(_ pem: Secret) throws -> Curve25519.Signing.PrivateKey {
        try pem.withRevealed { text in
            do {
                return try Ed25519Key.privateKey(pem: text)
            } catch {
                throw JobFailure(
                    .configuration, "read the signing key", object: "BACKUP_SIGNING_KEY",
                    cause: "it is no Ed25519 private key in PEM form (PKCS #8)",
                    hint: "make one with 'openssl genpkey -algorithm ed25519'")
            }
        }
    }

    private static func hostName() -> String {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0 else { return "unknown host" }
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
