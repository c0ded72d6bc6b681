package import Core
package import Logging

/// Shows how a run gets on: on a terminal one line that is rewritten, else a log line every so often.
///
/// It has no clock of its own: whoever runs the job records a reading every second or so.
package final class ProgressDisplay: Reporter {
    package enum Style: Sendable {
        /// One line at the bottom of a terminal, rewritten at most every 0.2 seconds.
        case terminal(TextOutput)
        /// A log line at level info every `every` seconds.
        case log(Logger, every: Double = 30)
    }

    private struct State {
        /// When something was last shown, in seconds since the run began.
        var shown: Double?
        /// What the rate is counted from.
        var base: (stage: String, bytes: Int64, elapsed: Double) = ("", 0, 0)
    }

    private let style: Style
    private let state = Guarded(State())

    package init(_ style: Style) { self.style = style }

    package func record(_ event: RunEvent) async throws {
        switch event {
        case .started: break
        // What stood there was of the step before.
        case .step: if case .terminal(let output) = style { output.setStatus("") }
        case .progress(let reading, let elapsed): show(reading, elapsed: elapsed)
        case .finished: if case .terminal(let output) = style { output.setStatus("") }
        }
    }

    private var interval: Double {
        switch style {
        case .terminal: 0.2
        case .log(_, let every): every
        }
    }

    private func show(_ reading: ProgressMeter.Reading, elapsed: Double) {
        let shown: (bytesPerSecond: Double, isKnown: Bool)? = state.withLock { state in
            // Where a stage begins its bytes begin at 0 again. A short stage does not have to show.
            if state.base.stage != reading.stage || reading.bytes < state.base.bytes {
                state.base = (reading.stage, 0, state.base.stage.isEmpty ? 0 : elapsed)
            }
            // The first log line comes after a whole interval: a run that is over before needs none.
            guard elapsed - (state.shown ?? (isTerminal ? -interval : 0)) >= interval else { return nil }
            state.shown = elapsed
            let span = elapsed - state.base.elapsed
            let rate = span > 0 ? Double(reading.bytes - state.base.bytes) / span : 0
            // A log line's rate is that since the one before; a terminal's is smoothed over five seconds.
            if !isTerminal || span >= 5 { state.base = (reading.stage, reading.bytes, elapsed) }
            return (rate, span > 0)
        }
        guard let shown else { return }
        switch style {
        case .terminal(let output):
            // Of a stage that has just begun there is none to tell.
            output.setStatus(Self.line(reading, rate: shown.isKnown ? shown.bytesPerSecond : nil))
        case .log(let logger, _): log(reading, rate: shown.bytesPerSecond, to: logger)
        }
    }

    private var isTerminal: Bool { if case .terminal = style { true } else { false } }

    /// The share of what is expected, in percent. An estimate of the source's size may be exceeded; the work is done
    /// when it is done, so 99 is the most that is claimed.
    static func share(_ reading: ProgressMeter.Reading) -> Int? {
        guard reading.expected > 0 else { return nil }
        return Int(min(99, Double(reading.bytes) / Double(reading.expected) * 100))
    }

    /// `rate` is `nil` where there is none to tell; a stage that moves no bytes has its name alone.
    static func line(_ reading: ProgressMeter.Reading, rate: Double?) -> String {
        // Short enough not to wrap in 80 columns: a wrapped line cannot be rewritten.
        var line = printable(String(reading.stage.prefix(24)))
        guard reading.bytes > 0 || reading.expected > 0 else { return line }
        line += "  \(size(Double(reading.bytes)))"
        if let rate { line += "  \(size(rate))/s" }
        if let share = share(reading) { line += "  \(share) % of \(size(Double(reading.expected)))" }
        return line
    }

    private func log(_ reading: ProgressMeter.Reading, rate: Double, to logger: Logger) {
        var metadata: Logger.Metadata = [
            "stage": "\(reading.stage)", "bytes": .stringConvertible(reading.bytes),
            "bytes_per_second": .stringConvertible(Int64(rate)),
        ]
        if let share = Self.share(reading) { metadata["share"] = "\(share)%" }
        logger.info("in progress", metadata: metadata)
    }

    /// `1.5 GiB`: three digits are enough to see it move.
    static func size(_ bytes: Double) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
        var value = bytes
        var unit = 0
        while value >= 1000 && unit < units.count - 1 {
            value /= 1024
            unit += 1
        }
        guard unit > 0, value < 100 else { return "\(Int(value)) \(units[unit])" }
        let tenths = Int(value * 10)
        return "\(tenths / 10).\(tenths % 10) \(units[unit])"
    }
}
