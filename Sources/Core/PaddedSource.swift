/// Another source with zeros after its end, up to a length.
package final class PaddedSource: ByteSource {
    private struct State {
        var left: Int64
        var isPadding = false
    }

    private let base: any ByteSource
    private let state: Guarded<State>

    /// `length` is in bytes, those of `base` included; one that is longer is given as it is.
    package init(_ base: any ByteSource, to length: Int64) {
        self.base = base
        state = Guarded(State(left: length))
    }

    package func next() throws -> Chunk? {
        if !state.value.isPadding {
            if let chunk = try base.next() {
                state.withLock { $0.left -= Int64(chunk.count) }
                return chunk
            }
            state.withLock { $0.isPadding = true }
        }
        let length = state.withLock { state in
            let length = min(state.left, Int64(Chunk.size))
            state.left -= length
            return Int(length)
        }
        guard length > 0 else { return nil }
        let zeros = Chunk(capacity: length)
        zeros.append { room in
            room.initializeMemory(as: UInt8.self, repeating: 0)
            return length
        }
        return zeros
    }

    package func cancel() { base.cancel() }
}
