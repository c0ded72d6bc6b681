package import AWS
import Core
import Glibc
import NIOCore
import NIOPosix
package import NIOSSL

/// A request as a stub server got it.
package struct StubRequest: Sendable {
    /// Counts the server's requests from 1.
    package var number: Int
    /// Counts the server's connections from 1: two requests with the same one came over one connection.
    package var connection: Int
    package var method: String
    /// Path and query exactly as they were sent.
    package var target: String
    package var headers: HTTPFields
    package var body: [UInt8] = []

    /// The part of the target before the question mark, as it was sent.
    package var path: String { String(target.prefix { $0 != "?" }) }
    package var bodyText: String { String(decoding: body, as: UTF8.self) }
    /// What the JSON protocols name their operation in: `TrentService.Decrypt`.
    package var amzTarget: String { headers["X-Amz-Target"] ?? "" }
}

/// What a stub server does with a request.
package enum StubReply: Sendable {
    /// `Content-Length` is added. There is no `Date` but the one that is given.
    case answer(status: Int, headers: [(name: String, value: String)] = [], body: [UInt8] = [])
    /// Announces the whole body, sends its first `bytes` and closes the connection.
    case cut(after: Int, status: Int, headers: [(name: String, value: String)] = [], body: [UInt8])
    /// Announces the whole body, sends its first `bytes` and nothing more.
    case stallBody(after: Int, status: Int, body: [UInt8])
    /// Answers and closes the connection without having announced it, as a server does that has idled long enough.
    case answerAndClose(status: Int, body: [UInt8] = [])
    /// Closes the connection without a word.
    case close
    /// Resets the connection.
    case reset
    /// Says nothing until the client goes.
    case stall

    /// A success.
    package static func ok(_ body: String = "", headers: [(name: String, value: String)] = []) -> StubReply {
        .answer(status: 200, headers: headers, body: Array(body.utf8))
    }

    /// An error as S3 writes it.
    package static func s3Error(
        _ status: Int, _ code: String, _ message: String = "words", headers: [(name: String, value: String)] = [],
        more: String = ""
    ) -> StubReply {
        let text =
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>\(code)</Code><Message>\(message)</Message>"
            + "\(more)<RequestId>REQ1</RequestId></Error>"
        return .answer(
            status: status, headers: [(name: "Content-Type", value: "application/xml")] + headers,
            body: Array(text.utf8))
    }

    /// An error as KMS, Secrets Manager and SSM write it.
    package static func jsonError(_ status: Int, _ type: String, _ message: String = "words") -> StubReply {
        .answer(
            status: status,
            headers: [
                (name: "Content-Type", value: "application/x-amz-json-1.1"),
                (name: "x-amzn-RequestId", value: "REQ1"),
            ], body: Array("{\"__type\":\"\(type)\",\"message\":\"\(message)\"}".utf8))
    }
}

/// What a stub server does while a request's body comes.
package enum StubUpload: Sendable {
    case whole
    case reset(after: Int)
    /// Reads no further, so that the client's writes do not end.
    case stall(after: Int)
}

/// A small HTTP/1.1 server on 127.0.0.1 at a free port that does what a closure says: for answers that no real server
/// gives on demand.
///
/// It lives in the test's process. Bodies need a `Content-Length`; they are held in memory.
///
///     let server = try await StubServer.start { request in
///         request.number == 1 ? .s3Error(503, "SlowDown") : .ok()
///     }
///     defer { server.stop() }
///     … server.endpoint …
///     #expect(server.requests.count == 2)
package final class StubServer: Sendable {
    package typealias Script = @Sendable (StubRequest) async -> StubReply

    package let port: Int
    private let scheme: String
    private let listener: any Channel
    private let log: Guarded<[StubRequest]>
    private let connections: Guarded<[any Channel]>

    private init(
        port: Int, scheme: String, listener: any Channel, log: Guarded<[StubRequest]>,
        connections: Guarded<[any Channel]>
    ) {
        self.port = port
        self.scheme = scheme
        self.listener = listener
        self.log = log
        self.connections = connections
    }

    deinit { stop() }

    /// Runs until ``stop()``, or until nobody holds it. `tls` makes it speak TLS; `upload` is asked when a request's
    /// head is there.
    package static func start(
        tls: TestCertificates? = nil, maximumTLS: TLSVersion? = nil,
        upload: @escaping @Sendable (StubRequest) -> StubUpload = { _ in .whole }, _ script: @escaping Script
    ) async throws -> StubServer {
        let context = try tls.map { try $0.serverContext(maximum: maximumTLS) }
        let log = Guarded<[StubRequest]>([])
        let connections = Guarded<[any Channel]>([])
        let listener = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let context {
                        try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: context))
                    }
                    let stream = try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                    let number = connections.withLock { connections in
                        connections.append(channel)
                        return connections.count
                    }
                    let connection = StubConnection(number: number, log: log, upload: upload, script: script)
                    // Ends with the channel, which `stop` closes.
                    Task { await connection.serve(stream) }
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        guard let port = listener.localAddress?.port else { throw TestFailure("the stub server has no port") }
        return StubServer(
            port: port, scheme: context == nil ? "http" : "https", listener: listener, log: log,
            connections: connections)
    }

    /// Closes the port and all connections, a moment later.
    package func stop() {
        listener.close(promise: nil)
        for connection in connections.value { connection.close(promise: nil) }
    }

    package var host: String { "127.0.0.1:\(port)" }
    package var url: String { "\(scheme)://\(host)" }

    /// For requests of the `AWS` target.
    package var endpoint: AWSEndpoint {
        AWSEndpoint(scheme: scheme, host: host, region: "eu-central-1", isCustom: true)
    }

    /// Every request whose body came whole, in the order of their ends.
    package var requests: [StubRequest] { log.value }
}

/// Serves one connection.
private struct StubConnection: Sendable {
    let number: Int
    let log: Guarded<[StubRequest]>
    let upload: @Sendable (StubRequest) -> StubUpload
    let script: StubServer.Script

    typealias Inbound = NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
    typealias Outbound = NIOAsyncChannelOutboundWriter<ByteBuffer>

    private enum End: Error { case close, reset }

    func serve(_ channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>) async {
        do {
            try await channel.executeThenClose { inbound, outbound in
                var pending: [UInt8] = []
                var iterator = inbound.makeAsyncIterator()
                do {
                    while let request = try await read(
                        &pending, &iterator, outbound, until: channel.channel.closeFuture)
                    {
                        try await send(await script(request), to: request, &iterator, outbound)
                    }
                } catch End.reset {
                    // Closing without lingering is what sends a reset.
                    if let socket = channel.channel as? any SocketOptionProvider {
                        try await socket.setSoLinger(linger(l_onoff: 1, l_linger: 0)).get()
                    }
                    try await channel.channel.close().get()
                } catch End.close {}
            }
        } catch {
            // The client has gone, or the server is being stopped: the client's side is what is tested.
        }
    }

    /// `nil` at the end of the connection.
    private func read(
        _ pending: inout [UInt8], _ inbound: inout Inbound, _ outbound: Outbound, until closed: EventLoopFuture<Void>
    ) async throws -> StubRequest? {
        let separator = Array("\r\n\r\n".utf8)
        var headEnd = pending.firstRange(of: separator)
        while headEnd == nil {
            guard let more = try await inbound.next(isolation: #isolation) else { return nil }
            pending.append(contentsOf: more.readableBytesView)
            if pending.first == 0x16 {
                // A TLS handshake, which other servers answer like this too.
                try await outbound.write(ByteBuffer(string: "HTTP/1.1 400 Bad Request\r\n\r\n"))
                throw End.close
            }
            headEnd = pending.firstRange(of: separator)
        }
        guard let headEnd, var request = head(pending[..<headEnd.lowerBound]) else { throw End.close }
        pending.removeSubrange(..<headEnd.upperBound)
        let length = request.headers["Content-Length"].flatMap { Int($0) } ?? 0
        if request.headers["Expect"]?.lowercased() == "100-continue" {
            try await outbound.write(ByteBuffer(string: "HTTP/1.1 100 Continue\r\n\r\n"))
        }
        let upload = upload(request)
        while pending.count < length {
            switch upload {
            case .reset(let count) where pending.count >= count: throw End.reset
            case .stall(let count) where pending.count >= count:
                // Not reading is what stalls it: the iterator is left alone until the server stops.
                try await closed.get()
                return nil
            default: break
            }
            guard let more = try await inbound.next(isolation: #isolation) else { return nil }
            pending.append(contentsOf: more.readableBytesView)
        }
        request.body = Array(pending[..<length])
        pending.removeSubrange(..<length)
        return log.withLock { log in
            request.number = log.count + 1
            log.append(request)
            return request
        }
    }

    private func head(_ bytes: ArraySlice<UInt8>) -> StubRequest? {
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\r\n")
        let words = lines.first?.split(separator: " ") ?? []
        guard words.count == 3 else { return nil }
        let fields = lines.dropFirst().compactMap { line -> (name: String, value: String)? in
            guard let colon = line.firstIndex(of: ":") else { return nil }
            return (String(line[..<colon]), String(line[line.index(after: colon)...].drop { $0 == " " }))
        }
        return StubRequest(
            number: 0, connection: number, method: String(words[0]), target: String(words[1]),
            headers: HTTPFields(fields))
    }

    private func send(
        _ reply: StubReply, to request: StubRequest, _ inbound: inout Inbound, _ outbound: Outbound
    ) async throws {
        switch reply {
        case .answer(let status, let headers, let body):
            let sent = request.method == "HEAD" ? [] : body
            try await outbound.write(message(status, headers, length: body.count, body: sent[...]))
        case .cut(let count, let status, let headers, let body):
            try await outbound.write(message(status, headers, length: body.count, body: body.prefix(count)))
            throw End.close
        case .stallBody(let count, let status, let body):
            try await outbound.write(message(status, [], length: body.count, body: body.prefix(count)))
            while try await inbound.next(isolation: #isolation) != nil {}
        case .answerAndClose(let status, let body):
            try await outbound.write(message(status, [], length: body.count, body: body[...]))
            throw End.close
        case .close: throw End.close
        case .reset: throw End.reset
        case .stall: while try await inbound.next(isolation: #isolation) != nil {}
        }
    }

    private func message(
        _ status: Int, _ headers: [(name: String, value: String)], length: Int, body: ArraySlice<UInt8>
    ) -> ByteBuffer {
        var text = "HTTP/1.1 \(status) Words\r\n"
        var fields = HTTPFields(headers)
        if status != 204 { fields["Content-Length"] = String(length) }
        for field in fields.all { text += "\(field.name): \(field.value)\r\n" }
        var buffer = ByteBuffer(string: text + "\r\n")
        buffer.writeBytes(body)
        return buffer
    }
}
