import Core
package import Logging

/// Everything that was logged, at every level, metadata included: for tests that look for what must not be there.
package final class TestLogs: Sendable {
    private let recorded = Guarded<[String]>([])

    package init() {}

    package var lines: [String] { recorded.value }
    package var text: String { lines.joined(separator: "\n") }
    package var logger: Logger { Logger(label: "tests") { _ in Handler(logs: self) } }

    private struct Handler: LogHandler {
        let logs: TestLogs
        var metadata: Logger.Metadata = [:]
        var logLevel: Logger.Level = .trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            logs.recorded.withLock { $0.append("\(event.level) \(event.message) \(event.metadata ?? [:])") }
        }
    }
}
