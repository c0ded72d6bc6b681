import Core

/// No progress for longer than is allowed.
struct Stalled: Failure {
    var stage: String
    var seconds: Int

    var exitCode: ExitCode { .source }
    var operation: String { "go on" }
    var object: String { stage }
    var cause: String { "there was no progress for \(counted(seconds, "second"))" }
    var hint: String {
        "look at what '\(stage)' waits for (a lock on the server, the network, the store), or allow more with "
            + "BACKUP_STALL_TIMEOUT"
    }
}

extension Workplace {
    /// Ends `body` once none of its meters has shown a sign of life for the stall timeout, by the name of the stage that
    /// stood still.
    func watching<Result: Sendable>(
        _ meter: ProgressMeter, _ body: @escaping @Sendable () async throws -> Result
    ) async throws -> Result {
        try await withThrowingTaskGroup(of: Result?.self) { group in
            group.addTask { try await body() }
            group.addTask {
                try await watch(meter)
                return nil
            }
            defer { group.cancelAll() }
            while let result = try await group.next() {
                if let result { return result }
            }
            throw CancellationError()
        }
    }

    private func watch(_ meter: ProgressMeter) async throws {
        let interval = 1.0
        let began = clock.now()
        var last = meter.reading
        var idle = 0.0
        while true {
            try await sleep(interval)
            let now = meter.reading
            idle = now.beats == last.beats ? idle + interval : 0
            last = now
            await report(.progress(now, elapsed: clock.now().seconds(since: began)))
            if idle >= Double(stallTimeout) {
                onStall()
                throw Stalled(stage: now.stage, seconds: stallTimeout)
            }
        }
    }
}
