import AWS
import Core
import Crypto
import Foundation

/// The calls about a bucket's configuration.
struct BucketCalls: Sendable {
    let client: AWSClient
    let bucket: String
    let endpoint: AWSEndpoint
    /// Of the bucket in the URL: `/bucket` or `/`.
    private let path: String

    init(settings: S3Settings, client: AWSClient, configuration: AWSConfiguration) throws {
        self.client = client
        bucket = settings.bucket
        var endpoint = try configuration.endpoint(for: .s3, region: settings.region, override: settings.endpoint)
        let usesPath =
            switch settings.addressing {
            case .path: true
            case .virtualHost: false
            case .automatic: endpoint.isCustom || settings.bucket.contains(".")
            }
        if !usesPath { endpoint.host = "\(settings.bucket).\(endpoint.host)" }
        path = usesPath ? "/\(settings.bucket)" : "/"
        self.endpoint = endpoint
    }

    /// Whether there is such a bucket.
    func exists() async throws -> Bool {
        do {
            _ = try await client.send(request("HeadBucket", "HEAD"))
            return true
        } catch let error as AWSError where error.status == 404 {
            return false
        }
    }

    func create(objectLock: Bool) async throws {
        var headers = HTTPFields()
        if objectLock { headers["x-amz-bucket-object-lock-enabled"] = "true" }
        var body = ""
        // The oldest region is the one that may not be named.
        if endpoint.region != "us-east-1" {
            body =
                XMLNode.root("CreateBucketConfiguration", [XMLNode("LocationConstraint", endpoint.region)]).serialized
        }
        do {
            _ = try await client.send(request("CreateBucket", "PUT", headers: headers, body: body))
        } catch let error as AWSError
            where error.code == "InvalidLocationConstraint" && endpoint.isCustom && !body.isEmpty
        {
            // Servers other than AWS know their own names of places only.
            _ = try await client.send(request("CreateBucket", "PUT", headers: headers))
        } catch let error as AWSError where error.code == "BucketAlreadyOwnedByYou" {
            return
        }
    }

    /// A part of the configuration whose root is `root`; `nil` where none has been made. Throws ``NoSuchCall`` where
    /// the server takes the call for another one, as some do with what they do not know.
    func configuration(_ operation: String, _ name: String, root: String) async throws -> XMLNode? {
        guard let answer = try await answer(operation, name) else { return nil }
        guard let node = try? XMLNode(parsing: answer), node.name == root else { throw NoSuchCall() }
        return node
    }

    /// The same as bytes, for the policy, which is JSON.
    func answer(_ operation: String, _ name: String) async throws -> [UInt8]? {
        do {
            return try await client.send(request(operation, "GET", query: name)).body
        } catch let error as AWSError where error.status == 404 && error.code != "NoSuchBucket" {
            return nil
        }
    }

    func configure(_ operation: String, _ name: String, _ body: String) async throws {
        _ = try await client.send(request(operation, "PUT", query: name, body: body))
    }

    func configure(_ operation: String, _ name: String, _ body: XMLNode) async throws {
        try await configure(operation, name, body.serialized)
    }

    private func request(
        _ operation: String, _ method: String, query: String? = nil, headers: HTTPFields = HTTPFields(),
        body: String = ""
    ) -> AWSRequest {
        var headers = headers
        let bytes = Array(body.utf8)
        if !bytes.isEmpty {
            // Several of these calls are refused without a digest; the older one is known everywhere.
            headers["Content-MD5"] = Data(Insecure.MD5.hash(data: bytes)).base64EncodedString()
            headers["Content-Type"] = query == "policy" ? "application/json" : "application/xml"
        }
        return AWSRequest(
            .s3, operation, on: "s3://\(bucket)", at: endpoint, method: method, path: path,
            query: query.map { [(name: $0, value: nil)] } ?? [], headers: headers,
            body: bytes.isEmpty ? .none : .bytes(bytes))
    }
}

/// The server does not have the call.
struct NoSuchCall: Error {}
