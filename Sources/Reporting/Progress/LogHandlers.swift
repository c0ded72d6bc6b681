package import Core
package import Logging

/// Logs as JSON lines: one object a line with `time`, `level`, `message`, `logger`, and where there are any
/// `metadata` and `error`. For whatever collects the container's standard error.
package struct JSONLogHandler: LogHandler {
    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?
    private let label: String
    private let clock: any WallClock
    private let output: TextOutput

    package init(label: String, level: Logger.Level, clock: any WallClock, output: TextOutput) {
        self.label = label
        logLevel = level
        self.clock = clock
        self.output = output
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        let all = combined(metadata, metadataProvider, event)
        let line = JSON.object(present: [
            "time": .string(clock.now().description),
            "level": .string(event.level.rawValue),
            "logger": .string(label),
            "message": .string(event.message.description),
            "metadata": all.isEmpty ? nil : json(.dictionary(all)),
            "error": event.error.map { .string(words(for: $0)) },
        ])
        output.line(line.canonicalText)
    }

    private func json(_ value: Logger.MetadataValue) -> JSON {
        switch value {
        case .string(let text): .string(text)
        case .stringConvertible(let integer as any BinaryInteger):
            Int64(exactly: integer).map(JSON.exact) ?? .string("\(integer)")
        case .stringConvertible(let flag as Bool): .bool(flag)
        // Through `description` and nothing else: a Secret shows its mask there.
        case .stringConvertible(let value): .string(value.description)
        case .dictionary(let members): .object(members.mapValues(json))
        case .array(let elements): .array(elements.map(json))
        }
    }
}

/// Logs for a person: `07:00:00 info    dumped  bytes=1024 table="a b"`. Control characters are written out, so that
/// no name can forge a line or move the cursor.
package struct TextLogHandler: LogHandler {
    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?
    private let clock: any WallClock
    private let output: TextOutput

    package init(level: Logger.Level, clock: any WallClock, output: TextOutput) {
        logLevel = level
        self.clock = clock
        self.output = output
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        let time = clock.now().description.dropFirst(11).prefix(8)
        let level = event.level.rawValue
        var line = "\(time) \(level)" + String(repeating: " ", count: max(1, 9 - level.count)) + "\(event.message)"
        let all = combined(metadata, metadataProvider, event).sorted { $0.key < $1.key }
        if !all.isEmpty { line += " " }
        for (key, value) in all { line += " \(key)=\(quoted(value.description))" }
        if let error = event.error { line += "  error=\(quoted(words(for: error)))" }
        output.line(printable(line))
    }

    private func quoted(_ text: String) -> String {
        let isPlain =
            !text.isEmpty && text.utf8.allSatisfy { $0 > 0x20 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "=") }
        if isPlain { return text }
        return "\"" + text.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\\\"") + "\""
    }
}

/// The handler's own metadata, overlaid by the provider's, overlaid by the statement's.
private func combined(
    _ own: Logger.Metadata, _ provider: Logger.MetadataProvider?, _ event: LogEvent
) -> Logger.Metadata {
    var all = own
    if let provider { all.merge(provider.get()) { $1 } }
    if let added = event.metadata { all.merge(added) { $1 } }
    return all
}

/// What may be said of an error: our own failures are written to be shown; of any other only its kind is, for its
/// text may hold a row or a key.
private func words(for error: any Error) -> String {
    if let failure = error as? any Failure { failure.description } else { String(describing: type(of: error)) }
}
