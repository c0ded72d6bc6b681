package import Core
import Crypto

/// The plaintext of a file that has been handed on already, when another copy has to go on with it.
///
/// Every byte of it was authenticated under its data key, but the copy it came from was not read to its end, where
/// its digest is compared. So the next copy, which is, has to begin with the very same bytes: otherwise who holds the
/// data key and not the signing key could put a beginning of his own before another's end.
package final class HandedOn: Sendable {
    private struct State {
        var count: Int64 = 0
        var digest = SHA256()
    }

    private let state = Guarded(State())
    private let keepsDigest: Bool

    /// `keepsDigest`: there is another copy that may have to go on.
    package init(keepsDigest: Bool) { self.keepsDigest = keepsDigest }

    package func add(_ chunk: Chunk) {
        state.withLock {
            $0.count += Int64(chunk.count)
            if keepsDigest { $0.digest.update(bufferPointer: chunk.bytes) }
        }
    }

    package func beginAgain() -> Beginning {
        state.withLock { Beginning(count: $0.count, digest: Array($0.digest.finalize())) }
    }

    /// Takes what was handed on off the plaintext of another copy, and compares it.
    package final class Beginning: Sendable {
        private struct State {
            var left: Int64
            var digest = SHA256()
        }

        private let state: Guarded<State>
        private let expected: [UInt8]

        fileprivate init(count: Int64, digest: [UInt8]) {
            state = Guarded(State(left: count))
            expected = digest
        }

        package var isDone: Bool { state.withLock { $0.left == 0 } }

        /// What of `chunk` nobody has had yet; `nil` where that is nothing.
        package func rest(of chunk: Chunk) throws -> Chunk? {
            let skipped: Int = try state.withLock { state in
                guard state.left > 0 else { return 0 }
                let count = Int(min(state.left, Int64(chunk.count)))
                state.digest.update(bufferPointer: UnsafeRawBufferPointer(rebasing: chunk.bytes[..<count]))
                state.left -= Int64(count)
                if state.left == 0, Array(state.digest.finalize()) != expected { throw CopiesDiffer() }
                return count
            }
            if skipped == 0 { return chunk }
            return skipped < chunk.count ? Chunk(Array(chunk.bytes[skipped...])) : nil
        }
    }
}

/// Both authenticate, and they are not the same.
private struct CopiesDiffer: Failure {
    var exitCode: ExitCode { .verificationFailed }
    var operation: String { "read the second copy" }
    var object: String { "" }
    var cause: String { "it begins otherwise than the copy that was read before it" }
    var hint: String { "do not use either; verify each copy, and find out who could write to the stores" }
}
