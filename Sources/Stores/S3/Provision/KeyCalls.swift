import AWS
import Core
import Foundation

/// The few calls about a KMS key that have nothing to do with encrypting.
struct KeyCalls: Sendable {
    let client: AWSClient
    let configuration: AWSConfiguration

    struct Description {
        var arn: String
        /// AWS keeps it itself, and rotates it each year.
        var isManagedByAWS: Bool
        /// `Enabled`, `Disabled`, `PendingDeletion` …
        var state: String
    }

    private struct DescribeAnswer: Decodable {
        struct Metadata: Decodable {
            var arn: String
            var manager: String?
            var state: String?

            enum CodingKeys: String, CodingKey {
                case arn = "Arn"
                case manager = "KeyManager"
                case state = "KeyState"
            }
        }

        var metadata: Metadata

        enum CodingKeys: String, CodingKey { case metadata = "KeyMetadata" }
    }

    private struct RotationAnswer: Decodable {
        var isEnabled: Bool

        enum CodingKeys: String, CodingKey { case isEnabled = "KeyRotationEnabled" }
    }

    /// `key`: an ARN, an alias or an id in the configured region.
    func describe(_ key: String) async throws -> Description {
        let answer = try await call("DescribeKey", key)
        let found = try decode(DescribeAnswer.self, answer, "DescribeKey", key).metadata
        return Description(arn: found.arn, isManagedByAWS: found.manager == "AWS", state: found.state ?? "")
    }

    /// `arn`: of a key, not of an alias.
    func isRotated(_ arn: String) async throws -> Bool {
        let answer = try await call("GetKeyRotationStatus", arn)
        return try decode(RotationAnswer.self, answer, "GetKeyRotationStatus", arn).isEnabled
    }

    func enableRotation(_ arn: String) async throws { _ = try await call("EnableKeyRotation", arn) }

    private static func region(of key: String) -> String? {
        let fields = key.split(separator: ":", omittingEmptySubsequences: false)
        return fields.count >= 6 && fields[0] == "arn" && !fields[3].isEmpty ? String(fields[3]) : nil
    }

    private func call(_ operation: String, _ key: String) async throws -> [UInt8] {
        let headers = HTTPFields([
            (name: "Content-Type", value: "application/x-amz-json-1.1"),
            (name: "X-Amz-Target", value: "TrentService.\(operation)"),
        ])
        let endpoint = try configuration.endpoint(for: .kms, region: Self.region(of: key))
        let body = JSON.object(["KeyId": .string(key)]).canonicalBytes
        return try await client.send(
            AWSRequest(.kms, operation, on: key, at: endpoint, method: "POST", headers: headers, body: .bytes(body))
        ).body
    }

    @inline(never)
    private func decode<Answer: Decodable>(
        _ type: Answer.Type, _ body: [UInt8], _ operation: String, _ key: String
    ) throws -> Answer {
        do {
            return try JSONDecoder().decode(type, from: Data(body))
        } catch {
            throw AWSError(
                .refused, .kms, operation, resource: key, status: 200, message: "the answer is not one of KMS",
                exitCode: .keys, hint: "check what answers at the endpoint of KMS")
        }
    }
}

extension Provisioning {
    /// Keys are rotated each year: what a key leaks is bounded, and old data keys still open.
    func rotation(of key: String) -> Aspect {
        Aspect(subject: "KMS key rotation") {
            let found = try await keys.describe(key)
            if found.isManagedByAWS { return .ok("\(key) is rotated by AWS") }
            guard found.state.isEmpty || found.state == "Enabled" else {
                return .short(
                    "\(key) is \(found.state)", hint: "nothing can be sealed with it: enable it, or name another")
            }
            if try await keys.isRotated(found.arn) { return .ok("\(key) is rotated each year") }
            return .short("\(key) is not rotated") { try await keys.enableRotation(found.arn) }
        }
    }
}
