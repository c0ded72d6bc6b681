import Core
import TestSupport
import Testing

/// What the program makes of settings that lead to AWS, with moto in its place.
@Suite("Settings that lead to AWS", .needs(MotoServer.part))
struct CloudTests {
    /// A server with a key in KMS and a bucket, and the environment that leads there.
    private struct Cloud {
        var environment: [String: String]
        var key: String
        var bucket: String

        static func make(_ name: String) async throws -> Cloud {
            let moto = try await MotoServer.shared()
            let key = try await moto.createKey()
            let parameter = "/lifeboat/\(name)"
            try await moto.putParameter(parameter, "NEVER-SHOW-ME")
            let environment = moto.environment().merging([
                "BACKUP_STORE": "s3://lifeboat-\(name)/clinic", "BACKUP_RECIPIENTS": "kms:\(key)",
                "POSTGRES_HOST": "/nowhere", "POSTGRES_DB": "clinic", "POSTGRES_USER": "backup",
                "POSTGRES_PASSWORD": "aws-ssm:\(parameter)", "AWS_MAX_ATTEMPTS": "2",
            ]) { $1 }
            return Cloud(environment: environment, key: key, bucket: "lifeboat-\(name)")
        }

        func with(_ more: [String: String]) -> [String: String] { environment.merging(more) { $1 } }

        /// Makes the bucket.
        func provision(_ more: [String: String] = [:], store: String = "primary") async throws -> Binary.Ended {
            try await Binary.run(["provision", "--store", store], environment: with(more))
        }
    }

    /// Shows that the check names server and region of each bucket and key, has fetched what lies in AWS, and shows
    /// none of it.
    @Test func configurationCheck() async throws {
        let cloud = try await Cloud.make("check")
        let ended = try await Binary.run(
            ["config", "check"],
            environment: cloud.with([
                "BACKUP_SECONDARY_STORE": "s3://lifeboat-second", "BACKUP_SECONDARY_REGION": "eu-west-3",
                "BACKUP_SECONDARY_ACCESS_KEY_ID": "NEVER-SHOW-ME",
                "BACKUP_SECONDARY_SECRET_ACCESS_KEY": "NEVER-SHOW-ME",
            ]))
        let url = try #require(cloud.environment["AWS_ENDPOINT_URL"])
        #expect(ended.exitCode == 0, "\(ended)")
        #expect(ended.output.contains("s3://\(cloud.bucket)/clinic is reached at \(url), region eu-central-1"))
        #expect(ended.output.contains("s3://lifeboat-second is reached at \(url), region eu-west-3"))
        #expect(ended.output.contains("kms:\(cloud.key) is reached at \(url), region eu-central-1"))
        #expect(ended.output.contains("POSTGRES_PASSWORD = •••• (from aws-ssm:/lifeboat/check)"))
        #expect(!ended.everything.contains("NEVER-SHOW-ME"))
    }

    /// Shows that a secret that is not there, a region that nobody named, and keys and secrets over an open network are
    /// refused before anything is done.
    @Test func refusals() async throws {
        let cloud = try await Cloud.make("refusals")
        let cases: [([String: String], String)] = [
            (["POSTGRES_PASSWORD": "aws-ssm:/lifeboat/absent"], "aws-ssm:/lifeboat/absent"),
            (["POSTGRES_PASSWORD": "aws-ssm:/lifeboat/refusals#x"], "POSTGRES_PASSWORD"),
            (["AWS_ENDPOINT_URL": "", "AWS_REGION": ""], "region"),
            (["AWS_ENDPOINT_URL_SSM": "http://10.0.0.7"], "aws-ssm:/lifeboat/refusals"),
            (["POSTGRES_PASSWORD": "", "AWS_ENDPOINT_URL_KMS": "http://10.0.0.7"], "10.0.0.7"),
            (["POSTGRES_PASSWORD": "", "AWS_MAX_ATTEMPTS": "many"], "AWS_MAX_ATTEMPTS"),
            (["POSTGRES_PASSWORD": "", "AWS_CA_BUNDLE": "/nowhere.pem"], "/nowhere.pem"),
        ]
        for (changes, named) in cases {
            let environment = cloud.with(changes).filter { !$0.value.isEmpty }
            let ended = try await Binary.run(["list"], environment: environment)
            #expect(ended.exitCode == ExitCode.configuration.rawValue, "\(changes): \(ended)")
            #expect(ended.output.contains(named) && !ended.error("hint").isEmpty, "\(changes): \(ended)")
            #expect(!ended.everything.contains("NEVER-SHOW-ME"))
        }
    }

    /// Shows that `provision` makes the bucket that its check missed, says with its code that something is short, and
    /// that what is no bucket is refused.
    @Test func provision() async throws {
        let cloud = try await Cloud.make("provision")
        let missing = try await Binary.run(["provision", "--check"], environment: cloud.environment)
        #expect(missing.exitCode == ExitCode.verificationFailed.rawValue, "\(missing)")
        #expect(missing.output.contains("there is no s3://\(cloud.bucket)"))
        let made = try await cloud.provision()
        #expect(made.output.contains("s3://\(cloud.bucket) is there"), "\(made)")
        let none = try await cloud.provision(store: "secondary")
        #expect(none.exitCode == ExitCode.configuration.rawValue && none.output.contains("BACKUP_SECONDARY_STORE"))
        let directory = try await cloud.provision(["BACKUP_STORE": "file:///srv"])
        #expect(directory.exitCode == ExitCode.configuration.rawValue, "\(directory)")
        let target = try await Binary.run(["provision", "--target", "lab"], environment: cloud.environment)
        #expect(target.exitCode == ExitCode.eventRefused.rawValue, "\(target)")
        #expect(try await Binary.run(["provision", "--store", "both"], environment: [:]).exitCode == 2)
    }

    /// Shows that the rule for audit records is asked for where any target keeps them in the bucket, with that target's
    /// days, by whichever target the bucket is provisioned; and that two targets that differ are refused.
    @Test func provisionForAuditRecords() async throws {
        let cloud = try await Cloud.make("trails")
        let rule = "lifeboat-audit-records:clinic"
        func yaml(_ trails: String) -> String {
            """
            defaults: {store: "s3://\(cloud.bucket)/clinic", identities: ["kms:\(cloud.key)"]}
            targets:
              clinic: {kmsKeyId: "\(cloud.key)", source: {host: /nowhere, database: a, user: b}}
            \(trails)
            """
        }
        func trail(_ name: String, _ days: Int) -> String {
            "  \(name): {engine: audit-records, source: {from: event, activeDays: \(days)}, "
                + "auditBackupKey: [aes:/keys/auditor.key]}\n"
        }
        try await withScratchDirectory { directory in
            func run(_ trails: String, _ arguments: [String] = []) async throws -> Binary.Ended {
                try writeFile(directory + "/config.yaml", yaml(trails))
                let environment = cloud.environment.filter {
                    !$0.key.hasPrefix("POSTGRES") && !$0.key.hasPrefix("BACKUP")
                }
                return try await Binary.run(
                    ["provision", "--target", "clinic"] + arguments,
                    environment: environment.merging(["LIFEBOAT_CONFIG": directory + "/config.yaml"]) { $1 })
            }
            let without = try await run("")
            #expect(without.exitCode == 0, "\(without)")
            let lacking = try await run(trail("trail", 30), ["--check"])
            #expect(lacking.exitCode == 13 && lacking.output.contains("lacks \(rule)"), "\(lacking)")
            let made = try await run(trail("trail", 30))
            #expect(made.exitCode == 0, "\(made)")
            #expect(try await run(trail("trail", 30), ["--check"]).exitCode == 0)
            let moved = try await run(trail("trail", 31), ["--check"])
            #expect(moved.exitCode == 13 && moved.output.contains("lacks \(rule)"), "\(moved)")
            #expect(try await run("", ["--check"]).exitCode == 0)
            let torn = try await run(trail("trail", 30) + trail("second", 31))
            #expect(torn.exitCode == 4 && torn.error("cause").contains("second, trail"), "\(torn)")
        }
    }

    /// Shows that a file sealed under a key in KMS comes back, by its relative name too.
    @Test func singleFile() async throws {
        let cloud = try await Cloud.make("file")
        try await withScratchDirectory { directory in
            try writeFile(directory + "/letter.txt", "for the doctor")
            let sealed = try await Binary.run(
                ["encrypt", "letter.txt"], environment: cloud.environment, in: directory)
            #expect(sealed.exitCode == 0, "\(sealed)")
            let opened = try await Binary.run(
                ["decrypt", "letter.txt.encrypted", "-o", "./again.txt"], environment: cloud.environment,
                in: directory)
            #expect(opened.exitCode == 0, "\(opened)")
            #expect(try contentsOfFile(directory + "/again.txt") == Array("for the doctor".utf8))
        }
    }

    /// Shows a set in a bucket under a key in KMS, its second copy in a directory, each of them read by its name, and
    /// that a set which only KMS can have sealed is authenticated.
    @Test func journey() async throws {
        let cloud = try await Cloud.make("journey")
        _ = try await cloud.provision()
        try await Site.with { site in
            _ = try await runProgram("/bin/mkdir", ["-m", "700", site.directory + "/second"])
            let settings = cloud.with([
                "POSTGRES_HOST": site.server.host, "POSTGRES_PASSWORD": "",
                "BACKUP_SECONDARY_STORE": "file://\(site.directory)/second",
            ])
            func run(_ fields: [String: JSON]) async throws -> Binary.Ended {
                try await site.event(
                    fields, environment: settings.filter { $0.key != "POSTGRES_DB" && $0.key != "POSTGRES_USER" })
            }
            let made = try await run(["backupType": .string("daily")])
            let key = try #require(made.text("backupKey"))
            #expect(try await site.listing().isEmpty)
            #expect(try await listFiles(site.directory + "/second").contains("\(key)/manifest.json"))
            let both = try await run(["backupKey": .string(key), "store": .string("both")])
            #expect(both.text("verdict") == "proven" && both.text("origin") == "authenticated", "\(both)")
            let second = try await run(["action": .string("list"), "store": .string("secondary")])
            #expect(second.output.contains(key))
            let restored = try await run(
                site.confirmedRestore(key, ["store": .string("secondary"), "targetDatabase": .string(site.database)]))
            #expect(restored.exitCode == 0, "\(restored)")
        }
    }
}
