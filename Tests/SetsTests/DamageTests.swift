import Core
import Sets
import TestSupport
import Testing

/// Promise 3: no damage to what is stored is ever taken for a sound set.
struct DamageTests {
    /// In the quick run every seventh place, from an offset that differs by object; in the long one every place.
    private static let stride = runsSoak ? 1 : 7

    private func expectRefusal(
        _ bench: Workbench, _ what: String, key: BackupKey = Workbench.key(),
        with codes: [ExitCode] = [.verificationFailed, .keys, .store]
    ) async {
        do {
            try await bench.readThrough(key)
            Issue.record("\(what) went unseen")
        } catch let failure as any Failure {
            #expect(
                codes.contains(failure.exitCode),
                "\(what) ended with \(failure.exitCode): \(failure)")
        } catch {
            Issue.record("\(what) gave no failure but \(error)")
        }
    }

    @Test("Every flipped byte of a stored set is found")
    func flips() async throws {
        let store = MemoryStore()
        try await Workbench.withKey(store: store) { bench in
            try await bench.makeSet()
            for (number, path) in try await bench.objects().enumerated() {
                let count = try #require(store.bytes(path)).count
                for index in Swift.stride(from: number % Self.stride, to: count, by: Self.stride) {
                    let bit = UInt8(1) << UInt8(index % 8)
                    store.damage(path) { $0[index] ^= bit }
                    // A segment is damaged wherever it is, also where its header names its key.
                    await expectRefusal(
                        bench, "a flip of byte \(index) of \(path)",
                        with: path.hasSuffix(".encrypted") ? [.verificationFailed] : [.verificationFailed, .keys])
                    store.damage(path) { $0[index] ^= bit }
                }
            }
            try await bench.readThrough()
        }
    }

    @Test("Every truncation of every object of a set is found, and so is one more byte")
    func truncations() async throws {
        let store = MemoryStore()
        try await Workbench.withKey(store: store) { bench in
            try await bench.makeSet()
            for path in try await bench.objects() {
                let bytes = try #require(store.bytes(path))
                for length in Swift.stride(from: 0, to: bytes.count, by: Self.stride) {
                    store.damage(path) { $0 = Array(bytes[..<length]) }
                    await expectRefusal(bench, "a truncation of \(path) to \(length)")
                }
                store.damage(path) { $0 = bytes + [0] }
                await expectRefusal(bench, "a byte added to \(path)")
                store.damage(path) { $0 = bytes }
            }
            try await bench.readThrough()
        }
    }

    @Test("Parts swapped between sets, within a set, and manifests moved are found")
    func swaps() async throws {
        let store = MemoryStore()
        try await Workbench.withKey(store: store) { bench in
            // Equal plaintexts of equal length, so that nothing but the authentication can tell them apart.
            let parts = ["a.sql": Array("same\n".utf8), "b.sql": Array("same\n".utf8)]
            try await bench.makeSet(Workbench.key(second: 1), parts: parts)
            try await bench.makeSet(Workbench.key(second: 2), parts: parts)
            let objects = try await bench.objects()
            for first in objects {
                for second in objects where first < second {
                    let (a, b) = (try #require(store.bytes(first)), try #require(store.bytes(second)))
                    store.damage(first) { $0 = b }
                    store.damage(second) { $0 = a }
                    let key = first.contains("07-00-01") ? Workbench.key(second: 1) : Workbench.key(second: 2)
                    await expectRefusal(bench, "\(first) exchanged with \(second)", key: key)
                    store.damage(first) { $0 = a }
                    store.damage(second) { $0 = b }
                }
            }
            try await bench.readThrough(Workbench.key(second: 1))
            try await bench.readThrough(Workbench.key(second: 2))
        }
    }

    @Test("A segment that is missing is found before anything is read")
    func missing() async throws {
        let store = MemoryStore()
        try await Workbench.withKey(store: store) { bench in
            try await bench.makeSet()
            let path = try #require(try await bench.objects().first { $0.hasSuffix(".encrypted") })
            try await store.delete(path)
            await expectRefusal(bench, "a missing \(path)")
        }
    }
}
