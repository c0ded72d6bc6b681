import Core

/// Pieces that tasks bring and a thread waits for. It holds the tasks, so that they end with it.
final class Arrivals: @unchecked Sendable {
    private let monitor = Monitor()
    // Guarded by `monitor`.
    private var tasks: [Int: Task<Void, Never>] = [:]
    private var arrived: [Int: Result<[Chunk], any Error>] = [:]
    private var hasBeenCancelled = false

    var isCancelled: Bool { monitor.locked { hasBeenCancelled } }

    /// Begins to fetch `piece`, which has not been begun before. From any thread.
    func start(_ piece: Int, _ body: @escaping @Sendable () async throws -> [Chunk]) {
        monitor.locked {
            guard !hasBeenCancelled else { return }
            // The task ends by itself, or is cancelled with the download.
            tasks[piece] = Task { await self.run(piece, body) }
        }
    }

    private func run(_ piece: Int, _ body: @Sendable () async throws -> [Chunk]) async {
        do {
            arrive(piece, .success(try await body()))
        } catch {
            arrive(piece, .failure(error))
        }
    }

    private func arrive(_ piece: Int, _ result: Result<[Chunk], any Error>) {
        monitor.locked {
            tasks[piece] = nil
            if !hasBeenCancelled { arrived[piece] = result }
            monitor.changed()
        }
    }

    /// Blocks until `piece` is there, and gives it away. `CancellationError` after ``cancel()``.
    func wait(for piece: Int) throws -> [Chunk] {
        try monitor.locked {
            while true {
                if hasBeenCancelled { throw CancellationError() }
                if let result = arrived.removeValue(forKey: piece) { return try result.get() }
                monitor.wait()
            }
        }
    }

    func cancel() {
        let running = monitor.locked {
            hasBeenCancelled = true
            arrived = [:]
            defer { tasks = [:] }
            monitor.changed()
            return Array(tasks.values)
        }
        for task in running { task.cancel() }
    }
}
