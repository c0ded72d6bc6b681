import AWS
import Core
import S3Store
import TestSupport
import Testing

/// Answers that are lost and connections that break, between the store and a real Ceph.
@Suite(.needs(CephCluster.part)) struct WayFaultTests {
    /// A create-only put whose answer is lost is found to have been made; somebody else's object is a conflict still.
    @Test(arguments: [false, true]) func lostPut(hasVersions: Bool) async throws {
        let times = Times(3)
        try await withCephStore(
            objectLock: hasVersions,
            wrap: { inner in
                FaultyTransport(inner) { $0.method == "PUT" && times.next() ? .loseAnswer : nil }
            }
        ) { (store) async throws in
            try await store.put("x", [1, 2, 3], createOnly: true)
            #expect(try await store.bytes("x") == [1, 2, 3])
            await #expect(throws: StoreConflict.self) { try await store.put("x", [9, 9, 9], createOnly: true) }
            #expect(try await store.bytes("x") == [1, 2, 3])
        }
    }

    /// Whichever answer of an upload in pieces is lost, the object comes to be, and no upload stays.
    @Test(arguments: ["?uploads", "partNumber=2", "?uploadId"]) func lostInPieces(mark: String) async throws {
        let times = Times(2)
        let hits = Guarded(0)
        try await withCephStore(wrap: { inner in
            FaultyTransport(inner) { call in
                guard call.method != "GET", call.url.contains(mark), times.next() else { return nil }
                hits.withLock { $0 += 1 }
                return .loseAnswer
            }
        }) { (store) async throws in
            let bytes = patternBytes(12 << 20)
            _ = try await store.put("x", from: MemorySource(bytes), options: PutOptions(createOnly: true))
            #expect(hits.value == 2)
            #expect(try await store.bytes("x") == bytes)
            #expect(try await store.unfinishedUploads() == 0)
        }
    }

    /// A download goes on where its answers broke: every second one gives 300,000 bytes and no more.
    @Test func brokenDownload() async throws {
        let answers = Guarded(0)
        try await withCephStore(wrap: { inner in
            FaultyTransport(inner) { call in
                guard call.method == "GET", call.headers["Range"] != nil else { return nil }
                let number = answers.withLock { answers in
                    answers += 1
                    return answers
                }
                return number % 2 == 1 ? .cutBody(after: 300_000) : nil
            }
        }) { (store) async throws in
            let bytes = patternBytes(6 << 20 + 77)
            _ = try await store.put("x", from: MemorySource(bytes), options: PutOptions())
            #expect(try await store.bytes("x") == bytes)
            #expect(try await store.bytes("x", range: 1_000_001..<5_000_003) == Array(bytes[1_000_001..<5_000_003]))
            #expect(answers.value > 14)
        }
    }

    /// An object that is replaced while it is read is an error, not a mixture.
    @Test func replaced() async throws {
        try await withCephStore { (store) async throws in
            _ = try await store.put("x", from: MemorySource(patternBytes(5 << 20)), options: PutOptions())
            let source = try await store.get("x", range: nil)
            _ = try await store.put("x", from: MemorySource(patternBytes(5 << 20, seed: 9)), options: PutOptions())
            await #expect(throws: S3StoreError.changed(key: "x")) {
                _ = try await onThread("test-read") { try source.collect(limit: 64 << 20) }
            }
        }
    }

    /// A source that is cancelled wakes its reader, and one that nobody reads costs nothing.
    @Test func cancelledDownload() async throws {
        try await withCephStore { (store) async throws in
            _ = try await store.put("x", from: MemorySource(patternBytes(5 << 20)), options: PutOptions())
            let source = try await store.get("x", range: nil)
            _ = try await onThread("test-read") { try source.next()?.count }
            source.cancel()
            await #expect(throws: CancellationError.self) {
                _ = try await onThread("test-read") { try source.next()?.count }
            }
            _ = try await store.get("x", range: nil)
        }
    }
}
