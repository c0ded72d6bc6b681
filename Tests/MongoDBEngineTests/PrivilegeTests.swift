import Core
import MongoDBEngine
import TestSupport
import Testing

/// On a server that asks who one is.
@Suite("Privileges in MongoDB", .needs(MongoStandIn.part))
struct MongoPrivilegeTests {
    private static let server = Task { try await MongoServer.start(MongoServer.Options(password: "root-word")) }

    private func fixture(_ database: String, user: String, roles: String) async throws -> (MongoFixture, String) {
        let server = try await Self.server.value
        let fixture = MongoFixture(server: server, database: database)
        try await fixture.fill(functions: false)
        try await server.run(#"{"createUser":"\#(user)","pwd":"word","roles":[\#(roles)]}"#)
        return (fixture, server.uri(database, user: user, password: "word"))
    }

    /// `backup` and `restore` are enough for all of it, rollback included; nothing of ours stays beside.
    @Test func rolesAreEnough() async throws {
        let (fixture, uri) = try await fixture("enough", user: "keeper", roles: #""backup","restore""#)
        let engine = try fixture.engine(uri: uri)
        let set = try await engine.take()
        try await fixture.spoil()
        let safety = try await engine.take()
        try await engine.restore(set.request("one"), safety: safety)
        #expect(try await engine.take().contents == set.contents)
        #expect(try await engine.plan(set.request("one")).summary.alreadyDone)
        try await withScratchDirectory { directory in
            let tools = try MongoStandIn.make(
                in: directory, traps: ["fail-in-place"], once: "\(directory)/sprung")
            let failed = try await failure {
                try await fixture.engine(tools: tools, uri: uri).restore(safety.request("two"), safety: set)
            }
            #expect(failed.exitCode == .restoreFailedRolledBack)
        }
        #expect(try await engine.take().contents == set.contents)
        let staging = try await fixture.server.databaseNames().filter { $0.hasPrefix("__lbs_enough_") }
        for database in staging {
            // The server keeps its list of views, which nobody may drop or read; no collection is in it.
            #expect(try await fixture.server.collections(of: database) == ["system.views"])
        }
    }

    /// Functions need one role more, and a restore says so before anything is touched.
    @Test func functionsNeedMore() async throws {
        let (fixture, uri) = try await fixture("functions", user: "plain", roles: #""backup","restore""#)
        try await fixture.server.insert(
            [#"{"_id":"twice","value":1}"#], into: "system.js", of: fixture.database)
        let engine = try fixture.engine(uri: uri)
        let set = try await engine.take()
        let refused = try await failure { _ = try await engine.plan(set.request("one")) }
        #expect(refused.exitCode == .restoreFailedOriginalIntact)
        #expect(refused.cause.contains("readWriteAnyDatabase"))
        try await fixture.server.run(
            #"{"grantRolesToUser":"plain","roles":["readWriteAnyDatabase"]}"#)
        try await engine.restore(set.request("one"), safety: set)
        #expect(try await engine.take().contents == set.contents)
    }

    /// Who may only read can back up, and the set says what could not be seen; a restore is refused before anything is
    /// touched.
    @Test func readersMayBackUp() async throws {
        let server = try await Self.server.value
        let fixture = MongoFixture(server: server, database: "readable")
        try await fixture.patients(0..<10)
        try await server.run(
            #"{"createUser":"reader","pwd":"word","roles":[{"role":"read","db":"readable"}]}"#)
        let engine = try fixture.engine(uri: server.uri("readable", user: "reader", password: "word"))
        let set = try await engine.take()
        #expect(set.contents.rows(in: "patients") == 10)
        #expect(set.facts.exceptions.contains { $0.contains("cut short here cannot be seen") })
        let refused = try await failure { _ = try await engine.plan(set.request("one")) }
        #expect(refused.exitCode == .restoreFailedOriginalIntact)
    }
}
