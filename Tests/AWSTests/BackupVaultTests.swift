import AWS
import Core
import TestSupport
import Testing

/// AWS Backup by a server that does what a script says: nothing within reach plays the real one's jobs.
@Suite("Vaults of AWS Backup")
struct BackupVaultTests {
    private static let resource = "arn:aws:rds:eu-west-3:123456789012:db:clinic"
    private static let role = "arn:aws:iam::123456789012:role/backup"
    private static let job = VaultJob(id: "8a3b-01", vault: "clinic", resource: resource)

    /// Gives `body` the vault that `script` plays.
    private func with(
        _ script: @escaping StubServer.Script, resource: String = BackupVaultTests.resource,
        _ body: (BackupVault, StubServer) async throws -> Void
    ) async throws {
        let server = try await StubServer.start(script)
        defer { server.stop() }
        let configuration = try AWSConfiguration(
            environment: ["AWS_ENDPOINT_URL_BACKUP": server.url, "AWS_REGION": "eu-central-1"], readFile: { _ in [] })
        let test = try ClientUnderTest(maxAttempts: 3)
        let vault = try BackupVault(
            vault: "clinic", resourceARN: resource, roleARN: Self.role, client: test.client,
            configuration: configuration)
        do {
            try await body(vault, server)
        } catch {
            try await test.transport.shutdown()
            throw error
        }
        try await test.transport.shutdown()
    }

    private static let started = #"""
        {"BackupJobId": "8a3b-01", "CreationDate": 1516925490.087, "IsParent": false,
         "RecoveryPointArn": "arn:aws:rds:eu-west-3:123456789012:snapshot:awsbackup:job-8a3b-01"}
        """#

    @Test("The call names vault, resource, role, token and days, in the region of the resource's ARN")
    func start() async throws {
        try await with({ _ in .ok(Self.started) }) { vault, server in
            #expect(vault.label == "the vault clinic in eu-west-3")
            let job = try await vault.start(token: "abc123", keepDays: 90)
            #expect(job.id == "8a3b-01" && job.vault == "clinic" && job.resource == Self.resource)
            #expect(job.recoveryPoint?.hasSuffix("job-8a3b-01") == true)
            _ = try await vault.start(token: "abc123", keepDays: nil)
            let requests = server.requests
            #expect(requests.map(\.method) == ["PUT", "PUT"] && requests[0].target == "/backup-jobs")
            #expect(requests[0].headers["Content-Type"] == "application/json")
            #expect(requests[0].headers["Authorization"]?.contains("/eu-west-3/backup/aws4_request") == true)
            let members: [String: JSON] = [
                "BackupVaultName": .string("clinic"), "ResourceArn": .string(Self.resource),
                "IamRoleArn": .string(Self.role), "IdempotencyToken": .string("abc123"),
            ]
            let days: JSON = .object(["DeleteAfterDays": .integer(90)])
            #expect(
                try JSON(parsing: requests[0].body) == .object(members.merging(["Lifecycle": days]) { $1 }))
            #expect(try JSON(parsing: requests[1].body) == .object(members), "kept for ever")
        }
    }

    @Test("A call whose answer was lost is sent again with the same token")
    func lostAnswer() async throws {
        try await with({ $0.number == 1 ? .reset : .ok(Self.started) }) { vault, server in
            let job = try await vault.start(token: "abc123", keepDays: 1)
            #expect(job.id == "8a3b-01")
            #expect(server.requests.count == 2 && server.requests[0].body == server.requests[1].body)
        }
    }

    @Test("A resource without a region in its ARN is asked for in the configured one")
    func configuredRegion() async throws {
        try await with({ _ in .ok(Self.started) }, resource: "arn:aws:s3:::clinic") { vault, _ in
            #expect(vault.label == "the vault clinic in eu-central-1")
        }
    }

    @Test(
        "What the service refuses ends with the code of a copy that was not made, and a hint",
        arguments: [
            ("AccessDeniedException", "not authorized to perform: backup:StartBackupJob", "backup:StartBackupJob"),
            ("AccessDeniedException", "not authorized to perform: iam:PassRole", "iam:PassRole"),
            ("ResourceNotFoundException", "no vault", "region of the resource"),
            ("InvalidParameterValueException", "days", "vault lock"),
            ("InvalidRequestException", "type", "opted in"),
        ])
    func refusals(_ code: String, _ message: String, _ hint: String) async throws {
        try await with({ _ in .jsonError(400, code, message) }) { vault, server in
            let error = try await awsError { try await vault.start(token: "t", keepDays: 1) }
            #expect(error.exitCode == .notReplicated && error.hint.contains(hint), "\(error): \(error.hint)")
            #expect(server.requests.count == 1)
        }
    }

    @Test(
        "An answer that names no job, or is no JSON, is an error",
        arguments: ["{}", #"{"BackupJobId": ""}"#, #"{"BackupJobId": "a/../b"}"#, #"{"BackupJobId": 7}"#, "<x/>", ""])
    func oddAnswers(_ text: String) async throws {
        try await with({ _ in .ok(text) }) { vault, _ in
            let error = try await awsError { try await vault.start(token: "t", keepDays: 1) }
            #expect(error.message.contains("cannot be used") && error.exitCode == .notReplicated)
        }
    }

    private static func described(_ state: String, vault: String = "clinic", more: String = "") -> StubReply {
        .ok(
            #"{"BackupVaultName": "\#(vault)", "ResourceArn": "\#(resource)", "State": "\#(state)", "#
                + #""PercentDone": "12.5", "CreationDate": 1516925490.087\#(more)}"#)
    }

    @Test(
        "Each of the service's words for a job is a phase; a part of a copy is none",
        arguments: [
            ("CREATED", VaultJobState.Phase.underWay), ("PENDING", .underWay), ("RUNNING", .underWay),
            ("ABORTING", .underWay), ("COMPLETED", .completed), ("ABORTED", .failed), ("FAILED", .failed),
            ("EXPIRED", .failed), ("PARTIAL", .failed),
        ])
    func states(_ word: String, _ phase: VaultJobState.Phase) async throws {
        try await with({ _ in Self.described(word) }) { vault, server in
            let state = try await vault.state(of: Self.job)
            #expect(state == VaultJobState(phase: phase, word: word))
            #expect(server.requests.first?.method == "GET" && server.requests[0].target == "/backup-jobs/8a3b-01")
        }
    }

    @Test("A completed job says where, how large and when; a failed one why, in one line")
    func details() async throws {
        let more =
            #", "CompletionDate": 1516925999.5, "BackupSizeInBytes": 8589934592, "RecoveryPointArn": "arn:x""#
            + #", "StatusMessage": "first\nsecond""#
        try await with({ _ in Self.described("COMPLETED", more: more) }) { vault, _ in
            let state = try await vault.state(of: Self.job)
            #expect(state.size == 8_589_934_592 && state.recoveryPoint == "arn:x" && state.message == "first")
            #expect(state.completed == Timestamp(milliseconds: 1_516_925_999_500))
        }
    }

    @Test("A job of another vault, in no known state, or with an id that leads elsewhere is refused")
    func foreignJobs() async throws {
        for reply in [Self.described("COMPLETED", vault: "other"), Self.described("DREAMING")] {
            try await with({ _ in reply }) { vault, _ in
                _ = try await awsError { try await vault.state(of: Self.job) }
            }
        }
        try await with({ _ in Self.described("COMPLETED") }) { vault, server in
            var job = Self.job
            job.id = "../backup-vaults/clinic"
            _ = try await awsError { try await vault.state(of: job) }
            #expect(server.requests.isEmpty)
        }
        try await with({ _ in .jsonError(400, "ResourceNotFoundException") }) { vault, _ in
            _ = try await awsError { try await vault.state(of: Self.job) }
        }
    }
}
