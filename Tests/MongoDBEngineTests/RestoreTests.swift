import Core
import Glibc
import MongoDBEngine
import TestSupport
import Testing

@Suite("Restores of MongoDB", .needs(MongoStandIn.part))
struct MongoRestoreTests {
    /// A restore brings back what the set holds, takes away what it does not, and leaves nothing beside.
    @Test(arguments: [false, true]) func replacesWhatStandsThere(onReplicaSet: Bool) async throws {
        let fixture = try await MongoFixture.make(replicaSet: onReplicaSet)
        let engine = try fixture.engine()
        let set = try await engine.take()
        try await fixture.spoil()
        let safety = try await engine.take()
        #expect(safety.contents != set.contents)
        let promotion = try await engine.restore(set.request("one"), safety: safety)
        #expect(promotion.replacedName == nil)
        #expect(try await engine.take().contents == set.contents)
        #expect(try await fixture.server.count("ward_three", of: fixture.database) == 43)
        #expect(try await fixture.server.count("pulse", of: fixture.database) == 40)
        #expect(try await fixture.stagingDatabases().isEmpty)
    }

    /// The same request again finds its restore done; another does it again.
    @Test func replays() async throws {
        let fixture = try await MongoFixture.make()
        let engine = try fixture.engine()
        let set = try await engine.take()
        try await engine.restore(set.request("one"), safety: set)
        let again = try await engine.plan(set.request("one"))
        #expect(again.summary.alreadyDone)
        let other = try await engine.plan(set.request("two"))
        #expect(!other.summary.alreadyDone)
        #expect(other.summary.replaces != nil)
    }

    /// Where there is no database of this name one is made, and its set's own name needs no permission.
    @Test func makesTheDatabase() async throws {
        let fixture = try await MongoFixture.make()
        let set = try await fixture.engine().take()
        let name = fixture.server.newDatabase("elsewhere")
        let engine = try fixture.engine(name)
        let refused = try await failure { _ = try await engine.plan(set.request("one")) }
        #expect(refused.exitCode == .restoreFailedOriginalIntact)
        #expect(refused.cause.contains("createDatabase"))
        try await engine.restore(set.request("one", create: true))
        #expect(try await fixture.server.count("patients", of: name) == 300)
        #expect(try await engine.take().contents.rows(in: "patients") == 300)
        try await fixture.server.run(#"{"dropDatabase":1}"#, in: fixture.database)
        try await fixture.engine().restore(set.request("two"))
        #expect(try await fixture.engine().take().contents == set.contents)
    }

    /// Writes after the safety backup end a restore before anything is replaced: seen in the oplog, and without one by
    /// comparing.
    @Test(arguments: [false, true]) func refusesWhatMoved(onReplicaSet: Bool) async throws {
        let fixture = try await MongoFixture.make(replicaSet: onReplicaSet)
        let engine = try fixture.engine()
        let set = try await engine.take()
        let safety = try await engine.take()
        try await fixture.patients(900..<901)
        let before = try await engine.take().contents
        let moved = try await failure { try await engine.restore(set.request("one"), safety: safety) }
        #expect(moved.exitCode == .restoreFailedOriginalIntact)
        #expect(moved.cause.contains("written to after the safety backup"))
        #expect(try await engine.take().contents == before)
        #expect(try await fixture.stagingDatabases().isEmpty)
    }

    /// A tool that fails in place is followed by the way back: the original is there again, exit code 16.
    @Test func rollsBack() async throws {
        try await withScratchDirectory { directory in
            let fixture = try await MongoFixture.make()
            let set = try await fixture.engine().take()
            try await fixture.spoil()
            let safety = try await fixture.engine().take()
            let tools = try MongoStandIn.make(
                in: directory, traps: ["fail-in-place"], marker: "SECRET-PATIENT", once: "\(directory)/sprung")
            let failed = try await failure {
                try await fixture.engine(tools: tools).restore(set.request("one"), safety: safety)
            }
            #expect(failed.exitCode == .restoreFailedRolledBack)
            #expect(!"\(failed) \(failed.hint)".contains("SECRET-PATIENT"))
            #expect(try await fixture.engine().take().contents == safety.contents)
            // Neither done nor cut short.
            #expect(try await !fixture.engine().plan(set.request("one")).summary.alreadyDone)
        }
    }

    /// A job that is ended while it replaces goes the way back all the same, and the tool is gone.
    @Test func rollsBackWhenEnded() async throws {
        try await withScratchDirectory { directory in
            let fixture = try await MongoFixture.make()
            let set = try await fixture.engine().take()
            try await fixture.spoil()
            let safety = try await fixture.engine().take()
            let sprung = "\(directory)/sprung"
            let tools = try MongoStandIn.make(in: directory, traps: ["wait-in-place"], once: sprung)
            let engine = try fixture.engine(tools: tools)
            let job = Task { try await engine.restore(set.request("one"), safety: safety) }
            while access(sprung, F_OK) != 0 { try await Task.sleep(for: .milliseconds(20)) }
            job.cancel()
            let failed = try await failure { _ = try await job.value }
            #expect(failed.exitCode == .restoreFailedRolledBack)
            #expect(try await fixture.engine().take().contents == safety.contents)
        }
    }

    /// Functions cannot be dropped with their collection: those that a set does not have are gone all the same.
    @Test func emptiesFunctions() async throws {
        let fixture = try await MongoFixture.make()
        let engine = try fixture.engine()
        try await fixture.server.run(
            #"{"delete":"system.js","deletes":[{"q":{},"limit":0}]}"#, in: fixture.database)
        let set = try await engine.take()
        #expect(!set.contents.data.contains { $0.name == "system.js" })
        try await fixture.server.insert([#"{"_id":"new","value":1}"#], into: "system.js", of: fixture.database)
        try await engine.restore(set.request("one"), safety: try await engine.take())
        #expect(try await fixture.server.count("system.js", of: fixture.database) == 0)
        #expect(try await engine.take().contents == set.contents)
    }

    /// Where the way back fails too, that is what is said: 17. A backup then refuses, and says which set holds what was
    /// there; the next restore finishes.
    @Test func saysWhenTheWayBackFails() async throws {
        try await withScratchDirectory { directory in
            let fixture = try await MongoFixture.make()
            let set = try await fixture.engine().take()
            try await fixture.spoil()
            let safety = try await fixture.engine().take()
            let tools = try MongoStandIn.make(in: directory, traps: ["fail-in-place-always"])
            let failed = try await failure {
                try await fixture.engine(tools: tools).restore(set.request("one"), safety: safety)
            }
            #expect(failed.exitCode == .rollbackFailed)
            #expect(failed.hint.contains(testKey.description))
            let backup = try await failure { _ = try await fixture.engine().take() }
            #expect(backup.exitCode == .source)
            #expect(backup.cause.contains("cut short"))
            #expect(backup.cause.contains(testKey.description))
            let forced = SnapshotRequest(previous: nil, isForced: true, meter: ProgressMeter())
            let half = try await fixture.engine().take(forced)
            #expect(half.facts.exceptions.contains { $0.contains("cut short") })
            let plan = try await fixture.engine().plan(set.request("one"))
            #expect(plan.summary.notes.contains { $0.contains("cut short") })
            try await fixture.engine().restore(set.request("one"), safety: half)
            #expect(try await fixture.engine().take().contents == set.contents)
        }
    }

    /// mongorestore exits 0 with documents that failed, or that it lost: nothing is replaced.
    @Test(arguments: ["lose-one", "no-summary"]) func believesNoExitStatus(trap: String) async throws {
        try await withScratchDirectory { directory in
            let fixture = try await MongoFixture.make()
            let set = try await fixture.engine().take()
            let tools = try MongoStandIn.make(in: directory, traps: [trap])
            let failed = try await failure {
                try await fixture.engine(tools: tools).restore(set.request("one"), safety: set)
            }
            #expect(failed.exitCode == .restoreFailedOriginalIntact)
            #expect(failed.cause.contains("ended as if all were well"))
            #expect(try await fixture.engine().take().contents == set.contents)
            #expect(try await fixture.stagingDatabases().isEmpty)
        }
    }

    /// A document that mongorestore loses without a word is found by comparing.
    @Test func findsWhatIsLost() async throws {
        try await withScratchDirectory { directory in
            let fixture = try await MongoFixture.make()
            let set = try await fixture.engine().take()
            let tools = try MongoStandIn.make(in: directory, traps: ["hide-one"])
            let staged = try await fixture.engine(tools: tools).plan(set.request("one")).stage()
            let comparison = ContentsComparison(recorded: set.contents, found: try await staged.inspect())
            #expect(comparison.failures.count == 1)
            try await staged.discard()
            #expect(try await fixture.stagingDatabases().isEmpty)
        }
    }

    /// A damaged archive never gets past the staging, wherever the damage is, and leaves nothing.
    @Test(arguments: [0.02, 0.5, 0.98]) func refusesDamage(at place: Double) async throws {
        let fixture = try await MongoFixture.make()
        let engine = try fixture.engine()
        var set = try await engine.take()
        let bytes = try #require(set.parts["mongodb.archive"])
        var flipped = bytes
        flipped[Int(Double(bytes.count) * place)] ^= 0x10
        for damaged in [flipped, Array(bytes.dropLast(20)), bytes + [0, 0, 0, 0]] {
            set.parts["mongodb.archive"] = damaged
            _ = try await failure { try await engine.restore(set.request("one"), safety: set) }
        }
        set.parts["mongodb.archive"] = bytes
        #expect(try await engine.take().contents == set.contents)
        #expect(try await fixture.stagingDatabases().isEmpty)
    }

    /// Documents that expire after they were restored are said to have, and are no difference.
    @Test func letsDocumentsExpire() async throws {
        let fixture = try await MongoFixture.make()
        let engine = try fixture.engine()
        let date = #"{"$date":{"$numberLong":"1000"}}"#
        try await fixture.server.run(#"{"setParameter":1,"ttlMonitorEnabled":false}"#)
        try await fixture.server.insert(
            [#"{"_id":1,"at":\#(date)}"#, #"{"_id":2}"#], into: "sessions", of: fixture.database)
        try await fixture.server.run(
            #"{"createIndexes":"sessions","indexes":[{"key":{"at":1},"name":"ttl","expireAfterSeconds":1}]}"#,
            in: fixture.database)
        let set = try await engine.take()
        let staged = try await engine.plan(set.request("one")).stage()
        let staging = try #require(try await fixture.stagingDatabases().first)
        try await fixture.server.run(
            #"{"delete":"sessions","deletes":[{"q":{"_id":1},"limit":1}]}"#, in: staging)
        #expect(try await staged.inspect() == set.contents)
        try await fixture.server.run(
            #"{"insert":"sessions","documents":[{"_id":3},{"_id":4}]}"#, in: staging)
        #expect(try await staged.inspect() != set.contents)
        try await staged.discard()
    }
}

extension MongoFixture {
    /// Changes of every kind that a restore has to undo.
    func spoil() async throws {
        try await patients(400..<410)
        try await server.run(
            #"{"update":"patients","updates":[{"q":{"_id":5},"u":{"$set":{"ward":99}}}]}"#, in: database)
        try await server.run(#"{"drop":"ward_three"}"#, in: database)
        try await server.run(#"{"drop":"log"}"#, in: database)
        try await server.run(#"{"create":"newcomer","viewOn":"patients","pipeline":[]}"#, in: database)
        try await server.insert([#"{"_id":1}"#], into: "stranger", of: database)
        try await server.run(#"{"dropIndexes":"patients","index":"some"}"#, in: database)
        try await server.insert(
            [#"{"at":{"$date":{"$numberLong":"1736999999000"}},"bed":1,"rate":20}"#], into: "pulse", of: database)
        try await server.run(
            #"{"update":"system.js","updates":[{"q":{},"u":{"$set":{"value":{"$code":"function() {}"}}}}]}"#,
            in: database)
    }

    func stagingDatabases() async throws -> [String] {
        try await server.databaseNames().filter { $0.hasPrefix("__lbs_\(database)_") }
    }
}

extension Contents {
    func rows(in name: String) -> Int64 { data.filter { $0.name == name }.reduce(0) { $0 + $1.rows } }
}
