import AWS
import Core
import Foundation
import S3Store
import TestSupport
import Testing

/// A store on Ceph behind a bad line: a put either succeeds, and the bytes that are read back directly are those that
/// were given, or it throws a failure of the store and there is no object; no upload in pieces stays behind. A get
/// either gives the object's bytes or throws.
@Suite(.needs(CephCluster.part), .serialized)
struct FaultTests {
    /// Two pieces and a half, and so everything that an upload consists of.
    private static let payload: [UInt8] = {
        var random = SeededRandom(seed: 6)
        return random.bytes((12 << 20) + 12345)
    }()

    /// How many points of each direction are tried: a seeded few in the quick run.
    private static let points = runsSoak ? 200 : 12

    /// Seeded points over the whole of so many bytes, the first and the last ones among them.
    private static func offsets(within total: Int, seed: UInt64) -> [Int] {
        var random = SeededRandom(seed: seed)
        return [1, total - 1]
            + (0..<(points - 2)).map { slot in
                let width = total / (points - 2)
                return slot * width + Int.random(in: 0..<width, using: &random)
            }
    }

    /// The store as it is reached through the proxy, and as it really is.
    struct Line: Sendable {
        let proxy: FaultProxy
        let store: S3Store
        let direct: S3Store

        /// Puts the payload under `key` and looks at what came of it.
        @discardableResult
        func put(
            _ key: String, _ payload: [UInt8] = FaultTests.payload, createOnly: Bool = false, succeeds: Bool = false,
            sourceLocation: SourceLocation = #_sourceLocation
        ) async throws -> (any Error)? {
            var thrown: (any Error)?
            do {
                let size = try await store.put(
                    key, from: MemorySource(payload), options: PutOptions(createOnly: createOnly))
                #expect(size == payload.count, "\(key)", sourceLocation: sourceLocation)
                let stored = try await direct.read(key, limit: 32 << 20)
                #expect(stored == payload, "\(key)", sourceLocation: sourceLocation)
            } catch let failure as any Failure {
                thrown = failure
                #expect(failure.exitCode == .store && !succeeds, "\(key): \(failure)", sourceLocation: sourceLocation)
                let left = try await direct.stat(key)
                #expect(left == nil, "\(key): \(failure)", sourceLocation: sourceLocation)
            }
            try await expectNoUploads(key, sourceLocation: sourceLocation)
            return thrown
        }

        func expectNoUploads(_ key: String, sourceLocation: SourceLocation = #_sourceLocation) async throws {
            let left = try await direct.abortAbandonedUploads(under: key, olderThan: -3600)
            #expect(left == 0, "uploads of \(key) were left behind", sourceLocation: sourceLocation)
        }

        /// Reads `key` through the proxy: its bytes, or a failure of the store.
        @discardableResult
        func get(
            _ key: String, succeeds: Bool = false, sourceLocation: SourceLocation = #_sourceLocation
        ) async throws -> (any Error)? {
            do {
                let bytes = try await store.read(key, limit: 32 << 20)
                #expect(bytes == FaultTests.payload, "\(key)", sourceLocation: sourceLocation)
                return nil
            } catch let failure as any Failure {
                #expect(failure.exitCode == .store && !succeeds, "\(failure)", sourceLocation: sourceLocation)
                return failure
            }
        }
    }

    /// `idle`: seconds after which a silent connection is given up. Waits between attempts go to `sleep`.
    private func withLine(
        idle: Double = 20, sleep: @escaping @Sendable (Double) async throws -> Void = { _ in await Task.yield() },
        _ body: (Line) async throws -> Void
    ) async throws {
        let ceph = try await CephCluster.shared()
        let settings = S3Settings(
            bucket: try await ceph.makeBucket(), multipartThreshold: 5 << 20, pieceSize: 5 << 20,
            downloadPieceSize: 4 << 20)
        let port = try #require(URL(string: ceph.url)?.port)
        try await withFaultProxy(to: port) { proxy in
            var environment = ceph.environment()
            environment["AWS_ENDPOINT_URL_S3"] = "http://127.0.0.1:\(proxy.port)"
            let impatient = try PooledTransport(limits: .init(connect: 2, idle: idle))
            let wiring = S3Wiring(
                environment: environment, wrap: { _ in impatient }, sleep: sleep,
                maxAttempts: AWSConfiguration.defaultAttempts)
            do {
                try await withS3Store(settings, S3Wiring(environment: ceph.environment())) { direct in
                    try await withS3Store(settings, wiring) { store in
                        try await body(Line(proxy: proxy, store: store, direct: direct))
                    }
                }
            } catch {
                try await impatient.shutdown()
                throw error
            }
            try await impatient.shutdown()
        }
    }

    @Test("An upload that is reset once at any point succeeds: only what was under way is sent again")
    func resetUploads() async throws {
        try await withLine { line in
            for offset in Self.offsets(within: Self.payload.count, seed: 1) {
                line.proxy.reset(.up, after: offset)
                let before = line.proxy.counts.bytesUp
                try await line.put("up-\(offset)", succeeds: true)
                #expect(line.proxy.counts.bytesUp - before < Self.payload.count + (11 << 20), "reset at \(offset)")
                line.proxy.clear()
            }
            #expect(line.proxy.counts.resets >= Self.points - 1)
        }
    }

    @Test("An upload whose answers are lost at any point succeeds, and no twin of it stays behind")
    func lostAnswers() async throws {
        try await withLine { line in
            // The answers of one upload are some two thousand bytes in all.
            for offset in Self.offsets(within: 2000, seed: 2) {
                line.proxy.reset(.down, after: offset)
                try await line.put("answer-\(offset)", succeeds: true)
                line.proxy.clear()
            }
            for offset in [1, 50, 150] {
                line.proxy.reset(.down, after: offset)
                try await line.put("small-\(offset)", Array("a lock".utf8), createOnly: true, succeeds: true)
                line.proxy.clear()
            }
        }
    }

    @Test("An upload over connections that all break fails as the store's failure and leaves nothing")
    func brokenUploads() async throws {
        try await withLine { line in
            for offset in [1 << 20, 3 << 20] {
                line.proxy.resetEachConnection(.up, after: offset)
                let thrown = try await line.put("broken-\(offset)")
                #expect(thrown != nil)
                line.proxy.clear()
            }
        }
    }

    @Test("A download that is reset at any point goes on where it was")
    func resetDownloads() async throws {
        try await withLine { line in
            _ = try await line.direct.put("object", from: MemorySource(Self.payload), options: PutOptions())
            for offset in Self.offsets(within: Self.payload.count, seed: 3) {
                line.proxy.reset(.down, after: offset)
                let before = line.proxy.counts.bytesDown
                try await line.get("object", succeeds: true)
                #expect(line.proxy.counts.bytesDown - before < Self.payload.count + (9 << 20), "reset at \(offset)")
                line.proxy.clear()
            }
            // Every connection breaks after a mebibyte: a longer object comes in many bits.
            line.proxy.resetEachConnection(.down, after: 3 << 20)
            let thrown = try await line.get("object")
            #expect(thrown == nil || line.proxy.counts.resets > 3)
        }
    }

    @Test("A burst of 503 SlowDown is waited out in either direction; one without end is the store's failure")
    func slowDown() async throws {
        try await withLine { line in
            line.proxy.answerSlowDown(requests: 5)
            try await line.put("burst", succeeds: true)
            line.proxy.answerSlowDown(requests: 5)
            try await line.put("burst-small", [1, 2, 3], createOnly: true, succeeds: true)
            _ = try await line.direct.put("object", from: MemorySource(Self.payload), options: PutOptions())
            line.proxy.answerSlowDown(requests: 5)
            try await line.get("object", succeeds: true)
            line.proxy.answerSlowDown(requests: 1_000_000)
            let refused = try await line.put("never")
            #expect("\(refused.map { "\($0)" } ?? "")".contains("SlowDown"))
        }
    }

    @Test("A stall longer than the deadline is given up and sent again, in either direction")
    func stalls() async throws {
        try await withLine(idle: 1) { line in
            _ = try await line.direct.put("object", from: MemorySource(Self.payload), options: PutOptions())
            for offset in [100, 3 << 20, 11 << 20] {
                line.proxy.stall(.up, after: offset)
                try await line.put("stalled-\(offset)", succeeds: true)
                line.proxy.stall(.down, after: offset)
                try await line.get("object", succeeds: true)
                line.proxy.clear()
            }
            #expect(line.proxy.counts.stalls == 6)
        }
    }

    @Test("Bytes that are changed on the way up are never stored", arguments: [0, 5 << 20, (12 << 20) + 12344])
    func corruptedUpload(offset: Int) async throws {
        try await withLine { line in
            line.proxy.corrupt(.up, bodyByte: offset)
            try await line.put("spoilt-\(offset)", succeeds: true)
            #expect(line.proxy.counts.corruptions == 1)
            line.proxy.corrupt(.up, bodyByte: 3)
            try await line.put(
                "spoilt-small-\(offset)", Array("a commit point".utf8), createOnly: true, succeeds: true)
        }
    }

    @Test("Answers that are changed on the way down never make a wrong object count as stored")
    func corruptedAnswers() async throws {
        try await withLine { line in
            for offset in Self.offsets(within: 600, seed: 4) {
                line.proxy.corrupt(.down, bodyByte: offset)
                try await line.put("answers-\(offset)")
                line.proxy.clear()
            }
        }
    }

    @Test("A server that refuses connections for ten seconds is waited for")
    func refusedConnections() async throws {
        let waited = Guarded(0.0)
        let door = Guarded<FaultProxy?>(nil)
        let sleep: @Sendable (Double) async throws -> Void = { seconds in
            let isOver = waited.withLock { waited in
                waited += seconds
                return waited >= 10
            }
            if isOver,
                let proxy = door.withLock({ door in
                    defer { door = nil }
                    return door
                })
            {
                try proxy.accept()
            }
        }
        try await withLine(sleep: sleep) { line in
            line.proxy.refuse()
            door.withLock { $0 = line.proxy }
            try await line.put("patient", succeeds: true)
            #expect(waited.value >= 10)
        }
    }

    @Test("A server that stays away is the store's failure, named so")
    func absentServer() async throws {
        try await withLine { line in
            line.proxy.refuse()
            let thrown = try await line.put("nobody")
            #expect(thrown is AWSError)
            let read = try await line.get("nobody")
            #expect(read is AWSError)
        }
    }

    @Test("A slow line takes its time and nothing else")
    func slowLine() async throws {
        try await withLine(idle: 2) { line in
            line.proxy.limitRate(bytesPerSecond: 6 << 20)
            try await line.put("slow", succeeds: true)
            try await line.get("slow", succeeds: true)
            #expect(line.proxy.counts.resets == 0)
        }
    }
}
