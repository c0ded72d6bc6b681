import Core
import Operations
import Sets
import TestSupport
import Testing

/// Ten simulated years of every tier, of each class, with holds, proofs, failures and sets that need others, pruned
/// again and again and compared each time with a model that shares no code with what it checks.
@Suite struct DecadeTests {
    struct Course: Sendable, CustomTestStringConvertible {
        var dataClass: DataClass?
        var years: Int
        /// Hours between two sets of a tier.
        var rhythm: [(tier: Tier, hours: Int)]
        /// Days between two prunes.
        var interval: Int
        var hasSecond: Bool

        var testDescription: String { "\(dataClass.map { $0.rawValue } ?? "no class"), \(years) years" }
    }

    /// Every tier over the whole time, but seldom.
    private static let sparse: [(tier: Tier, hours: Int)] = [
        (.hourly, 293), (.daily, 353), (.weekly, 336), (.monthly, 730), (.annual, 8760), (.safety, 997),
        (.manual, 9001),
    ]
    /// As a clinic runs them.
    private static let full: [(tier: Tier, hours: Int)] = [
        (.hourly, 1), (.daily, 24), (.weekly, 168), (.monthly, 730), (.annual, 8760), (.safety, 997), (.manual, 9001),
    ]

    private static let quick: [Course] = [nil, .auditLogs, .systemConfiguration].map {
        Course(dataClass: $0, years: 10, rhythm: sparse, interval: 91, hasSecond: $0 == nil)
    }
    private static let whole: [Course] = ([nil] + DataClass.allCases).map {
        Course(dataClass: $0, years: 10, rhythm: full, interval: $0 == nil ? 7 : 91, hasSecond: false)
    }

    @Test("a decade is pruned as the model has it", arguments: quick)
    func decade(_ course: Course) async throws { try await run(course) }

    @Test("87,600 hourly sets and all others, each class", .enabled(if: runsSoak), arguments: whole)
    func wholeDecade(_ course: Course) async throws { try await run(course) }

    private func run(_ course: Course) async throws {
        let archive = try await Archive(seed: 7, hasSecond: course.hasSecond, hasIdentity: course.hasSecond)
        var model = Model(dataClass: course.dataClass)
        var random = SeededRandom(seed: 11)
        var newestOf: [Tier: BackupKey] = [:]
        var prunes = 0
        var deleted = 0
        for hour in 0..<(course.years * 8760) {
            for (tier, hours) in course.rhythm where hour % hours == 0 {
                // A store cannot have two sets of one tier and time, two tiers it can.
                var needs: [BackupKey] = []
                if let before = newestOf[tier], model.isAlive(before), random.next() % 9 == 0 { needs = [before] }
                let key = try await archive.add(
                    tier, day: Double(hour) / 24, policy: RetentionPolicy(dataClass: course.dataClass),
                    in: course.hasSecond ? .both : .first, needs: needs)
                model.add(key, tier, hour: hour, needs: needs)
                newestOf[tier] = key
            }
            if hour % 241 == 0 { try await live(archive, &model, &random) }
            guard hour % (course.interval * 24) == 13 else { continue }
            archive.go(toDay: Double(hour) / 24)
            let result = try await archive.prune()
            prunes += 1
            deleted += result.keys("deleted").count
            let expected = model.prune(hour: hour)
            let found = Set(archive.sets(archive.firstMemory))
            #expect(found == expected, "after \(hour) hours")
            guard found == expected else { return }
            if course.hasSecond { #expect(Set(archive.sets(archive.secondMemory)) == expected) }
            #expect(result.keys("vanished") == [])
        }
        #expect(prunes > course.years * 3)
        if course.dataClass != .blockchainData { #expect(deleted > 500) }
    }

    /// What happens to sets: proofs, found damage, holds and their release.
    private func live(
        _ archive: Archive, _ model: inout Model, _ random: inout SeededRandom
    ) async throws {
        guard let any = model.some(&random), let recent = model.recent(&random) else { return }
        switch random.next() % 12 {
        case 0, 1, 2, 3: try await proven(recent, .integrity, archive, &model)
        case 4: try await proven(recent, .restore, archive, &model)
        case 5:
            try await archive.prove(any, .integrity, .failed)
            model.change(any) { ($0.isIntact, $0.isRestored) = (false, false) }
        case 6, 7:
            try await archive.change(.hold, .exact(any))
            model.change(any) { $0.isHeld = true }
        case 8, 9, 10:
            guard let held = model.held(&random) else { return }
            try await archive.change(.release, .exact(held))
            model.change(held) { $0.isHeld = false }
        default: break
        }
    }

    private func proven(
        _ key: BackupKey, _ depth: ProofDepth, _ archive: Archive, _ model: inout Model
    ) async throws {
        try await archive.prove(key, depth)
        model.change(key) {
            $0.isIntact = true
            if depth == .restore { $0.isRestored = true }
        }
    }
}

/// A plain table of sets, in hours and days, and the rules as they are written down for people.
private struct Model {
    struct Row {
        var key: BackupKey
        var isSafety: Bool
        var hour: Int
        /// `nil` for ever.
        var days: Int?
        var needs: [BackupKey]
        var isHeld = false
        var isIntact = false
        var isRestored = false
    }

    private static let never = Int.max
    private static let tierDays: [Tier: Int] = [
        .hourly: 7, .daily: 90, .weekly: 365, .monthly: 3 * 365, .annual: 7 * 365, .safety: 30, .manual: never,
    ]
    private static let classDays: [DataClass: Int] = [
        .patientData: 7 * 365, .medicalRecords: 7 * 365, .auditLogs: 365, .systemConfiguration: 90,
        .blockchainData: never,
    ]

    let dataClass: DataClass?
    /// Alive, in the order in which they were made.
    private var rows: [Row] = []
    private var alive: Set<BackupKey> = []

    init(dataClass: DataClass?) { self.dataClass = dataClass }

    mutating func add(_ key: BackupKey, _ tier: Tier, hour: Int, needs: [BackupKey]) {
        var days = Self.tierDays[tier] ?? 0
        if let dataClass, let other = Self.classDays[dataClass], other > days { days = other }
        alive.insert(key)
        rows.append(
            Row(key: key, isSafety: tier == .safety, hour: hour, days: days == Self.never ? nil : days, needs: needs))
    }

    func isAlive(_ key: BackupKey) -> Bool { alive.contains(key) }

    mutating func change(_ key: BackupKey, _ body: (inout Row) -> Void) {
        for index in rows.indices where rows[index].key == key { body(&rows[index]) }
    }

    func some(_ random: inout SeededRandom) -> BackupKey? { rows.randomElement(using: &random)?.key }
    func recent(_ random: inout SeededRandom) -> BackupKey? { rows.suffix(40).randomElement(using: &random)?.key }
    func held(_ random: inout SeededRandom) -> BackupKey? {
        rows.filter(\.isHeld).randomElement(using: &random)?.key
    }

    /// Takes away what may go and returns what is left. Sets of one hour are as old as each other, and the later made
    /// one is the newer.
    mutating func prune(hour: Int) -> Set<BackupKey> {
        let standIns = standIns
        var keeps: [Bool] = []
        for (index, row) in rows.enumerated() {
            let isOver = row.days.map { row.hour + $0 * 24 <= hour } ?? false
            keeps.append(!isOver || row.isHeld || standIns.contains(index))
        }
        var changed = true
        while changed {
            changed = false
            let going = rows.indices.filter { !keeps[$0] }
            for (index, row) in rows.enumerated() where keeps[index] && !row.needs.isEmpty {
                for other in going where row.needs.contains(rows[other].key) && !keeps[other] {
                    keeps[other] = true
                    changed = true
                }
            }
        }
        rows = rows.enumerated().filter { keeps[$0.offset] }.map(\.element)
        alive = Set(rows.map(\.key))
        return alive
    }

    /// Where the last sets stand: made, intact, restored; of all, and of those that are no safety sets.
    private var standIns: Set<Int> {
        let last: [Int?] = [
            rows.indices.last, rows.lastIndex { !$0.isSafety }, rows.lastIndex(where: \.isIntact),
            rows.lastIndex { $0.isIntact && !$0.isSafety }, rows.lastIndex(where: \.isRestored),
            rows.lastIndex { $0.isRestored && !$0.isSafety },
        ]
        return Set(last.compactMap { $0 })
    }
}
