import Core
import MongoDBEngine
import TestSupport
import Testing

/// A database with something of everything, on the shared server or the shared replica set.
struct MongoFixture {
    let server: MongoServer
    let database: String
    /// Where the tools are.
    var tools = MongoStandIn.directory

    static func make(replicaSet: Bool = false) async throws -> MongoFixture {
        let server = replicaSet ? try await MongoServer.sharedReplica() : try await MongoServer.shared()
        let fixture = MongoFixture(server: server, database: server.newDatabase("clinic"))
        try await fixture.fill()
        return fixture
    }

    /// On a server of the test's own.
    init(server: MongoServer, database: String) {
        self.server = server
        self.database = database
    }

    func engine(
        _ database: String? = nil, tools: String? = nil, uri: String? = nil, whole: Bool = false
    ) throws -> MongoDatabase {
        let name = whole ? "" : database ?? self.database
        return MongoDatabase(
            try MongoEndpoint(uri: Secret(uri ?? server.uri(name))),
            tools: MongoToolSearch(directories: [tools ?? self.tools]),
            timing: MongoDatabase.Timing(serverSelection: 5, heartbeat: .milliseconds(100)))
    }

    func fill(functions: Bool = true) async throws {
        try await patients(0..<300)
        try await server.run(
            #"""
            {"createIndexes":"patients","indexes":[
              {"key":{"name":1,"ward":-1},"name":"by_name","unique":true},
              {"key":{"note":"text"},"name":"notes"},
              {"key":{"ward":1},"name":"some","partialFilterExpression":{"ward":{"$gt":2}},
               "collation":{"locale":"de","strength":2}}]}
            """#, in: database)
        try await server.run(#"{"create":"empty"}"#, in: database)
        try await server.run(#"{"create":"log","capped":true,"size":100000,"max":50}"#, in: database)
        try await server.insert((0..<60).map { #"{"_id":\#($0)}"# }, into: "log", of: database)
        try await server.run(
            #"{"create":"ward_three","viewOn":"patients","pipeline":[{"$match":{"ward":3}}]}"#, in: database)
        try await server.run(
            #"{"create":"pulse","timeseries":{"timeField":"at","metaField":"bed","granularity":"minutes"}}"#,
            in: database)
        try await server.insert(
            (0..<40).map {
                #"{"at":{"$date":{"$numberLong":"\#(1_736_924_400_000 + $0 * 1000)"}},"bed":\#($0 % 3),"rate":70}"#
            }, into: "pulse", of: database)
        try await server.run(
            #"{"create":"wörter &","collation":{"locale":"sv"},"validator":{"_id":{"$type":"string"}}}"#,
            in: database)
        try await server.insert([#"{"_id":"ä"}"#, #"{"_id":"ö"}"#], into: "wörter &", of: database)
        // Against the validator: it came before, or by a privileged hand.
        try await server.run(
            #"{"insert":"wörter &","documents":[{"_id":7}],"bypassDocumentValidation":true}"#, in: database)
        guard functions else { return }
        try await server.insert(
            [#"{"_id":"twice","value":{"$code":"function(x) { return 2 * x }"}}"#], into: "system.js", of: database)
    }

    func patients(_ numbers: Range<Int>) async throws {
        let documents = numbers.map {
            #"{"_id":\#($0),"name":"patient \#($0)","ward":\#($0 % 7),"note":"Grüße","weight":{"$numberDouble":"7.5"},"#
                + #""seen":{"$date":{"$numberLong":"1736924400000"}},"id":{"$numberDecimal":"1.10"}}"#
        }
        try await server.insert(documents, into: "patients", of: database)
    }
}

/// The failure that `body` throws.
func failure(_ body: () async throws -> Void) async throws -> any Failure {
    do {
        try await body()
    } catch let failure as any Failure {
        return failure
    }
    throw TestFailure("nothing was thrown")
}
