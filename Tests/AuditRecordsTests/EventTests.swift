import AuditRecordsEngine
import Core
import TestSupport
import Testing

@Suite("Audit records from the event")
struct EventTests {
    private func entry(_ id: Int64) -> JSON { .object(["id": .integer(id), "who": .string(marker)]) }

    private func trail(contiguous: Bool = false) -> Trail {
        Trail(AuditRecordsSettings(source: .event, idsAreContiguous: contiguous))
    }

    /// Each event is a set, stored at once; they join.
    @Test func storesEachEvent() async throws {
        let trail = trail()
        #expect(try await trail.back(up: [entry(1), entry(2)]).ids == "1-2")
        let second = try await trail.back(up: [entry(3)])
        #expect(second.ids == "3-3" && second.facts.details["afterId"] == "2")
        #expect(second.records == "{\"id\":3,\"who\":\"\(marker)\"}\n")
    }

    /// A record that was stored already is an overlap, whatever it says; one that is missing a gap where ids are
    /// contiguous.
    @Test func refusesWhatDoesNotJoin() async throws {
        let trail = trail(contiguous: true)
        try await trail.back(up: [entry(1), entry(2)])
        let again = try await failure { try await trail.back(up: [entry(2)]) }
        #expect(again.kind == .overlap && again.cause.contains("id 2"))
        let gap = try await failure { try await trail.back(up: [entry(5)]) }
        #expect(gap.kind == .gap && gap.cause == "ids 3 to 4 are missing")
        let turned = try await failure { try await trail.back(up: [entry(4), entry(3)]) }
        #expect(turned.exitCode == .source)
    }

    /// An event without records, and records without an id, are refused by their place before anything is stored.
    @Test func refusesWhatHasNoID() async throws {
        #expect(try await failure { try await trail().back() }.exitCode == .eventRefused)
        let found = try await failure {
            try await trail().back(up: [entry(1), .object(["who": .string(marker)])])
        }
        #expect(found.exitCode == .eventRefused && found.cause == "records[1]: it has no id")
        #expect(try await failure { try await trail().back(up: [.string(marker)]) }.kind == .event)
    }
}
