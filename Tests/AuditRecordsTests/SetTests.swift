import AuditRecordsEngine
import Core
import Glibc
import TestSupport
import Testing

@Suite("Sets of audit records")
struct SetTests {
    /// What was stored is proven from its own bytes, joined to the set before it, and told in the result.
    @Test func provesRecordsAndJoint() async throws {
        let table = MemoryTable(1...3)
        let trail = Trail(table)
        let first = try await trail.back()
        table.add(4...6)
        trail.hour()
        let second = try await trail.back()
        #expect(trail.engine.capabilities.readsBack)

        let alone = try await trail.engine.examine(first.examineRequest(recompute: true))
        #expect(alone.contents == first.contents && alone.objection == nil)
        #expect(member(alone, "joins") == .string("first"))

        let joined = try await trail.engine.examine(second.request(after: first))
        #expect(joined.contents == second.contents)
        #expect(member(joined, "joins") == .string("proven") && member(joined, "afterId") == .string("3"))
        #expect(member(joined, "count") == .integer(3))

        let removed = try await trail.engine.examine(second.request(after: nil))
        #expect(member(removed, "joins") == .string("removed") && removed.notes.count == 1)
    }

    private func member(_ examined: Examined, _ name: String) -> JSON? {
        guard case .object(let members)? = examined.details["trail"] else { return nil }
        return members[name]
    }

    /// A set that follows on another id than its predecessor ends with is no link of the chain.
    @Test func seesABrokenJoint() async throws {
        let table = MemoryTable(1...3)
        let trail = Trail(table)
        var first = try await trail.back()
        table.add(4...6)
        trail.hour()
        let second = try await trail.back()
        first.facts.details["endId"] = "2"
        let found = try await failure { try await trail.engine.examine(second.request(after: first)) }
        #expect(found.kind == .damaged && found.exitCode == .verificationFailed)
        #expect(found.cause.contains("ends with id 2") && found.cause.contains("follows on id 3"))
    }

    /// Records that are missing, changed or turned round in the set fail it; so does a manifest that says otherwise.
    @Test func seesDamage() async throws {
        let trail = Trail(MemoryTable(1...5))
        let set = try await trail.back()
        for (text, words) in [
            (lines(1...4), "it holds 4 records"), (lines(2...5), "it holds 4 records"),
            (record(2) + "\n" + lines(1...5), "stands after"), ("", "no record"), (marker + "\n", "not a JSON"),
        ] {
            var damaged = set
            damaged[text: "records.jsonl"] = text
            let found = try await failure { try await trail.engine.examine(damaged.examineRequest(recompute: false)) }
            #expect(found.kind == .damaged && found.exitCode == .verificationFailed && found.cause.contains(words))
        }
        var changed = set
        changed[text: "records.jsonl"] = lines(1...4) + record(5, "nobody") + "\n"
        let examined = try await trail.engine.examine(changed.examineRequest(recompute: true))
        let comparison = ContentsComparison(recorded: set.contents, found: try #require(examined.contents))
        #expect(!comparison.isEqual)
        var silent = set
        silent.facts.details["records"] = nil
        #expect(
            try await failure { try await trail.engine.examine(silent.examineRequest(recompute: false)) }.kind
                == .damaged)
    }

    /// The manifest has ids and counts, and nothing that a record says or could be guessed by quickly.
    @Test func saysOnlyIdsInClear() async throws {
        let set = try await Trail(MemoryTable(1...2)).back()
        #expect(Set(set.facts.details.keys) == ["startId", "endId", "idKind", "records", "lastRecord"])
        #expect(set.facts.details["lastRecord"]?.hasPrefix("scrypt$16$8$3$") == true)
        #expect(!"\(set.facts)".contains(marker) && set.facts.exceptions.isEmpty)
    }

    /// A restore makes a directory with the records, proven against the set; it replaces nothing, and the same request
    /// again finds it done.
    @Test func restoresIntoANewDirectory() async throws {
        try await withScratchDirectory { directory in
            let table = MemoryTable(1...5)
            let place = directory + "/restored"
            let set = try await Trail(table).back()
            let engine = Trail(AuditRecordsSettings(source: .table(table), restoreDirectory: place)).engine
            let plan = try await engine.plan(set.request("one"))
            #expect(plan.summary.replaces == nil && !plan.summary.alreadyDone)
            #expect(try await engine.restore(set.request("one")).replacedName == nil)
            #expect(try contentsOfFile(place + "/records.jsonl") == Array(lines(1...5).utf8))
            #expect(try await engine.plan(set.request("one")).summary.alreadyDone)
            let other = try await failure { try await engine.plan(set.request("two")) }
            #expect(other.kind == .refused && other.exitCode == .restoreFailedOriginalIntact)
        }
    }

    /// Without a directory to restore to, or with a set that is damaged, nothing is made.
    @Test func leavesNothingBehind() async throws {
        try await withScratchDirectory { directory in
            let table = MemoryTable(1...5)
            let set = try await Trail(table).back()
            #expect(try await failure { try await Trail(table).engine.plan(set.request("one")) }.kind == .refused)
            let engine = Trail(
                AuditRecordsSettings(source: .table(table), restoreDirectory: directory + "/restored")
            ).engine
            var damaged = set
            damaged[text: "records.jsonl"] = lines(1...4)
            await #expect(throws: TestFailure.self) { try await engine.restore(damaged.request("one")) }
            #expect(try runProgram("/bin/ls", ["-A", directory]).output.isEmpty)
        }
    }
}

extension TakenSet {
    /// Asks for an examination with `before` as what the chain has before this set.
    func request(after before: TakenSet?) -> ExamineRequest {
        var request = examineRequest(recompute: true, after: before?.manifest)
        request.manifest.previous = ChainLink(key: testKey, sha256: [])
        return request
    }
}
