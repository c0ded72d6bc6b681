import AWS
import Core
import S3Store
import TestSupport
import Testing

/// Objects on their way up to Ceph, whole and in pieces of 5 MiB.
@Suite(.needs(CephCluster.part)) struct UploadTests {
    /// Sizes around the boundary between one request and pieces, and between pieces, in chunks that fit neither.
    @Test(arguments: [0, 1, 5 << 20 - 1, 5 << 20, 5 << 20 + 1, 10 << 20, 10 << 20 + 1, 17 << 20])
    func sizes(_ size: Int) async throws {
        try await withCephStore { (store) async throws in
            let bytes = patternBytes(size)
            let source = MemorySource(bytes, chunkSize: 700_001)
            let options = PutOptions(createOnly: true)
            #expect(try await store.put("in pieces/\(size)", from: source, options: options) == Int64(size))
            #expect(try await store.bytes("in pieces/\(size)") == bytes)
            #expect(try await store.stat("in pieces/\(size)")?.size == Int64(size))
            #expect(try await store.unfinishedUploads() == 0)
            await #expect(throws: StoreConflict.self) {
                _ = try await store.put(
                    "in pieces/\(size)", from: MemorySource(bytes + [1]), options: options)
            }
            #expect(try await store.unfinishedUploads() == 0)
        }
    }

    private struct Marked: Error {}

    /// A source that breaks while pieces are on their way leaves no object and no upload, and its own error comes out.
    @Test func brokenSource() async throws {
        try await withCephStore { (store) async throws in
            let source = CutSource(MemorySource(patternBytes(14 << 20)), after: 13 << 20, fault: Marked())
            await #expect(throws: Marked.self) {
                _ = try await store.put("broken", from: source, options: PutOptions())
            }
            #expect(try await store.stat("broken") == nil)
            #expect(try await store.unfinishedUploads() == 0)
        }
    }

    /// The same for a task that is cancelled while its source waits.
    @Test func cancelled() async throws {
        try await withCephStore { (store) async throws in
            let source = HangingSource(first: patternBytes(12 << 20))
            let task = Task { try await store.put("cancelled", from: source, options: PutOptions()) }
            await source.waitUntilHanging()
            task.cancel()
            await #expect(throws: CancellationError.self) { _ = try await task.value }
            #expect(source.isCancelled)
            #expect(try await store.stat("cancelled") == nil)
            #expect(try await store.unfinishedUploads() == 0)
        }
    }

    /// Longer than one object may be: refused, and nothing stays.
    @Test func tooLong() async throws {
        try await withCephStore(largestObject: 6 << 20) { (store) async throws in
            await #expect(throws: S3StoreError.tooLarge(key: "long", limit: 6 << 20)) {
                _ = try await store.put("long", from: MemorySource(patternBytes(7 << 20)), options: PutOptions())
            }
            #expect(try await store.unfinishedUploads() == 0)
        }
    }

    /// As long as an object may be by the defaults, it has no more pieces than the servers that allow fewest take.
    @Test func pieceCount() {
        let settings = S3Settings(bucket: "clinic")
        #expect(settings.largestObject <= Int64(settings.pieceSize) * 1000)
    }

    /// Uploads below a prefix that are old enough are ended, younger ones and those of others are not.
    @Test func sweep() async throws {
        let ceph = try await CephCluster.shared()
        let bucket = try await ceph.makeBucket()
        let pieces = S3Settings(bucket: bucket, prefix: "ours", multipartThreshold: 1, pieceSize: 5 << 20)
        let lost = Guarded(0)
        // An upload whose end cannot be sent stays, as that of a killed process does.
        let unreachable = S3Wiring(
            environment: ceph.environment(),
            wrap: { inner in
                RefusingTransport(inner) { call in
                    guard call.method == "DELETE" else { return false }
                    lost.withLock { $0 += 1 }
                    return true
                }
            })
        try await withS3Store(pieces, unreachable) { (store) async throws in
            let source = CutSource(MemorySource(patternBytes(9 << 20)), after: 8 << 20, fault: Marked())
            await #expect(throws: Marked.self) {
                _ = try await store.put("daily/x y", from: source, options: PutOptions())
            }
        }
        #expect(lost.value > 0)
        try await withS3Store(pieces, S3Wiring(environment: ceph.environment())) { (store) async throws in
            #expect(try await store.abortAbandonedUploads() == 0)
            #expect(try await store.abortAbandonedUploads(under: "weekly/", olderThan: -60) == 0)
            #expect(try await store.abortAbandonedUploads(under: "daily/", olderThan: -60) == 1)
            #expect(try await store.unfinishedUploads() == 0)
        }
    }
}

/// Lets the calls that `refuse` chooses not through.
struct RefusingTransport: HTTPTransport {
    let inner: any HTTPTransport
    let refuse: @Sendable (HTTPCall) -> Bool

    init(_ inner: any HTTPTransport, _ refuse: @escaping @Sendable (HTTPCall) -> Bool) {
        self.inner = inner
        self.refuse = refuse
    }

    func exchange(
        _ call: HTTPCall, take: (@Sendable (UnsafeRawBufferPointer) throws -> Void)?
    ) async throws -> HTTPAnswer {
        if refuse(call) { throw TransportError(.connect, "nobody answers") }
        return try await inner.exchange(call, take: take)
    }
}
