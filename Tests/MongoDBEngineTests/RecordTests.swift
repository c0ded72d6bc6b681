import Core
import MongoDBEngine
import TestSupport
import Testing

@Suite("Records of MongoDB", .needs(MongoServer.part))
struct MongoRecordTests {
    private func trail(
        _ documents: [String], idField: String = "_id"
    ) async throws -> (MongoServer, String, MongoRecords) {
        let server = try await MongoServer.shared()
        let database = server.newDatabase("audit")
        if !documents.isEmpty { try await server.insert(documents, into: "trail", of: database) }
        let endpoint = try MongoEndpoint(uri: Secret(server.uri(database)))
        return (server, database, try MongoRecords(endpoint, collection: "trail", idField: idField))
    }

    private func lines(_ table: MongoRecords, after: RecordID?, through: RecordID) async throws -> [String] {
        let source = try await table.records(after: after, through: through)
        let bytes = try await onThread("read") { try source.collect(limit: 1 << 26) }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    /// Numbers of every type are one order; the ids that wait are counted, and each record is a line of canonical JSON.
    @Test func readsNumbers() async throws {
        let (_, _, table) = try await trail([
            #"{"_id":3,"b":{"$numberLong":"9007199254740993"},"a":{"$numberDouble":"1.5"}}"#,
            #"{"_id":{"$numberLong":"1"},"at":{"$date":{"$numberLong":"1000"}}}"#,
            #"{"_id":{"$numberDouble":"2.0"},"who":"Dr. \"No\"","list":[1,null,{"x":true}]}"#,
        ])
        #expect(try await table.waiting(after: nil) == WaitingRecords(count: 3, last: .number(3)))
        #expect(try await table.waiting(after: .number(1)) == WaitingRecords(count: 2, last: .number(3)))
        #expect(try await table.waiting(after: .number(3)) == WaitingRecords(count: 0, last: nil))
        #expect(
            try await lines(table, after: nil, through: .number(2)) == [
                #"{"_id":1,"at":{"$date":{"$numberLong":"1000"}}}"#,
                #"{"_id":2,"list":[1,null,{"x":true}],"who":"Dr. \"No\""}"#,
            ])
        #expect(
            try await lines(table, after: .number(2), through: .number(3)) == [
                #"{"_id":3,"a":{"$numberDouble":"1.5"},"b":{"$numberLong":"9007199254740993"}}"#
            ])
    }

    /// ObjectIds are texts of 24 digits, in their order.
    @Test func readsObjectIDs() async throws {
        let ids = ["65a000000000000000000001", "65a000000000000000000002"]
        let (_, _, table) = try await trail(ids.map { #"{"_id":{"$oid":"\#($0)"}}"# })
        #expect(try await table.waiting(after: .text(ids[0])) == WaitingRecords(count: 1, last: .text(ids[1])))
        #expect(
            try await lines(table, after: nil, through: .text(ids[1])) == ids.map { #"{"_id":"\#($0)"}"# })
    }

    /// Another field, and more records than one batch or one chunk.
    @Test func readsMany() async throws {
        let filler = String(repeating: "x", count: 700)
        let (_, _, table) = try await trail(
            (1...2500).map { #"{"n":\#($0),"text":"\#(filler)"}"# }, idField: "n")
        let read = try await lines(table, after: .number(100), through: .number(2400))
        #expect(read.count == 2300)
        #expect(read.first?.contains(#""n":101,"#) == true)
        #expect(read.last?.contains(#""n":2400,"#) == true)
    }

    /// An id of another kind would sort away from where it belongs, and one that is missing would never be read.
    @Test func refusesMixedIDs() async throws {
        let (server, database, table) = try await trail([#"{"_id":1}"#, #"{"_id":2}"#])
        try await server.insert([#"{"_id":"x"}"#], into: "trail", of: database)
        let mixed = try await failure { _ = try await table.waiting(after: .number(2)) }
        #expect(mixed.cause.contains("type") || mixed.cause.contains("of type"))
        let (_, _, other) = try await trail([#"{"_id":1}"#], idField: "serial")
        let none = try await failure { _ = try await other.waiting(after: nil) }
        #expect(none.cause.contains("'serial'"))
    }

    /// A collection that is not there, or empty, has nothing that waits.
    @Test func countsNothing() async throws {
        let (_, _, table) = try await trail([])
        #expect(try await table.waiting(after: .number(4)) == WaitingRecords(count: 0, last: nil))
        #expect(try await lines(table, after: nil, through: .number(9)).isEmpty)
    }
}
