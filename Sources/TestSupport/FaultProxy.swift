import Core
import Glibc

/// A proxy on the loopback between a client and a server that speaks HTTP/1.1, which spoils what passes as a test
/// asks for: resets, stalls, refused connections, wrong bytes, a narrow line, answers of 503.
///
/// It forwards bytes as they are, the `Host` field too, so that a signed request stays valid. With
/// ``Protocol/opaque`` it looks into nothing, for TLS; the faults that need to know bodies and requests do not
/// exist then. Faults may be set at any time from any thread and count from then on. Every byte position is one of the
/// connection's bytes, heads included, except that of ``corrupt(_:bodyByte:)``.
package final class FaultProxy: Sendable {
    package enum Direction: Hashable, Sendable {
        /// From the client to the server.
        case up
        case down
    }

    package enum `Protocol`: Sendable { case http, opaque }

    /// What has passed and what has been done to it since the proxy was started.
    package struct Counts: Equatable, Sendable {
        package var connections = 0
        package var bytesUp = 0
        package var bytesDown = 0
        package var bodyBytesUp = 0
        package var bodyBytesDown = 0
        package var resets = 0
        package var stalls = 0
        package var corruptions = 0
        package var slowDowns = 0
        package var refused = 0
    }

    /// The port of 127.0.0.1 to connect to.
    package let port: Int
    let upstreamPort: Int
    let speaks: `Protocol`
    let plan = Guarded(FaultPlan())
    /// Keeps the port while nobody listens on it.
    private let reservation: Int32
    private let listener = Guarded<Int32?>(nil)
    private let connections = Guarded<[ObjectIdentifier: FaultProxyConnection]>([:])

    /// Listens at once, and connects to `upstreamPort` of the loopback for each connection that comes.
    package init(to upstreamPort: Int, speaking: `Protocol` = .http) throws {
        self.upstreamPort = upstreamPort
        speaks = speaking
        reservation = try LoopbackSocket.bound(to: 0)
        port = LoopbackSocket.port(of: reservation)
        try listen()
    }

    package var counts: Counts { plan.withLock { $0.counts } }

    /// The first lines of all requests so far, in order: `PUT /bucket/key HTTP/1.1`.
    package var log: [String] { plan.withLock { $0.log } }

    /// Resets the connection that carries the byte `offset` from now, counted over all connections, before that byte
    /// goes on. Once.
    package func reset(_ direction: Direction, after offset: Int) {
        plan.withLock { $0.resets.append($0.mark(direction, $0.total(direction) + offset, each: false)) }
    }

    /// Resets every connection, old or new, once it has carried `offset` bytes, until ``clear()``.
    package func resetEachConnection(_ direction: Direction, after offset: Int) {
        plan.withLock { $0.resets.append($0.mark(direction, offset, each: true)) }
    }

    /// Answers the next so many requests with 503 SlowDown in the server's place, each after its body has come.
    package func answerSlowDown(requests: Int) { plan.withLock { $0.slowDowns = requests } }

    /// Holds the connection that carries the byte `offset` from now, in this direction, for so many seconds or until
    /// ``release()``. Once; others go on meanwhile.
    package func stall(_ direction: Direction, after offset: Int, seconds: Double? = nil) {
        plan.withLock {
            $0.stalls.append($0.mark(direction, $0.total(direction) + offset, each: false, seconds: seconds))
        }
    }

    /// Holds every connection that has carried `offset` bytes, each for so many seconds or until ``release()``.
    package func stallEachConnection(_ direction: Direction, after offset: Int, seconds: Double? = nil) {
        plan.withLock { $0.stalls.append($0.mark(direction, offset, each: true, seconds: seconds)) }
    }

    /// Ends all stalls, those that hold a connection now and those that were to come.
    package func release() {
        plan.withLock {
            $0.stalls = []
            $0.holding = []
        }
    }

    /// Flips the bits of one byte of a body: the one `offset` from now, counted over the bodies of all connections.
    package func corrupt(_ direction: Direction, bodyByte offset: Int) {
        plan.withLock { plan in
            let passed = direction == .up ? plan.counts.bodyBytesUp : plan.counts.bodyBytesDown
            plan.corruptions.append(plan.mark(direction, passed + offset, each: false))
        }
    }

    /// At most so many bytes a second in each direction, over all connections; `nil` is without a limit.
    package func limitRate(bytesPerSecond: Int?) { plan.withLock { $0.bytesPerSecond = bytesPerSecond } }

    /// Refuses connections (`ECONNREFUSED`) and resets those that stand, until ``accept()``.
    package func refuse() {
        plan.withLock { $0.isRefusing = true }
        closeListener()
        for connection in connections.value.values { connection.reset() }
    }

    /// Ends ``refuse()``.
    package func accept() throws {
        plan.withLock { $0.isRefusing = false }
        try listen()
    }

    /// Resets all connections that stand.
    package func resetAll() {
        for connection in connections.value.values { connection.reset() }
    }

    /// Takes all faults away, refusing excepted. What has been counted stays.
    package func clear() {
        plan.withLock {
            ($0.resets, $0.stalls, $0.corruptions, $0.holding) = ([], [], [], [])
            ($0.slowDowns, $0.bytesPerSecond) = (0, nil)
        }
    }

    /// Closes everything. Harmless twice.
    package func stop() {
        let isFirst = plan.withLock { plan in
            defer { plan.isStopped = true }
            return !plan.isStopped
        }
        guard isFirst else { return }
        closeListener()
        for connection in connections.value.values { connection.reset() }
        close(reservation)
    }

    private func listen() throws {
        let descriptor = try LoopbackSocket.bound(to: port)
        guard Glibc.listen(descriptor, 64) == 0 else {
            close(descriptor)
            throw TestFailure("cannot listen on port \(port): error \(errno)")
        }
        listener.withLock { $0 = descriptor }
        try startThread("proxy-accept") { self.acceptAll(descriptor) }
    }

    /// Wakes the thread that accepts, which closes the socket.
    private func closeListener() {
        listener.withLock { descriptor in
            if let open = descriptor { shutdown(open, Int32(SHUT_RDWR)) }
            descriptor = nil
        }
    }

    private func acceptAll(_ descriptor: Int32) {
        defer { close(descriptor) }
        while true {
            let client = Glibc.accept(descriptor, nil, nil)
            if client < 0 {
                if errno == EINTR || errno == ECONNABORTED { continue }
                return
            }
            take(client)
        }
    }

    private func take(_ client: Int32) {
        _ = fcntl(client, F_SETFD, FD_CLOEXEC)
        LoopbackSocket.prepare(client)
        let isWelcome = plan.withLock { plan in
            let isWelcome = !plan.isRefusing && !plan.isStopped
            plan.counts.connections += isWelcome ? 1 : 0
            plan.counts.refused += isWelcome ? 0 : 1
            return isWelcome
        }
        guard isWelcome, let server = LoopbackSocket.connected(to: upstreamPort) else {
            LoopbackSocket.resetOnClose(client)
            close(client)
            return
        }
        let connection = FaultProxyConnection(client: client, server: server, of: self)
        connections.withLock { $0[ObjectIdentifier(connection)] = connection }
        connection.start()
    }

    func forget(_ connection: FaultProxyConnection) {
        connections.withLock { $0[ObjectIdentifier(connection)] = nil }
    }
}

/// Gives `body` a proxy in front of `upstreamPort` and closes it afterwards.
package func withFaultProxy<Result>(
    to upstreamPort: Int, speaking: FaultProxy.`Protocol` = .http, _ body: (FaultProxy) async throws -> Result
) async throws -> Result {
    let proxy = try FaultProxy(to: upstreamPort, speaking: speaking)
    defer { proxy.stop() }
    return try await body(proxy)
}
