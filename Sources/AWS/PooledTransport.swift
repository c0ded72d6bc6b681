import AsyncHTTPClient
import Core
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// The transport over async-http-client. TLS 1.2 at least, 1.3 where the server has it; certificates are always
/// verified. Connections are kept and used again.
package final class PooledTransport: HTTPTransport {
    /// Limits in seconds, but for ``connections``.
    package struct Limits: Sendable {
        /// For the connection and its TLS handshake.
        package var connect: Double
        /// Without a byte going either way.
        package var idle: Double
        /// That a connection nobody uses is kept. Servers close theirs after some time, and a request that crosses
        /// such a close fails.
        package var keepAlive: Double
        /// At once, for each host; further requests wait, within their deadline.
        package var connections: Int

        package init(connect: Double = 10, idle: Double = 60, keepAlive: Double = 15, connections: Int = 32) {
            self.connect = connect
            self.idle = idle
            self.keepAlive = keepAlive
            self.connections = connections
        }
    }

    /// Bytes that are read from a socket at once. The library starts with 2 KiB and grows to 64; fewer, larger pieces
    /// cost less for each byte.
    private static let readSize = 256 << 10

    private let client: HTTPClient
    /// All connections share one thread of the library: it encrypts a gigabyte in a second, and uploads can tell from
    /// it what has been written.
    private let loop: any EventLoop

    /// `caBundle`: a PEM file that replaces the system's trusted certificates (`AWS_CA_BUNDLE`). Throws a `Failure`
    /// with exit code 4 where it cannot be used.
    package init(caBundle: String? = nil, limits: Limits = Limits()) throws {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv12
        if let caBundle { tls.trustRoots = .certificates(try Self.certificates(caBundle)) }
        var configuration = HTTPClient.Configuration(
            tlsConfiguration: tls, redirectConfiguration: .disallow,
            timeout: .init(
                connect: .seconds(limits.connect), read: .seconds(limits.idle), write: .seconds(limits.idle)),
            connectionPool: .init(
                idleTimeout: .seconds(limits.keepAlive),
                concurrentHTTP1ConnectionsPerHostSoftLimit: limits.connections),
            decompression: .disabled)
        configuration.httpVersion = .http1Only
        // The client above counts attempts and waits between them; here a failure is to be seen at once.
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.http1_1ConnectionDebugInitializer = { channel in
            channel.setOption(
                .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: PooledTransport.readSize))
        }
        loop = MultiThreadedEventLoopGroup.singleton.any()
        client = HTTPClient(eventLoopGroupProvider: .shared(loop), configuration: configuration)
    }

    /// A transport that was let go without ``shutdown()``, as after an error, closes its connections on its own time.
    deinit { client.shutdown { _ in } }

    /// Closes the connections. Nothing may be sent afterwards. Harmless twice.
    package func shutdown() async throws {
        do {
            try await client.shutdown()
        } catch let error as HTTPClientError where error == .alreadyShutdown {}
    }

    package func exchange(
        _ call: HTTPCall, take: (@Sendable (UnsafeRawBufferPointer) throws -> Void)?
    ) async throws -> HTTPAnswer {
        try Task.checkCancellation()
        let response: HTTPClientResponse
        do {
            response = try await client.execute(request(call), timeout: .seconds(call.deadline))
        } catch {
            try Task.checkCancellation()
            throw TransportError(reading: error, limits: "the deadline of \(Int(call.deadline)) s")
        }
        var answer = HTTPAnswer(
            status: Int(response.status.code),
            headers: HTTPFields(response.headers.map { (name: $0.name, value: $0.value) }))
        let handOn = answer.isSuccess ? take : nil
        do {
            for try await piece in response.body {
                if let handOn {
                    try Self.give(piece, to: handOn)
                } else if try !Self.collect(piece, into: &answer) {
                    break
                }
            }
        } catch let error as TakerFailure {
            throw error.cause
        } catch {
            try Task.checkCancellation()
            throw TransportError(reading: error, limits: "the idle limit")
        }
        // A cancelled task sees the end of the body early, not an error.
        try Task.checkCancellation()
        return answer
    }

    private static func give(
        _ piece: ByteBuffer, to take: @Sendable (UnsafeRawBufferPointer) throws -> Void
    ) throws(TakerFailure) {
        do {
            try piece.withUnsafeReadableBytes { try take($0) }
        } catch {
            throw TakerFailure(cause: error)
        }
    }

    /// False where the answer has enough.
    private static func collect(_ piece: ByteBuffer, into answer: inout HTTPAnswer) throws -> Bool {
        if answer.isSuccess {
            guard answer.body.count + piece.readableBytes <= largestAnswer else {
                throw TransportError(
                    .broken, "the answer is longer than \(largestAnswer >> 20) MiB", isPermanent: true)
            }
            answer.body.append(contentsOf: piece.readableBytesView)
            return true
        }
        answer.body.append(contentsOf: piece.readableBytesView.prefix(largestError - answer.body.count))
        return answer.body.count < largestError
    }

    private static let largestAnswer = 64 << 20
    private static let largestError = 1 << 20

    private func request(_ call: HTTPCall) -> HTTPClientRequest {
        var request = HTTPClientRequest(url: call.url)
        request.method = HTTPMethod(rawValue: call.method)
        for field in call.headers.all { request.headers.add(name: field.name, value: field.value) }
        switch call.body {
        case .none: break
        case .bytes(let bytes): request.body = .bytes(ByteBuffer(bytes: bytes))
        case .chunks(let chunks):
            request.body = .stream(ChunkBuffers(chunks: chunks, loop: loop), length: .known(Int64(call.body.count)))
        }
        return request
    }

    private static func certificates(_ path: String) throws -> [NIOSSLCertificate] {
        do {
            let certificates = try NIOSSLCertificate.fromPEMFile(path)
            if !certificates.isEmpty { return certificates }
        } catch {
            throw JobFailure(
                .configuration, "read the trusted certificates", object: path,
                cause: "the file is missing, cannot be read or holds no certificates in PEM form",
                hint: "let AWS_CA_BUNDLE name a PEM file that this user may read")
        }
        throw JobFailure(
            .configuration, "read the trusted certificates", object: path, cause: "the file holds no certificates",
            hint: "let AWS_CA_BUNDLE name a PEM file with the authority's certificate")
    }
}

/// Keeps the taker's own errors apart from the connection's.
private struct TakerFailure: Error {
    let cause: any Error
}

extension TimeAmount {
    fileprivate static func seconds(_ seconds: Double) -> TimeAmount { .nanoseconds(Int64(seconds * 1e9)) }
}

/// Copies a piece at a time into the form that the HTTP client writes.
private struct ChunkBuffers: AsyncSequence, Sendable {
    /// Bytes; TLS makes another copy of each piece.
    private static let pieceSize = 256 << 10

    let chunks: [Chunk]
    let loop: any EventLoop

    struct Iterator: AsyncIteratorProtocol {
        let loop: any EventLoop
        var rest: ArraySlice<Chunk>
        /// In the first of `rest`.
        var offset = 0

        mutating func next() async throws -> ByteBuffer? {
            // The client takes pieces for as long as it has not heard that the connection is full, and it hears that
            // on the loop. Without letting the loop come first it would copy the whole body.
            try await loop.submit {}.get()
            while let chunk = rest.first, offset == chunk.count {
                rest.removeFirst()
                offset = 0
            }
            guard let chunk = rest.first else { return nil }
            let end = Swift.min(offset + ChunkBuffers.pieceSize, chunk.count)
            defer { offset = end }
            return ByteBuffer(bytes: UnsafeRawBufferPointer(rebasing: chunk.bytes[offset..<end]))
        }
    }

    func makeAsyncIterator() -> Iterator { Iterator(loop: loop, rest: chunks[...]) }
}
