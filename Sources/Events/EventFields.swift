import Core

/// The members of an event, each known and of its type. What they mean together is ``EventReader``'s business.
struct EventFields {
    let origin: String
    private let members: [EventField: JSON]

    /// Bytes a single field may have.
    private static let longestText = 1024

    init(_ json: JSON, origin: String) throws(EventError) {
        guard case .object(let object) = json else {
            throw EventError(
                "event", "it is not an object", hint: "write {\"backupType\":\"daily\"} or the like", origin: origin)
        }
        self.origin = origin
        var members: [EventField: JSON] = [:]
        for (name, value) in object.sorted(by: { $0.key < $1.key }) {
            guard let field = EventField(rawValue: name) else {
                throw Self.unknown(name, origin: origin)
            }
            members[field] = try Self.checked(value, as: field, origin: origin)
        }
        self.members = members
    }

    var isEmpty: Bool { members.isEmpty }
    var present: [EventField] { EventField.allCases.filter { members[$0] != nil } }

    func has(_ field: EventField) -> Bool { members[field] != nil }

    func text(_ field: EventField) -> String? {
        if case .string(let text)? = members[field] { text } else { nil }
    }

    /// As it stands in the event.
    func json(_ field: EventField) -> JSON? { members[field] }

    /// Absent counts as `false`.
    func flag(_ field: EventField) -> Bool { members[field] == .bool(true) }

    func number(_ field: EventField, in range: ClosedRange<Int64>, default fallback: Int) throws(EventError) -> Int {
        guard case .integer(let value)? = members[field] else { return fallback }
        guard range.contains(value) else {
            throw error(
                field, "it is out of range", hint: "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return Int(value)
    }

    /// Absent counts as none.
    var records: [JSON] {
        if case .array(let records)? = members[.records] { records } else { [] }
    }

    /// A word out of a list.
    func word<Word: RawRepresentable<String>>(
        _ field: EventField, of words: [Word]
    ) throws(EventError) -> Word? {
        guard let text = text(field) else { return nil }
        guard let word = words.first(where: { $0.rawValue == text }) else {
            let near = nearest(to: text, in: words.map(\.rawValue)).map { "did you mean '\($0)'? " } ?? ""
            throw error(
                field, "'\(shown(text))' is not known", hint: "\(near)write \(choices(words.map(\.rawValue)))")
        }
        return word
    }

    func error(_ field: EventField, _ cause: String, hint: String) -> EventError {
        EventError(field.name, cause, hint: hint, origin: origin)
    }

    private static func unknown(_ name: String, origin: String) -> EventError {
        let near = nearest(to: name, in: EventField.allCases.map(\.name)).map { "did you mean '\($0)'? " } ?? ""
        return EventError(
            shown(name), "no such field is known",
            hint: "\(near)the fields are \(EventField.allCases.map(\.name).joined(separator: ", "))",
            origin: origin)
    }

    private static func checked(
        _ value: JSON, as field: EventField, origin: String
    ) throws(EventError) -> JSON {
        // Whatever is no confirmation is a restore not confirmed, with the exit code for that, not a wrong type.
        if field == .confirmRestore { return value }
        switch (field.kind, value) {
        case (.flag, .bool), (.number, .integer):
            return value
        case (.recoveryTarget, .object):
            return value
        case (.text, .string(let text)), (.recoveryTarget, .string(let text)):
            try check(text, of: field, origin: origin)
            return value
        case (.records, .array(let elements)):
            try check(elements, of: field, origin: origin)
            return value
        default:
            throw EventError(
                field.name, "it is of the wrong type", hint: "it must be \(field.kind.expectation)", origin: origin)
        }
    }

    private static func check(_ elements: [JSON], of field: EventField, origin: String) throws(EventError) {
        let areObjects = elements.allSatisfy { if case .object(let members) = $0 { !members.isEmpty } else { false } }
        guard !elements.isEmpty, areObjects else {
            throw EventError(
                field.name, elements.isEmpty ? "it is empty" : "an element of it is no object with members",
                hint: "a list of records, each an object with its id", origin: origin)
        }
    }

    private static func check(_ text: String, of field: EventField, origin: String) throws(EventError) {
        let cause: String
        if text.isEmpty {
            cause = "it is empty"
        } else if text.utf8.count > longestText {
            cause = "it is longer than \(longestText) bytes"
        } else if hasControlCharacter(text) {
            cause = "it contains a control character"
        } else {
            return
        }
        throw EventError(
            field.name, cause,
            hint: "plain text of 1 to \(longestText) bytes; leave the field out if it is not needed",
            origin: origin)
    }
}
