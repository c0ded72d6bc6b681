package import Core

/// Chunks that are in memory already, each let go as it is given.
package final class HeldSource: ByteSource {
    private struct State {
        var chunks: [Chunk]
        var isCancelled = false
    }

    private let state: Guarded<State>

    package init(_ chunks: [Chunk]) { state = Guarded(State(chunks: chunks.reversed())) }

    package func next() throws -> Chunk? {
        try state.withLock { state in
            guard !state.isCancelled else { throw CancellationError() }
            return state.chunks.popLast()
        }
    }

    package func cancel() {
        state.withLock {
            $0.isCancelled = true
            $0.chunks = []
        }
    }
}
