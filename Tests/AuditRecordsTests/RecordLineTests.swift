import Core
import TestSupport
import Testing

@testable import AuditRecordsEngine

@Suite("A record's line")
struct RecordLineTests {
    private func read(_ line: String, member: String = "id") -> Result<RecordID, RecordLine.Problem> {
        read(Array(line.utf8), member: member)
    }

    private func read(_ line: [UInt8], member: String = "id") -> Result<RecordID, RecordLine.Problem> {
        line.withUnsafeBytes { bytes in
            Result { () throws(RecordLine.Problem) in try RecordLine.id(in: bytes, member: Array(member.utf8)) }
        }
    }

    /// The id is found wherever it stands, among values of every kind, and only at the top.
    @Test(arguments: [
        (#"{"id":1}"#, RecordID.number(1)),
        (#" { "a" : { "id" : 5 } , "id" : -7 } "#, .number(-7)),
        (#"{"x":[1.5e-3,true,false,null,"\u00e9\"\\"],"id":9223372036854775807}"#, .number(.max)),
        (#"{"id":"0190c7a2","z":{}}"#, .text("0190c7a2")),
        (#"{"e":[],"name":"Zoë","id":0}"#, .number(0)),
    ])
    func finds(_ line: String, _ id: RecordID) {
        #expect(read(line) == .success(id))
    }

    /// What is no record is refused for what it is.
    @Test(arguments: [
        ("", RecordLine.Problem.notAnObject), ("[1]", .notAnObject), ("{}", .noID), (#"{"ID":1}"#, .noID),
        (#"{"id":1,"id":1}"#, .twoIDs), (#"{"id":null}"#, .unusableID), (#"{"id":1.0}"#, .unusableID),
        (#"{"id":""}"#, .unusableID), (#"{"id":{}}"#, .unusableID), (#"{"id":"a\u0062"}"#, .unusableID),
        (#"{"id":9223372036854775808}"#, .unusableID), (#"{"id":1}{"#, .notJSON(offset: 8)),
        (#"{"id":01}"#, .notJSON(offset: 8)), (#"{"id":1,}"#, .notJSON(offset: 8)),
        (#"{"id":1,"a":"\x"}"#, .notJSON(offset: 14)), (#"{"id":1,"a":1.}"#, .notJSON(offset: 14)),
        (#"{"id":1,"a":tru}"#, .notJSON(offset: 12)),
    ])
    func refuses(_ line: String, _ problem: RecordLine.Problem) {
        #expect(read(line) == .failure(problem))
    }

    /// Bytes that are no UTF-8 are refused, and nesting has an end.
    @Test func refusesOtherBytesAndDepth() {
        #expect(read(Array(#"{"id":1,"a":""#.utf8) + [0xC3, 0x28] + Array(#""}"#.utf8)) == .failure(.notText))
        let deep = #"{"id":1,"a":"# + String(repeating: "[", count: 100) + String(repeating: "]", count: 100) + "}"
        #expect(throws: RecordLine.Problem.self) { try read(deep).get() }
    }

    /// A torn line is never taken for a whole one: every beginning of a record is refused.
    @Test func refusesEveryBeginning() {
        let line = Array(#"{"who":"anna","n":[1,-2.5e+7,{"x":null}],"id":42,"ok":true}"#.utf8)
        for count in line.indices {
            #expect(throws: RecordLine.Problem.self) { try read(Array(line[..<count])).get() }
        }
        #expect(read(line) == .success(.number(42)))
    }
}

@Suite("A record's id")
struct RecordIDTests {
    /// Between an id and the one said to be before it there is no other of its kind.
    @Test func hasAPredecessor() {
        #expect(RecordID.number(7).predecessor == .number(6))
        #expect(RecordID.number(.min).predecessor == nil)
        #expect(RecordID.text("65a0").predecessor == .text("659f"))
        #expect(RecordID.text("65a").predecessor == .text("659"))
        #expect(RecordID.text("0000").predecessor == nil)
        #expect(RecordID.text("01a0-0c").predecessor == .text("01a0-0b"))
    }
}
