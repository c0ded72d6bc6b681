import AuditRecordsEngine
import Core
import MongoDBEngine
import MySQLEngine
import TestSupport
import Testing

/// The rules are those of every source; these show that a table's or collection's lines carry them.
@Suite("Audit records from MariaDB", .needs(.mariadb))
struct MariaDBTests {
    /// Sets go on where the last ended, and a rewritten and a deleted last record are named.
    @Test func storesATrail() async throws {
        let server = try await MariaDBServer.shared()
        let database = try await server.createDatabase("trail")
        try await server.sql(
            """
            CREATE TABLE audit (id BIGINT AUTO_INCREMENT PRIMARY KEY, amount DECIMAL(10,2), who VARCHAR(100));
            INSERT INTO audit (amount, who) SELECT seq / 4, '\(marker)' FROM seq_1_to_1000
            """, database: database)
        let endpoint = MySQLEndpoint(host: server.host, database: database, user: "root")
        let trail = Trail(MySQLRecords(endpoint, table: "audit", id: "id"), contiguous: true, opens: false)
        let first = try await trail.back()
        #expect(first.ids == "1-1000")
        #expect(try await trail.waits()?.details["waiting"] == .integer(0))
        try await server.sql("INSERT INTO audit (id, who) VALUES (1001, 'a'), (1002, 'b')", database: database)
        trail.hour()
        let second = try await trail.back()
        #expect(second.ids == "1001-1002")
        #expect(try await trail.engine.examine(second.request(after: first)).objection == nil)
        try await server.sql("UPDATE audit SET who = 'c' WHERE id = 1002", database: database)
        #expect(try await failure { try await trail.waits() }.kind == .rewritten)
        try await server.sql("DELETE FROM audit WHERE id = 1002", database: database)
        #expect(try await failure { try await trail.waits() }.kind == .gap)
    }
}

@Suite("Audit records from MongoDB", .needs(MongoServer.part))
struct MongoTests {
    private func trail(_ server: MongoServer, _ database: String) throws -> Trail {
        let endpoint = try MongoEndpoint(uri: Secret(server.uri(database)))
        return Trail(
            AuditRecordsSettings(
                source: .table(try MongoRecords(endpoint, collection: "audit")), idMember: "_id"))
    }

    /// ObjectIds and numbers alike.
    @Test(arguments: [true, false])
    func storesATrail(byNumber: Bool) async throws {
        let server = try await MongoServer.shared()
        let database = server.newDatabase("trail")
        let document = { (number: Int) in
            let id = byNumber ? "\(number)" : "{\"$oid\":\"65a0000000000000000000\(number + 10)\"}"
            return "{\"_id\":\(id),\"who\":\"\(marker)\"}"
        }
        try await server.insert((1...50).map(document), into: "audit", of: database)
        let trail = try trail(server, database)
        let first = try await trail.back()
        #expect(first.facts.details["records"] == "50")
        #expect(try await trail.waits()?.details["waiting"] == .integer(0))
        try await server.insert([document(51)], into: "audit", of: database)
        trail.hour()
        let second = try await trail.back()
        #expect(second.facts.details["afterId"] == first.facts.details["endId"])
        #expect(second.facts.details["records"] == "1")
        try await server.run(
            "{\"update\":\"audit\",\"updates\":[{\"q\":{},\"u\":{\"$set\":{\"who\":\"x\"}},\"multi\":true}]}",
            in: database)
        #expect(try await failure { try await trail.waits() }.kind == .rewritten)
    }
}
