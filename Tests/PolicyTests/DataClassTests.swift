import Core
import Testing

/// The defaults of tiers and classes, and the longer of the two.
@Suite struct DataClassTests {
    @Test func defaultsOfClasses() {
        let table: [(DataClass, Tier, RetentionPeriod)] = [
            (.patientData, .daily, .days(2555)), (.medicalRecords, .hourly, .days(2555)),
            (.auditLogs, .daily, .days(365)), (.systemConfiguration, .weekly, .days(90)),
            (.blockchainData, .daily, .forever),
        ]
        #expect(table.map(\.0) == DataClass.allCases)
        for (dataClass, rhythm, period) in table {
            #expect(dataClass.rhythm == rhythm && dataClass.retention == period)
        }
        let names = DataClass.allCases.map(\.rawValue)
        #expect(
            names == ["patient-data", "medical-records", "audit-logs", "system-configuration", "blockchain-data"])
    }

    @Test func defaultsOfTiers() {
        let days: [Tier: RetentionPeriod] = [
            .hourly: .days(7), .daily: .days(90), .weekly: .days(365), .monthly: .days(1095), .annual: .days(2555),
            .safety: .days(30), .manual: .forever,
        ]
        for tier in Tier.allCases { #expect(RetentionPolicy().period(of: tier) == days[tier]) }
    }

    /// Whichever asks for more has it, also where both are configured; for ever is longest.
    @Test func longerOfTheTwo() {
        let configuration = RetentionPolicy(dataClass: .systemConfiguration)
        #expect(configuration.period(of: .hourly) == .days(90))
        #expect(configuration.period(of: .weekly) == .days(365))
        #expect(configuration.period(of: .safety) == .days(90))
        #expect(configuration.period(of: .manual) == .forever)
        #expect(RetentionPolicy(dataClass: .blockchainData).period(of: .hourly) == .forever)
        let own = RetentionPolicy(
            tiers: [.daily: .days(400), .manual: .days(10)], dataClass: .auditLogs, classes: [.auditLogs: .days(20)])
        #expect(own.period(of: .daily) == .days(400) && own.period(of: .hourly) == .days(20))
        #expect(own.period(of: .manual) == .days(20))
    }

    /// What the kind of source asks for is the least, whatever tier and class say; longer ones of theirs stay.
    @Test func leastOfTheSource() {
        let trail = RetentionPolicy(dataClass: .auditLogs, ofSource: AuditStages.legalTerm)
        #expect(trail.period(of: .hourly) == .days(2555) && trail.period(of: .manual) == .forever)
        let short = RetentionPolicy(
            tiers: [.hourly: .days(1), .daily: .days(40)], dataClass: .auditLogs, classes: [.auditLogs: .days(20)],
            ofSource: .days(30))
        #expect(short.period(of: .hourly) == .days(30) && short.period(of: .daily) == .days(40))
    }

    @Test(arguments: [("1", RetentionPeriod.days(1)), ("36500", .days(36_500)), ("forever", .forever)])
    func readable(_ text: String, _ period: RetentionPeriod) {
        #expect(RetentionPeriod(text) == period && period.description == text)
    }

    @Test(arguments: ["", "0", "-1", "36501", "7d", "01", " 7", "7.5", "Forever", "9999999999999999999999"])
    func refused(_ text: String) { #expect(RetentionPeriod(text) == nil) }
}
