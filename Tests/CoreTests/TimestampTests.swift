import Core
import TestSupport
import Testing

@Suite("Timestamps and keys")
struct TimestampTests {
    /// Shows known instants, counted from 1970, in both forms.
    @Test(arguments: [
        (0, "1970-01-01T00:00:00.000Z"), (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (1_709_164_800_000, "2024-02-29T00:00:00.000Z"), (1_736_924_400_000, "2025-01-15T07:00:00.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"), (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
    ])
    func knownInstants(milliseconds: Int64, text: String) {
        #expect(Timestamp(milliseconds: milliseconds).description == text)
        #expect(Timestamp(text)?.milliseconds == milliseconds)
    }

    /// Shows that every instant reads back as itself, over random ones of ten millennia, in both forms, and that the
    /// texts are ordered as the instants are.
    @Test(arguments: 1...UInt64(10))
    func roundTrip(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for _ in 0..<500 {
            let range = Int64(-62_167_219_200_000)...253_402_300_799_999
            let a = Timestamp(milliseconds: .random(in: range, using: &random))
            let b = Timestamp(milliseconds: .random(in: range, using: &random))
            #expect(Timestamp(a.description) == a && Timestamp(a.keyText) == a)
            #expect((a < b) == (a.description < b.description) && (a < b) == (a.keyText < b.keyText))
        }
    }

    /// Shows that the calendar has each day of 400 years once, with the leap days that the Gregorian rule gives.
    @Test func everyDay() throws {
        var time = try #require(Timestamp("1900-01-01T00:00:00Z"))
        var days = 0
        for year in 1900..<2300 {
            let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
            for (month, length) in [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].enumerated() {
                for day in 1...length {
                    let two = { (value: Int) in value < 10 ? "0\(value)" : "\(value)" }
                    #expect(time.day == "\(year)-\(two(month + 1))-\(two(day))")
                    time = time.adding(seconds: 86_400)
                    days += 1
                }
            }
        }
        #expect(days == 146_097)
    }

    /// Shows offsets, fractions and their truncation.
    @Test func forms() throws {
        let time = try #require(Timestamp("2025-01-15T07:00:00Z"))
        #expect(Timestamp("2025-01-15T09:00:00+02:00") == time)
        #expect(Timestamp("2025-01-14T21:30:00-09:30") == time)
        #expect(Timestamp("2025-01-15T07:00:00.1Z")?.milliseconds == time.milliseconds + 100)
        #expect(Timestamp("2025-01-15T07:00:00.123999999Z")?.milliseconds == time.milliseconds + 123)
    }

    /// Shows what is no time.
    @Test(arguments: [
        "", "2025", "2025-01-15", "2025-01-15T07:00:00", "2025-01-15 07:00:00Z", "2025-1-15T07:00:00Z",
        "2025-02-29T07:00:00Z", "1900-02-29T00:00:00Z", "2025-13-01T00:00:00Z", "2025-00-01T00:00:00Z",
        "2025-01-00T00:00:00Z", "2025-04-31T00:00:00Z", "2025-01-15T24:00:00Z", "2025-01-15T23:60:00Z",
        "2025-01-15T23:59:60Z", "2025-01-15T07:00:00.Z", "2025-01-15T07:00:00.1234567890Z", "2025-01-15T07:00:00+2",
        "2025-01-15T07:00:00+02", "2025-01-15T07:00:00+24:00", "2025-01-15T07:00:00Zx", "2025-01-15T07-00:00Z",
        "2025-01-15T07-00-00Z", "2025-01-15T07-00-00-000+02:00", "-025-01-15T07:00:00Z", "２０２５-01-15T07:00:00Z",
    ])
    func refused(text: String) { #expect(Timestamp(text) == nil) }

    /// Shows that a key reads exactly what it writes, for every tier.
    @Test func keys() throws {
        let time = try #require(Timestamp("2025-01-15T07:00:00Z"))
        for tier in Tier.allCases {
            let key = BackupKey(tier: tier, timestamp: time)
            #expect(BackupKey(key.description) == key)
        }
        #expect(
            BackupKey(tier: .daily, timestamp: time).description == "daily/backup-2025-01-15T07-00-00-000Z")
        #expect(
            BackupKey(tier: .safety, timestamp: time).description
                == "safety/safety-backup-2025-01-15T07-00-00-000Z")
    }

    /// Shows that any other spelling is no key, so that one set has one name.
    @Test(arguments: [
        "", "daily", "daily/", "/daily/backup-2025-01-15T07-00-00-000Z", "daily/backup-2025-01-15T07-00-00-000Z/",
        "daily/backup-2025-01-15T07-00-00-0Z", "daily/backup-2025-01-15T07:00:00.000Z",
        "daily/backup-2025-01-15T07:00:00Z", "daily/backup-2025-01-15T09:00:00.000+02:00",
        "daily/safety-backup-2025-01-15T07-00-00-000Z", "safety/backup-2025-01-15T07-00-00-000Z",
        "Daily/backup-2025-01-15T07-00-00-000Z", "daily//backup-2025-01-15T07-00-00-000Z",
        "daily/backup-2025-02-30T07-00-00-000Z", "nightly/backup-2025-01-15T07-00-00-000Z",
    ])
    func noKeys(text: String) { #expect(BackupKey(text) == nil) }
}
