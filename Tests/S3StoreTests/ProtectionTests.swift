import AWS
import Core
import S3Store
import TestSupport
import Testing

/// What Ceph keeps of what it is asked to keep, with objects of one request and of pieces.
@Suite(.needs(CephCluster.part)) struct ProtectionTests {
    private static let sizes = [1000, 6 << 20]

    private func lock(_ mode: ObjectLock.Mode) -> ObjectLock {
        let now = RealClock().now().milliseconds
        return ObjectLock(mode: mode, until: Timestamp(milliseconds: now / 1000 * 1000).adding(seconds: 3600))
    }

    /// Lock, hold, class and tags take, in pieces too, where the server ignores the headers at the beginning.
    @Test(arguments: sizes) func everything(_ size: Int) async throws {
        try await withCephStore(objectLock: true) { (store) async throws in
            let options = PutOptions(
                createOnly: true, storageClass: .glacierInstant,
                protection: Protection(lock: lock(.compliance), legalHold: true),
                tags: ["lifeboat-tier": "monthly", "a b": "ü+/="])
            _ = try await store.put("x", from: MemorySource(patternBytes(size)), options: options)
            let info = try await store.stat("x")
            #expect(info?.protection == options.protection)
            #expect(info?.storageClass == .glacierInstant)
            #expect(info?.availability == .online)
            await #expect(throws: S3StoreError.locked(key: "x", protection: options.protection)) {
                try await store.delete("x")
            }
        }
    }

    /// Governance becomes compliance, and never the other way.
    @Test func stricter() async throws {
        try await withCephStore(objectLock: true) { (store) async throws in
            let governance = lock(.governance)
            let options = PutOptions(protection: Protection(lock: governance))
            _ = try await store.put("x", from: MemorySource([1]), options: options)
            let compliance = ObjectLock(mode: .compliance, until: governance.until)
            for asked in [compliance, governance] {
                try await store.amend("x", .protect(Protection(lock: asked)))
                #expect(try await store.stat("x")?.protection.lock == compliance)
            }
        }
    }

    /// A bucket without Object Lock is named as that, and nothing stays.
    @Test(arguments: sizes) func noObjectLock(_ size: Int) async throws {
        try await withCephStore { (store) async throws in
            for protection in [Protection(lock: lock(.governance)), Protection(legalHold: true)] {
                let error = await #expect(throws: S3StoreError.self) {
                    _ = try await store.put(
                        "x", from: MemorySource(patternBytes(size)), options: PutOptions(protection: protection))
                }
                guard case .noObjectLock = error else {
                    Issue.record("the error is \(String(describing: error))")
                    return
                }
                #expect(error?.exitCode == .configuration)
                #expect(try await store.stat("x") == nil)
            }
            try await store.put("y", [1])
            await #expect(throws: S3StoreError.self) {
                try await store.amend("y", .protect(Protection(legalHold: true)))
            }
        }
    }

    @Test(arguments: sizes) func encrypted(_ size: Int) async throws {
        try await withCephStore(encryption: .kms(keyID: "clinic-key")) { (store) async throws in
            let bytes = patternBytes(size)
            _ = try await store.put("x", from: MemorySource(bytes), options: PutOptions())
            #expect(try await store.bytes("x") == bytes)
        }
    }

    /// Ceph says yes to SSE-S3 and does not do it: an error that says so, and no object.
    @Test(arguments: sizes) func notEncrypted(_ size: Int) async throws {
        try await withCephStore(encryption: .aes256) { (store) async throws in
            let error = await #expect(throws: NotApplied.self) {
                _ = try await store.put("x", from: MemorySource(patternBytes(size)), options: PutOptions())
            }
            #expect(error?.problem == "SSE-S3 was asked for; there is none")
            let found = try await store.stat("x")
            #expect(found == nil)
        }
    }

    /// A key that the server does not have: refused, and no object.
    @Test func unknownKey() async throws {
        try await withCephStore(encryption: .kms(keyID: "no-such-key")) { (store) async throws in
            await #expect(throws: AWSError.self) { try await store.put("x", [1]) }
            let found = try await store.stat("x")
            #expect(found == nil)
        }
    }
}
