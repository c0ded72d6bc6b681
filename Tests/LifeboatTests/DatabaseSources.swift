import Core
import Glibc
import TestSupport
import Testing

/// A clinic on the shared PostgreSQL server.
struct PostgresSource: TestSource {
    let site: Site

    static func make(_ size: EngineSite.Size) async throws -> PostgresSource {
        let server = try await PostgresServer.shared()
        let database = try await server.createDatabase("site")
        try await server.sql(Clinic.sql(patients: size == .large ? 20_000 : 50), database: database)
        return PostgresSource(site: Site(server: server, database: database, directory: ""))
    }

    private var server: PostgresServer { site.server }

    var environment: [String: String] {
        [
            "POSTGRES_HOST": server.host, "POSTGRES_PORT": String(server.port), "POSTGRES_DB": site.database,
            "POSTGRES_USER": "postgres",
        ]
    }

    func spoil(_ number: Int) async throws {
        try await server.sql(
            "UPDATE clinic.patients SET name = 'spoilt \(number)' WHERE id <= 10; DELETE FROM clinic.notes",
            database: site.database)
    }

    func fingerprint() async throws -> String { try await site.fingerprint() }

    func leftovers() async throws -> [String] { try await site.leftovers() }

    func failing(_ failure: SourceFailure, in directory: String) throws -> [String: String]? {
        switch failure {
        case .down: ["POSTGRES_HOST": directory]
        case .refused: ["POSTGRES_USER": "no_such_role", "POSTGRES_PASSWORD": "NEVER-SHOW-ME"]
        case .empty: ["POSTGRES_DB": "no_such_database"]
        case .toolMissing: ["POSTGRES_BIN": directory]
        }
    }

    func faking(_ script: String, in directory: String) throws -> [String: String]? {
        let others = ["pg_dumpall", "psql"]
        return [
            "POSTGRES_BIN": try fake("pg_dump", script, of: server.binaries, others: others, in: directory)
        ]
    }
}

/// A clinic on the shared MariaDB server.
struct MySQLSource: TestSource {
    let server: MariaDBServer
    let database: String

    static func make(_ size: EngineSite.Size) async throws -> MySQLSource {
        let server = try await MariaDBServer.shared()
        let database = try await server.createDatabase("site")
        try await server.sql(clinic(patients: size == .large ? 20_000 : 50), database: database)
        return MySQLSource(server: server, database: database)
    }

    private static func clinic(patients: Int) -> String {
        """
        CREATE TABLE patients (id bigint PRIMARY KEY, name varchar(80) NOT NULL, born date, body text, photo blob);
        CREATE TABLE visits (id bigint AUTO_INCREMENT PRIMARY KEY, patient bigint NOT NULL, fee decimal(10,2),
            FOREIGN KEY (patient) REFERENCES patients (id));
        INSERT INTO patients SELECT seq, concat('Patient ', md5(seq)), date '1930-01-01' + INTERVAL seq DAY,
            concat(md5(seq), md5(-seq), sha2(seq, 512)), unhex(sha2(seq, 512)) FROM seq_1_to_\(patients);
        INSERT INTO visits (patient, fee) SELECT seq, seq / 7 FROM seq_1_to_\(patients);
        CREATE VIEW fees AS SELECT patient, sum(fee) AS total FROM visits GROUP BY patient;
        """
    }

    var exchangesInOneStep: Bool { false }

    var environment: [String: String] {
        ["MYSQL_HOST": server.host, "MYSQL_DB": database, "MYSQL_USER": "root"]
    }

    func spoil(_ number: Int) async throws {
        try await server.sql(
            "UPDATE patients SET name = 'spoilt \(number)' WHERE id <= 10; DELETE FROM visits WHERE id % 2 = 0",
            database: database)
    }

    func fingerprint() async throws -> String {
        let dump = try await server.run(
            "mariadb-dump",
            ["--skip-comments", "--skip-dump-date", "--compact", "--order-by-primary", "--hex-blob", database])
        return String(decoding: dump, as: UTF8.self)
    }

    func leftovers() async throws -> [String] {
        try await server.sql("SHOW DATABASES").split(separator: "\n").map(String.init)
            .filter { $0 != database && $0.hasPrefix(database + "__") }
    }

    func failing(_ failure: SourceFailure, in directory: String) throws -> [String: String]? {
        switch failure {
        case .down: ["MYSQL_HOST": directory + "/none.sock"]
        case .refused: ["MYSQL_PASSWORD": "NEVER-SHOW-ME"]
        case .empty: ["MYSQL_DB": "no_such_database"]
        case .toolMissing: ["MYSQL_BIN": directory]
        }
    }

    func faking(_ script: String, in directory: String) throws -> [String: String]? {
        let bin = try fake(
            "mariadb-dump", script, of: MariaDBServer.binaries, others: ["mariadb"], in: directory)
        return ["MYSQL_BIN": bin]
    }
}

/// A clinic on the shared MongoDB server, read and written by the stand-in for the two tools.
struct MongoSource: TestSource {
    let server: MongoServer
    let database: String

    private static let tools = repositoryRoot + "/Tests/MongoDBEngineTests/StandIn"

    static var part: RealPart {
        let python = repositoryRoot + "/.cache/python/mongo-tools/bin/python"
        return RealPart(
            "mongod and the tools' stand-in, fetched by scripts/mongod",
            isPresent: MongoServer.part.isPresent && access(python, X_OK) == 0)
    }

    static func make(_ size: EngineSite.Size) async throws -> MongoSource {
        let server = try await MongoServer.shared()
        let source = MongoSource(server: server, database: server.newDatabase("site"))
        for start in stride(from: 0, to: size == .large ? 20_000 : 200, by: 1000) {
            var random = SeededRandom(seed: UInt64(start) + 1)
            let documents = (start..<min(start + 1000, size == .large ? 20_000 : 200)).map { number in
                let body = (0..<12).map { _ in String(random.next(), radix: 36) }.joined()
                return #"{"_id":\#(number),"name":"patient \#(number)","body":"\#(body)"}"#
            }
            try await server.insert(documents, into: "patients", of: source.database)
        }
        try await server.run(
            #"{"createIndexes":"patients","indexes":[{"key":{"name":1},"name":"by_name"}]}"#, in: source.database)
        try await server.insert([#"{"_id":"a","fee":7}"#], into: "visits", of: source.database)
        return source
    }

    var exchangesInOneStep: Bool { false }

    var environment: [String: String] { ["MONGODB_URL": server.uri(database), "MONGODB_BIN": Self.tools] }

    func spoil(_ number: Int) async throws {
        try await server.run(
            #"{"update":"patients","updates":[{"q":{"_id":{"$lt":10}},"u":{"$set":{"name":"spoilt \#(number)"}},"#
                + #""multi":true}]}"#, in: database)
        try await server.run(#"{"delete":"visits","deletes":[{"q":{},"limit":0}]}"#, in: database)
    }

    /// The server's own digest of every collection.
    func fingerprint() async throws -> String {
        let answer = try await server.run(#"{"dbHash":1}"#, in: database)
        guard let start = answer.firstRange(of: "\"collections\"")?.lowerBound,
            let end = answer[start...].firstIndex(of: "}")
        else { throw TestFailure("no digests in \(answer)") }
        return String(answer[start...end])
    }

    func leftovers() async throws -> [String] {
        try await server.databaseNames().filter { $0 != database && $0.hasPrefix(database + "__") }
    }

    func failing(_ failure: SourceFailure, in directory: String) throws -> [String: String]? {
        switch failure {
        case .down: ["MONGODB_URL": "mongodb://127.0.0.1:1/\(database)"]
        case .refused:
            ["MONGODB_URL": "mongodb://nobody:NEVER-SHOW-ME@127.0.0.1:\(server.port)/\(database)?authSource=admin"]
        case .empty: ["MONGODB_URL": server.uri("no_such_database")]
        case .toolMissing: ["MONGODB_BIN": directory]
        }
    }

    func faking(_ script: String, in directory: String) throws -> [String: String]? {
        let bin = try fake("mongodump", script, of: Self.tools, others: ["mongorestore"], in: directory)
        return ["MONGODB_BIN": bin]
    }
}
