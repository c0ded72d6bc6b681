import Core

/// Everything an event may come from, already read. The order of the sources, and that only one may speak, is
/// ``EventReader``'s to decide.
package struct EventSources: Sendable {
    /// `--event FILE`; `nil` where the option was not given.
    package var file: (name: String, bytes: [UInt8])?
    /// The whole environment: `BACKUP_EVENT` and the discrete variables are looked up in it.
    package var environment: [String: String]
    /// `nil` where standard input is a terminal or was not read.
    package var standardInput: [UInt8]?

    package init(
        file: (name: String, bytes: [UInt8])? = nil, environment: [String: String] = [:],
        standardInput: [UInt8]? = nil
    ) {
        self.file = file
        self.environment = environment
        self.standardInput = standardInput
    }

    /// Whether nothing but standard input can hold the event. Reading it may wait for somebody who never writes, so
    /// it is left alone where another source already speaks.
    package var needsStandardInput: Bool {
        file == nil && (environment["BACKUP_EVENT"] ?? "").isEmpty
            && !EventField.allCases.contains { !(environment[$0.name] ?? "").isEmpty }
    }

    /// An event larger than this, in bytes, is refused unread.
    package static let largestEvent = 1 << 20

    /// The fields of the one source that carries any.
    func fields() throws(EventError) -> (fields: JSON, origin: String) {
        var found: [(fields: JSON, origin: String)] = []
        if let file {
            guard let fields = try Self.parse(file.bytes, origin: "the file \(shown(file.name))") else {
                throw EventError(
                    "--event", "the file is empty", hint: "write the event into it as one JSON object",
                    origin: "the file \(shown(file.name))")
            }
            found.append((fields, "the file \(shown(file.name))"))
        }
        if let text = environment["BACKUP_EVENT"], let fields = try Self.parse(text.utf8, origin: "BACKUP_EVENT") {
            found.append((fields, "BACKUP_EVENT"))
        }
        if let fields = try DiscreteVariables(environment).fields() {
            found.append((fields, DiscreteVariables.origin))
        }
        if let standardInput, let fields = try Self.parse(standardInput, origin: "standard input") {
            found.append((fields, "standard input"))
        }
        let carriers = found.filter { $0.fields != .object([:]) }
        if carriers.count > 1 {
            throw EventError(
                "event", "it comes from \(choices(carriers.map(\.origin), joinedBy: "and")) at once",
                hint: "give the event once: as --event FILE, BACKUP_EVENT, single variables or on standard input",
                origin: "several sources")
        }
        guard let carrier = carriers.first else {
            throw EventError(
                "event", found.isEmpty ? "there is none" : "it has no fields",
                hint: "say what to do, for example {\"backupType\":\"daily\"} in BACKUP_EVENT or in --event FILE",
                origin: found.first?.origin ?? "any source")
        }
        return carrier
    }

    /// `nil` where there is nothing but white space.
    private static func parse(_ bytes: some Collection<UInt8>, origin: String) throws(EventError) -> JSON? {
        guard bytes.count <= largestEvent else {
            throw EventError(
                "event", "it is larger than \(largestEvent) bytes", hint: "an event is a short JSON object",
                origin: origin)
        }
        guard bytes.contains(where: { $0 != 0x20 && $0 != 0x0A && $0 != 0x0D && $0 != 0x09 }) else { return nil }
        let json: JSON
        do {
            json = try JSON(parsing: bytes)
        } catch {
            throw EventError(
                "event", "it is not JSON that can be read: \(error)",
                hint: "write one JSON object with each field once; docs/events.md lists them", origin: origin)
        }
        guard case .object = json else {
            throw EventError(
                "event", "it is JSON, but not an object", hint: "write {\"backupType\":\"daily\"} or the like",
                origin: origin)
        }
        return json
    }
}

/// An event that is spelt out over single environment variables, as a Job's manifest may do.
struct DiscreteVariables {
    static let origin = "the environment's single variables"
    private let environment: [String: String]

    init(_ environment: [String: String]) { self.environment = environment }

    /// `nil` where none is set. Empty variables count as unset.
    func fields() throws(EventError) -> JSON? {
        var members: [String: JSON] = [:]
        for field in EventField.allCases {
            guard let text = environment[field.name], !text.isEmpty else { continue }
            members[field.name] = try value(of: field, text: text)
        }
        guard !members.isEmpty else { return nil }
        try refuseMisspelt()
        return .object(members)
    }

    private func value(of field: EventField, text: String) throws(EventError) -> JSON {
        switch field.kind {
        case .text:
            return .string(text)
        case .flag:
            switch text {
            case "true", "1": return .bool(true)
            case "false", "0": return .bool(false)
            default:
                throw EventError(
                    field.name, "it is neither true nor false", hint: "write true, false, 1 or 0",
                    origin: Self.origin)
            }
        case .recoveryTarget where !text.hasPrefix("{"):
            return .string(text)
        case .records, .recoveryTarget:
            do {
                return try JSON(parsing: text.utf8)
            } catch {
                throw EventError(
                    field.name, "it is not JSON that can be read: \(error)",
                    hint: "write \(field.kind.expectation)", origin: Self.origin)
            }
        case .number:
            guard let number = Int64(text), String(number) == text else {
                throw EventError(
                    field.name, "it is not a whole number", hint: "write digits only", origin: Self.origin)
            }
            return .integer(number)
        }
    }

    /// A variable that differs from a field in case and underscores only. Passing it over could turn a restore into
    /// a verify. Words that other programs use too (`TARGET`, `LIMIT`, `DRY_RUN`) are left alone.
    private func refuseMisspelt() throws(EventError) {
        let unmistakable = EventField.allCases.filter {
            $0 != .dryRun && ($0.name.contains("_") || $0.name.contains { $0.isUppercase })
        }
        for name in environment.keys.sorted() where !(environment[name] ?? "").isEmpty {
            let letters = folded(name)
            for field in unmistakable where letters == folded(field.name) && name != field.name {
                throw EventError(
                    shown(name), "it is not a field, but nearly one", hint: "write \(field.name)",
                    origin: Self.origin)
            }
        }
    }
}
