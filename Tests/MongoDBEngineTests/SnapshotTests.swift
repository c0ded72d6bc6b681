import Core
import MongoDBEngine
import TestSupport
import Testing

@Suite("Snapshots of MongoDB", .needs(MongoStandIn.part))
struct MongoSnapshotTests {
    /// Every kind of collection is in the contents with what it holds; taken twice they are the same, and so they are
    /// read back.
    @Test func holdsEverything() async throws {
        let fixture = try await MongoFixture.make()
        let set = try await fixture.engine().take()
        let rows = Dictionary(uniqueKeysWithValues: set.contents.data.map { ($0.name, $0.rows) })
        #expect(rows["patients"] == 300)
        #expect(rows["empty"] == 0)
        #expect(rows["log"] == 50)
        #expect(rows["system.buckets.pulse"] == 3)
        #expect(rows["wörter &"] == 3)
        #expect(rows["system.js"] == 1)
        #expect(rows["ward_three"] == nil)
        #expect(set.contents.schema.contains { $0.type == "VIEW" && $0.name == "ward_three" })
        #expect(set.contents.schema.contains { $0.type == "TIMESERIES" && $0.name == "pulse" })
        #expect(set.contents.schema.filter { $0.type == "INDEX" && $0.name.hasPrefix("patients.") }.count == 4)
        #expect(set.facts.exceptions.contains { $0.contains("no oplog") })
        #expect(set.facts.details["database"] == fixture.database)
        let again = try await fixture.engine().take()
        #expect(again.contents == set.contents)
        let examined = try await fixture.engine().examine(set.examineRequest(recompute: true))
        #expect(examined.contents == set.contents)
        #expect(try await fixture.engine().examine(set.examineRequest(recompute: false)).contents == nil)
    }

    /// A changed value, an index with its fields the other way round and an option show in the contents.
    @Test func showsChanges() async throws {
        let fixture = try await MongoFixture.make()
        let before = try await fixture.engine().take().contents
        try await fixture.server.run(
            #"{"update":"patients","updates":[{"q":{"_id":1},"u":{"$set":{"ward":{"$numberLong":"1"}}}}]}"#,
            in: fixture.database)
        try await fixture.server.run(#"{"dropIndexes":"patients","index":"by_name"}"#, in: fixture.database)
        try await fixture.server.run(
            #"{"createIndexes":"patients","indexes":[{"key":{"ward":-1,"name":1},"name":"by_name","unique":true}]}"#,
            in: fixture.database)
        try await fixture.server.run(
            #"{"collMod":"wörter &","validationLevel":"moderate"}"#, in: fixture.database)
        let comparison = ContentsComparison(recorded: before, found: try await fixture.engine().take().contents)
        #expect(comparison.failures.count == 3)
        #expect(comparison.failures.contains { $0.contains("patients has other values") })
        #expect(comparison.failures.contains { $0.contains("patients.by_name is defined differently") })
        #expect(comparison.failures.contains { $0.contains("wörter & is defined differently") })
    }

    /// A structurally valid archive of half the data, which mongodump leaves after a signal, is no set, and neither is
    /// one of a tool that failed at its very end, was killed or stopped too early.
    @Test(arguments: ["die-late", "exit-1", "killed", "truncate"]) func believesNoArchive(trap: String) async throws {
        try await withScratchDirectory { directory in
            let fixture = try await MongoFixture.make()
            let tools = try MongoStandIn.make(in: directory, traps: [trap], marker: "SECRET-PATIENT")
            let failed = try await failure { _ = try await fixture.engine(tools: tools).take() }
            #expect(failed.exitCode == .source)
            #expect(!"\(failed) \(failed.hint)".contains("SECRET-PATIENT"))
            #expect(!failed.hint.isEmpty)
        }
    }

    /// A database that is not there dumps as a valid archive of nothing: it is looked for first.
    @Test func needsTheDatabase() async throws {
        let fixture = try await MongoFixture.make()
        let missing = try await failure { _ = try await fixture.engine("nobodys").take() }
        #expect(missing.exitCode == .source)
        #expect(missing.cause.contains("no database 'nobodys'"))
    }

    /// A missing program is named, with where it was looked for.
    @Test func needsTheTools() async throws {
        let fixture = try await MongoFixture.make()
        let missing = try await failure { _ = try await fixture.engine(tools: "/nonexistent").take() }
        #expect(missing.object == "mongodump")
        #expect(missing.hint.contains("MONGODB_BIN"))
    }

    /// A server that is down is found out in the time that is set, by our own session, and
    /// `serverSelectionTimeoutMS`, which the tools take for much longer, never reaches them.
    @Test func findsOutInTime() async throws {
        let fixture = try await MongoFixture.make()
        let down = try await failure {
            _ = try await MongoDatabase(
                try MongoEndpoint(uri: Secret("mongodb://clinician:SECRET-WORD@127.0.0.1:9/clinic")),
                tools: MongoToolSearch(directories: [MongoStandIn.directory]),
                timing: MongoDatabase.Timing(serverSelection: 1)
            ).take()
        }
        #expect(down.exitCode == .source)
        #expect(down.cause.contains("refused"))
        #expect(!"\(down) \(down.hint)".contains("SECRET-WORD"))
        let uri = fixture.server.uri(fixture.database) + "?serverSelectionTimeoutMS=2000"
        #expect(try await fixture.engine(uri: uri).take().contents.rows(in: "patients") == 300)
    }

    /// A tool that ignores the first SIGTERM, as one does that connects, is gone within seconds all the same.
    @Test func endsADeafTool() async throws {
        try await withScratchDirectory { directory in
            let fixture = try await MongoFixture.make()
            let tools = try MongoStandIn.make(in: directory, traps: ["slow-connect"])
            let snapshot = try await fixture.engine(tools: tools).picture()
            for try await part in snapshot.parts {
                let source = part.source
                let read = Task { try await onThread("read") { try source.next() } }
                let began = ContinuousClock.now
                await snapshot.cancel()
                await #expect(throws: (any Error).self) { _ = try await read.value }
                #expect(ContinuousClock.now - began < .seconds(8))
            }
        }
    }

    /// Neither the connection string nor its password stands in the arguments or the environment of a tool.
    @Test func keepsThePassword() async throws {
        try await withScratchDirectory { directory in
            let server = try await MongoServer.start(MongoServer.Options(password: "SECRET-WORD"))
            let fixture = MongoFixture(server: server, database: "clinic")
            try await fixture.patients(0..<3)
            try writeFile(
                "\(directory)/mongodump",
                """
                #!/bin/sh
                { echo "$@"; env; } >>'\(directory)/seen'
                exec '\(MongoStandIn.directory)/mongodump' "$@"

                """)
            _ = try runProgram("/bin/chmod", ["755", "\(directory)/mongodump"])
            #expect(try await fixture.engine(tools: directory).take().contents.rows(in: "patients") == 3)
            let seen = String(decoding: try contentsOfFile("\(directory)/seen"), as: UTF8.self)
            #expect(seen.contains("--archive"))
            #expect(!seen.contains("SECRET-WORD"))
            #expect(!seen.contains("mongodb://"))
            let wrong = try await failure {
                _ = try await fixture.engine(uri: server.uri("clinic", password: "WRONG-WORD")).take()
            }
            #expect(wrong.cause.contains("authentication failed"))
            #expect(!"\(wrong) \(wrong.hint)".contains("WRONG-WORD"))
            try await server.stop()
        }
    }

    /// On a replica set one database is dumped without the oplog: whether that was one instant is found out after it.
    @Test func saysWhetherItIsOfOneInstant() async throws {
        try await withScratchDirectory { directory in
            let fixture = try await MongoFixture.make(replicaSet: true)
            let still = try await fixture.engine().take()
            #expect(still.facts.exceptions.isEmpty)
            #expect(still.facts.details["oplog_position"] != nil)
            let tools = try MongoStandIn.make(in: directory, traps: ["write-first"])
            let moving = try await fixture.engine(tools: tools).take()
            #expect(moving.facts.exceptions.contains { $0.contains("different instants") })
        }
    }
}
