package import Core
import FoundationEssentials

/// AWS Backup: one vault, one resource, and the role that the service acts with.
///
/// Two calls (AWS Backup API Reference, `StartBackupJob` and `DescribeBackupJob`), in the region of the resource, for
/// that is where its vault has to be.
package struct BackupVault: Vault {
    /// Seconds for one attempt.
    private static let deadline = 15.0

    private let vault: String
    private let resourceARN: String
    private let roleARN: String
    private let client: AWSClient
    private let endpoint: AWSEndpoint

    /// Throws ``AWSError`` where no region is known: resources without one in their ARN, such as buckets, are asked for
    /// in the configured one.
    package init(
        vault: String, resourceARN: String, roleARN: String, client: AWSClient, configuration: AWSConfiguration
    ) throws {
        self.vault = vault
        self.resourceARN = resourceARN
        self.roleARN = roleARN
        self.client = client
        endpoint = try Self.endpoint(of: resourceARN, configuration)
    }

    /// Where the vault of a resource is asked. Throws as ``init(vault:resourceARN:roleARN:client:configuration:)``.
    package static func endpoint(
        of resourceARN: String, _ configuration: AWSConfiguration
    ) throws -> AWSEndpoint {
        let parts = resourceARN.split(separator: ":", maxSplits: 5, omittingEmptySubsequences: false)
        let region = parts.count == 6 && !parts[3].isEmpty ? String(parts[3]) : nil
        return try configuration.endpoint(for: .backup, region: region)
    }

    package var label: String { "the vault \(vault) in \(endpoint.region)" }

    package func start(token: String, keepDays: Int?) async throws -> VaultJob {
        let operation = "StartBackupJob"
        let body = JSON.object(present: [
            "BackupVaultName": .string(vault), "ResourceArn": .string(resourceARN), "IamRoleArn": .string(roleARN),
            "IdempotencyToken": .string(token),
            // Without it the copy is kept for ever.
            "Lifecycle": keepDays.map { .object(["DeleteAfterDays": .integer(Int64($0))]) },
        ])
        let answer: Started = try await call(
            operation, method: "PUT", path: "/backup-jobs", body: .bytes(body.canonicalBytes))
        guard let id = answer.id, isName(id) else { throw unexpected(operation, "it names no job") }
        return VaultJob(id: id, vault: vault, resource: resourceARN, recoveryPoint: answer.recoveryPoint)
    }

    package func state(of job: VaultJob) async throws -> VaultJobState {
        let operation = "DescribeBackupJob"
        guard isName(job.id) else { throw unexpected(operation, "the job's id is none that the service gives") }
        let answer: Described = try await call(
            operation, method: "GET", path: "/backup-jobs/\(job.id)", body: .none)
        guard answer.resource == job.resource, answer.vault == job.vault else {
            throw unexpected(operation, "the job \(job.id) is of another resource or another vault")
        }
        guard let word = answer.state, let phase = VaultJobState.Phase(word: word) else {
            throw unexpected(operation, "the job's state is none that is known")
        }
        return VaultJobState(
            phase: phase, word: word, message: answer.message.flatMap(Self.line),
            recoveryPoint: answer.recoveryPoint, size: answer.size, completed: answer.completed.map(Self.time))
    }

    // MARK: Calls

    private struct Started: Decodable {
        var id: String?
        var recoveryPoint: String?

        enum CodingKeys: String, CodingKey {
            case id = "BackupJobId"
            case recoveryPoint = "RecoveryPointArn"
        }
    }

    private struct Described: Decodable {
        var vault: String?
        var resource: String?
        var state: String?
        var message: String?
        var recoveryPoint: String?
        var size: Int64?
        /// Seconds since 1970.
        var completed: Double?

        enum CodingKeys: String, CodingKey {
            case vault = "BackupVaultName"
            case resource = "ResourceArn"
            case state = "State"
            case message = "StatusMessage"
            case recoveryPoint = "RecoveryPointArn"
            case size = "BackupSizeInBytes"
            case completed = "CompletionDate"
        }
    }

    private func call<Answer: Decodable>(
        _ operation: String, method: String, path: String, body: HTTPBody
    ) async throws -> Answer {
        var headers = HTTPFields()
        if method == "PUT" { headers["Content-Type"] = "application/json" }
        let answer = try await client.send(
            AWSRequest(
                .backup, operation, on: method == "PUT" ? resourceARN : vault, at: endpoint, method: method,
                path: path, headers: headers, body: body, deadline: Self.deadline))
        do {
            return try JSONDecoder().decode(Answer.self, from: Data(answer.body))
        } catch {
            throw unexpected(operation, "it is not the JSON that was expected")
        }
    }

    private func unexpected(_ operation: String, _ problem: String) -> AWSError {
        AWSError(
            .refused, .backup, operation, resource: vault, message: "the answer cannot be used: \(problem)",
            exitCode: AWSService.backup.exitCode,
            hint: "check AWS_ENDPOINT_URL_BACKUP, and see the vault's jobs in the console of AWS Backup")
    }

    /// Ids are UUIDs today. What needs no encoding in an address is taken.
    private func isName(_ id: String) -> Bool {
        (1...255).contains(id.utf8.count)
            && id.utf8.allSatisfy { byte in
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                    || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20) || "-_.~".utf8.contains(byte)
            }
    }

    /// The first line of the service's words, shortened.
    private static func line(_ text: String) -> String? {
        let line = text.split { $0.isNewline }.first.map(String.init) ?? ""
        return line.isEmpty ? nil : String(line.prefix(400))
    }

    private static func time(_ seconds: Double) -> Timestamp {
        Timestamp(milliseconds: Int64((min(max(seconds, 0), 1e11) * 1000).rounded()))
    }
}

extension VaultJobState.Phase {
    /// `nil` for a word that the service does not have.
    fileprivate init?(word: String) {
        switch word {
        case "CREATED", "PENDING", "RUNNING", "ABORTING": self = .underWay
        case "COMPLETED": self = .completed
        // A part of a copy is none.
        case "ABORTED", "FAILED", "EXPIRED", "PARTIAL": self = .failed
        default: return nil
        }
    }
}
