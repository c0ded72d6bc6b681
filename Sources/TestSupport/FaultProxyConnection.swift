import Core
import Glibc
import Synchronization

/// One connection through a ``FaultProxy``: a thread for each direction. The sockets are closed when both have ended.
final class FaultProxyConnection: Sendable {
    private struct State {
        var running = 2
        var isReset = false
        /// The methods of the requests whose answers have not begun.
        var methods: [String] = []
    }

    private let client: Int32
    private let server: Int32
    private let proxy: FaultProxy
    private let state = Guarded(State())

    init(client: Int32, server: Int32, of proxy: FaultProxy) {
        self.client = client
        self.server = server
        self.proxy = proxy
    }

    func start() {
        for direction in [FaultProxy.Direction.up, .down] {
            do {
                try startThread(direction == .up ? "proxy-up" : "proxy-down") {
                    FaultProxyPump(direction, on: self).run()
                    self.end()
                }
            } catch {
                reset()
                end()
            }
        }
    }

    /// Ends both directions; both peers get a reset.
    func reset() {
        state.withLock { state in
            guard state.running > 0 else { return }
            state.isReset = true
            // Wakes whoever reads, and sends nothing: the reset follows when the sockets are closed.
            shutdown(client, Int32(SHUT_RD))
            shutdown(server, Int32(SHUT_RD))
        }
    }

    private func end() {
        state.withLock { state in
            state.running -= 1
            guard state.running == 0 else { return }
            if state.isReset {
                LoopbackSocket.resetOnClose(client)
                LoopbackSocket.resetOnClose(server)
            }
            close(client)
            close(server)
        }
        if state.withLock({ $0.running == 0 }) { proxy.forget(self) }
    }

    fileprivate var isReset: Bool { state.withLock { $0.isReset } }
    fileprivate var plan: Guarded<FaultPlan> { proxy.plan }
    fileprivate var speaks: FaultProxy.`Protocol` { proxy.speaks }
    fileprivate func from(_ direction: FaultProxy.Direction) -> Int32 { direction == .up ? client : server }
    fileprivate func to(_ direction: FaultProxy.Direction) -> Int32 { direction == .up ? server : client }

    fileprivate func sent(_ method: String) { state.withLock { $0.methods.append(method) } }

    /// Whether the answer that begins with `line` is without a body.
    fileprivate func isEmptyAnswer(_ line: String) -> Bool {
        let status = line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        if (100..<200).contains(status) { return true }
        let method = state.withLock { $0.methods.isEmpty ? "" : $0.methods.removeFirst() }
        return method == "HEAD" || status == 204 || status == 304
    }
}

/// Moves the bytes of one direction.
private struct FaultProxyPump {
    /// The connection has ended: nothing more can be done.
    private struct Ended: Error {}
    /// `POLLRDHUP`, which Glibc's module leaves out.
    private static let hungUp: Int16 = 0x2000

    private let direction: FaultProxy.Direction
    private let connection: FaultProxyConnection
    private var framing = HTTPFraming()
    private var passed = 0
    private var served: Set<Int> = []
    /// The request that comes is answered by the proxy and not forwarded.
    private var isSwallowing = false
    /// It is a HEAD.
    private var isHead = false

    init(_ direction: FaultProxy.Direction, on connection: FaultProxyConnection) {
        self.direction = direction
        self.connection = connection
    }

    consuming func run() {
        do {
            while let bytes = read() { try handle(bytes) }
            shutdown(connection.to(direction), Int32(SHUT_WR))
        } catch {
            connection.reset()
        }
    }

    /// What has come; `nil` where the peer has finished or the connection is over.
    private func read() -> [UInt8]? {
        var failed = false
        let bytes = [UInt8](unsafeUninitializedCapacity: 64 << 10) { buffer, count in
            var got = recv(connection.from(direction), buffer.baseAddress, buffer.count, 0)
            while got < 0, errno == EINTR {
                got = recv(connection.from(direction), buffer.baseAddress, buffer.count, 0)
            }
            failed = got < 0
            count = max(0, got)
        }
        // A peer's reset is handed on as one.
        if failed { connection.reset() }
        return bytes.isEmpty ? nil : bytes
    }

    private mutating func handle(_ bytes: [UInt8]) throws {
        guard connection.speaks == .http else { return try forward(bytes[...]) }
        let (direction, connection) = (direction, connection)
        let pieces = framing.pieces(bytes[...]) { line in direction == .down && connection.isEmptyAnswer(line) }
        for piece in pieces {
            switch piece {
            case .head(let head, let line):
                if direction == .up { begin(line) }
                if !isSwallowing { try forward(head[...]) }
            case .body(let body):
                if isSwallowing { continue }
                var body = Array(body)
                connection.plan.withLock { $0.corrupt(&body, direction) }
                try forward(body[...])
            case .framing(let other):
                if !isSwallowing { try forward(other) }
            case .end:
                if isSwallowing { try send(Self.slowDown(toHead: isHead)[...], to: connection.from(.up)) }
                isSwallowing = false
            }
        }
    }

    private mutating func begin(_ line: String) {
        isHead = line.hasPrefix("HEAD ")
        isSwallowing = connection.plan.withLock { plan in
            plan.log.append(line)
            guard plan.slowDowns > 0 else { return false }
            plan.slowDowns -= 1
            plan.counts.slowDowns += 1
            return true
        }
        if !isSwallowing { connection.sent(String(line.prefix { $0 != " " })) }
    }

    /// An answer to HEAD has the length of a body and none: bytes of one would be taken for the next answer.
    private static func slowDown(toHead: Bool) -> [UInt8] {
        let body = """
            <?xml version="1.0" encoding="UTF-8"?>
            <Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message>\
            <RequestId>PROXY</RequestId></Error>
            """
        return Array(
            """
            HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nx-amz-request-id: PROXY\r\n\
            Content-Length: \(body.utf8.count)\r\n\r\n\(toHead ? "" : body)
            """.utf8)
    }

    private mutating func forward(_ bytes: ArraySlice<UInt8>) throws {
        var rest = bytes
        while !rest.isEmpty {
            let admitted = connection.plan.withLock {
                $0.admit(direction, rest.count, passed: passed, served: served)
            }
            try wait(seconds: admitted.wait) { false }
            try send(rest.prefix(admitted.count), to: connection.to(direction))
            passed += admitted.count
            rest = rest.dropFirst(admitted.count)
            switch admitted.then {
            case .forward: break
            case .reset: throw Ended()
            case .stall(let id, let seconds):
                served.insert(id)
                let plan = connection.plan
                try wait(seconds: seconds ?? .infinity) { plan.withLock { !$0.holding.contains(id) } }
            }
        }
    }

    /// Waits so long, until `isOver` says so, or until the client has gone.
    private func wait(seconds: Double, isOver: () -> Bool) throws {
        let end = FaultPlan.now() + seconds
        while !isOver() {
            let left = end - FaultPlan.now()
            if left <= 0 { return }
            var client = pollfd(fd: connection.from(.up), events: Self.hungUp, revents: 0)
            if poll(&client, 1, Int32(min(left * 1000, 10).rounded(.up))) > 0 { throw Ended() }
            if connection.isReset { throw Ended() }
        }
    }

    private func send(_ bytes: ArraySlice<UInt8>, to descriptor: Int32) throws {
        var rest = bytes
        while !rest.isEmpty {
            if connection.isReset { throw Ended() }
            let sent = rest.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if sent > 0 { rest = rest.dropFirst(sent) }
            // A write that found no room comes back: see `prepare`.
            if sent < 0, errno != EAGAIN, errno != EINTR { throw Ended() }
        }
    }
}
