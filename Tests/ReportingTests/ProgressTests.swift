import Core
import Logging
import ProgressReporter
import TestSupport
import Testing

/// What a test's output receives, as text.
private final class Sink: Sendable {
    private let bytes = Guarded<[UInt8]>([])

    var output: TextOutput { TextOutput { [bytes] new in bytes.withLock { $0 += new } } }

    /// What has come since this was last asked.
    func take() -> String {
        bytes.withLock { bytes in
            defer { bytes = [] }
            return String(decoding: bytes, as: UTF8.self)
        }
    }
}

private func reading(_ stage: String, _ bytes: Int64, of expected: Int64 = 0) -> ProgressMeter.Reading {
    let meter = ProgressMeter()
    meter.begin(stage, expected: expected)
    meter.add(Int(bytes))
    return meter.reading
}

private let outcome = RunEvent.finished(
    RunIdentity(
        action: "backup", target: "t", tier: .daily, requestID: .run("r"), started: Timestamp(milliseconds: 0)),
    RunOutcome(exitCode: .done, finished: Timestamp(milliseconds: 0), duration: 1))

@Suite struct ProgressDisplayTests {
    @Test("a terminal gets one line that is rewritten, with bytes, rate and share, and taken away at the end")
    func terminal() async throws {
        let sink = Sink()
        let display = ProgressDisplay(.terminal(sink.output))
        try await display.record(.progress(reading("dump", 0, of: 2 << 30), elapsed: 0))
        #expect(sink.take() == "\r\u{1B}[Kdump  0 B  0 % of 2.0 GiB")
        try await display.record(.progress(reading("dump", 512 << 20, of: 2 << 30), elapsed: 4))
        #expect(sink.take() == "\r\u{1B}[Kdump  512 MiB  128 MiB/s  25 % of 2.0 GiB")
        // Too soon to be read: nothing is written.
        try await display.record(.progress(reading("dump", 513 << 20, of: 2 << 30), elapsed: 4.1))
        #expect(sink.take() == "")
        // The source's size was an estimate: more than all of it is never claimed, nor that it is done.
        try await display.record(.progress(reading("dump", 3 << 30, of: 2 << 30), elapsed: 8))
        #expect(sink.take().hasSuffix("99 % of 2.0 GiB"))
        // Nothing is known of the next stage's size, and its rate counts from its own beginning.
        try await display.record(.progress(reading("load", 0), elapsed: 9))
        #expect(sink.take() == "\r\u{1B}[Kload")
        try await display.record(.progress(reading("load", 2 << 20), elapsed: 10))
        #expect(sink.take() == "\r\u{1B}[Kload  2.0 MiB  2.0 MiB/s")
        // One that stands still says so, until the next step takes the line away.
        try await display.record(.progress(reading("load", 2 << 20), elapsed: 15))
        _ = sink.take()
        try await display.record(.progress(reading("load", 2 << 20), elapsed: 21))
        #expect(sink.take() == "\r\u{1B}[Kload  2.0 MiB  0 B/s")
        try await display.record(.step("compare"))
        #expect(sink.take() == "\r\u{1B}[K")
        try await display.record(.progress(reading("check", 0), elapsed: 22))
        #expect(sink.take() == "\r\u{1B}[Kcheck")
        try await display.record(outcome)
        #expect(sink.take() == "\r\u{1B}[K")
    }

    @Test("log lines push the progress line down and do not run into it")
    func linesAboveStatus() async throws {
        let sink = Sink()
        let output = sink.output
        output.setStatus("dump  1 B")
        output.line("a line")
        output.setStatus("")
        output.line("another")
        #expect(
            sink.take() == "\r\u{1B}[Kdump  1 B" + "\r\u{1B}[Ka line\ndump  1 B" + "\r\u{1B}[K" + "another\n")
    }

    @Test("elsewhere a log line comes every 30 seconds, none from a short run")
    func logLines() async throws {
        let sink = Sink()
        let clock = ManualClock()
        let logger = Logger(label: "lifeboat") { label in
            JSONLogHandler(label: label, level: .info, clock: clock, output: sink.output)
        }
        let display = ProgressDisplay(.log(logger))
        for second in 0..<30 {
            try await display.record(
                .progress(reading("dump", Int64(second) * 1000, of: 100_000), elapsed: Double(second)))
        }
        #expect(sink.take() == "")
        try await display.record(.progress(reading("dump", 30_000, of: 100_000), elapsed: 30))
        var fields = try JSONFields(try JSON(parsing: sink.take().utf8), path: "")
        #expect(try fields.string("message") == "in progress")
        #expect(
            try fields.required("metadata")
                == .object([
                    "stage": .string("dump"), "bytes": .integer(30_000), "bytes_per_second": .integer(1000),
                    "share": .string("30%"),
                ]))
        try await display.record(.progress(reading("dump", 50_000, of: 100_000), elapsed: 59))
        #expect(sink.take() == "")
        try await display.record(.progress(reading("dump", 90_000, of: 100_000), elapsed: 60))
        // The rate is that of the last half minute.
        #expect(sink.take().contains("\"bytes_per_second\":2000"))
        try await display.record(outcome)
        #expect(sink.take() == "")
    }

    @Test("a name that holds control characters cannot move the cursor")
    func controlCharacters() async throws {
        let sink = Sink()
        let display = ProgressDisplay(.terminal(sink.output))
        try await display.record(.progress(reading("a\u{1B}[2Jb", 1), elapsed: 0))
        #expect(sink.take().dropFirst(4).contains("\u{1B}") == false)
    }
}

@Suite struct LogHandlerTests {
    private let clock = ManualClock()

    private func logger(_ sink: Sink, json: Bool, level: Logger.Level = .info) -> Logger {
        Logger(label: "lifeboat") { [clock] label -> any LogHandler in
            if json { return JSONLogHandler(label: label, level: level, clock: clock, output: sink.output) }
            return TextLogHandler(level: level, clock: clock, output: sink.output)
        }
    }

    @Test("a JSON line has time, level, message and metadata, on one line whatever is in it")
    func jsonLine() {
        let sink = Sink()
        var logger = logger(sink, json: true)
        logger[metadataKey: "target"] = "clinic"
        logger.info(
            "two\nlines \"quoted\"",
            metadata: [
                "bytes": .stringConvertible(Int64(12)), "big": .stringConvertible(UInt64.max),
                "flag": .stringConvertible(true), "list": ["a", "b"], "nested": ["x": "y"],
            ])
        #expect(
            sink.take()
                == #"{"level":"info","logger":"lifeboat","message":"two\nlines \"quoted\"","metadata":{"#
                + #""big":"18446744073709551615","bytes":12,"flag":true,"list":["a","b"],"nested":{"x":"y"},"#
                + #""target":"clinic"},"time":"2025-01-15T07:00:00.000Z"}"# + "\n")
        logger.debug("not at this level")
        #expect(sink.take() == "")
        logger.warning("bare", metadata: ["target": "other"])
        #expect(
            sink.take()
                == #"{"level":"warning","logger":"lifeboat","message":"bare","metadata":{"target":"other"},"#
                + #""time":"2025-01-15T07:00:00.000Z"}"# + "\n")
    }

    @Test("a line for people is one line, without control characters, whatever is in it")
    func textLine() {
        let sink = Sink()
        let logger = logger(sink, json: false)
        logger.info("dumped", metadata: ["table": "a b", "bytes": "12", "empty": "", "quote": "a\"b"])
        #expect(sink.take() == "07:00:00 info     dumped  bytes=12 empty=\"\" quote=\"a\\\"b\" table=\"a b\"\n")
        logger.error("forged\n07:00:00 info \u{1B}[2J\u{9B}x\u{202E}")
        #expect(sink.take() == "07:00:00 error    forged\\xa07:00:00 info \\x1b[2J\\x9bx\\x202e\n")
    }

    @Test("a secret logged in any way shows a mask", arguments: [true, false])
    func secrets(json: Bool) {
        let sink = Sink()
        let logger = logger(sink, json: json)
        let secret = Secret("hunter2-very-secret")
        var keyBytes = Array("hunter2-very-secret".utf8)
        let key = SecretBytes(wiping: &keyBytes)
        logger.info("password \(secret), key \(key)")
        logger.info(
            "m",
            metadata: [
                "a": .stringConvertible(secret), "b": "\(secret)", "c": [.stringConvertible(secret)],
                "d": ["e": .stringConvertible(key)], "f": "\(Optional(secret) as Any)",
                "g": "\([secret])", "h": "\(["k": secret])", "i": .string(String(reflecting: secret)),
            ])
        logger.error("m", error: HoldsSecret(secret: secret))
        let text = sink.take()
        #expect(!text.contains("hunter2"))
        #expect(text.split(separator: "\n").count == 3)
        #expect(text.contains("password ••••, key ••••"))
    }

    @Test("of an error that is not ours only the kind is told: its text may hold a row", arguments: [true, false])
    func errors(json: Bool) {
        let sink = Sink()
        let logger = logger(sink, json: json)
        logger.error("m", error: RowError(row: "patient 4711"))
        logger.error("m", error: ObjectNotFound(key: "daily/x"))
        let text = sink.take()
        #expect(!text.contains("4711"))
        #expect(text.contains("RowError"))
        #expect(text.contains("cannot read the object (daily/x): it is not in the store"))
    }
}

private struct RowError: Error { let row: String }
private struct HoldsSecret: Error { let secret: Secret }
