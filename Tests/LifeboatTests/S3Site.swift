import AWS
import Core
import Foundation
import Glibc
import Logging
import S3Store
import TestSupport
import Testing

/// A clinic's database whose sets go into a bucket, sealed with a key in KMS: Ceph over TLS by its own authority, and
/// moto.
struct S3Site: Sendable {
    static let prefix = "clinic/north"

    let site: Site
    let ceph: CephCluster
    let bucket: String
    /// Of the recipient.
    let key: String
    /// What stands in the place of the site's own store and key.
    var environment: [String: String]

    static func with(
        _ clinic: String = Clinic.sql(patients: 50), objectLock: Bool = false, overTLS: Bool = true,
        _ body: (S3Site) async throws -> Void
    ) async throws {
        let ceph = try await CephCluster.shared()
        let moto = try await MotoServer.shared()
        let key = try await moto.createKey()
        let bucket = try await ceph.makeBucket(objectLock: objectLock)
        var environment = ceph.environment(tls: overTLS)
        environment["AWS_ENDPOINT_URL_KMS"] = moto.url
        environment["BACKUP_STORE"] = "s3://\(bucket)/\(prefix)"
        environment["BACKUP_RECIPIENTS"] = "kms:\(key)"
        // A throwaway Ceph beside other tests may take seconds for an object.
        environment["BACKUP_LOCK_LEASE"] = "30"
        try await Site.with(clinic) { site in
            try await body(S3Site(site: site, ceph: ceph, bucket: bucket, key: key, environment: environment))
        }
    }

    /// Runs one event and expects it to end with `code`.
    @discardableResult
    func event(
        _ fields: [String: JSON], environment more: [String: String] = [:], expecting code: Core.ExitCode = .done,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> Binary.Ended {
        try await site.event(
            fields, environment: environment.merging(more) { $1 }, expecting: code, sourceLocation: sourceLocation)
    }

    /// Runs one event, however it ends.
    func run(
        _ fields: [String: JSON], environment more: [String: String] = [:],
        during: (@Sendable (pid_t) async throws -> Void)? = nil
    ) async throws -> Binary.Ended {
        let all = site.environment.merging(environment) { $1 }.merging(more) { $1 }
        return try await Binary.run(environment: all, input: JSON.object(fields).canonicalText, during: during)
    }

    static func backupEvent(_ second: Int = 0) -> [String: JSON] {
        let time = Timestamp(milliseconds: 1_736_924_400_000).adding(seconds: Int64(second))
        return ["backupType": .string("daily"), "timestamp": .string(time.description)]
    }

    func backup(_ second: Int = 0, environment more: [String: String] = [:]) async throws -> String {
        let ended = try await event(Self.backupEvent(second), environment: more)
        return try #require(ended.text("backupKey"))
    }

    /// The bucket as it really is, below the store's prefix.
    func withStore<Result>(_ bucket: String? = nil, _ body: (S3Store) async throws -> Result) async throws -> Result {
        let settings = S3Settings(bucket: bucket ?? self.bucket, prefix: Self.prefix)
        return try await withS3Store(settings, S3Wiring(environment: ceph.environment()), body)
    }

    /// All keys of the bucket below the prefix, in order.
    func keys(_ prefix: String = "", in bucket: String? = nil) async throws -> [String] {
        try await withStore(bucket) { store in
            var keys: [String] = []
            for try await info in store.list(prefix) { keys.append(info.key) }
            return keys
        }
    }

    func manifests(in bucket: String? = nil) async throws -> [String] {
        try await keys(in: bucket).filter { $0.hasSuffix("/manifest.json") }
    }

    /// The parts of the set under `key` as they are stored.
    func segments(_ key: String, in bucket: String? = nil) async throws -> [String] {
        try await keys(key + "/", in: bucket).filter { $0.hasSuffix(".encrypted") }
    }

    func delete(_ keys: [String], in bucket: String? = nil) async throws {
        try await withStore(bucket) { store in
            for key in keys { try await store.delete(key) }
        }
    }

    /// Replaces the object under `key`.
    func overwrite(_ key: String, _ bytes: [UInt8]) async throws {
        try await withStore { try await $0.put(key, bytes) }
    }

    func read(_ key: String) async throws -> [UInt8] { try await withStore { try await $0.read(key) } }

    /// Multipart uploads that have been begun and not ended, as the server lists them.
    func uploadsInProgress() async throws -> Int {
        let answer = try await call("GET", "uploads")
        return String(decoding: answer, as: UTF8.self).components(separatedBy: "<UploadId>").count - 1
    }

    func expectNoUploads(sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let left = try await withStore { try await $0.abortAbandonedUploads(olderThan: -3600) }
        #expect(left == 0, "uploads were left behind", sourceLocation: sourceLocation)
    }

}

extension S3Site {
    /// What somebody else does to the bucket: one call with `query` alone in its address.
    @discardableResult
    func call(_ method: String, _ query: String, _ body: String = "") async throws -> [UInt8] {
        let configuration = try AWSConfiguration(environment: ceph.environment()) { _ in
            throw TestFailure("no shared configuration in tests")
        }
        let transport = try PooledTransport()
        let client = AWSClient(
            transport: transport, credentials: ceph.credentials, maxAttempts: 3, clock: RealClock(), sleep: { _ in },
            random: { [UInt8](repeating: 7, count: $0) },
            logger: Logger(label: "tests") { _ in SwiftLogNoOpLogHandler() })
        let answer: HTTPAnswer
        do {
            answer = try await client.send(
                AWSRequest(
                    .s3, "Test", on: bucket, at: try configuration.endpoint(for: .s3), method: method,
                    path: "/\(bucket)", query: [(name: query, value: nil)],
                    body: body.isEmpty ? .none : .bytes(Array(body.utf8))))
        } catch {
            try await transport.shutdown()
            throw error
        }
        try await transport.shutdown()
        return answer.body
    }
}
