package import AWS
package import Core
import Glibc
import Logging

/// A throwaway Ceph of one monitor, one disk and one RADOS Gateway: a real S3 for tests, over http and over TLS by a
/// certificate authority of its own. It lies on the loopback at free ports and goes with the test process, in whatever
/// way that ends.
///
/// Starting one takes 15 to 20 seconds, so tests share it; each makes buckets of its own, which cost nothing.
package final class CephCluster: Sendable {
    /// `http://127.0.0.1:PORT`.
    package let url: String
    /// `https://127.0.0.1:PORT`, for clients that trust ``caFile``.
    package let tlsURL: String
    /// PEM: what `AWS_CA_BUNDLE` is set to.
    package let caFile: String
    package let accessKeyID: String
    package let secretAccessKey: Secret
    /// The cluster's configuration, for `radosgw-admin` (`CEPH_CONF`).
    package let configurationFile: String
    /// The one key that objects can be encrypted under (SSE-KMS).
    package let kmsKeyID = "clinic-key"

    private let guardian: ServerGuardian
    private let buckets = Guarded(0)

    private init(guardian: ServerGuardian) throws {
        var facts: [String: String] = [:]
        for line in guardian.said {
            let pieces = line.split(separator: "=", maxSplits: 1)
            if pieces.count == 2 { facts[String(pieces[0])] = String(pieces[1]) }
        }
        func fact(_ name: String) throws -> String {
            guard let value = facts[name] else { throw TestFailure("scripts/ceph does not say its \(name)") }
            return value
        }
        url = try fact("http")
        tlsURL = try fact("https")
        caFile = try fact("ca")
        accessKeyID = try fact("access")
        secretAccessKey = Secret(try fact("secret"))
        configurationFile = try fact("conf")
        self.guardian = guardian
    }

    private static let sharedCluster = Task { try await start() }

    /// One cluster for all tests of this process.
    package static func shared() async throws -> CephCluster { try await sharedCluster.value }

    package static var part: RealPart {
        let programs = ["radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "openssl", "curl"]
        return RealPart(
            "Ceph (radosgw, ceph-mon, ceph-osd), openssl and curl",
            isPresent: programs.allSatisfy { RealPart.program($0).isPresent })
    }

    private static func start() async throws -> CephCluster {
        // A port that is free now may be taken a moment later, by another test process that does the same.
        var last: any Error = TestFailure("Ceph did not start")
        for _ in 0..<3 {
            do {
                return try await startOnce()
            } catch {
                last = error
            }
        }
        throw last
    }

    /// Runs `scripts/ceph`, which ends with its standard input: when the test process is done, and also when it dies.
    private static func startOnce() async throws -> CephCluster {
        let directory = "/tmp/lifeboat-ceph-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        return try CephCluster(
            guardian: try await ServerGuardian.start(program: repositoryRoot + "/scripts/ceph", [directory]))
    }
}

// MARK: Clients

extension CephCluster {
    /// What a client of this cluster needs in its environment, the endpoint included (`AWS_ENDPOINT_URL_S3`).
    package func environment(tls: Bool = false) -> [String: String] {
        var environment = secretAccessKey.withRevealed { secret in
            [
                "AWS_ACCESS_KEY_ID": accessKeyID, "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": "us-east-1",
                "AWS_ENDPOINT_URL_S3": tls ? tlsURL : url,
            ]
        }
        if tls { environment["AWS_CA_BUNDLE"] = caFile }
        return environment
    }

    package var credentials: FixedCredentials {
        FixedCredentials(
            AWSCredentials(accessKeyID: accessKeyID, secretAccessKey: secretAccessKey, source: "tests"))
    }

    /// A new, empty bucket's name. One with Object Lock has versions too.
    package func makeBucket(objectLock: Bool = false) async throws -> String {
        let number = buckets.withLock { count in
            count += 1
            return count
        }
        let name = "bucket-\(number)"
        try await Self.makeBucket(
            name, at: url, credentials: credentials, objectLock: objectLock)
        return name
    }

    /// Makes a bucket on any server that speaks S3, path style.
    package static func makeBucket(
        _ name: String, at url: String, credentials: any CredentialSource, objectLock: Bool = false
    ) async throws {
        let configuration = try AWSConfiguration(
            environment: ["AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": url],
            readFile: { _ in throw TestFailure("no shared configuration in tests") })
        let transport = try PooledTransport()
        let client = AWSClient(
            transport: transport, credentials: credentials, maxAttempts: 5, clock: RealClock(),
            sleep: { try await Task.sleep(for: .seconds($0)) }, random: { [UInt8](repeating: 7, count: $0) },
            logger: Logger(label: "tests", factory: { _ in SwiftLogNoOpLogHandler() }))
        var request = AWSRequest(
            .s3, "CreateBucket", on: "s3://\(name)", at: try configuration.endpoint(for: .s3), method: "PUT",
            path: "/\(name)")
        if objectLock { request.headers["x-amz-bucket-object-lock-enabled"] = "true" }
        do {
            _ = try await client.send(request)
        } catch {
            try await transport.shutdown()
            throw error
        }
        try await transport.shutdown()
    }
}

/// The machine's clock, for tests against servers that have their own.
package struct RealClock: WallClock {
    package init() {}

    package func now() -> Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
    }
}
