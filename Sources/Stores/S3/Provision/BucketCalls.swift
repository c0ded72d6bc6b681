import AWS
import Core
import Crypto
import Foundation
import Logging

/// The calls about a bucket's configuration.
struct BucketCalls: Sendable {
    private let bucket: S3Bucket
    /// Where it is looked for.
    let endpoint: AWSEndpoint

    init(settings: S3Settings, client: AWSClient, configuration: AWSConfiguration, logger: Logger) throws {
        endpoint = try configuration.endpoint(for: .s3, region: settings.region, override: settings.endpoint)
        // Chance names uploads, and there are none here.
        bucket = try S3Bucket(
            settings: settings, client: client, configuration: configuration,
            random: { [UInt8](repeating: 0, count: $0) }, logger: logger)
    }

    var name: String { bucket.settings.bucket }

    /// Whether there is such a bucket.
    func exists() async throws -> Bool {
        do {
            _ = try await bucket.send(S3Bucket.Call(operation: "HeadBucket", method: "HEAD"))
            return true
        } catch let error as AWSError where error.status == 404 {
            return false
        }
    }

    func create(objectLock: Bool) async throws {
        // The oldest region is the one that may not be named.
        let isNamed = endpoint.region != "us-east-1"
        do {
            try await create(objectLock: objectLock, in: isNamed ? endpoint.region : nil)
        } catch let error as AWSError
            where error.code == "InvalidLocationConstraint" && endpoint.isCustom && isNamed
        {
            // Servers other than AWS know their own names of places only.
            try await create(objectLock: objectLock, in: nil)
        } catch let error as AWSError where error.code == "BucketAlreadyOwnedByYou" {
            return
        }
    }

    private func create(objectLock: Bool, in region: String?) async throws {
        var call = S3Bucket.Call(operation: "CreateBucket", method: "PUT")
        if objectLock { call.headers["x-amz-bucket-object-lock-enabled"] = "true" }
        if let region {
            let body = XMLTree("CreateBucketConfiguration", [XMLTree("LocationConstraint", region)])
            call.body = .bytes(Array(body.document.utf8))
        }
        _ = try await bucket.send(call)
    }

    /// A part of the configuration; `nil` where none has been made. Throws ``NoSuchCall`` where the server takes the
    /// call for a listing of the bucket, as some do with what they do not know.
    func configuration(_ operation: String, _ name: String) async throws -> XMLTree? {
        guard let answer = try await answer(operation, name) else { return nil }
        guard let node = Self.node(answer), node.name != "ListBucketResult" else { throw NoSuchCall() }
        return node
    }

    @inline(never)
    private static func node(_ bytes: [UInt8]) -> XMLTree? {
        do {
            return try XMLTree.parse(bytes)
        } catch {
            // An answer that is no XML is that of a server which does not know the question.
            return nil
        }
    }

    /// The same as bytes, for the policy, which is JSON.
    func answer(_ operation: String, _ name: String) async throws -> [UInt8]? {
        do {
            let call = S3Bucket.Call(operation: operation, method: "GET", query: [(name: name, value: nil)])
            return try await bucket.send(call).body
        } catch let error as AWSError where error.isNotFound {
            return nil
        }
    }

    func configure(_ operation: String, _ name: String, _ body: XMLTree) async throws {
        try await configure(operation, name, body.document, type: "application/xml")
    }

    func configure(_ operation: String, _ name: String, _ body: JSON) async throws {
        try await configure(operation, name, body.canonicalText, type: "application/json")
    }

    private func configure(_ operation: String, _ name: String, _ body: String, type: String) async throws {
        let bytes = Array(body.utf8)
        var call = S3Bucket.Call(operation: operation, method: "PUT", query: [(name: name, value: nil)])
        // Several of these calls are refused without a digest; the oldest kind is known everywhere.
        call.headers["Content-MD5"] = Data(Insecure.MD5.hash(data: bytes)).base64EncodedString()
        call.headers["Content-Type"] = type
        call.body = .bytes(bytes)
        _ = try await bucket.send(call)
    }
}

/// The server does not have the call.
struct NoSuchCall: Error {}
