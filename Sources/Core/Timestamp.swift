/// An instant in UTC, to the millisecond: 0 is 1970-01-01T00:00:00.000Z.
package struct Timestamp: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var milliseconds: Int64

    package init(milliseconds: Int64) { self.milliseconds = milliseconds }

    package static func < (a: Timestamp, b: Timestamp) -> Bool { a.milliseconds < b.milliseconds }

    package func adding(seconds: Int64) -> Timestamp { Timestamp(milliseconds: milliseconds + seconds * 1000) }

    /// Seconds from `earlier` to this, negative where this is before it.
    package func seconds(since earlier: Timestamp) -> Double {
        Double(milliseconds - earlier.milliseconds) / 1000
    }

    /// `2025-01-15T07:00:00.000Z` (RFC 3339).
    package var description: String { format(timeSeparator: ":", fractionSeparator: ".") }

    /// `2025-01-15T07-00-00-000Z`: as it stands in the name of a backup set.
    package var keyText: String { format(timeSeparator: "-", fractionSeparator: "-") }

    /// `2025-01-15`.
    package var day: String { String(description.prefix(10)) }

    /// Reads RFC 3339 in UTC or with an offset, with up to nine digits of a second's fraction (truncated to
    /// milliseconds), and the form of a set's name. Anything else, and a day that no calendar has, is `nil`.
    package init?(_ text: String) {
        var reader = DigitReader(Array(text.utf8))
        guard let year = reader.digits(4), reader.skip("-"), let month = reader.digits(2), reader.skip("-"),
            let day = reader.digits(2), reader.skip("T"), let hour = reader.digits(2)
        else { return nil }
        let separator: Character = reader.peek == UInt8(ascii: "-") ? "-" : ":"
        guard reader.skip(separator), let minute = reader.digits(2), reader.skip(separator),
            let second = reader.digits(2)
        else { return nil }
        let isName = separator == "-"
        var fraction = 0
        if reader.skip(isName ? "-" : ".") {
            guard let read = reader.fraction() else { return nil }
            fraction = read
        } else if isName {
            return nil
        }
        guard let offset = isName ? (reader.skip("Z") ? 0 : nil) : reader.offset(), reader.isAtEnd,
            (1...12).contains(month), (1...Self.days(inMonth: month, of: year)).contains(day), hour < 24, minute < 60,
            second < 60
        else { return nil }
        let days = Self.days(year: year, month: month, day: day)
        let seconds = Int64(days) * 86400 + Int64(hour * 3600 + minute * 60 + second) - Int64(offset * 60)
        self.init(milliseconds: seconds * 1000 + Int64(fraction))
    }

    private func format(timeSeparator: String, fractionSeparator: String) -> String {
        let days = Int(milliseconds.flooredDivision(by: 86_400_000))
        let rest = Int(milliseconds - Int64(days) * 86_400_000)
        let date = Self.civil(days: days)
        let pad = { (value: Int, width: Int) in
            let text = String(value)
            return String(repeating: "0", count: max(0, width - text.count)) + text
        }
        return pad(date.year, 4) + "-" + pad(date.month, 2) + "-" + pad(date.day, 2) + "T"
            + pad(rest / 3_600_000, 2) + timeSeparator + pad(rest / 60_000 % 60, 2) + timeSeparator
            + pad(rest / 1000 % 60, 2) + fractionSeparator + pad(rest % 1000, 3) + "Z"
    }

    // Days and dates of the proleptic Gregorian calendar, counted in eras of 400 years that begin on 1 March, so
    // that the leap day is the last of its year.
    private static func days(year: Int, month: Int, day: Int) -> Int {
        let shifted = month <= 2 ? year - 1 : year
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    private static func civil(days: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * monthFromMarch + 2) / 5 + 1)
    }

    private static func days(inMonth month: Int, of year: Int) -> Int {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }
}

extension Int64 {
    fileprivate func flooredDivision(by divisor: Int64) -> Int64 {
        self / divisor - (self % divisor < 0 ? 1 : 0)
    }
}

/// Reads fixed-width numbers from the left.
private struct DigitReader {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: [UInt8]) { rest = bytes[...] }

    var isAtEnd: Bool { rest.isEmpty }
    var peek: UInt8? { rest.first }

    mutating func skip(_ character: Character) -> Bool {
        guard let byte = rest.first, byte == character.asciiValue else { return false }
        rest.removeFirst()
        return true
    }

    mutating func digits(_ count: Int) -> Int? {
        guard rest.count >= count else { return nil }
        var value = 0
        for byte in rest.prefix(count) {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
            value = value * 10 + Int(byte - UInt8(ascii: "0"))
        }
        rest.removeFirst(count)
        return value
    }

    /// Milliseconds from one to nine digits.
    mutating func fraction() -> Int? {
        var milliseconds = 0
        var count = 0
        while let digit = digits(1) {
            guard count < 9 else { return nil }
            if count < 3 { milliseconds = milliseconds * 10 + digit }
            count += 1
        }
        guard count > 0 else { return nil }
        for _ in count..<max(count, 3) { milliseconds *= 10 }
        return milliseconds
    }

    /// Minutes east of UTC: `Z`, `+02:00`.
    mutating func offset() -> Int? {
        if skip("Z") { return 0 }
        let sign = skip("+") ? 1 : (skip("-") ? -1 : 0)
        guard sign != 0, let hours = digits(2), skip(":"), let minutes = digits(2), hours < 24, minutes < 60
        else { return nil }
        return sign * (hours * 60 + minutes)
    }
}

/// Where the time comes from. The only one that reads the machine's clock stands in `lifeboat`.
package protocol WallClock: Sendable {
    func now() -> Timestamp
}

/// Where random bytes come from: `count` of them, fit for keys.
package typealias RandomBytes = @Sendable (_ count: Int) -> [UInt8]
