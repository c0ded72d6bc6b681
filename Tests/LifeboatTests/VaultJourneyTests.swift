import Core
import TestSupport
import Testing

/// Backups that ask AWS Backup for a copy, whose part a scripted server plays.
struct VaultJourneyTests {
    private static let resource = "arn:aws:rds:eu-central-1:123456789012:db:clinic"
    private static let backup: [String: JSON] = [
        "backupType": .string("daily"), "timestamp": .string("2025-01-15T07:00:00Z"),
    ]

    private static func environment(_ url: String) -> [String: String] {
        [
            "AWS_BACKUP_VAULT": "clinic", "AWS_BACKUP_RESOURCE_ARN": resource,
            "AWS_BACKUP_ROLE_ARN": "arn:aws:iam::123456789012:role/backup", "AWS_ENDPOINT_URL_BACKUP": url,
            "AWS_ACCESS_KEY_ID": "NEVER-SHOW-ME", "AWS_SECRET_ACCESS_KEY": "NEVER-SHOW-ME",
            "AWS_MAX_ATTEMPTS": "1",
        ]
    }

    @Test("A backup asks once for a copy, notes the job beside its set, and a refusal keeps the set with exit 18")
    func asked() async throws {
        let isOpen = Guarded(false)
        let server = try await StubServer.start { _ in
            isOpen.value
                ? .ok(#"{"BackupJobId": "8a3b-01", "CreationDate": 1516925490.087}"#)
                : .jsonError(400, "ResourceNotFoundException", "no such vault")
        }
        defer { server.stop() }
        try await EngineSite.with(.files) { site in
            let environment = Self.environment(server.url)
            let refused = try await site.event(Self.backup, environment: environment, expecting: .notReplicated)
            #expect(refused.error("hint").contains("check the vault's name") && refused.text("backupKey") != nil)
            #expect(try await site.manifests().count == 1)

            isOpen.withLock { $0 = true }
            let made = try await site.event(Self.backup, environment: environment)
            #expect(made.result["replayed"] == .bool(true))
            let job: [String: JSON] = [
                "jobId": .string("8a3b-01"), "vault": .string("clinic"), "resource": .string(Self.resource),
            ]
            #expect(made.details["vaultJob"] == .object(job))
            let records = try await listFiles(site.store).filter { $0.hasSuffix("-vault-job.json") }
            #expect(records.count == 1)
            try await site.event(Self.backup, environment: environment)
            #expect(server.requests.count == 2 && server.requests[0].body == server.requests[1].body)
            #expect(!made.everything.contains("NEVER-SHOW-ME") && !refused.everything.contains("NEVER-SHOW-ME"))
        }
    }

    @Test("The check says where the vault is reached; across a network without TLS it is refused")
    func check() async throws {
        try await EngineSite.with(.files) { site in
            let all = site.environment.merging(Self.environment("http://127.0.0.1:9")) { $1 }
            let fine = try await Binary.run(["config", "check"], environment: all)
            #expect(fine.exitCode == 0, "\(fine)")
            #expect(fine.output.contains("the vault clinic is reached at http://127.0.0.1:9, region eu-central-1"))
            let open = all.merging(["AWS_ENDPOINT_URL_BACKUP": "http://10.0.0.7"]) { $1 }
            for arguments in [["config", "check"], ["list"]] {
                let refused = try await Binary.run(arguments, environment: open)
                #expect(refused.exitCode == ExitCode.configuration.rawValue, "\(refused)")
            }
        }
    }
}
