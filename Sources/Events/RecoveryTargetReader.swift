import Core

/// Reads an event's `recoveryTarget`: `"latest"`, or an object with the one point that is meant.
struct RecoveryTargetReader {
    static let forms =
        "\"latest\", or one of {\"time\":\"2025-01-15T14:59:00Z\"}, {\"xid\":4711}, {\"lsn\":\"16/B374D848\"}, "
        + "{\"name\":\"before-migration\"} and {\"latest\":true}, with inclusive and timeline where they are needed"
    private static let points = ["time", "xid", "lsn", "name", "latest"]
    private static let members = points + ["inclusive", "timeline"]
    /// Bytes of a restore point's name (PostgreSQL documentation, `pg_create_restore_point`).
    private static let longestName = 63
    /// Ids below it are the server's own (PostgreSQL source, `access/transam.h`).
    private static let firstTransaction: UInt64 = 3
    /// 2000-01-01T00:00:00Z.
    private static let earliest: Int64 = 946_684_800_000_000

    let origin: String
    let now: Timestamp

    func read(_ json: JSON) throws(EventError) -> RecoveryTarget {
        let object: [String: JSON]
        switch json {
        case .string("latest"): return RecoveryTarget(.latest)
        case .string: throw error("", "it is a text other than latest", hint: "write \(Self.forms)")
        case .object(let members): object = members
        default: throw error("", "it is of the wrong type", hint: "write \(Self.forms)")
        }
        try refuseUnknown(object)
        let named = Self.points.filter { object[$0] != nil }
        guard let point = named.first, named.count == 1, let value = object[point] else {
            throw error(
                "", named.isEmpty ? "it names no point" : "it names \(choices(named, joinedBy: "and")) at once",
                hint: "write \(Self.forms)")
        }
        return RecoveryTarget(
            try self.point(point, value), isInclusive: try isInclusive(object["inclusive"], of: point),
            timeline: try object["timeline"].map(timeline))
    }

    private func refuseUnknown(_ object: [String: JSON]) throws(EventError) {
        for name in object.keys.sorted() where !Self.members.contains(name) {
            let near = nearest(to: name, in: Self.members).map { "did you mean '\($0)'? " } ?? ""
            throw error(shown(name), "it is no member of a recoveryTarget", hint: "\(near)write \(Self.forms)")
        }
    }

    private func point(_ name: String, _ value: JSON) throws(EventError) -> RecoveryTarget.Point {
        switch name {
        case "time": return try time(value)
        case "xid": return try transaction(value)
        case "lsn": return try lsn(value)
        case "name": return try restorePoint(value)
        default:
            guard value == .bool(true) else {
                throw error("latest", "it is not true", hint: "write true, or name another point")
            }
            return .latest
        }
    }

    private func time(_ value: JSON) throws(EventError) -> RecoveryTarget.Point {
        let hint =
            "a time with its zone, to the microsecond, like 2025-01-15T14:59:00Z, 2025-01-15T15:59:00.25+01:00 or "
            + "2025-01-15 15:59:00+01"
        guard case .string(let text) = value else {
            throw error("time", "it is of the wrong type", hint: hint)
        }
        guard let time = RecoveryTime(text) else {
            guard let inUTC = RecoveryTime(text + "Z"), let further = RecoveryTime(text + "+02:00") else {
                throw error("time", "it is not a time that exists, or its zone is no offset from UTC", hint: hint)
            }
            throw error(
                "time", "it has no time zone; read as UTC it would be \(inUTC)",
                hint: "write \(inUTC) if that is meant; two hours east of it, for example, +02:00 behind the same "
                    + "digits, would be \(further)")
        }
        guard time.microseconds >= Self.earliest else {
            throw error("time", "it lies before the year 2000", hint: hint)
        }
        guard time.microseconds <= now.milliseconds * 1000 + 999 else {
            throw error(
                "time", "it lies in the future",
                hint: "by this machine's clock it is \(now); \"latest\" goes to the end of what is stored")
        }
        return .time(microseconds: time.microseconds)
    }

    private func transaction(_ value: JSON) throws(EventError) -> RecoveryTarget.Point {
        var id: UInt64?
        switch value {
        case .integer(let number): id = UInt64(exactly: number)
        case .string(let text) where !text.isEmpty && text.utf8.allSatisfy(Self.isDigit): id = UInt64(text)
        default: break
        }
        guard let id, id >= Self.firstTransaction else {
            throw error(
                "xid", "it is no transaction's id",
                hint: "a whole number from \(Self.firstTransaction), as pg_current_xact_id() gives it; one above "
                    + "\(JSON.largestInteger) in quotes")
        }
        return .transaction(id)
    }

    private func lsn(_ value: JSON) throws(EventError) -> RecoveryTarget.Point {
        guard case .string(let text) = value, let lsn = LSN(text), lsn.value > 0 else {
            throw error(
                "lsn", "it is no place in the log", hint: "as pg_current_wal_lsn() gives it, like \"16/B374D848\"")
        }
        return .lsn(lsn)
    }

    private func restorePoint(_ value: JSON) throws(EventError) -> RecoveryTarget.Point {
        guard case .string(let text) = value, (1...Self.longestName).contains(text.utf8.count),
            !hasControlCharacter(text)
        else {
            throw error(
                "name", "no restore point can have that name",
                hint:
                    "what pg_create_restore_point() was given: 1 to \(Self.longestName) bytes, no control characters")
        }
        return .name(text)
    }

    private func isInclusive(_ value: JSON?, of point: String) throws(EventError) -> Bool {
        guard let value else { return true }
        guard point != "name", point != "latest" else {
            throw error(
                "inclusive", "it means nothing to \(point)", hint: "leave it out; it belongs to time, xid and lsn")
        }
        guard case .bool(let isInclusive) = value else {
            throw error("inclusive", "it is of the wrong type", hint: "true or false, without quotes")
        }
        return isInclusive
    }

    private func timeline(_ value: JSON) throws(EventError) -> UInt32 {
        guard case .integer(let number) = value, let timeline = UInt32(exactly: number), timeline > 0 else {
            throw error(
                "timeline", "it is no timeline's number",
                hint: "a whole number from 1 to \(UInt32.max); without it the newest is followed")
        }
        return timeline
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    private func error(_ member: String, _ cause: String, hint: String) -> EventError {
        let field = EventField.recoveryTarget.name
        return EventError(member.isEmpty ? field : "\(field).\(member)", cause, hint: hint, origin: origin)
    }
}

/// A time with its zone as people and PostgreSQL write it: as RFC 3339, or with a blank for its `T` and an offset of
/// hours alone.
struct RecoveryTime: CustomStringConvertible {
    /// Since 1970-01-01T00:00:00Z.
    let microseconds: Int64

    /// Characters of `2025-01-15T14:59:00`.
    private static let length = 19

    /// `nil` for a time without a zone, for one that no calendar or clock has, and for what is none. What is finer than
    /// a microsecond is cut off.
    init?(_ text: String) {
        var bytes = Array(text.utf8)
        guard bytes.count > Self.length, bytes.count <= 40 else { return nil }
        if bytes[10] == UInt8(ascii: " ") { bytes[10] = UInt8(ascii: "T") }
        var rest = bytes[Self.length...]
        var fraction: Int64 = 0
        if rest.first == UInt8(ascii: ".") {
            let digits = rest.dropFirst().prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
            guard (1...9).contains(digits.count) else { return nil }
            let six = digits.prefix(6) + Array(repeating: UInt8(ascii: "0"), count: max(0, 6 - digits.count))
            fraction = six.reduce(0) { $0 * 10 + Int64($1 - UInt8(ascii: "0")) }
            rest = rest.dropFirst(1 + digits.count)
        }
        var zone = String(decoding: rest, as: UTF8.self)
        if zone.utf8.count == 3 { zone += ":00" }
        let whole = String(decoding: bytes[..<Self.length], as: UTF8.self)
        // The form with dashes between hours and minutes is that of a set's name, which has no fraction here.
        guard whole.contains(":"), let time = Timestamp(whole + zone) else { return nil }
        microseconds = time.milliseconds * 1000 + fraction
    }

    /// In UTC, as RFC 3339 has it.
    var description: String {
        let fraction = (microseconds % 1_000_000 + 1_000_000) % 1_000_000
        let second = Timestamp(milliseconds: (microseconds - fraction) / 1000).description.prefix(Self.length)
        guard fraction > 0 else { return second + "Z" }
        var digits = String(fraction)
        digits = String(repeating: "0", count: 6 - digits.count) + digits
        while digits.last == "0" { digits.removeLast() }
        return second + ".\(digits)Z"
    }
}
