import Core
import MongoDBEngine
import TestSupport
import Testing

/// Each on a replica set of its own: everything on it is dumped and replaced.
@Suite("Whole MongoDB deployments", .needs(MongoStandIn.part), .serialized)
struct MongoDeploymentTests {
    private func deployment() async throws -> MongoFixture {
        let server = try await MongoServer.start(MongoServer.Options(isReplicaSet: true))
        let fixture = MongoFixture(server: server, database: "clinic")
        try await fixture.fill()
        try await server.insert([#"{"_id":1,"left":5}"#], into: "stock", of: "pharmacy")
        return fixture
    }

    /// Everything of one instant, by the oplog: all databases come back, one that came later goes, and what was inserted,
    /// changed, deleted, dropped, indexed and done in a transaction during the dump is as it was at its end. The
    /// server's own databases are left alone.
    @Test func bringsBackEverything() async throws {
        try await withScratchDirectory { directory in
            let fixture = try await deployment()
            let tools = try MongoStandIn.make(in: directory, traps: ["write-first"])
            let set = try await fixture.engine(tools: tools, whole: true).take()
            #expect(set.facts.exceptions.isEmpty)
            #expect(set.facts.details["database"] == nil)
            #expect(Set(set.contents.data.map(\.schema)) == ["", "clinic", "pharmacy"])
            #expect(set.contents.rows(in: "oplog") >= 8)
            let truth = try await fixture.engine(whole: true).take().contents
            #expect(truth.rows(in: "patients") == 300)
            #expect(truth.rows(in: "written_meanwhile") == 2)
            try await fixture.spoil()
            try await fixture.server.run(#"{"dropDatabase":1}"#, in: "pharmacy")
            try await fixture.server.insert([#"{"_id":1}"#], into: "late", of: "latecomer")
            let engine = try fixture.engine(whole: true)
            let safety = try await engine.take()
            try await engine.restore(set.request("one"), safety: safety)
            let databases = try await fixture.server.databaseNames()
            #expect(databases == ["admin", "clinic", "config", "lifeboat", "local", "pharmacy"])
            #expect(try await fixture.server.count("stock", of: "pharmacy") == 1)
            let restored = try await engine.take().contents
            #expect(Self.withoutOplog(restored) == Self.withoutOplog(truth))
            #expect(try await engine.plan(set.request("one")).summary.alreadyDone)
            try await fixture.server.stop()
        }
    }

    private static func withoutOplog(_ contents: Contents) -> Contents {
        Contents(data: contents.data.filter { !$0.schema.isEmpty }, schema: contents.schema)
    }

    /// A set of everything does not go into one database, nor the other way round.
    @Test func refusesTheOtherKind() async throws {
        let fixture = try await deployment()
        let whole = try await fixture.engine(whole: true).take()
        let one = try await fixture.engine().take()
        let wide = try await failure { _ = try await fixture.engine().plan(whole.request("one")) }
        #expect(wide.cause.contains("whole deployment"))
        let narrow = try await failure { _ = try await fixture.engine(whole: true).plan(one.request("one")) }
        #expect(narrow.cause.contains("names none"))
        try await fixture.server.stop()
    }
}
