import Core
import Testing

/// What is decided about sets, without any store.
@Suite struct PlanTests {
    private func set(
        _ number: Int64, _ tier: Tier = .daily, day: Int64? = nil, days: Int64? = 90, needs: [BackupKey] = [],
        hold: String? = nil, standing: SetFacts.Standing? = nil
    ) -> SetFacts {
        let time = Archive.start.adding(seconds: (day ?? number) * 86_400)
        return SetFacts(
            key: BackupKey(tier: tier, timestamp: time), attempt: "a\(number)", sequence: number,
            sha256: [UInt8](repeating: UInt8(number), count: 32), previous: nil, snapshotTime: time,
            retainUntil: days.map { time.adding(seconds: $0 * 86_400) }, needs: needs, hold: hold,
            standing: standing)
    }

    private func plan(_ sets: [SetFacts], day: Int64) -> [PrunePlan.Reason] {
        let newest = sets.max { $0.sequence < $1.sequence }
        let heads = Set(newest.map { [$0.key] } ?? [])
        return PrunePlan(sets, heads: heads, now: Archive.start.adding(seconds: day * 86_400)).entries.map(\.reason)
    }

    private func isPast(_ reason: PrunePlan.Reason) -> Bool { if case .past = reason { true } else { false } }

    /// The retention ends at its very millisecond, and not one before.
    @Test func ends() throws {
        let sets = [set(1), set(2), set(99)]
        let end = try #require(sets[0].retainUntil)
        let heads: Set = [sets[2].key]
        let before = PrunePlan(sets, heads: heads, now: Timestamp(milliseconds: end.milliseconds - 1))
        #expect(before.deleted == [])
        #expect(PrunePlan(sets, heads: heads, now: end).deleted == [sets[0]])
    }

    @Test func reasons() {
        let sets = [
            set(1), set(2, hold: "case"), set(3, days: nil), set(4, .manual, days: nil), set(5, hold: "case"),
            set(100),
        ]
        #expect(
            plan(sets, day: 94) == [
                .past(Archive.start.adding(seconds: 91 * 86_400)), .held("case"), .forever, .forever,
                .until(Archive.start.adding(seconds: 95 * 86_400)),
                .until(Archive.start.adding(seconds: 190 * 86_400)),
            ])
    }

    /// With everything past: the newest of all, the newest read back, the newest restored, and the head stay.
    @Test func guards() {
        let sets = [
            set(1, standing: .init(depth: .restore, isBelieved: true)),
            set(2, standing: .init(depth: .restore, isBelieved: true)),
            set(3, standing: .init(depth: .integrity, isBelieved: true)), set(4), set(5, .safety, day: 3),
            set(6, day: 6),
            set(7, day: 5),
        ]
        let reasons = plan(sets, day: 1000)
        #expect(isPast(reasons[0]) && isPast(reasons[3]) && isPast(reasons[4]))
        #expect(reasons[1] == .guarded(.newestRestorable) && reasons[2] == .guarded(.newestIntact))
        #expect(reasons[5] == .guarded(.newest) && reasons[6] == .guarded(.head))
    }

    /// A proof that nobody could check keeps its set, and displaces none that was checked.
    @Test func claims() {
        let sets = [
            set(1, standing: .init(depth: .restore, isBelieved: true)),
            set(2, standing: .init(depth: .restore, isBelieved: false)),
            set(3, standing: .init(depth: .restore, isBelieved: false)), set(4),
        ]
        let reasons = plan(sets, day: 1000)
        #expect(reasons[0] == .guarded(.newestRestorable) && reasons[2] == .guarded(.newestClaimedRestorable))
        #expect(isPast(reasons[1]))
    }

    /// A proven safety set is no stand-in for a proven backup.
    @Test func safetyIsNoStandIn() {
        let sets = [
            set(1, standing: .init(depth: .restore, isBelieved: true)),
            set(2, .safety, standing: .init(depth: .restore, isBelieved: true)), set(3),
        ]
        let reasons = plan(sets, day: 1000)
        #expect(reasons[0] == .guarded(.newestRestorable) && reasons[1] == .guarded(.newestRestorable))
    }

    /// What a kept set needs is kept, and what that needs; what only sets that go need goes with them.
    @Test func needs() {
        let (a, b, c) = (set(1), set(2, needs: [set(1).key]), set(3, days: 1000, needs: [set(2).key]))
        let (d, e) = (set(4), set(5, needs: [set(4).key]))
        let reasons = plan([a, b, c, d, e, set(200)], day: 250)
        #expect(reasons[0] == .needed(by: b.key) && reasons[1] == .needed(by: c.key))
        #expect(isPast(reasons[3]) && isPast(reasons[4]))
        // Two that need each other neither go round for ever nor keep each other.
        let pair = [set(1, needs: [set(2).key]), set(2, needs: [set(1).key]), set(200)]
        #expect(plan(pair, day: 250).prefix(2).allSatisfy(isPast))
    }

    @Test func nothing() { #expect(PrunePlan([], heads: [], now: Archive.start).entries == []) }
}
