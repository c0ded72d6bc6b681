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
        try await fixture.fill()
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
        let staging = try await fixture.server.databaseNames().filter { $0.hasPrefix("__lbs_") }
        for database in staging {
            // The server keeps its list of views, which nobody may drop; nothing is in it.
            #expect(try await fixture.server.collections(of: database) == ["system.views"])
            #expect(try await fixture.server.count("system.views", of: database) == 0)
        }
    }

    /// Who may only read can back up, and the set says what could not be seen; a restore names what is missing before
    /// anything is touched.
    @Test func readersMayBackUp() async throws {
        let (fixture, uri) = try await fixture(
            "readable", user: "reader", roles: #"{"role":"read","db":"readable"}"#)
        let engine = try fixture.engine(uri: uri)
        let set = try await engine.take()
        #expect(set.contents.rows(in: "patients") == 300)
        #expect(set.facts.exceptions.contains { $0.contains("cut short here cannot be seen") })
        let refused = try await failure { _ = try await engine.plan(set.request("one")) }
        #expect(refused.exitCode == .restoreFailedOriginalIntact)
    }
}
