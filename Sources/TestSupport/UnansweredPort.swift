import Glibc

/// A port of the loopback that is taken, so that no other server gets it, and on which nobody listens.
package final class UnansweredPort: Sendable {
    package let number: Int
    private let descriptor: Int32

    package init() throws {
        descriptor = try LoopbackSocket.bound(to: 0)
        number = LoopbackSocket.port(of: descriptor)
    }

    deinit { close(descriptor) }
}
