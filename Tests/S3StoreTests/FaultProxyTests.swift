import AWS
import Core
import Testing

@testable import TestSupport

/// The proxy does to what passes what it was asked for, and nothing else. Each test speaks plain HTTP through it to a
/// stub server that answers a request with its own body.
struct FaultProxyTests {
    private static let body = {
        var random = SeededRandom(seed: 1)
        return random.bytes(300_000)
    }()

    private func withProxy(_ test: (FaultProxy, StubServer, Sender) async throws -> Void) async throws {
        let server = try await StubServer.start { .answer(status: 200, body: $0.body) }
        defer { server.stop() }
        try await withFaultProxy(to: server.port) { proxy in
            let sender = Sender(transport: try PooledTransport(limits: .init(connect: 2, idle: 5)), port: proxy.port)
            do {
                try await test(proxy, server, sender)
            } catch {
                try await sender.transport.shutdown()
                throw error
            }
            try await sender.transport.shutdown()
        }
    }

    struct Sender {
        let transport: PooledTransport
        let port: Int

        func expectEcho(
            of body: [UInt8] = FaultProxyTests.body, toBe expected: [UInt8]? = nil,
            sourceLocation: SourceLocation = #_sourceLocation
        ) async throws {
            let echoed = try await echo(body).body
            #expect(echoed == expected ?? body, sourceLocation: sourceLocation)
        }

        /// What comes back for `body`.
        func echo(_ body: [UInt8] = FaultProxyTests.body, deadline: Double = 5) async throws -> HTTPAnswer {
            try await transport.exchange(
                HTTPCall(
                    method: "PUT", url: "http://127.0.0.1:\(port)/a%20key?x=1", body: .bytes(body), deadline: deadline
                ))
        }
    }

    @Test("Without faults everything passes as it is, is counted, and requests are logged")
    func untouched() async throws {
        try await withProxy { proxy, server, sender in
            try await sender.expectEcho()
            try await sender.expectEcho(of: [])
            #expect(proxy.log == ["PUT /a%20key?x=1 HTTP/1.1", "PUT /a%20key?x=1 HTTP/1.1"])
            let counts = proxy.counts
            #expect(counts.bodyBytesUp == Self.body.count && counts.bodyBytesDown == Self.body.count)
            #expect(counts.bytesUp > Self.body.count && counts.connections == 1)
            #expect(server.requests.first?.target == "/a%20key?x=1")
        }
    }

    @Test("A reset after a number of bytes breaks one exchange, in either direction, and the next one passes")
    func reset() async throws {
        try await withProxy { proxy, server, sender in
            for direction in [FaultProxy.Direction.up, .down] {
                proxy.reset(direction, after: 100_000)
                let before = direction == .up ? proxy.counts.bytesUp : proxy.counts.bytesDown
                await #expect(throws: TransportError.self) { try await sender.echo() }
                let after = direction == .up ? proxy.counts.bytesUp : proxy.counts.bytesDown
                #expect(after - before == 100_000)
                try await sender.expectEcho()
            }
            #expect(proxy.counts.resets == 2)
            #expect(server.requests.count == 3)
        }
    }

    @Test("A reset of each connection goes on until it is taken away")
    func resetEach() async throws {
        try await withProxy { proxy, _, sender in
            proxy.resetEachConnection(.up, after: 50_000)
            for _ in 0..<3 { await #expect(throws: TransportError.self) { try await sender.echo() } }
            proxy.clear()
            try await sender.expectEcho()
            #expect(proxy.counts.resets == 3)
        }
    }

    @Test("So many requests are answered with 503 SlowDown and never reach the server")
    func slowDown() async throws {
        try await withProxy { proxy, server, sender in
            proxy.answerSlowDown(requests: 2)
            for _ in 0..<2 {
                let answer = try await sender.echo()
                #expect(answer.status == 503)
                #expect(String(decoding: answer.body, as: UTF8.self).contains("<Code>SlowDown</Code>"))
            }
            try await sender.expectEcho()
            #expect(server.requests.count == 1 && proxy.counts.slowDowns == 2)
        }
    }

    @Test("A body's byte is wrong where it was asked for, and heads stay right", arguments: [0, 1, 123_456, 299_999])
    func corruption(offset: Int) async throws {
        try await withProxy { proxy, server, sender in
            var spoilt = Self.body
            spoilt[offset] ^= 0xFF
            proxy.corrupt(.up, bodyByte: offset)
            try await sender.expectEcho(of: Self.body, toBe: spoilt)
            #expect(server.requests[0].body == spoilt)
            proxy.corrupt(.down, bodyByte: offset)
            try await sender.expectEcho(of: Self.body, toBe: spoilt)
            #expect(server.requests[1].body == Self.body)
            try await sender.expectEcho()
            #expect(proxy.counts.corruptions == 2)
        }
    }

    @Test("A stall holds one connection until it is released, and ends with the client that gives up")
    func stall() async throws {
        try await withProxy { proxy, _, sender in
            proxy.stall(.down, after: 1000)
            async let held = sender.echo()
            while proxy.counts.stalls < 1 { await Task.yield() }
            try await sender.expectEcho()
            proxy.release()
            let answer = try await held
            #expect(answer.body == Self.body)

            proxy.stall(.up, after: 1000)
            await #expect(throws: TransportError.self) { try await sender.echo(deadline: 0.2) }
            try await sender.expectEcho()
        }
    }

    @Test("Refused connections are refused by the kernel, and the port is there again afterwards")
    func refuse() async throws {
        try await withProxy { proxy, _, sender in
            try await sender.expectEcho(of: [1])
            proxy.refuse()
            await #expect(throws: TransportError.self) { try await sender.echo(deadline: 1) }
            try proxy.accept()
            try await sender.expectEcho(of: [2])
            #expect(proxy.counts.connections == 2)
        }
    }

    @Test("A narrow line takes as long as it should")
    func rate() async throws {
        try await withProxy { proxy, _, sender in
            proxy.limitRate(bytesPerSecond: 1_000_000)
            let begun = ContinuousClock.now
            try await sender.expectEcho()
            // Up and down overlap by little: 300 kB each way.
            #expect(ContinuousClock.now - begun > .milliseconds(250))
        }
    }

    @Test("Chunked answers, answers to HEAD and interim ones are told apart wherever they are cut")
    func framing() throws {
        let text =
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + "3\r\nabc\r\n10;x=y\r\n0123456789ABCDEF\r\n0\r\nTrailer: 1\r\n\r\n"
            + "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwxyzHTTP/1.1 200 OK\r\n\r\nuntil the end"
        for size in 1...text.utf8.count {
            var (framing, rest) = (HTTPFraming(), Array(text.utf8)[...])
            var (bodies, passed) = ("", "")
            while !rest.isEmpty {
                for piece in framing.pieces(rest.prefix(size), isEmpty: { $0.contains(" 100 ") }) {
                    switch piece {
                    case .head(let head, _): passed += String(decoding: head, as: UTF8.self)
                    case .framing(let bytes): passed += String(decoding: bytes, as: UTF8.self)
                    case .end: bodies += "|"
                    case .body(let bytes):
                        bodies += String(decoding: bytes, as: UTF8.self)
                        passed += String(decoding: bytes, as: UTF8.self)
                    }
                }
                rest = rest.dropFirst(size)
            }
            #expect(bodies == "|abc0123456789ABCDEF|wxyz|until the end" && passed == text)
        }
    }
}
