import AWS
import Core
import S3Store
import TestSupport
import Testing

/// `lifeboat provision` against real servers: a bucket is made and brought to what is asked, a second run changes
/// nothing, drift shows, and what others have set stays.
@Suite(.needs(CephCluster.part), .serialized)
struct ProvisionTests {
    /// A bucket on Ceph, over TLS, so that everything is asked for.
    private func withBucket(
        _ name: String, prefix: String = "", encryption: S3Settings.ServerSideEncryption? = nil,
        _ body: (ProvisionBench) async throws -> Void
    ) async throws {
        let environment = try await CephCluster.shared().environment(tls: true)
        let settings = S3Settings(bucket: name, prefix: prefix, encryption: encryption)
        try await ProvisionBench.with(settings, environment, body)
    }

    @Test("A bucket that is not there is made as asked; the second run changes nothing and finds nothing")
    func freshBucket() async throws {
        let key = try await CephCluster.shared().kmsKeyID
        try await withBucket("fresh-bucket", encryption: .kms(keyID: key)) { bench in
            let wish = ProvisionWish(settings: bench.settings, objectLock: true, auditStages: AuditStages())
            let before = try await bench.check(wish)
            #expect(before.map(\.subject) == ["bucket"] && before.fallsShort)

            let made = try await bench.apply(wish)
            #expect(!made.fallsShort, "\(made)")
            #expect(made.subjects(.changed) == ["bucket", "bucket policy", "public access", "lifecycle"], "\(made)")
            #expect(made.subjects(.ok) == ["versioning", "Object Lock"], "\(made)")
            let stands = try await bench.everything()
            let again = try await bench.apply(wish)
            #expect(again.subjects(.changed).isEmpty && !again.fallsShort, "\(again)")
            #expect(try await bench.everything() == stands)
            #expect(try await bench.check(wish) == again)
            #expect(try await bench.call("GET", "lifecycle").contains("lifeboat-audit-records"))
        }
    }

    @Test(
        "Into a provisioned bucket goes what comes over TLS and is encrypted as asked, in one piece or many; nothing else"
    )
    func enforced() async throws {
        let ceph = try await CephCluster.shared()
        try await withBucket("strict-bucket", encryption: .kms(keyID: ceph.kmsKeyID)) { bench in
            let found = try await bench.apply(ProvisionWish(settings: bench.settings))
            #expect(!found.fallsShort, "\(found)")
            var settings = bench.settings
            (settings.multipartThreshold, settings.pieceSize) = (5 << 20, 5 << 20)
            try await withS3Store(settings, S3Wiring(environment: ceph.environment(tls: true))) { store in
                try await store.put("small", [1, 2, 3], createOnly: true)
                try await store.put("long", [UInt8](repeating: 7, count: 11 << 20))
                #expect(try await store.read("long", limit: 16 << 20).count == 11 << 20)
            }
            try await withS3Store(settings, S3Wiring(environment: ceph.environment(tls: false))) { store in
                _ = await #expect(throws: AWSError.self) { try await store.put("without TLS", [1]) }
            }
            settings.encryption = .aes256
            try await withS3Store(settings, S3Wiring(environment: ceph.environment(tls: true))) { store in
                _ = await #expect(throws: AWSError.self) { try await store.put("weaker", [1]) }
            }
        }
    }

    @Test("Each thing that is undone by hand is found by check, which changes nothing, and put right by apply")
    func drift() async throws {
        try await withBucket("drift-bucket") { bench in
            let wish = ProvisionWish(settings: bench.settings)
            _ = try await bench.apply(wish)
            let suspended = """
                <VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Suspended</Status>\
                </VersioningConfiguration>
                """
            let undoings: [(subject: String, method: String, query: String, body: String)] = [
                ("versioning", "PUT", "versioning", suspended), ("bucket policy", "DELETE", "policy", ""),
                ("lifecycle", "DELETE", "lifecycle", ""), ("public access", "DELETE", "publicAccessBlock", ""),
            ]
            for undoing in undoings {
                try await bench.call(undoing.method, undoing.query, undoing.body)
                let undone = try await bench.everything()
                let found = try await bench.check(wish)
                #expect(found.subjects(.short) == [undoing.subject], "\(found)")
                #expect(try await bench.everything() == undone)
                let applied = try await bench.apply(wish)
                #expect(applied.subjects(.changed) == [undoing.subject], "\(applied)")
                let after = try await bench.check(wish)
                #expect(!after.fallsShort, "\(after)")
            }
        }
    }

    @Test("Statements and rules of others are as they were after an apply")
    func foreignSettings() async throws {
        try await withBucket("shared-bucket", prefix: "clinic") { bench in
            try await bench.call("PUT")
            try await bench.call(
                "PUT", "policy",
                """
                {"Version":"2012-10-17","Statement":[{"Sid":"Auditor","Effect":"Allow",\
                "Principal":{"AWS":["arn:aws:iam:::user/tests"]},"Action":["s3:GetObject"],\
                "Resource":["arn:aws:s3:::shared-bucket/*"]}]}
                """)
            try await bench.call(
                "PUT", "lifecycle",
                """
                <LifecycleConfiguration><Rule><ID>logs of others</ID><Filter><Prefix>logs/</Prefix></Filter>\
                <Status>Enabled</Status><Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>
                """)
            let applied = try await bench.apply(ProvisionWish())
            #expect(!applied.fallsShort, "\(applied)")
            let policy = try await bench.call("GET", "policy")
            #expect(policy.contains("Auditor") && policy.contains("LifeboatTLSOnly"))
            let lifecycle = try await bench.call("GET", "lifecycle")
            #expect(lifecycle.contains("logs of others") && lifecycle.contains("lifeboat-daily:clinic"))
        }
    }

    @Test("Object Lock that a server gives only to new buckets is a finding with the way out")
    func lateObjectLock() async throws {
        try await withBucket("unlocked-bucket") { bench in
            try await bench.call("PUT")
            let found = try await bench.apply(ProvisionWish(objectLock: true))
            let lock = try #require(found.first { $0.subject == "Object Lock" })
            #expect(lock.state == .short && lock.hint.contains("make a new one"), "\(lock)")
        }
    }

    @Test("A default retention of the bucket's own is a finding: it would freeze the locks of runs")
    func defaultRetention() async throws {
        try await withBucket("frozen-bucket") { bench in
            let wish = ProvisionWish(objectLock: true)
            _ = try await bench.apply(wish)
            try await bench.call(
                "PUT", "object-lock",
                """
                <ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
                <Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>
                """)
            let found = try await bench.apply(wish)
            #expect(found.subjects(.short) == ["Object Lock"], "\(found)")
        }
    }

    @Test("An access log that the server only pretends to write is a finding")
    func accessLog() async throws {
        try await withBucket("logged-bucket") { bench in
            let found = try await bench.apply(ProvisionWish(accessLogBucket: "logged-bucket"))
            #expect(found.subjects(.short) == ["access log"], "\(found)")
        }
    }

    @Test("Whoever may not look gets a finding that names the call, and nothing is changed")
    func withoutPermission() async throws {
        try await withBucket("guarded-bucket") { bench in
            _ = try await bench.apply(ProvisionWish())
            let stands = try await bench.everything()
            var environment = try await CephCluster.shared().environment(tls: true)
            environment["AWS_ACCESS_KEY_ID"] = "nobody"
            try await ProvisionBench.with(bench.settings, environment) { stranger in
                let found = try await stranger.apply(ProvisionWish())
                #expect(found.map(\.state) == [.short] && found[0].text.contains("HeadBucket"), "\(found)")
            }
            #expect(try await bench.everything() == stands)
        }
    }
}

/// What Ceph lacks, on moto: default encryption, access logging, rotation of KMS keys.
@Suite(.needs(MotoServer.part))
struct ProvisionOnMotoTests {
    @Test("Encryption, access log and key rotation are set once; drift of each is found and put right")
    func moto() async throws {
        let moto = try await MotoServer.shared()
        let key = try await moto.createKey()
        let environment = moto.environment()
        try await ProvisionBench.with(S3Settings(bucket: "moto-logs"), environment) { logs in
            _ = try await logs.apply(ProvisionWish())
            try await logs.call(
                "PUT", "policy",
                """
                {"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":\
                "logging.s3.amazonaws.com"},"Action":["s3:PutObject"],"Resource":"arn:aws:s3:::moto-logs/*"}]}
                """)
        }
        let settings = S3Settings(bucket: "moto-bucket", encryption: .kms(keyID: key))
        let wish = ProvisionWish(
            settings: settings, accessLogBucket: "moto-logs", noncurrentDays: 7,
            auditStages: AuditStages(active: 30, archive: 200), keys: [key])
        try await ProvisionBench.with(settings, environment) { bench in
            let made = try await bench.apply(wish)
            #expect(
                made.subjects(.changed) == [
                    "bucket", "versioning", "default encryption", "bucket policy", "public access", "lifecycle",
                    "access log", "KMS key rotation",
                ], "\(made)")
            let again = try await bench.apply(wish)
            #expect(again.subjects(.changed).isEmpty && !again.fallsShort, "\(again)")

            try await bench.call("DELETE", "encryption")
            try await moto.call("kms", "TrentService.DisableKeyRotation", ["KeyId": .string(key)])
            let found = try await bench.check(wish)
            #expect(found.subjects(.short) == ["default encryption", "KMS key rotation"], "\(found)")
            let applied = try await bench.apply(wish)
            #expect(!applied.fallsShort, "\(applied)")
        }
    }
}
