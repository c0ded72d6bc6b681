import Core
import MongoDBEngine
import TestSupport
import Testing

@Suite("Snapshots of MongoDB", .needs(MongoStandIn.part))
struct MongoSnapshotTests {
    /// Every kind of collection is in the contents with what it holds; taken twice they are the same.
    @Test func holdsEverything() async throws {
        let fixture = try await MongoFixture.make()
        let set = try await fixture.engine().take()
        let rows = Dictionary(uniqueKeysWithValues: set.contents.data.map { ($0.name, $0.rows) })
        #expect(rows["patients"] == 300)
        #expect(rows["empty"] == 0)
        #expect(rows["log"] == 50)
        #expect(rows["system.buckets.pulse"] == 3)
        #expect(rows["wörter $#"] == 3)
        #expect(rows["system.js"] == 1)
        #expect(rows["ward_three"] == nil)
        #expect(set.contents.schema.contains { $0.type == "VIEW" && $0.name == "ward_three" })
        #expect(set.contents.schema.contains { $0.type == "TIMESERIES" && $0.name == "pulse" })
        #expect(set.contents.schema.filter { $0.type == "INDEX" && $0.name.hasPrefix("patients.") }.count == 4)
        #expect(set.facts.exceptions.contains { $0.contains("no oplog") })
        let again = try await fixture.engine().take()
        #expect(again.contents == set.contents)
        let examined = try await fixture.engine().examine(set.examineRequest(recompute: true))
        #expect(examined.contents == set.contents)
    }
}
