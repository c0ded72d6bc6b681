import Core
import TestSupport
import Testing

@testable import Events

@Suite("Sources of every kind that are accepted")
struct SourceConfigurationTests {
    private static let base = [
        "BACKUP_STORE": "file:///srv/backups", "BACKUP_RECIPIENTS": "aes:/keys/clinic.key",
    ]

    static let everyEngine = """
        defaults:
          store: file:///srv/backups
          recipients: ["pkcs11:token=a;object=b", aes:/keys/clinic.key]
          pkcs11Pin: "pass word"
          retention: {hourly: 14, manual: forever}
        targets:
          shop: {engine: mysql, source: {url: "mysql://a:pass%20word@localhost/shop", lockTables: 1}}
          images:
            engine: mongodb
            source: {url: "mongodb://a:b@h1,h2/images?tls=true&replicaSet=rs0"}
          system: {engine: files, source: {paths: [/etc, /srv/forms], exclude: ["*.tmp"]}}
          vault: {engine: keys, secondaryStore: file:///mnt/vault, source: {paths: [/keys], schedule: ON_CHANGE}}
          trail:
            engine: audit-records
            auditBackupKey: [rsa:/keys/auditor.pem]
            source: {from: shop, table: log, ids: contiguous, batchRecords: 100}
        destinations:
          shelf: {path: /srv/shelf}
          spare: {engine: mysql, host: localhost, database: a, user: b, password: "pass word"}
        """

    /// Shows that one file may hold a source of every kind.
    @Test func severalEnginesFromAFile() throws {
        let settings = try configuration(["LIFEBOAT_CONFIG": "/c.yaml"], files: ["/c.yaml": Self.everyEngine])
            .settings
        #expect(
            settings.targets.map(\.source.engine) == ["mongodb", "mysql", "files", "audit-records", "keys"])
        guard case .auditRecords(let trail)? = settings.targets.first(where: { $0.name == "trail" })?.source,
            case .table(let table) = trail.source, case .mysql(let shop) = table.database
        else { throw TestFailure("the trail does not lie in the shop") }
        #expect(shop.database == "shop" && shop.password == Secret("pass word") && table.name == "log")
    }

    private func only(_ variables: [String: String], files: [String: String] = [:]) throws -> TargetSettings {
        let settings = try configuration(Self.base.merging(variables) { $1 }, files: files).settings
        return try #require(settings.targets.count == 1 ? settings.targets.first : nil)
    }

    private func mysql(_ variables: [String: String], files: [String: String] = [:]) throws -> MySQLSettings {
        let all = ["BACKUP_ENGINE": "mysql"].merging(variables) { $1 }
        guard case .mysql(let settings) = try only(all, files: files).source else {
            throw TestFailure("the source is no MySQL")
        }
        return settings
    }

    /// Shows that single variables, an address, and both where they agree make the same connection, and that secrets
    /// may come from files.
    @Test func mySQL() throws {
        let single = try mysql([
            "MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": "3307", "MYSQL_DB": "clinic", "MYSQL_USER": "backup",
            "MYSQL_PASSWORD": "p@ss",
        ])
        var expected = MySQLSettings(
            host: "127.0.0.1", port: 3307, database: "clinic", user: "backup", password: Secret("p@ss"))
        #expect(single == expected)
        let url = "mysql://backup:p%40ss@127.0.0.1:3307/clinic"
        #expect(try mysql(["MYSQL_URL_FILE": "/run/url"], files: ["/run/url": url + "\n"]) == expected)
        #expect(try mysql(["MYSQL_URL": url, "MYSQL_DB": "clinic", "MYSQL_PORT": "3307"]) == expected)
        expected.locksTables = true
        expected.restoreWriters = .keep
        #expect(
            try mysql(["MYSQL_URL": url, "MYSQL_LOCK_TABLES": "1", "MYSQL_RESTORE_WRITERS": "keep"]) == expected)
    }

    /// Shows that TLS with all its checks is the default across a network, that less needs the switch, which is
    /// recorded, and that a socket needs none.
    @Test func mySQLOverTLS() throws {
        let remote = ["MYSQL_HOST": "db.example", "MYSQL_DB": "clinic", "MYSQL_USER": "backup"]
        let usual = try mysql(remote)
        #expect(usual.tls == .verifyIdentity && usual.exceptions.isEmpty)
        let weak = remote.merging(["MYSQL_SSL_MODE": "required", "BACKUP_ALLOW_UNVERIFIED_TLS": "1"]) { $1 }
        #expect(try mysql(weak).tls == .required)
        #expect(
            try only(weak.merging(["BACKUP_ENGINE": "mysql"]) { $1 }).exceptions == ["BACKUP_ALLOW_UNVERIFIED_TLS"])
        let socket = try mysql(remote.merging(["MYSQL_HOST": "/run/mysqld/mysqld.sock"]) { $1 })
        #expect(socket.tls == .disabled && socket.exceptions.isEmpty)
        let files = try mysql([
            "MYSQL_URL":
                "mariadb://backup@db.example/clinic?ssl-mode=VERIFY_IDENTITY&ssl-ca=/etc/ca.pem&ssl-cert=/c.pem&ssl-key=/k.pem"
        ])
        #expect(files.caPath == "/etc/ca.pem" && files.certificatePath == "/c.pem" && files.keyPath == "/k.pem")
    }

    /// Shows that the address of a deployment is handed on as it is, with the database it names, and when it needs TLS.
    @Test(arguments: [
        ("mongodb://localhost", nil, "localhost"),
        ("mongodb://a:p%40ss@127.0.0.1:27018/clinic?authSource=admin", "clinic", "127.0.0.1:27018"),
        (
            "mongodb://a:b@h1.example,h2.example:27018/clinic?replicaSet=rs0&tls=true", "clinic",
            "h1.example,h2.example:27018"
        ),
        ("mongodb+srv://a:b@cluster.example/clinic", "clinic", "cluster.example"),
        ("mongodb://%2Frun%2Fmongod.sock/clinic", "clinic", "/run/mongod.sock"),
        ("mongodb://[::1]:27017/clinic?ssl=true", "clinic", "[::1]:27017"),
    ])
    func mongoDB(url: String, database: String?, hosts: String) throws {
        let target = try only(["BACKUP_ENGINE": "mongodb", "MONGODB_URL": url])
        #expect(
            target.source == .mongodb(MongoDBSettings(url: Secret(url), hosts: hosts, database: database)))
    }

    /// Shows that a deployment may be reached without TLS where the switch is on by name, and that this is recorded.
    @Test func mongoDBWithoutTLS() throws {
        let target = try only([
            "BACKUP_ENGINE": "mongodb", "MONGODB_URL": "mongodb://db.example", "MONGODB_DB": "clinic",
            "BACKUP_ALLOW_UNVERIFIED_TLS": "1",
        ])
        #expect(target.exceptions == ["BACKUP_ALLOW_UNVERIFIED_TLS"])
        guard case .mongodb(let settings) = target.source else { throw TestFailure("no MongoDB") }
        #expect(settings.database == "clinic")
    }

    /// Shows paths and patterns of files, and that paths are made plain.
    @Test func files() throws {
        let target = try only([
            "BACKUP_ENGINE": "files", "FILES_PATHS": "/etc//clinic/, /srv/forms",
            "FILES_EXCLUDE": "*.tmp,/srv/forms/cache",
            "FILES_ONE_FILE_SYSTEM": "1", "FILES_ALLOW_EMPTY": "true",
        ])
        #expect(
            target.source
                == .files(
                    FilesSettings(
                        paths: ["/etc/clinic", "/srv/forms"], excludes: ["*.tmp", "/srv/forms/cache"],
                        oneFileSystem: true, allowsEmpty: true)))
    }

    /// Shows a target of keys with its second store.
    @Test func keys() throws {
        let target = try only([
            "BACKUP_ENGINE": "keys", "KEYS_PATHS": "/run/keys,/run/tls", "KEYS_SCHEDULE": "ON_CHANGE",
            "KEYS_VERIFY_INTERVAL_HOURS": "168", "BACKUP_SECONDARY_STORE": "file:///mnt/vault",
        ])
        #expect(
            target.source
                == .keys(
                    KeySetSettings(paths: ["/run/keys", "/run/tls"], schedule: .onChange, verifyIntervalHours: 168)))
    }

    private static let audit = ["BACKUP_ENGINE": "audit-records", "AUDIT_BACKUP_KEY": "aes:/keys/auditor.key"]

    /// Shows each place that audit records may come from, with recipients of their own and gzip.
    @Test func auditRecords() throws {
        let ofFiles = try only(Self.audit.merging(["AUDIT_SOURCE": "/var/log/clinic/audit.jsonl*"]) { $1 })
        #expect(
            ofFiles.source == .auditRecords(AuditSettings(source: .files(pattern: "/var/log/clinic/audit.jsonl*"))))
        #expect(ofFiles.recipients == [.aes(path: "/keys/auditor.key")] && ofFiles.identities == ofFiles.recipients)
        #expect(ofFiles.compression == Compression(algorithm: .gzip, level: 6))
        let ofEvents = try only(Self.audit.merging(["AUDIT_SOURCE": "event"]) { $1 })
        #expect(ofEvents.source == .auditRecords(AuditSettings(source: .event)))
        #expect(ofEvents.forEvents.takesRecords && !ofFiles.forEvents.takesRecords)
        let ofTable = try only(
            Self.audit.merging([
                "AUDIT_SOURCE": "mysql", "AUDIT_TABLE": "log", "AUDIT_ID": "number", "AUDIT_IDS": "contiguous",
                "AUDIT_BATCH_MINUTES": "5", "AUDIT_BATCH_RECORDS": "100", "MYSQL_URL": "mysql://a@localhost/clinic",
                "BACKUP_COMPRESSION": "zstd",
            ]) { $1 })
        let database = MySQLSettings(host: "localhost", database: "clinic", user: "a")
        #expect(
            ofTable.source
                == .auditRecords(
                    AuditSettings(
                        source: .table(AuditTable(database: .mysql(database), name: "log")), id: "number",
                        idsAreContiguous: true, batchMinutes: 5, batchRecords: 100)))
        #expect(ofTable.compression == Compression(algorithm: .zstd, level: 1))
        let collection = try only(
            Self.audit.merging([
                "AUDIT_SOURCE": "mongodb", "AUDIT_TABLE": "log", "MONGODB_URL": "mongodb://localhost/clinic",
            ]) { $1 })
        guard case .auditRecords(let settings) = collection.source else { throw TestFailure("no records") }
        #expect(settings.id == "_id")
    }

    /// Shows the stages of a trail: the usual days, days of its own, and for how long its sets are kept where the
    /// source, the class of audit logs, or nobody says.
    @Test func auditStages() throws {
        let trail = Self.audit.merging(["AUDIT_SOURCE": "event"]) { $1 }
        let usual = try only(trail)
        #expect(usual.auditStages == AuditStages(active: 90, archive: 365))
        #expect(usual.retention.period(of: .hourly) == .days(2555) && usual.retention.period(of: .manual) == .forever)
        let own = try only(
            trail.merging([
                "AUDIT_ACTIVE_DAYS": "30", "AUDIT_ARCHIVE_DAYS": "100", "AUDIT_LEGAL_DAYS": "100",
                "BACKUP_DATA_CLASS": "audit-logs",
            ]) { $1 })
        #expect(own.auditStages == AuditStages(active: 30, archive: 100))
        // The class of audit logs asks for a year.
        #expect(own.retention.ofSource == .days(100) && own.retention.period(of: .hourly) == .days(365))

        let yaml = """
            defaults: {store: file:///srv/backups, dataClasses: {audit-logs: 400}}
            targets:
              long:
                engine: audit-records
                auditBackupKey: [aes:/keys/auditor.key]
                source: {from: event, legalDays: 3650}
              plain: {engine: audit-records, auditBackupKey: [aes:/keys/auditor.key], source: {from: event}}
              other: {recipients: [aes:/keys/clinic.key], source: {host: /tmp, database: a, user: b}}
            """
        let targets = try configuration(["LIFEBOAT_CONFIG": "/c.yaml"], files: ["/c.yaml": yaml]).settings.targets
        #expect(targets.map { $0.retention.period(of: .hourly) } == [.days(3650), .days(7), .days(400)])
        #expect(targets.map { $0.auditStages == nil } == [false, true, false])
    }

    /// Shows that a set's recipients may be keys in an HSM, commas in their names included, or OpenPGP keys, and how
    /// each kind's own settings are read.
    @Test func keyKinds() throws {
        let postgres = ["POSTGRES_HOST": "/run", "POSTGRES_DB": "clinic", "POSTGRES_USER": "backup"]
        let hsm = try only(
            postgres.merging([
                "BACKUP_RECIPIENTS": "pkcs11:token=a,b;object=x,aes:/keys/clinic.key, pkcs11:object=y",
                "PKCS11_MODULE": "/usr/lib/softhsm/libsofthsm2.so", "PKCS11_PIN_FILE": "/run/pin",
            ]) { $1 }, files: ["/run/pin": "1234\n"])
        #expect(
            hsm.recipients == [
                .pkcs11(uri: "pkcs11:token=a,b;object=x"), .aes(path: "/keys/clinic.key"),
                .pkcs11(uri: "pkcs11:object=y"),
            ])
        #expect(hsm.pkcs11 == PKCS11Settings(module: "/usr/lib/softhsm/libsofthsm2.so", pin: Secret("1234")))
        let fingerprint = "0123456789ABCDEF0123456789ABCDEF01234567"
        let gpg = try only(
            postgres.merging([
                "BACKUP_RECIPIENTS": "gpg:0x\(fingerprint.lowercased())", "BACKUP_GPG_KEY_ID": "0123456789ABCDEF",
                "BACKUP_GPG_HOME": "/run/gnupg/", "BACKUP_GPG_KEYS": "/run/a.asc,/run/b.asc",
                "BACKUP_GPG_PASSPHRASE": "open sesame", "BACKUP_IDENTITIES": "aes:/keys/old.key,gpg:\(fingerprint)",
            ]) { $1 })
        #expect(gpg.recipients == [.gpg(key: fingerprint), .gpg(key: "0123456789ABCDEF")])
        // What a target had before may stay among those that open.
        #expect(gpg.identities == [.aes(path: "/keys/old.key"), .gpg(key: fingerprint)])
        #expect(
            gpg.gpg
                == GPGSettings(
                    home: "/run/gnupg", keyFiles: ["/run/a.asc", "/run/b.asc"], passphrase: Secret("open sesame")))
    }

    /// Shows how long sets are kept: by the defaults, the class of the data, and the file's own words.
    @Test func retention() throws {
        let yaml = """
            defaults:
              retention: {hourly: 14, manual: 30}
              dataClasses: {audit-logs: forever}
            targets:
              trail:
                dataClass: audit-logs
                retention: {hourly: 1, daily: forever}
                source: {host: /tmp, database: a, user: b}
            """
        let settings = try configuration(
            Self.base.merging([
                "POSTGRES_HOST": "/run", "POSTGRES_DB": "clinic", "POSTGRES_USER": "backup",
                "BACKUP_DATA_CLASS": "patient-data", "LIFEBOAT_CONFIG": "/c.yaml", "BACKUP_TARGET": "own",
            ]) { $1 },
            files: ["/c.yaml": yaml.replacing("    dataClass: audit-logs\n", with: "")]
        ).settings
        let own = try #require(settings.targets.first)
        #expect(own.retention.period(of: .hourly) == .days(7 * 365) && own.retention.tiers[.hourly] == .days(14))
        #expect(own.retention.period(of: .safety) == .days(7 * 365))
        let trail = try #require(settings.targets.last)
        #expect(trail.retention.tiers == [.hourly: .days(1), .daily: .forever, .manual: .days(30)])
        let alone = try configuration(
            Self.base.merging(["LIFEBOAT_CONFIG": "/c.yaml"]) { $1 }, files: ["/c.yaml": yaml]
        )
        .settings.targets
        #expect(alone.first?.retention.period(of: .hourly) == .forever)
    }

    /// Shows destinations of each kind, from the environment and from the file, and what events are told of them.
    @Test func destinations() throws {
        let yaml = """
            destinations:
              shop: {engine: mysql, url: "mysql://a@localhost/shop"}
              images: {engine: mongodb, url: "mongodb://localhost/images"}
              shelf: {path: /srv/shelf/}
              rack: {engine: files, path: /srv/rack}
            """
        let target = try only(
            [
                "BACKUP_ENGINE": "files", "FILES_PATHS": "/etc", "LIFEBOAT_CONFIG": "/c.yaml",
                "BACKUP_DESTINATION_BOX": "file:///srv/my%20box",
                "BACKUP_DESTINATION_A": "postgresql://a@localhost/b",
                "BACKUP_DESTINATION_B": "mariadb://a@localhost/b", "BACKUP_DESTINATION_C": "mongodb://localhost",
            ], files: ["/c.yaml": yaml])
        #expect(
            target.destinations == [
                "shop": .mysql(MySQLSettings(host: "localhost", database: "shop", user: "a")),
                "images": .mongodb(
                    MongoDBSettings(
                        url: Secret("mongodb://localhost/images"), hosts: "localhost", database: "images")),
                "shelf": .directory(path: "/srv/shelf"), "rack": .directory(path: "/srv/rack"),
                "box": .directory(path: "/srv/my box"),
                "a": .postgres(PostgresSettings(host: "localhost", database: "b", user: "a")),
                "b": .mysql(MySQLSettings(host: "localhost", database: "b", user: "a")),
                "c": .mongodb(
                    MongoDBSettings(url: Secret("mongodb://localhost"), hosts: "localhost", database: nil)),
            ])
        #expect(target.forEvents.destinations == ["box", "rack", "shelf"])
        #expect(target.forEvents.foreignDestinations["shop"] == "a MySQL database")
    }

    /// Shows that an engine that was nearly right is answered with the one that was meant, and a misspelt variable with
    /// its right name.
    @Test func suggestions() {
        let engine = #expect(throws: ConfigurationError.self) { try only(["BACKUP_ENGINE": "postgress"]) }
        #expect(engine?.hint.contains("'postgres'") == true)
        let variable = #expect(throws: ConfigurationError.self) {
            try only(["BACKUP_ENGINE": "mongodb", "MONGODB_URI": "mongodb://localhost"])
        }
        #expect(variable?.hint.contains("MONGODB_URL") == true)
        let stray = #expect(throws: ConfigurationError.self) { try only(["MYSQL_HOST": "localhost"]) }
        #expect(stray?.hint.contains("BACKUP_ENGINE") == true)
    }

    /// Shows that nothing that is a secret is shown, whichever source it belongs to.
    @Test func summaryHidesSecrets() throws {
        let yaml = """
            targets:
              shop: {engine: mysql, source: {host: localhost, database: a, user: b, password: \(BadInput.marker)}}
              images: {engine: mongodb, source: {url: "mongodb://a:\(BadInput.marker)@localhost/b"}}
            """
        let lines = try configuration(
            Self.base.merging([
                "BACKUP_ENGINE": "mysql", "MYSQL_URL": "mysql://a:\(BadInput.marker)@localhost/b",
                "LIFEBOAT_CONFIG": "/c.yaml", "BACKUP_RECIPIENTS": "pkcs11:object=a", "PKCS11_PIN": BadInput.marker,
            ]) { $1 }, files: ["/c.yaml": yaml]
        ).summary.lines
        #expect(lines.contains("MYSQL_URL = •••• (from environment)"))
        #expect(lines.contains("PKCS11_PIN = •••• (from environment)"))
        #expect(lines.contains("targets.images.source.url = •••• (from /c.yaml)"))
        #expect(!lines.joined().contains(BadInput.marker))
    }
}
