import AsyncHTTPClient
import Core
import NIOCore
import NIOHTTP1
import NIOSSL

/// The transport over async-http-client. TLS 1.2 at least; certificates are always verified.
package final class PooledTransport: HTTPTransport {
    /// Limits in seconds.
    package struct Limits: Sendable {
        package var connect: Double
        /// Without a byte going either way.
        package var idle: Double

        package init(connect: Double = 10, idle: Double = 60) {
            self.connect = connect
            self.idle = idle
        }
    }

    private let client: HTTPClient

    /// `caBundle`: a PEM file that replaces the system's trusted certificates (`AWS_CA_BUNDLE`).
    package init(caBundle: String? = nil, limits: Limits = Limits()) {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv12
        if let caBundle { tls.trustRoots = .file(caBundle) }
        var configuration = HTTPClient.Configuration(
            tlsConfiguration: tls, redirectConfiguration: .disallow,
            timeout: .init(
                connect: .seconds(limits.connect), read: .seconds(limits.idle), write: .seconds(limits.idle)),
            decompression: .disabled)
        configuration.httpVersion = .http1Only
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    /// Closes the connections. Nothing may be sent afterwards.
    package func shutdown() async throws { try await client.shutdown() }

    package func exchange(
        _ call: HTTPCall, take: (@Sendable (UnsafeRawBufferPointer) throws -> Void)?
    ) async throws -> HTTPAnswer {
        var request = HTTPClientRequest(url: call.url)
        request.method = HTTPMethod(rawValue: call.method)
        for field in call.headers.all { request.headers.add(name: field.name, value: field.value) }
        switch call.body {
        case .none: break
        case .bytes(let bytes): request.body = .bytes(ByteBuffer(bytes: bytes))
        case .chunks(let chunks):
            request.body = .stream(ChunkBuffers(chunks: chunks), length: .known(Int64(call.body.count)))
        }
        do {
            let response = try await client.execute(request, timeout: .seconds(call.deadline))
            var answer = HTTPAnswer(
                status: Int(response.status.code),
                headers: HTTPFields(response.headers.map { (name: $0.name, value: $0.value) }))
            let limit = answer.isSuccess ? 64 << 20 : 1 << 20
            for try await buffer in response.body {
                if let take, answer.isSuccess {
                    try buffer.withUnsafeReadableBytes { try take($0) }
                } else {
                    guard answer.body.count + buffer.readableBytes <= limit else {
                        throw TransportError(.broken, "the answer is longer than \(limit) bytes")
                    }
                    answer.body.append(contentsOf: buffer.readableBytesView)
                }
            }
            return answer
        } catch {
            try Task.checkCancellation()
            throw Self.read(error)
        }
    }

    private static func read(_ error: any Error) -> any Error {
        TransportError(.broken, "\(error)")
    }
}

extension TimeAmount {
    fileprivate static func seconds(_ seconds: Double) -> TimeAmount { .nanoseconds(Int64(seconds * 1e9)) }
}

/// Copies one chunk at a time into the form that the HTTP client writes.
private struct ChunkBuffers: AsyncSequence, Sendable {
    let chunks: [Chunk]

    struct Iterator: AsyncIteratorProtocol {
        var rest: ArraySlice<Chunk>

        mutating func next() async -> ByteBuffer? {
            guard let chunk = rest.popFirst() else { return nil }
            return ByteBuffer(bytes: chunk.bytes)
        }
    }

    func makeAsyncIterator() -> Iterator { Iterator(rest: chunks[...]) }
}
