import Core
import TestSupport
import Testing

@testable import Events

@Suite("Configurations that are accepted")
struct ConfigurationTests {
    private static let base = [
        "POSTGRES_HOST": "/run/postgresql", "POSTGRES_DB": "clinic", "POSTGRES_USER": "backup",
        "BACKUP_STORE": "file:///srv/backups/", "BACKUP_RECIPIENTS": "aes:/keys/clinic.key, rsa:/keys/escrow.pem",
    ]

    static let severalTargets = """
        defaults:
          store: file:///srv/backups
          recipients:
            - aes:/keys/clinic.key
          parallelJobs: 4
        targets:
          clinic:
            engine: postgres
            source:
              host: db.example
              database: clinic
              user: backup
              password: "pass word"
              parameters:
                sslrootcert: /etc/ca.pem
            retentionDays: 30
          lab:
            keyPrefix: hospital/lab
            parallelJobs: 8
            source:
              url: postgres://backup@localhost:5433/lab
        destinations:
          staging:
            host: localhost
            database: staging
            user: restore
        """

    private func only(_ changes: [String: String], files: [String: String] = [:]) throws -> TargetSettings {
        let settings = try configuration(Self.base.merging(changes) { $1 }, files: files).settings
        #expect(settings.targets.count == 1)
        return try #require(settings.targets.first)
    }

    private func source(_ changes: [String: String], files: [String: String] = [:]) throws -> PostgresSettings {
        guard case .postgres(let settings) = try only(changes, files: files).source else {
            throw TestFailure("the source is no PostgreSQL")
        }
        return settings
    }

    /// Shows that the environment alone makes one target, with every default as documented.
    @Test func environmentAlone() throws {
        let target = try only([:])
        #expect(target.name == "default" && target.keyPrefix == "")
        #expect(target.store == .directory(path: "/srv/backups"))
        #expect(target.recipients == [.aes(path: "/keys/clinic.key"), .rsa(path: "/keys/escrow.pem")])
        #expect(target.identities == target.recipients)
        #expect(target.compression == Compression(algorithm: .zstd, level: 1))
        #expect(target.parallelJobs == 2 && target.stallTimeout == 300 && target.lockLease == 60)
        #expect(target.retention == RetentionPolicy() && target.rateLimit == nil && target.signingKey == nil)
        #expect(target.metricsDirectory == nil && target.metricsPrefix == "lifeboat")
        #expect(target.trustedSigners.isEmpty && target.destinations.isEmpty && target.exceptions.isEmpty)
        #expect(
            target.source
                == .postgres(PostgresSettings(host: "/run/postgresql", database: "clinic", user: "backup")))
    }

    /// Shows that each variable of tuning and policy arrives where it should.
    @Test func everyVariable() throws {
        let target = try only([
            "BACKUP_TARGET": "clinic", "BACKUP_COMPRESSION": "gzip", "BACKUP_COMPRESSION_LEVEL": "9",
            "BACKUP_PARALLEL_JOBS": "64", "BACKUP_RETENTION_DAYS": "1", "BACKUP_STALL_TIMEOUT": "1",
            "BACKUP_RATE_LIMIT": "5000000000", "BACKUP_LOCK_LEASE": "3600", "METRICS_DIR": "/metrics",
            "METRICS_PREFIX": "clinic_backup", "BACKUP_IDENTITIES": "rsa:/keys/private.pem",
            "BACKUP_TRUSTED_SIGNERS": String(repeating: "AB", count: 32), "BACKUP_ENGINE": "postgres",
            "BACKUP_DESTINATION_STAGING": "postgres://restore:x@127.0.0.1/staging", "POSTGRES_PORT": "5433",
        ])
        #expect(target.name == "clinic" && target.compression == Compression(algorithm: .gzip, level: 9))
        #expect(
            target.parallelJobs == 64 && target.retention.period(of: .daily) == .days(1) && target.stallTimeout == 1)
        #expect(target.rateLimit == 5_000_000_000 && target.lockLease == 3600)
        #expect(target.metricsDirectory == "/metrics" && target.metricsPrefix == "clinic_backup")
        #expect(target.identities == [.rsa(path: "/keys/private.pem")])
        #expect(target.trustedSigners == [String(repeating: "ab", count: 32)])
        #expect(
            target.destinations["staging"]
                == .postgres(
                    PostgresSettings(
                        host: "127.0.0.1", database: "staging", user: "restore", password: Secret("x"))))
        guard case .postgres(let source) = target.source else { return }
        #expect(source.port == 5433)
    }

    /// Shows that secrets may come from files, with the newline that editors add taken off.
    @Test func secretsFromFiles() throws {
        let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQ==\n-----END PRIVATE KEY-----"
        let target = try only(
            [
                "POSTGRES_PASSWORD_FILE": "/secrets/pw", "BACKUP_SIGNING_KEY_FILE": "/secrets/key",
                "BACKUP_DESTINATION_STAGING_FILE": "/secrets/staging",
            ],
            files: [
                "/secrets/pw": " p\u{e4}ss \n", "/secrets/key": key + "\r\n",
                "/secrets/staging": "postgres://a@localhost/b\n",
            ])
        #expect(
            target.source
                == .postgres(
                    PostgresSettings(
                        host: "/run/postgresql", database: "clinic", user: "backup", password: Secret(" p\u{e4}ss ")))
        )
        #expect(target.signingKey == Secret(key))
        #expect(
            target.destinations["staging"]
                == .postgres(PostgresSettings(host: "localhost", database: "b", user: "a")))
    }

    /// Shows that a connection string is enough, that discrete variables may agree with it or fill it up, and that
    /// libpq's own variables count.
    @Test func connectionStrings() throws {
        let empty = ["POSTGRES_HOST": "", "POSTGRES_DB": "", "POSTGRES_USER": ""]
        let url = "postgres://me:p%40ss@localhost:5433/clinic?application_name=nightly"
        let whole = try source(empty.merging(["POSTGRES_URL": url]) { $1 })
        #expect(whole.host == "localhost" && whole.port == 5433 && whole.password == Secret("p@ss"))
        #expect(whole.parameters == ["application_name": "nightly"])
        let filled = try source([
            "POSTGRES_HOST": "", "POSTGRES_URL": "postgres://localhost/clinic", "POSTGRES_PASSWORD": "pw",
            "PGPORT": "6432", "PGCONNECT_TIMEOUT": "10",
        ])
        #expect(filled.password == Secret("pw") && filled.port == 6432 && filled.user == "backup")
        #expect(filled.parameters == ["connect_timeout": "10"])
    }

    /// Shows that a server across a network is reached with its certificate checked, unless the switch is on by name,
    /// which is then recorded; and that the switch is not recorded where it did nothing.
    @Test func verifiedTLS() throws {
        let remote = ["POSTGRES_HOST": "db.example"]
        #expect(try source(remote).parameters["sslmode"] == "verify-full")
        let weak = remote.merging(["PGSSLMODE": "require", "BACKUP_ALLOW_UNVERIFIED_TLS": "1"]) { $1 }
        #expect(try source(weak).parameters["sslmode"] == "require")
        #expect(try only(weak).exceptions == ["BACKUP_ALLOW_UNVERIFIED_TLS"])
        #expect(try only(["BACKUP_ALLOW_UNVERIFIED_TLS": "1"]).exceptions.isEmpty)
        for local in ["localhost", "127.0.0.1", "127.8.9.1", "::1", "/run/postgresql"] {
            #expect(try source(["POSTGRES_HOST": local, "PGSSLMODE": "disable"]).exceptions.isEmpty)
        }
    }

    /// Shows that a Service called postgres does no harm where the environment has no source of its own.
    @Test func serviceLinksBesideAFile() throws {
        let settings = try configuration(
            ["LIFEBOAT_CONFIG": "/c.yaml", "POSTGRES_PORT": "tcp://10.0.0.7:5432"],
            files: ["/c.yaml": Self.severalTargets]
        ).settings
        #expect(settings.targets.map(\.name) == ["clinic", "lab"])
    }

    /// Shows that a file adds targets with defaults, own values and prefixes, beside the environment's own.
    @Test func severalTargetsFromAFile() throws {
        let variables = [
            "LIFEBOAT_CONFIG": "/c.yaml", "POSTGRES_HOST": "localhost", "POSTGRES_DB": "own", "POSTGRES_USER": "me",
            "BACKUP_COMPRESSION": "none", "DEBUG": "1", "DRY_RUN": "true", "LIFEBOAT_RUN_ID": "uid-1",
        ]
        let (settings, _) = try configuration(variables, files: ["/c.yaml": Self.severalTargets])
        #expect(settings.debug && settings.dryRun && settings.runID == "uid-1")
        #expect(settings.targets.map(\.name) == ["clinic", "default", "lab"])
        #expect(settings.targets.map(\.keyPrefix) == ["clinic", "", "hospital/lab"])
        #expect(settings.targets.map(\.parallelJobs) == [4, 4, 8])
        #expect(settings.targets.map { $0.retention.tiers } == [[.daily: .days(30)], [:], [:]])
        #expect(settings.targets.allSatisfy { $0.compression == Compression(algorithm: .none, level: 0) })
        #expect(settings.targets.allSatisfy { $0.destinations.keys.sorted() == ["staging"] })
        guard case .postgres(let clinic)? = settings.targets.first?.source else { return }
        #expect(clinic.password == Secret("pass word"))
        #expect(clinic.parameters == ["sslrootcert": "/etc/ca.pem", "sslmode": "verify-full"])
    }

    /// Shows that the summary says what is in force and where it was said, and shows no secret.
    @Test func summary() throws {
        let variables = Self.base.merging([
            "POSTGRES_PASSWORD": BadInput.marker, "LIFEBOAT_CONFIG": "/c.yaml",
            "BACKUP_DESTINATION_STAGING": "postgres://a:\(BadInput.marker)@localhost/b",
        ]) { $1 }
        let file =
            "targets:\n  lab:\n    source: {host: /tmp, database: lab, user: me, password: \(BadInput.marker)}\n"
        let lines = try configuration(variables, files: ["/c.yaml": file]).summary.lines
        #expect(lines.contains("POSTGRES_DB = clinic (from environment)"))
        #expect(lines.contains("POSTGRES_PASSWORD = •••• (from environment)"))
        #expect(lines.contains("BACKUP_DESTINATION_STAGING = •••• (from environment)"))
        #expect(lines.contains("targets.lab.source.database = lab (from /c.yaml)"))
        #expect(lines.contains("targets.lab.source.password = •••• (from /c.yaml)"))
        #expect(lines.contains("BACKUP_STALL_TIMEOUT = 300 (from default)"))
        #expect(!lines.joined().contains(BadInput.marker))
        #expect(lines == lines.sorted())
    }

    /// Shows that a value said twice the same is no contradiction.
    @Test func agreement() throws {
        let settings = try configuration(
            Self.base.merging(["LIFEBOAT_CONFIG": "/c.yaml"]) { $1 },
            files: ["/c.yaml": "defaults:\n  recipients: ['aes:/keys/clinic.key', 'rsa:/keys/escrow.pem']\n"]
        ).settings
        #expect(settings.targets.count == 1)
    }

    /// Shows that deep nesting in the file is refused, not followed until the stack ends.
    @Test func deepNesting() {
        let yaml = "targets: " + String(repeating: "[", count: 100_000)
        #expect(throws: ConfigurationError.self) {
            try configuration(["LIFEBOAT_CONFIG": "/c.yaml"], files: ["/c.yaml": yaml])
        }
    }

    /// Shows that every variable of the documentation's tables is one the code knows, and the other way round.
    @Test func documentationIsComplete() throws {
        let text = String(decoding: try Fixture.bytes("docs/configuration.md"), as: UTF8.self)
        for name in VariableNames.known where !text.contains("`\(name)`") {
            Issue.record("\(name) is not documented")
        }
        for key in EngineName.allCases.flatMap(\.sourceKeys) where !text.contains("`\(key)`") {
            Issue.record("\(key) is not documented")
        }
        for name in VariableNames.aws { #expect(text.contains("`\(name)`"), "\(name) is not documented") }
        for setting in Setting.allCases { #expect(text.contains("`\(setting.key)`"), "\(setting.key)") }
        for name in LibpqParameters.variables.keys { #expect(text.contains("`\(name)`"), "\(name)") }
    }

    /// Shows that the worked example of the documentation is accepted as it stands, and means what it says.
    @Test func documentedExample() throws {
        let text = String(decoding: try Fixture.bytes("docs/configuration.md"), as: UTF8.self)
        let start = try #require(text.firstRange(of: "```yaml\n")?.upperBound)
        let end = try #require(text[start...].firstRange(of: "```")?.lowerBound)
        let settings = try configuration(
            ["LIFEBOAT_CONFIG": "/c.yaml"],
            files: [
                "/c.yaml": String(text[start..<end]), "/run/secrets/clinic-password": "pw\n",
                "/run/secrets/lab-url": "postgres://backup@lab.example/lab",
                "/run/secrets/shop-password": "pw", "/run/secrets/images-url": "mongodb+srv://b:pw@images.example/x",
                "/run/secrets/staging-url": "postgres://restore@staging.example/clinic",
            ]
        ).settings
        let names = ["clinic", "images", "keys", "lab", "shop", "system", "trail"]
        #expect(settings.targets.map(\.name) == names)
        #expect(settings.targets.map(\.keyPrefix) == names.map { $0 == "lab" ? "hospital/lab" : $0 })
        #expect(
            settings.targets.map(\.source.engine)
                == ["postgres", "mongodb", "keys", "postgres", "mysql", "files", "audit-records"])
        #expect(settings.targets.map(\.compression.level) == [1, 1, 1, 3, 1, 1, 6])
        let lab = try #require(settings.targets.first { $0.name == "lab" })
        #expect(lab.store.description == "s3://clinic-backups/lifeboat" && lab.keeping.lock == .governance)
        #expect(lab.secondary?.store.bucket?.region == "eu-west-1" && lab.store.bucket?.region == nil)
        #expect(lab.recipients.count == 3 && lab.keeping.storageClasses == [.annual: .deepArchive])
        guard case .postgres(let staging)? = lab.destinations["staging"] else {
            throw TestFailure("no destination")
        }
        #expect(staging.parameters["sslmode"] == "verify-full")
    }
}
