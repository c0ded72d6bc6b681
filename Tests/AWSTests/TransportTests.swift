import AWS
import Core
import NIOSSL
import TestSupport
import Testing

/// The pooled transport against a server that misbehaves in known ways.
struct TransportTests {
    private func get(_ server: StubServer, _ target: String = "/", deadline: Double = 30) -> HTTPCall {
        HTTPCall(method: "GET", url: server.url + target, deadline: deadline)
    }

    /// More than the sockets of both sides hold.
    private func largeBody() -> HTTPBody {
        .chunks((0..<32).map { _ in Chunk([UInt8](repeating: 0, count: 1 << 20)) })
    }

    private func transportError(_ body: () async throws -> HTTPAnswer) async throws -> TransportError {
        do {
            let answer = try await body()
            throw TestFailure("an answer came: \(answer.status)")
        } catch let error as TransportError {
            return error
        }
    }

    /// The signed address is the one that arrives, byte for byte, whatever characters a key has.
    @Test(arguments: [
        "/", "/bucket/a%20b%2Bc%25d", "/bucket/%E1%88%B4/%F0%9F%9A%91", "/bucket/a//b", "/bucket/../c/./d",
        "/bucket/ends/", "/b%2Fc?prefix=a%2Fb%20c%2B&marker=%E1%88%B4", "/b?uploads", "/b?uploads&x=",
        "/b?list-type=2",
        "/b/(!)*'%7E~?x=%27%28%29%2A", "//double", "/a%3Fb%23c", "/b/a;b=c:d@e&f$g,h",
    ])
    func addressesStay(_ target: String) async throws {
        let server = try await StubServer.start { _ in .ok() }
        defer { server.stop() }
        let transport = try PooledTransport()
        _ = try await transport.exchange(get(server, target))
        #expect(server.requests.map(\.target) == [target])
        try await transport.shutdown()
    }

    /// Bodies of every form arrive whole, with their length announced.
    @Test func uploads() async throws {
        let server = try await StubServer.start { _ in .ok() }
        defer { server.stop() }
        let transport = try PooledTransport()
        var random = SeededRandom(seed: 1)
        let bytes = random.bytes(3 << 20)
        let chunks = [Chunk(bytes[..<(1 << 20)]), Chunk(bytes[(1 << 20)..<(2 << 20)]), Chunk(bytes[(2 << 20)...])]
        for body in [HTTPBody.chunks(chunks), .bytes(bytes), .bytes([]), .none] {
            _ = try await transport.exchange(HTTPCall(method: "PUT", url: server.url + "/k", body: body))
        }
        #expect(server.requests.map(\.body.count) == [bytes.count, bytes.count, 0, 0])
        #expect(server.requests.prefix(2).allSatisfy { $0.body == bytes })
        #expect(server.requests.allSatisfy { $0.headers["Content-Length"] == String($0.body.count) })
        try await transport.shutdown()
    }

    /// A large answer comes in pieces, in order, without being collected; an error's body is collected, not given.
    @Test func downloads() async throws {
        var random = SeededRandom(seed: 2)
        let bytes = random.bytes(5 << 20)
        let server = try await StubServer.start { request in
            request.path == "/error"
                ? .answer(status: 404, body: Array("gone".utf8)) : .answer(status: 206, body: bytes)
        }
        defer { server.stop() }
        let transport = try PooledTransport()
        let got = Guarded<[UInt8]>([])
        let answer = try await transport.exchange(get(server)) { piece in
            got.withLock { $0.append(contentsOf: piece) }
        }
        #expect(answer.status == 206)
        #expect(answer.body.isEmpty)
        #expect(got.value == bytes)
        let error = try await transport.exchange(get(server, "/error")) { _ in throw TestFailure("was given") }
        #expect(error.body == Array("gone".utf8))
        try await transport.shutdown()
    }

    /// What the taker throws is what comes out, and the connection is not used again with the rest in it.
    @Test func takersErrors() async throws {
        let server = try await StubServer.start { _ in
            .answer(status: 200, body: [UInt8](repeating: 1, count: 1 << 20))
        }
        defer { server.stop() }
        let transport = try PooledTransport()
        await #expect(throws: TestFailure.self) {
            try await transport.exchange(get(server)) { _ in throw TestFailure("enough") }
        }
        let answer = try await transport.exchange(get(server))
        #expect(answer.body.count == 1 << 20)
        try await transport.shutdown()
    }

    /// Requests one after the other use one connection.
    @Test func connectionsAreKept() async throws {
        let server = try await StubServer.start { _ in .ok("x") }
        defer { server.stop() }
        let transport = try PooledTransport()
        for _ in 1...5 { _ = try await transport.exchange(get(server)) }
        #expect(server.requests.map(\.connection) == [1, 1, 1, 1, 1])
        try await transport.shutdown()
    }

    /// Every way in which a connection ends too early is told apart and put into words.
    @Test func brokenConnections() async throws {
        let body = [UInt8](repeating: 7, count: 1000)
        let server = try await StubServer.start(upload: { _ in .stall(after: 1) }) { request in
            switch request.path {
            case "/reset": .reset
            case "/close": .close
            case "/cut": .cut(after: 10, status: 200, body: body)
            case "/cut-error": .cut(after: 10, status: 500, body: body)
            case "/stall": .stall
            default: .stallBody(after: 10, status: 200, body: body)
            }
        }
        defer { server.stop() }
        let transport = try PooledTransport()
        let reset = try await transportError { try await transport.exchange(get(server, "/reset")) }
        #expect(reset.kind == .broken)
        let close = try await transportError { try await transport.exchange(get(server, "/close")) }
        #expect(close.kind == .broken)
        #expect(close.description == "the server closed the connection")
        let cut = try await transportError { try await transport.exchange(get(server, "/cut")) { _ in } }
        #expect(cut.kind == .broken)
        let cutError = try await transportError { try await transport.exchange(get(server, "/cut-error")) }
        #expect(cutError.kind == .broken)
        let late = try await transportError { try await transport.exchange(get(server, "/stall", deadline: 0.2)) }
        #expect(late.kind == .timeout)
        let upload = try await transportError {
            try await transport.exchange(
                HTTPCall(method: "PUT", url: server.url + "/", body: largeBody(), deadline: 0.3))
        }
        #expect(upload.kind == .timeout)
        let impatient = try PooledTransport(limits: .init(idle: 0.3))
        let idle = try await transportError { try await impatient.exchange(get(server, "/stall-body")) { _ in } }
        #expect(idle.kind == .timeout)
        try await transport.shutdown()
        try await impatient.shutdown()
    }

    /// Nobody listens, or there is no such host: nothing was sent, and the words say which.
    @Test func noConnection() async throws {
        let port = try UnansweredPort()
        let transport = try PooledTransport(limits: .init(connect: 2))
        let refused = try await transportError {
            try await transport.exchange(
                HTTPCall(method: "GET", url: "http://127.0.0.1:\(port.number)/", deadline: 10))
        }
        #expect(refused.kind == .connect)
        #expect(refused.description == "the connection was refused")
        withExtendedLifetime(port) {}
        let unknown = try await transportError {
            try await transport.exchange(HTTPCall(method: "GET", url: "http://no-such-host.invalid/", deadline: 10))
        }
        #expect(unknown.kind == .connect)
        #expect(unknown.description.contains("no-such-host.invalid"))
        try await transport.shutdown()
    }

    // MARK: Cancellation

    /// A cancelled task gets `CancellationError` at once: while it waits for the answer, in the middle of the
    /// upload, and in the middle of the body.
    @Test(arguments: ["answer", "upload", "body"])
    func cancellation(_ moment: String) async throws {
        let (arrivals, arrived) = AsyncStream<Void>.makeStream()
        let server = try await StubServer.start(
            upload: { request in
                guard request.method == "PUT" else { return .whole }
                arrived.finish()
                return .stall(after: 1)
            },
            { _ in
                arrived.finish()
                return moment == "answer"
                    ? .stall : .stallBody(after: 10, status: 200, body: [UInt8](repeating: 7, count: 1000))
            })
        defer { server.stop() }
        let transport = try PooledTransport()
        let call = HTTPCall(
            method: moment == "upload" ? "PUT" : "GET", url: server.url + "/",
            body: moment == "upload" ? largeBody() : .none)
        let task = Task { try await transport.exchange(call) { _ in } }
        for await _ in arrivals {}
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        try await transport.shutdown()
    }

    // MARK: TLS

    /// A server whose authority is not among the trusted is refused with words that name the variable; with it,
    /// TLS 1.3 is spoken.
    @Test(.needs(TestCertificates.part)) func trust() async throws {
        try await withScratchDirectory { directory in
            let certificates = try TestCertificates.make(in: directory)
            let server = try await StubServer.start(tls: certificates) { _ in .ok("in private") }
            defer { server.stop() }
            let trusting = try PooledTransport(caBundle: certificates.authority)
            let answer = try await trusting.exchange(get(server))
            #expect(answer.body == Array("in private".utf8))
            let wary = try PooledTransport()
            let error = try await transportError { try await wary.exchange(get(server)) }
            #expect(error.kind == .tls)
            #expect(error.isPermanent)
            #expect(error.hint.contains("AWS_CA_BUNDLE"))
            try await trusting.shutdown()
            try await wary.shutdown()
        }
    }

    /// A certificate for another name is refused although its authority is trusted.
    @Test(.needs(TestCertificates.part)) func wrongName() async throws {
        try await withScratchDirectory { directory in
            let certificates = try TestCertificates.make(in: directory, for: "DNS:elsewhere.invalid")
            let server = try await StubServer.start(tls: certificates) { _ in .ok() }
            defer { server.stop() }
            let transport = try PooledTransport(caBundle: certificates.authority)
            let error = try await transportError { try await transport.exchange(get(server)) }
            #expect(error.kind == .tls)
            #expect(error.isPermanent)
            try await transport.shutdown()
        }
    }

    /// TLS 1.1 and plain text on the TLS port are refused for good.
    @Test(.needs(TestCertificates.part)) func oldProtocols() async throws {
        try await withScratchDirectory { directory in
            let certificates = try TestCertificates.make(in: directory)
            let old = try await StubServer.start(tls: certificates, maximumTLS: .tlsv11) { _ in .ok() }
            defer { old.stop() }
            let plain = try await StubServer.start { _ in .ok() }
            defer { plain.stop() }
            let transport = try PooledTransport(caBundle: certificates.authority)
            let oldError = try await transportError { try await transport.exchange(get(old)) }
            #expect(oldError.kind == .tls)
            #expect(oldError.description == "the server has no TLS version from 1.2 on")
            let plainError = try await transportError {
                try await transport.exchange(HTTPCall(method: "GET", url: "https://127.0.0.1:\(plain.port)/"))
            }
            #expect(plainError.kind == .tls)
            try await transport.shutdown()
        }
    }

    /// A bundle that is missing or holds no certificate is told at the start, as a mistake in the configuration.
    @Test func unreadableBundle() async throws {
        try await withScratchDirectory { directory in
            try writeFile("\(directory)/empty.pem", "no certificate\n")
            for name in ["missing.pem", "empty.pem"] {
                do {
                    let transport = try PooledTransport(caBundle: "\(directory)/\(name)")
                    try await transport.shutdown()
                    Issue.record("\(name) was taken")
                } catch let error as any Failure {
                    #expect(error.exitCode == .configuration)
                    #expect(error.object.hasSuffix(name))
                    #expect(error.hint.contains("AWS_CA_BUNDLE"))
                }
            }
        }
    }
}
