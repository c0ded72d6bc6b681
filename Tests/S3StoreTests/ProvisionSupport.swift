import AWS
import Core
import Crypto
import Foundation
import Logging
import S3Store
import TestSupport

/// A bucket of a test's own, seen by `Provisioning` and by the test itself.
struct ProvisionBench: Sendable {
    let client: AWSClient
    let configuration: AWSConfiguration
    let settings: S3Settings

    /// Gives `body` the bucket of `settings` on the server that `environment` names; it is not made here.
    static func with(
        _ settings: S3Settings, _ environment: [String: String], _ body: (ProvisionBench) async throws -> Void
    ) async throws {
        let configuration = try AWSConfiguration(environment: environment) { _ in
            throw TestFailure("no shared configuration in tests")
        }
        let transport = try PooledTransport(caBundle: configuration.caBundle)
        let credentials = AWSCredentials(
            accessKeyID: environment["AWS_ACCESS_KEY_ID"] ?? "",
            secretAccessKey: Secret(environment["AWS_SECRET_ACCESS_KEY"] ?? ""), source: "test")
        let client = AWSClient(
            transport: transport, credentials: FixedCredentials(credentials), maxAttempts: 3, clock: RealClock(),
            sleep: { _ in }, random: { count in (0..<count).map { _ in UInt8.random(in: 0...255) } }, logger: quiet)
        do {
            try await body(ProvisionBench(client: client, configuration: configuration, settings: settings))
        } catch {
            try await transport.shutdown()
            throw error
        }
        try await transport.shutdown()
    }

    private static let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    func provisioning(_ wish: ProvisionWish) throws -> Provisioning {
        try Provisioning(
            settings: settings, wish: wish, client: client, configuration: configuration, logger: Self.quiet,
            sleep: { _ in })
    }

    func check(_ wish: ProvisionWish) async throws -> [Finding] { try await provisioning(wish).check() }
    func apply(_ wish: ProvisionWish) async throws -> [Finding] { try await provisioning(wish).apply() }

    /// What somebody else does to the bucket: one call with `query` alone in its address.
    @discardableResult
    func call(_ method: String, _ query: String? = nil, _ body: String = "") async throws -> String {
        var headers = HTTPFields()
        if !body.isEmpty {
            headers["Content-MD5"] = Data(Insecure.MD5.hash(data: Data(body.utf8))).base64EncodedString()
        }
        let answer = try await client.send(
            AWSRequest(
                .s3, "Test", on: settings.bucket, at: try configuration.endpoint(for: .s3), method: method,
                path: "/\(settings.bucket)", query: query.map { [(name: $0, value: nil)] } ?? [], headers: headers,
                body: body.isEmpty ? .none : .bytes(Array(body.utf8))))
        return String(decoding: answer.body, as: UTF8.self)
    }

    /// Everything that a provisioning could change.
    func everything() async throws -> [String: String] {
        var all: [String: String] = [:]
        for query in [
            "publicAccessBlock", "versioning", "object-lock", "encryption", "policy", "lifecycle", "logging",
        ] {
            do {
                all[query] = try await call("GET", query)
            } catch let error as AWSError {
                all[query] = "\(error.status) \(error.code)"
            }
        }
        return all
    }
}

extension [Finding] {
    /// The state of the finding about `subject`.
    func state(_ subject: String) -> Finding.State? { first { $0.subject == subject }?.state }

    /// The subjects whose findings are in this state.
    func subjects(_ state: Finding.State) -> [String] { filter { $0.state == state }.map(\.subject) }
}
