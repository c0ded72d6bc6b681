import Core
import TestSupport
import Testing

@testable import Events

@Suite("Stores, keys and secrets in AWS that are accepted")
struct StoreConfigurationTests {
    private static let base = [
        "POSTGRES_HOST": "/run/postgresql", "POSTGRES_DB": "clinic", "POSTGRES_USER": "backup",
        "BACKUP_STORE": "s3://backups/clinic", "BACKUP_RECIPIENTS": "aes:/keys/clinic.key",
    ]
    private static let arn = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"

    private func only(_ changes: [String: String], files: [String: String] = [:]) throws -> TargetSettings {
        let settings = try configuration(Self.base.merging(changes) { $1 }, files: files).settings
        #expect(settings.targets.count == 1)
        return try #require(settings.targets.first)
    }

    /// Shows that an address alone makes a store in S3, with every default as documented.
    @Test func addressAlone() throws {
        let target = try only([:])
        #expect(
            target.store
                == .s3(
                    BucketSettings(
                        bucket: "backups", prefix: "clinic", addressing: .automatic, multipartThreshold: 16 << 20,
                        pieceSize: 16 << 20)))
        #expect(target.keeping == KeepingSettings() && target.keeping.segmentSize == 15 << 30)
        #expect(target.secondary == nil && !target.allowsHTTPStore && target.exceptions.isEmpty)
    }

    /// Shows the ways to say the same bucket and prefix: an address, single settings, and both where they agree.
    @Test(arguments: [
        ["BACKUP_STORE": "s3://backups/clinic/"],
        ["BACKUP_STORE": "", "S3_BUCKET": "backups", "S3_PREFIX": "clinic"],
        ["BACKUP_STORE": "", "S3_BUCKET": "backups", "S3_PREFIX": "/clinic/"], ["S3_BUCKET": "backups"],
        ["BACKUP_STORE": "s3://backups", "S3_PREFIX": "clinic"], ["S3_PREFIX": "clinic/", "S3_BUCKET": "backups"],
    ])
    func sayings(_ changes: [String: String]) throws {
        #expect(try only(changes).store.description == "s3://backups/clinic")
    }

    /// Shows that prefixes may hold what keys of S3 hold: blanks, plus signs, other scripts.
    @Test func oddPrefix() throws {
        let store = try only(["BACKUP_STORE": "s3://my.backups-1/Klinik Süd+1/診療所"]).store
        #expect(store.bucket?.bucket == "my.backups-1" && store.bucket?.prefix == "Klinik Süd+1/診療所")
    }

    /// Shows that each setting of a bucket arrives where it should.
    @Test func everySetting() throws {
        let target = try only([
            "S3_ENDPOINT": "HTTPS://S3.Example:443/", "S3_REGION": "eu-central-1", "S3_ADDRESSING": "virtual-host",
            "S3_SSE": "aws:kms", "S3_SSE_KMS_KEY_ID": "alias/disks", "S3_OBJECT_LOCK": "compliance",
            "S3_LEGAL_HOLD": "1", "S3_STORAGE_CLASS": "STANDARD_IA", "S3_STORAGE_CLASS_DAILY": "STANDARD",
            "S3_STORAGE_CLASS_ANNUAL": "DEEP_ARCHIVE", "S3_THAW_DAYS": "3", "S3_PIECE_SIZE": "5242880",
            "S3_MULTIPART_THRESHOLD": "1000000", "BACKUP_SEGMENT_SIZE": "8388608", "S3_ACCESS_LOG_BUCKET": "logs",
            "S3_NONCURRENT_DAYS": "7",
        ])
        let bucket = try #require(target.store.bucket)
        #expect(bucket.endpoint == "https://s3.example" && bucket.region == "eu-central-1")
        #expect(bucket.addressing == .virtualHost && bucket.encryption == .kms(key: "alias/disks"))
        #expect(bucket.pieceSize == 5 << 20 && bucket.multipartThreshold == 1_000_000)
        let keeping = target.keeping
        #expect(keeping.lock == .compliance && keeping.legalHold && keeping.thawDays == 3)
        #expect(keeping.segmentSize == 8 << 20 && keeping.accessLogBucket == "logs" && keeping.noncurrentDays == 7)
        #expect(keeping.storageClasses[.daily] == nil && keeping.storageClasses[.annual] == .deepArchive)
        #expect(keeping.storageClasses[.hourly] == .standardIA && keeping.storageClasses[.safety] == .standardIA)
    }

    /// Shows that an archive for all tiers leaves safety backups where they can be read, and that small pieces bring
    /// smaller segments with them.
    @Test func limitsThatFollow() throws {
        let target = try only(["S3_STORAGE_CLASS": "GLACIER", "S3_PIECE_SIZE": "5242880"])
        #expect(target.keeping.storageClasses[.safety] == nil && target.keeping.storageClasses[.weekly] == .glacier)
        #expect(target.keeping.segmentSize == 960 * 5_242_880)
        #expect(target.store.bucket?.multipartThreshold == 5_242_880)
    }

    /// Shows that a segment's size counts for directories too.
    @Test func segmentsInDirectories() throws {
        let target = try only(["BACKUP_STORE": "file:///srv", "BACKUP_SEGMENT_SIZE": "20000000000"])
        #expect(target.keeping.segmentSize == 20_000_000_000)
    }

    /// Shows what encryption is asked for, by each way to say it.
    @Test func encryptions() throws {
        #expect(try only(["S3_SSE": "AES256"]).store.bucket?.encryption == .aes256)
        #expect(try only(["S3_SSE": "aws:kms"]).store.bucket?.encryption == .kms(key: nil))
        #expect(try only(["S3_SSE_KMS_KEY_ID": Self.arn]).store.bucket?.encryption == .kms(key: Self.arn))
        // Ceph and others have names of their own for keys.
        #expect(try only(["S3_SSE_KMS_KEY_ID": "clinic-key"]).store.bucket?.encryption == .kms(key: "clinic-key"))
    }

    /// Shows where no TLS is needed: on the machine itself; and that elsewhere the switch is recorded.
    @Test func withoutTLS() throws {
        for url in ["http://127.0.0.1:7480", "http://[::1]:7480", "http://localhost", "http://s3.localhost:7480"] {
            let target = try only(["S3_ENDPOINT": url])
            #expect(target.store.bucket?.endpoint == url && target.exceptions.isEmpty, "\(url)")
        }
        let remote = try only(["S3_ENDPOINT": "http://ceph:80", "BACKUP_ALLOW_HTTP_STORE": "1"])
        #expect(remote.exceptions == ["BACKUP_ALLOW_HTTP_STORE"] && remote.allowsHTTPStore)
        #expect(remote.store.bucket?.endpoint == "http://ceph")
        #expect(try only(["BACKUP_ALLOW_HTTP_STORE": "1"]).exceptions.isEmpty)
        #expect(EndpointRule.isPrivate(scheme: "http", host: "[::1]:80"))
        #expect(!EndpointRule.isPrivate(scheme: "http", host: "127.0.0.1.example"))
        #expect(!EndpointRule.isPrivate(scheme: "http", host: "/run"))
    }

    /// Shows that AWS' endpoint for everything, which is checked, stays AWS' business.
    @Test func endpointOfAWS() throws {
        let target = try only(["AWS_ENDPOINT_URL": "http://127.0.0.1:5000"])
        #expect(target.store.bucket?.endpoint == nil)
    }

    /// Shows each kind of second store, with whose rights it is written.
    @Test func secondStores() throws {
        #expect(
            try only(["BACKUP_SECONDARY_STORE": "file:///srv/second"]).secondary
                == SecondarySettings(store: .directory(path: "/srv/second"), access: .shared))
        let bucket = [
            "BACKUP_SECONDARY_STORE": "s3://second/clinic", "BACKUP_SECONDARY_REGION": "eu-west-1",
            "BACKUP_SECONDARY_ENDPOINT": "https://s3.other.example", "BACKUP_SECONDARY_SSE": "AES256",
            "S3_REGION": "eu-central-1",
        ]
        let shared = try #require(try only(bucket).secondary)
        #expect(shared.access == .shared && shared.store.bucket?.region == "eu-west-1")
        #expect(shared.store.bucket?.endpoint == "https://s3.other.example")
        #expect(shared.store.bucket?.encryption == .aes256)
        let profile = try only(bucket.merging(["BACKUP_SECONDARY_PROFILE": "copy"]) { $1 }).secondary
        #expect(profile?.access == .profile("copy"))
        let keys = try only(
            bucket.merging([
                "BACKUP_SECONDARY_ACCESS_KEY_ID": "AKIA", "BACKUP_SECONDARY_SECRET_ACCESS_KEY_FILE": "/secret",
            ]) { $1 }, files: ["/secret": "s3cret/+\n"]
        ).secondary
        #expect(keys?.access == .keys(id: Secret("AKIA"), secret: Secret("s3cret/+")))
    }

    /// Shows that a lock that the second store cannot have is recorded, and that the same bucket by another server is
    /// another place.
    @Test func unlikeStores() throws {
        let locked = try only(["S3_OBJECT_LOCK": "governance", "BACKUP_SECONDARY_STORE": "file:///srv/second"])
        #expect(locked.exceptions == ["S3_OBJECT_LOCK not in the secondary store"])
        let elsewhere = try only([
            "BACKUP_SECONDARY_STORE": "s3://backups/clinic", "BACKUP_SECONDARY_ENDPOINT": "https://s3.other.example",
        ])
        #expect(elsewhere.secondary != nil)
    }

    /// Shows each way to name a key in KMS, and that the short variable adds one recipient, once.
    @Test(arguments: [
        arn, "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab",
        "arn:aws:kms:eu-west-1:123456789012:alias/Clinic/backup_1", "alias/clinic",
        "1234abcd-12ab-34cd-56ef-1234567890ab", "mrk-1234abcd12ab34cd56ef1234567890ab",
    ])
    func keys(_ key: String) throws {
        let kms = KeySpecification.kms(key: key)
        #expect(try only(["BACKUP_RECIPIENTS": "kms:\(key)"]).recipients == [kms])
        #expect(try only(["BACKUP_KMS_KEY_ID": key]).recipients == [.aes(path: "/keys/clinic.key"), kms])
        let twice = try only(["BACKUP_RECIPIENTS": "kms:\(key)", "BACKUP_KMS_KEY_ID": key])
        #expect(twice.recipients == [kms] && twice.kmsKeys == [key])
        #expect(try only(["BACKUP_RECIPIENTS": "", "BACKUP_KMS_KEY_ID": key]).identities == [kms])
    }

    /// Shows that optional recipients are kept apart, and open too.
    @Test func optionalRecipients() throws {
        let target = try only(["BACKUP_OPTIONAL_RECIPIENTS": "kms:alias/far, rsa:/keys/escrow.pem"])
        #expect(target.recipients == [.aes(path: "/keys/clinic.key")])
        #expect(target.optionalRecipients == [.kms(key: "alias/far"), .rsa(path: "/keys/escrow.pem")])
        #expect(target.identities == target.recipients + target.optionalRecipients)
        #expect(target.keys == target.identities)
    }

    /// Shows that a target's own word about its place counts before the defaults' about theirs, and that defaults for
    /// buckets do not trouble a directory.
    @Test func targetsAndDefaults() throws {
        let file = """
            defaults:
              store: s3://backups/all
              s3Endpoint: https://s3.example
              s3StorageClass: STANDARD_IA
              recipients: ["aes:/keys/clinic.key"]
            targets:
              bucket:
                s3Bucket: other
                source: {host: /tmp, database: a, user: b}
              directory:
                store: file:///srv/backups
                source: {host: /tmp, database: a, user: b}
              usual:
                secondaryStore: file:///srv/second
                source: {host: /tmp, database: a, user: b}
            """
        let targets = try configuration(["LIFEBOAT_CONFIG": "/c.yaml"], files: ["/c.yaml": file]).settings.targets
        #expect(targets.map(\.name) == ["bucket", "directory", "usual"])
        #expect(targets.map(\.store.description) == ["s3://other", "file:///srv/backups", "s3://backups/all"])
        #expect(targets.map(\.store.bucket?.endpoint) == ["https://s3.example", nil, "https://s3.example"])
        #expect(targets.map { $0.secondary != nil } == [false, false, true])
    }

    /// Shows that references are found wherever a secret may stand, each once, and that what they stand for is used,
    /// without the newline at its end.
    @Test func references() throws {
        let variables = Self.base.merging([
            "POSTGRES_PASSWORD": "aws-secretsmanager:clinic/db#password", "LIFEBOAT_CONFIG": "/c.yaml",
            "BACKUP_SIGNING_KEY_FILE": "/secrets/key", "PGPASSWORD": "aws-secretsmanager:clinic/db#password",
            "BACKUP_DESTINATION_STAGING": "aws-ssm:/clinic/staging", "AWS_SECRET_ACCESS_KEY": "aws-ssm:not-ours",
        ]) { $1 }
        let files = [
            "/secrets/key": "aws-secretsmanager:clinic/signer\n",
            "/c.yaml": """
            targets:
              lab:
                source: {host: /tmp, database: lab, user: me, passwordFile: /secrets/lab}
            """, "/secrets/lab": "aws-ssm:lab",
        ]
        let reader = configurationReader(variables, files: files)
        let found = try reader.secretReferences()
        #expect(
            found.map(\.description) == [
                "aws-secretsmanager:clinic/db#password", "aws-secretsmanager:clinic/signer",
                "aws-ssm:/clinic/staging", "aws-ssm:lab",
            ])
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQ==\n-----END PRIVATE KEY-----"
        let texts = ["db \(BadInput.marker)", pem, "postgres://a:b@localhost/staging\n", "lab-pw"]
        let secrets = Dictionary(uniqueKeysWithValues: zip(found, texts.map { Secret($0) }))
        let (settings, summary) = try reader.read(secrets: secrets)
        let own = try #require(settings.targets.first { $0.name == "default" })
        guard case .postgres(let source) = own.source else { return }
        #expect(source.password == Secret("db \(BadInput.marker)") && own.signingKey == Secret(pem))
        guard case .postgres(let staging)? = own.destinations["staging"] else { throw TestFailure("no destination") }
        #expect(staging.password == Secret("b"))
        guard case .postgres(let lab)? = settings.targets.last?.source else { return }
        #expect(lab.password == Secret("lab-pw"))
        #expect(!summary.lines.joined().contains(BadInput.marker))
        #expect(summary.lines.contains("POSTGRES_PASSWORD = •••• (from aws-secretsmanager:clinic/db#password)"))
    }

    /// Shows that a reference that was not fetched, and a secret that is empty, are errors by the setting's name.
    @Test func missingSecrets() throws {
        let variables = Self.base.merging(["POSTGRES_PASSWORD": "aws-ssm:pw"]) { $1 }
        #expect(try configurationReader(Self.base, files: [:]).secretReferences().isEmpty)
        let reference = try #require(try SecretReference("aws-ssm:pw"))
        for secrets in [[:], [reference: Secret("\n")]] {
            let error = #expect(throws: ConfigurationError.self) { try configuration(variables, secrets: secrets) }
            #expect(error?.object == "POSTGRES_PASSWORD")
        }
    }

    /// Shows that AWS' variables are listed where something lies there, with their secrets masked, and not elsewhere.
    @Test func summary() throws {
        let aws = [
            "AWS_REGION": "eu-west-1", "AWS_SECRET_ACCESS_KEY": BadInput.marker, "AWS_ACCESS_KEY_ID": BadInput.marker,
            "AWS_SOMETHING_ELSE": "x",
        ]
        let lines = try configuration(Self.base.merging(aws) { $1 }).summary.lines
        #expect(lines.contains("AWS_REGION = eu-west-1 (from environment)"))
        #expect(lines.contains("AWS_SECRET_ACCESS_KEY = •••• (from environment)"))
        #expect(lines.contains("S3_PIECE_SIZE = 16777216 (from default)"))
        #expect(!lines.joined().contains(BadInput.marker) && !lines.joined().contains("SOMETHING"))
        let local = Self.base.merging(aws) { $1 }.merging(["BACKUP_STORE": "file:///srv"]) { $1 }
        #expect(!(try configuration(local).summary.lines.joined().contains("AWS_")))
    }
}
