import AWS
import Core
import S3Store
import TestSupport

/// A store in a bucket of its own on Ceph, with pieces of 5 MiB.
func withCephStore<Result>(
    objectLock: Bool = false, encryption: S3Settings.ServerSideEncryption? = nil, largestObject: Int64 = 1 << 30,
    wrap: @escaping @Sendable (any HTTPTransport) -> any HTTPTransport = { $0 },
    _ body: (S3Store) async throws -> Result
) async throws -> Result {
    let ceph = try await CephCluster.shared()
    let settings = S3Settings(
        bucket: try await ceph.makeBucket(objectLock: objectLock), prefix: "klinik", encryption: encryption,
        multipartThreshold: 5 << 20, pieceSize: 5 << 20, downloadPieceSize: 1 << 20, largestObject: largestObject)
    return try await withS3Store(settings, S3Wiring(environment: ceph.environment(), wrap: wrap), body)
}

/// A store whose server is a closure: it gives the answer to each call, or throws `TransportError`.
func withScriptedStore<Result>(
    _ settings: S3Settings = S3Settings(bucket: "clinic", multipartThreshold: 5 << 20, pieceSize: 5 << 20),
    environment: [String: String] = [
        "AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s",
    ],
    _ answer: @escaping @Sendable (HTTPCall) throws -> HTTPAnswer, _ body: (S3Store) async throws -> Result
) async throws -> Result {
    let wiring = S3Wiring(environment: environment, wrap: { _ in ScriptedTransport(answer: answer) })
    return try await withS3Store(settings, wiring, body)
}

struct ScriptedTransport: HTTPTransport {
    let answer: @Sendable (HTTPCall) throws -> HTTPAnswer

    func exchange(
        _ call: HTTPCall, take: (@Sendable (UnsafeRawBufferPointer) throws -> Void)?
    ) async throws -> HTTPAnswer {
        var answer = try answer(call)
        if let take, answer.isSuccess {
            try answer.body.withUnsafeBytes { try take($0) }
            answer.body = []
        }
        return answer
    }
}

/// What goes wrong on the way to a real server and back.
final class FaultyTransport: HTTPTransport {
    enum Fault {
        /// The server does what it is asked, and its answer is lost.
        case loseAnswer
        /// The answer breaks after so many bytes of its body.
        case cutBody(after: Int)
    }

    private let inner: any HTTPTransport
    private let choose: @Sendable (HTTPCall) -> Fault?
    private let seen = Guarded<[String]>([])

    init(_ inner: any HTTPTransport, _ choose: @escaping @Sendable (HTTPCall) -> Fault?) {
        self.inner = inner
        self.choose = choose
    }

    func exchange(
        _ call: HTTPCall, take: (@Sendable (UnsafeRawBufferPointer) throws -> Void)?
    ) async throws -> HTTPAnswer {
        switch choose(call) {
        case nil: return try await inner.exchange(call, take: take)
        case .loseAnswer:
            _ = try await inner.exchange(call)
            throw TransportError(.broken, "the answer was lost")
        case .cutBody(let limit):
            let left = Guarded(limit)
            _ = try await inner.exchange(call) { bytes in
                nonisolated(unsafe) let bytes = bytes
                let count = left.withLock { left in
                    let count = min(left, bytes.count)
                    left -= count
                    return count
                }
                if count > 0 { try take?(UnsafeRawBufferPointer(rebasing: bytes[..<count])) }
            }
            throw TransportError(.broken, "the connection was reset")
        }
    }
}

/// True the first `count` times that it is asked.
final class Times: Sendable {
    private let left: Guarded<Int>

    init(_ count: Int) { left = Guarded(count) }

    func next() -> Bool {
        left.withLock { left in
            left -= 1
            return left >= 0
        }
    }
}

extension S3Store {
    /// All of an object, or of `range` of it, pulled on a thread.
    func bytes(_ key: String, range: Range<Int64>? = nil) async throws -> [UInt8] {
        let source = try await get(key, range: range)
        return try await onThread("test-read") { try source.collect(limit: 64 << 20) }
    }

    /// Every unfinished upload, ended; how many there were.
    func unfinishedUploads() async throws -> Int { try await abortAbandonedUploads(olderThan: -60) }
}
