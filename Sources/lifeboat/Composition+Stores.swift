import AWS
import Core
import Events
import FileSystemStore
import Logging
import S3Store

/// A store with what sweeps it, whichever kind it is.
struct BuiltStore: Sendable {
    var store: any Store
    /// Removes what unfinished writes under a prefix have left; returns how much.
    var sweep: @Sendable (_ prefix: String) async throws -> Int
}

/// Where a copy lies, and with whose rights it is reached.
struct StorePlace {
    var location: StoreLocation
    var access: SecondarySettings.Access

    static func primary(of target: TargetSettings) -> StorePlace {
        StorePlace(location: target.store, access: .shared)
    }

    static func secondary(of target: TargetSettings) -> StorePlace? {
        target.secondary.map { StorePlace(location: $0.store, access: $0.access) }
    }
}

extension Composition {
    /// The target's stores. With two of them, one that cannot be opened is there all the same and fails when it is used.
    static func stores(
        of target: TargetSettings, cloud: Cloud, logger: Logger
    ) throws -> (first: BuiltStore, second: BuiltStore?) {
        let primary = StorePlace.primary(of: target)
        guard let secondary = StorePlace.secondary(of: target) else {
            return (try store(at: primary, of: target, cloud: cloud, logger: logger), nil)
        }
        func opened(_ place: StorePlace) throws -> BuiltStore {
            do {
                return try store(at: place, of: target, cloud: cloud, logger: logger)
            } catch let failure as any Failure where failure.exitCode == .store {
                let store = UnreachableStore(
                    location: "\(place.location)", largestObject: target.keeping.segmentSize, failure: failure)
                return BuiltStore(store: store) { _ in throw failure }
            }
        }
        return (try opened(primary), try opened(secondary))
    }

    static func store(
        at place: StorePlace, of target: TargetSettings, cloud: Cloud, logger: Logger
    ) throws -> BuiltStore {
        switch place.location {
        case .directory(let path):
            let store = try DirectoryStore(
                root: path, largestObject: target.keeping.segmentSize, random: systemRandom)
            return BuiltStore(store: store) { try await store.sweepTemporaryFiles(under: $0) }
        case .s3(let bucket):
            let account = try cloud.account(place.access)
            let settings = s3Settings(bucket, of: target)
            try demandTLS(try endpoint(of: bucket, account), of: target)
            let store = try S3Store(
                settings: settings, client: account.client, configuration: account.configuration,
                random: systemRandom, clock: SystemClock(), sleep: systemSleep, logger: logger)
            return BuiltStore(store: store) { try await store.abortAbandonedUploads(under: $0) }
        }
    }

    static func s3Settings(_ bucket: BucketSettings, of target: TargetSettings) -> S3Settings {
        let addressing: S3Settings.Addressing =
            switch bucket.addressing {
            case .automatic: .automatic
            case .path: .path
            case .virtualHost: .virtualHost
            }
        let encryption: S3Settings.ServerSideEncryption? =
            switch bucket.encryption {
            case .aes256: .aes256
            case .kms(let key): .kms(keyID: key)
            case nil: nil
            }
        return S3Settings(
            bucket: bucket.bucket, prefix: bucket.prefix, endpoint: bucket.endpoint, region: bucket.region,
            addressing: addressing, encryption: encryption, multipartThreshold: bucket.multipartThreshold,
            pieceSize: bucket.pieceSize, piecesInFlight: max(3, target.parallelJobs),
            largestObject: target.keeping.segmentSize)
    }

    /// Where the bucket's server is, as far as settings say.
    static func endpoint(of bucket: BucketSettings, _ account: Cloud.Account) throws -> AWSEndpoint {
        try account.configuration.endpoint(for: .s3, region: bucket.region, override: bucket.endpoint)
    }

    /// The settings were checked when they were read. An endpoint can also come from AWS' shared files, where they do
    /// not look.
    private static func demandTLS(_ endpoint: AWSEndpoint, of target: TargetSettings) throws {
        guard !target.allowsHTTPStore, !EndpointRule.isPrivate(scheme: endpoint.scheme, host: endpoint.host) else {
            return
        }
        throw JobFailure(
            .configuration, "reach the store", object: endpoint.host,
            cause: "it is a server across a network, reached without TLS",
            hint: "use an https:// endpoint, with the server's CA in AWS_CA_BUNDLE; to do without, set "
                + "BACKUP_ALLOW_HTTP_STORE=1")
    }
}
