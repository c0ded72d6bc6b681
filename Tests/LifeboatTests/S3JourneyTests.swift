import Core
import Glibc
import S3Store
import TestSupport
import Testing

/// What a user does with a bucket and a key in KMS, in the order a user does it, on real servers.
@Suite(.serialized, .needs(.postgres), .needs(CephCluster.part), .needs(MotoServer.part))
struct S3JourneyTests {
    @Test("Provision, backup, list, verify, damage, restore, replay, with every object of the set under lock")
    func wholeWay() async throws {
        try await S3Site.with(objectLock: true) { s3 in
            let site = s3.site
            var s3 = s3
            s3.environment["S3_OBJECT_LOCK"] = "governance"
            let before = try await site.fingerprint()
            let key = try await s3.backup()

            let verified = try await s3.event(["backupKey": .string("latest")])
            #expect(verified.text("verdict") == "proven")
            let list = try await s3.event(["action": .string("list")])
            #expect(list.output.contains(key))
            let stat = try await s3.withStore { try await $0.stat(key + "/manifest.json") }
            #expect(stat?.protection.lock?.mode == .governance)

            try await site.server.sql("DELETE FROM clinic.results", database: site.database)
            let damaged = try await site.fingerprint()
            let restore = site.confirmedRestore(key, ["timestamp": .string("2025-01-16T01:00:00Z")])
            let restored = try await s3.event(restore)
            #expect(restored.text("verdict") == "proven" && restored.text("proofDepth") == "restore")
            #expect(try await site.fingerprint() == before && damaged != before)
            let safety = try #require(restored.text("safetyBackupKey"))
            let replay = try await s3.event(restore)
            #expect(replay.result["replayed"] == .bool(true))
            try await s3.event(["backupKey": .string(safety)])
            let again = try await s3.event(S3Site.backupEvent())
            #expect(again.result["replayed"] == .bool(true))
            try await s3.expectNoUploads()
            s3.ceph.secretAccessKey.withRevealed { secret in
                #expect(!(verified.everything + restored.everything).contains(secret))
            }
        }
    }

    @Test("A second copy in another bucket stands in for what the first has lost, segment by segment")
    func secondBucket() async throws {
        try await S3Site.with { s3 in
            let site = s3.site
            var s3 = s3
            let second = try await s3.ceph.makeBucket()
            s3.environment["BACKUP_SECONDARY_STORE"] = "s3://\(second)/\(S3Site.prefix)"
            let before = try await site.fingerprint()
            let key = try await s3.backup()
            #expect(try await s3.segments(key, in: second) == s3.segments(key))
            #expect(try await s3.manifests(in: second) == s3.manifests())
            let both = try await s3.event(["backupKey": .string(key), "store": .string("both")])
            #expect(both.text("verdict") == "proven")

            let lost = try #require(try await s3.segments(key).first { $0.contains("database") })
            try await s3.delete([lost])
            let failed = try await s3.event(["backupKey": .string(key)], expecting: .verificationFailed)
            #expect(failed.everything.contains("database"))
            try await s3.event(["backupKey": .string(key), "store": .string("secondary")])
            try await site.server.sql("DELETE FROM clinic.results", database: site.database)
            let restored = try await s3.event(site.confirmedRestore(key))
            #expect(try await site.fingerprint() == before)
            #expect(restored.output.contains("second"), "\(restored)")
        }
    }

    @Test("A second copy in a directory that cannot be made is exit 18, the set stays, and the next run makes it up")
    func secondDirectory() async throws {
        try await S3Site.with { s3 in
            var s3 = s3
            let directory = s3.site.directory + "/second"
            s3.environment["BACKUP_SECONDARY_STORE"] = "file://\(directory)"
            mkdir(directory, 0o700)
            // A file where sets of this tier would lie: nothing can be put there.
            try writeFile(directory + "/daily", "")
            let ended = try await s3.event(S3Site.backupEvent(), expecting: .notReplicated)
            let key = try #require(ended.text("backupKey"))
            #expect(try await s3.manifests() == [key + "/manifest.json"])
            unlink(directory + "/daily")
            _ = try await s3.backup(60)
            let copied = try await listFiles(directory).filter { $0.hasSuffix("/manifest.json") }
            #expect(copied.count == 2)
            try await s3.event(["backupKey": .string(key), "store": .string("secondary")])
        }
    }

    @Test("A second directory that is not mounted is exit 18, and the same event makes the copy up once it is")
    func secondDirectoryMissing() async throws {
        try await S3Site.with { s3 in
            var s3 = s3
            let directory = s3.site.directory + "/mount"
            s3.environment["BACKUP_SECONDARY_STORE"] = "file://\(directory)"
            let ended = try await s3.event(S3Site.backupEvent(), expecting: .notReplicated)
            let key = try #require(ended.text("backupKey"))
            #expect(ended.error("cause").contains(directory), "\(ended)")
            mkdir(directory, 0o700)
            let again = try await s3.event(S3Site.backupEvent())
            #expect(again.result["replayed"] == .bool(true))
            // The first store is gone, and the second one serves.
            s3.environment["BACKUP_STORE"] = "file://\(s3.site.directory)/unmounted"
            let verified = try await s3.event(["backupKey": .string(key), "store": .string("secondary")])
            #expect(verified.text("verdict") == "proven")
            let before = try await s3.site.fingerprint()
            try await s3.site.server.sql("DELETE FROM clinic.results", database: s3.site.database)
            try await s3.event(s3.site.confirmedRestore(key))
            #expect(try await s3.site.fingerprint() == before)
        }
    }

    @Test("A part goes on in further segments where the limit is small, and comes back whole")
    func manySegments() async throws {
        try await S3Site.with(Self.largeClinic) { s3 in
            var s3 = s3
            s3.environment["BACKUP_SEGMENT_SIZE"] = "8388608"
            s3.environment["BACKUP_COMPRESSION"] = "none"
            s3.environment["S3_MULTIPART_THRESHOLD"] = "5242880"
            s3.environment["S3_PIECE_SIZE"] = "5242880"
            let key = try await s3.backup()
            let segments = try await s3.segments(key).filter { $0.contains("database.sql") }
            #expect(segments.count > 2)
            let verified = try await s3.event(["backupKey": .string(key), "recomputeContents": .bool(true)])
            #expect(verified.text("verdict") == "proven")
            let restored = try await s3.event(
                s3.site.confirmedRestore(
                    key, ["targetDatabase": .string(s3.site.database + "_again"), "createDatabase": .bool(true)]))
            #expect(restored.text("proofDepth") == "restore")
            try await s3.site.server.sql("DROP DATABASE \"\(s3.site.database)_again\"")
        }
    }

    @Test("SIGTERM in the middle of an upload ends with 143 and leaves no upload, no set and no lock")
    func terminatedUpload() async throws {
        try await S3Site.with(Self.largeClinic) { s3 in
            var s3 = s3
            s3.environment["BACKUP_COMPRESSION"] = "none"
            s3.environment["BACKUP_RATE_LIMIT"] = "4000000"
            s3.environment["S3_MULTIPART_THRESHOLD"] = "5242880"
            s3.environment["S3_PIECE_SIZE"] = "5242880"
            let ended = try await s3.run(S3Site.backupEvent()) { [s3] pid in
                while try await s3.uploadsInProgress() == 0 { try await Task.sleep(for: .milliseconds(50)) }
                kill(pid, SIGTERM)
            }
            #expect(ended.exitCode == 143, "\(ended)")
            #expect(try await s3.uploadsInProgress() == 0)
            #expect(try await s3.keys().filter { !$0.hasPrefix("locks/") } == [])
            s3.environment["BACKUP_RATE_LIMIT"] = nil
            _ = try await s3.backup()
        }
    }

    /// Some 25 MB of dump.
    private static let largeClinic = """
        CREATE SCHEMA clinic;
        CREATE TABLE clinic.results AS
            SELECT id, repeat(md5(id::text), 30) AS report FROM generate_series(1, 25000) AS id;
        """

    @Test("aws-encryption-cli opens a part of a set with KMS alone", .needs(EncryptionCLI.part))
    func openedByOthers() async throws {
        try await S3Site.with { s3 in
            let key = try await s3.backup(environment: ["BACKUP_COMPRESSION": "none"])
            let part = try #require(try await s3.segments(key).first { $0.contains("database.sql") })
            let sealed = s3.site.directory + "/part.encrypted"
            try writeFile(sealed, try await s3.read(part))
            try await EncryptionCLI(moto: MotoServer.shared()).run([
                "--decrypt", "--input", sealed, "--output", s3.site.directory + "/part.sql",
                "--wrapping-keys", "provider=aws-kms", "key=\(s3.key)", "--suppress-metadata",
                "--encryption-context", "lifeboat-set=\(key)", "--commitment-policy",
                "require-encrypt-require-decrypt",
            ])
            let dump = String(decoding: try contentsOfFile(s3.site.directory + "/part.sql"), as: UTF8.self)
            #expect(dump.contains("COPY clinic.results") && dump.contains("PostgreSQL database dump complete"))
        }
    }

    @Test("A second bucket that nobody answers for is exit 18, and the next run makes it up")
    func secondServerDown() async throws {
        try await S3Site.with(overTLS: false) { s3 in
            var s3 = s3
            let second = try await s3.ceph.makeBucket()
            s3.environment["BACKUP_SECONDARY_STORE"] = "s3://\(second)/\(S3Site.prefix)"
            let port = try #require(Int(s3.ceph.url.split(separator: ":").last ?? ""))
            try await withFaultProxy(to: port) { [s3] proxy in
                var s3 = s3
                s3.environment["BACKUP_SECONDARY_ENDPOINT"] = "http://127.0.0.1:\(proxy.port)"
                s3.environment["AWS_MAX_ATTEMPTS"] = "2"
                proxy.refuse()
                let ended = try await s3.event(S3Site.backupEvent(), expecting: .notReplicated)
                let key = try #require(ended.text("backupKey"))
                try proxy.accept()
                let again = try await s3.event(S3Site.backupEvent())
                #expect(again.result["replayed"] == .bool(true))
                #expect(try await s3.segments(key, in: second) == s3.segments(key))
            }
        }
    }

    @Test("provision makes the bucket, says so once, and --check finds what was undone with exit 13")
    func provision() async throws {
        try await S3Site.with { s3 in
            let bucket = "provisioned-by-binary"
            var environment = s3.site.environment.merging(s3.environment) { $1 }
            environment["BACKUP_STORE"] = "s3://\(bucket)/\(S3Site.prefix)"
            environment["S3_OBJECT_LOCK"] = "compliance"
            let missing = try await Binary.run(["provision", "--check"], environment: environment)
            #expect(missing.exitCode == 13 && missing.output.contains("there is no s3://\(bucket)"), "\(missing)")
            let made = try await Binary.run(["provision"], environment: environment)
            #expect(made.exitCode == 0 && made.output.contains("changed"), "\(made)")
            #expect(made.output.contains("is rotated each year"), "\(made)")
            let again = try await Binary.run(["provision"], environment: environment)
            #expect(again.exitCode == 0 && !again.output.contains("changed"), "\(again)")
            let fine = try await Binary.run(["provision", "--check"], environment: environment)
            #expect(fine.exitCode == 0 && fine.output == again.output, "\(fine)")
        }
    }
}
