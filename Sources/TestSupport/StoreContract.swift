package import Core

/// One demand of the ``Store`` port. Every implementation is run through all of ``storeContract``, each case on an
/// empty store.
package struct StoreContractCase: Sendable, CustomStringConvertible {
    package let description: String
    /// In a bucket it asks for one that was made with Object Lock.
    package let needsLocks: Bool
    /// Throws ``ContractViolation`` where the store does not do what it should.
    package let run: @Sendable (any Store) async throws -> Void

    init(
        _ description: String, needsLocks: Bool = false, _ run: @escaping @Sendable (any Store) async throws -> Void
    ) {
        self.description = description
        self.needsLocks = needsLocks
        self.run = run
    }
}

/// A clause of a port's contract that an implementation does not keep.
package struct ContractViolation: Error, CustomStringConvertible {
    package let description: String
}

package let storeContract: [StoreContractCase] = [
    StoreContractCase("what was put is got back", putAndGet),
    StoreContractCase("a range is got, and none past the end", ranges),
    StoreContractCase("an empty object is an object", emptyObject),
    StoreContractCase("five mebibytes and a byte come back as they went", largeObject),
    StoreContractCase("what is not there is named as such", notThere),
    StoreContractCase("deleting is repeatable and leaves the neighbours", deletion),
    StoreContractCase("deleting all versions leaves nothing but the neighbours", deletionOfVersions),
    StoreContractCase("a create-only put never replaces", createOnly),
    StoreContractCase("of eight create-only racers exactly one wins", createOnlyRace),
    StoreContractCase("a put without create-only replaces", replacement),
    StoreContractCase("a reader never sees half a replacement", atomicReplacement),
    StoreContractCase("a source's error comes through unchanged and nothing stays", sourceError),
    StoreContractCase("a broken replacement leaves what was there", brokenReplacement),
    StoreContractCase("cancelling ends a put that waits, and nothing stays", cancelledPut),
    StoreContractCase("a cancelled task starts nothing", cancelledBefore),
    StoreContractCase("listings are in the order of bytes", listingOrder),
    StoreContractCase("listings keep to their prefix", listingPrefix),
    StoreContractCase("1,100 objects are all listed", longListing),
    StoreContractCase("names with spaces, plus signs, percent signs and unicode", oddNames),
    StoreContractCase("keys that are none are refused", badKeys),
    StoreContractCase("puts and deletes beside each other do not disturb", churn),
    StoreContractCase("times do not run backwards", times),
    StoreContractCase("a lock keeps an object and is only prolonged", needsLocks: true, keepsLocks),
    StoreContractCase("a lock and a hold are set later too", needsLocks: true, keepsLaterProtection),
    StoreContractCase("a hold is lifted and the lock stays", needsLocks: true, liftsHolds),
    StoreContractCase("an object lies in the class it was put in", keepsStorageClasses),
    StoreContractCase("an archived object is read after a thaw, any other at once", keepsThaws),
    StoreContractCase("what is not there is not amended", amendsNothing),
]

func demand(_ condition: Bool, _ message: @autoclosure () -> String) throws {
    if !condition { throw ContractViolation(description: message()) }
}

func demandKeys(_ store: any Store, _ expected: [String]) async throws {
    let found = try await keys(store)
    // As bytes: two spellings of one word are equal as Strings.
    try demand(found.map { Array($0.utf8) } == expected.map { Array($0.utf8) }, "there is \(found), not \(expected)")
}

/// Bytes that differ at every place and between seeds.
package func patternBytes(_ count: Int, seed: UInt8 = 0) -> [UInt8] {
    var state = UInt32(seed) &* 2_654_435_761 &+ 12345
    return (0..<count).map { _ in
        state = state &* 1_664_525 &+ 1_013_904_223
        return UInt8(truncatingIfNeeded: state >> 24)
    }
}

func keys(_ store: any Store, _ prefix: String = "") async throws -> [String] {
    var keys: [String] = []
    for try await info in store.list(prefix) { keys.append(info.key) }
    return keys
}

/// A source whose `next` waits until it is cancelled.
package final class HangingSource: ByteSource {
    private let first: Guarded<[UInt8]>
    private let started = AsyncStream<Void>.makeStream()
    private let gate = Gate()

    /// Gives `first` and then hangs.
    package init(first: [UInt8] = [1, 2, 3]) { self.first = Guarded(first) }

    package var isCancelled: Bool { gate.isOpen }

    /// Suspends until the source hangs.
    package func waitUntilHanging() async { for await _ in started.stream { return } }

    package func next() throws -> Chunk? {
        let bytes = first.withLock { bytes in
            defer { bytes = [] }
            return bytes
        }
        if !bytes.isEmpty { return Chunk(bytes) }
        started.continuation.yield()
        gate.wait()
        throw CancellationError()
    }

    package func cancel() { gate.open() }
}

private func putAndGet(_ store: any Store) async throws {
    let bytes = patternBytes(70_000)
    let size = try await store.put("a/b/c", from: MemorySource(bytes, chunkSize: 999), options: PutOptions())
    try demand(size == 70_000, "put says \(size)")
    try demand(try await store.read("a/b/c") == bytes, "other bytes came back")
    let info = try await store.stat("a/b/c")
    try demand(info?.size == 70_000 && info?.key == "a/b/c", "stat says \(String(describing: info))")
}

private func ranges(_ store: any Store) async throws {
    let bytes = patternBytes(3_000_000)
    try await store.put("x", bytes)
    for range: Range<Int64> in [0..<1, 1..<2_500_000, 2_999_999..<3_000_000, 5..<5, 0..<3_000_000] {
        let got = try await store.get("x", range: range).collect(limit: 4_000_000)
        try demand(got == Array(bytes[Int(range.lowerBound)..<Int(range.upperBound)]), "range \(range)")
    }
    for range: Range<Int64> in [0..<3_000_001, 3_000_000..<3_000_001] {
        do {
            _ = try await store.get("x", range: range).collect(limit: 4_000_000)
            throw ContractViolation(description: "range \(range) past the end was answered")
        } catch is any Failure {}
    }
}

private func emptyObject(_ store: any Store) async throws {
    try await store.put("empty", [])
    try demand(try await store.stat("empty")?.size == 0, "stat")
    try demand(try await store.read("empty").isEmpty, "bytes")
    try demand(try await keys(store) == ["empty"], "list")
}

private func largeObject(_ store: any Store) async throws {
    let bytes = patternBytes(5 << 20 + 1)
    try await store.put("large", bytes, createOnly: true)
    try demand(try await store.read("large") == bytes, "other bytes came back")
}

private func notThere(_ store: any Store) async throws {
    try await store.put("dir/there", [1])
    for key in ["nothing", "dir/nothing", "dir", "dir/there/below", "no/such/place"] {
        try demand(try await store.stat(key) == nil, "stat finds \(key)")
        do {
            _ = try await store.get(key, range: nil)
            throw ContractViolation(description: "get finds \(key)")
        } catch let error as ObjectNotFound {
            try demand(error.key == key, "the error names \(error.key) for \(key)")
        }
    }
    try demand(try await keys(store, "no/such").isEmpty, "list of nothing")
}

private func deletion(_ store: any Store) async throws {
    for key in ["d/1", "d/2", "e/f/g"] { try await store.put(key, [1]) }
    for key in ["d/1", "d/1", "e/f/g", "e/f/g", "never/was", "d"] { try await store.delete(key) }
    try await demandKeys(store, ["d/2"])
    try await store.put("e/f/g", [2])
    try demand(try await store.read("e/f/g") == [2], "a deleted key can be put again")
}

private func deletionOfVersions(_ store: any Store) async throws {
    for bytes: [UInt8] in [[1], [2], [3]] { try await store.put("d/1", bytes) }
    try await store.put("d/1a", [4])
    try await store.put("d/2", [5])
    try await store.delete("d/2")
    for key in ["d/1", "d/1", "d/2", "never/was"] { try await store.delete(key, allVersions: true) }
    try await demandKeys(store, ["d/1a"])
    try await store.put("d/1", [6], createOnly: true)
    try demand(try await store.read("d/1") == [6], "a deleted key can be put again")
}

private func createOnly(_ store: any Store) async throws {
    try await store.put("c/x", [1], createOnly: true)
    do {
        _ = try await store.put("c/x", from: MemorySource([2]), options: PutOptions(createOnly: true))
        throw ContractViolation(description: "it replaced")
    } catch let conflict as StoreConflict {
        try demand(conflict.key == "c/x", "the conflict names \(conflict.key)")
    }
    try demand(try await store.read("c/x") == [1], "the first bytes are gone")
    try await demandKeys(store, ["c/x"])
}

private func createOnlyRace(_ store: any Store) async throws {
    for round in 0..<10 {
        let winners = try await withThrowingTaskGroup(of: Int?.self) { group in
            for racer in 0..<8 {
                group.addTask {
                    do {
                        let bytes = patternBytes(20_000, seed: UInt8(racer))
                        try await store.put("race/\(round)", bytes, createOnly: true)
                        return racer
                    } catch is StoreConflict { return nil }
                }
            }
            return try await group.reduce(into: [Int]()) { winners, racer in if let racer { winners.append(racer) } }
        }
        try demand(winners.count == 1, "winners: \(winners)")
        let bytes = try await store.read("race/\(round)")
        try demand(bytes == patternBytes(20_000, seed: UInt8(winners[0])), "the bytes are not the winner's")
    }
}

private func replacement(_ store: any Store) async throws {
    try await store.put("r", patternBytes(5000))
    try await store.put("r", [7])
    try demand(try await store.read("r") == [7], "not replaced")
    try demand(try await store.stat("r")?.size == 1, "stat")
}

private func atomicReplacement(_ store: any Store) async throws {
    let size = 300_000
    try await store.put("atom", [UInt8](repeating: 0, count: size))
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
            for round in 1...20 { try await store.put("atom", [UInt8](repeating: UInt8(round), count: size)) }
        }
        group.addTask {
            for _ in 0..<60 {
                let bytes = try await store.read("atom")
                try demand(
                    bytes.count == size && bytes.allSatisfy { $0 == bytes[0] }, "a mix of two objects was read")
            }
        }
        try await group.waitForAll()
    }
}

private struct Marked: Error {}

private func sourceError(_ store: any Store) async throws {
    for createOnly in [false, true] {
        let source = CutSource(MemorySource(patternBytes(3 << 20)), after: 2 << 20, fault: Marked())
        do {
            _ = try await store.put("s/e/x", from: source, options: PutOptions(createOnly: createOnly))
            throw ContractViolation(description: "a broken source was stored")
        } catch is Marked {}
        try demand(try await store.stat("s/e/x") == nil, "stat finds half an object")
        try await demandKeys(store, [])
    }
}

private func brokenReplacement(_ store: any Store) async throws {
    try await store.put("b", [1, 2, 3])
    do {
        let source = CutSource(MemorySource(patternBytes(2000)), after: 1000, fault: Marked())
        _ = try await store.put("b", from: source, options: PutOptions())
        throw ContractViolation(description: "a broken source was stored")
    } catch is Marked {}
    try demand(try await store.read("b") == [1, 2, 3], "the object was damaged")
}

private func cancelledPut(_ store: any Store) async throws {
    let source = HangingSource(first: patternBytes(100_000))
    let task = Task { try await store.put("h/x", from: source, options: PutOptions(createOnly: true)) }
    await source.waitUntilHanging()
    task.cancel()
    do {
        _ = try await task.value
        throw ContractViolation(description: "a cancelled put succeeded")
    } catch is CancellationError {}
    try demand(source.isCancelled, "the source was not cancelled")
    try await demandKeys(store, [])
}

private func cancelledBefore(_ store: any Store) async throws {
    try await store.put("k", [1])
    let gate = AsyncStream<Void>.makeStream()
    let task = Task {
        for await _ in gate.stream {}
        let calls: [(String, () async throws -> Void)] = [
            ("put", { try await store.put("new", [1]) }), ("get", { _ = try await store.get("k", range: nil) }),
            ("stat", { _ = try await store.stat("k") }), ("delete", { try await store.delete("k") }),
        ]
        for (name, call) in calls {
            do {
                try await call()
                throw ContractViolation(description: "\(name) went on in a cancelled task")
            } catch is CancellationError {}
        }
    }
    task.cancel()
    gate.continuation.finish()
    try await task.value
    try await demandKeys(store, ["k"])
}

private func listingOrder(_ store: any Store) async throws {
    // '-' and '.' come before '/', letters after it; é, an Umlaut and an emoji after all of ASCII.
    let names = [
        "a/x", "a-b/x", "a.b", "a0", "a/y/z", "a/y.z", "B", "b", "a b", "é/1", "z/2", "\u{1F600}", "a/\u{FB01}",
        "\u{FF5E}/x",
    ]
    for name in names.shuffled() { try await store.put(name, [1]) }
    let expected = names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    try await demandKeys(store, expected)
}

private func listingPrefix(_ store: any Store) async throws {
    for key in ["p/1", "p/2/3", "p2/4", "q", "p-1/5", "pq"] { try await store.put(key, [1]) }
    for (prefix, expected) in [
        ("", ["p-1/5", "p/1", "p/2/3", "p2/4", "pq", "q"]), ("p", ["p-1/5", "p/1", "p/2/3", "p2/4", "pq"]),
        ("p/", ["p/1", "p/2/3"]), ("p/2", ["p/2/3"]), ("p/2/", ["p/2/3"]), ("p2/4", ["p2/4"]), ("p/1/", []),
        ("x", []), ("q", ["q"]),
    ] {
        let found = try await keys(store, prefix)
        try demand(found == expected, "prefix '\(prefix)': \(found)")
    }
}

private func longListing(_ store: any Store) async throws {
    let names = (0..<1100).map { "many/\($0 % 7)/\($0)" }
    try await withThrowingTaskGroup(of: Void.self) { group in
        for worker in 0..<8 {
            group.addTask {
                for index in stride(from: worker, to: names.count, by: 8) { try await store.put(names[index], [1]) }
            }
        }
        try await group.waitForAll()
    }
    let expected = names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    try demand(try await keys(store, "many/") == expected, "some are missing or out of order")
}

private func oddNames(_ store: any Store) async throws {
    // The last two are one word in two spellings: Strings that are equal, keys that are not.
    let names = ["a b", "a+b", "a%20b", "a&b=c?d#e", "Ä/ß", "'quoted\"", "caf\u{E9}", "cafe\u{301}"]
    for (index, name) in names.enumerated() { try await store.put("odd/\(name)", [UInt8(index)]) }
    for (index, name) in names.enumerated() {
        try demand(try await store.read("odd/\(name)") == [UInt8(index)], "\(name)")
    }
    try await demandKeys(store, names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.map { "odd/\($0)" })
    for name in names { try await store.delete("odd/\(name)") }
    try await demandKeys(store, [])
}

private func badKeys(_ store: any Store) async throws {
    for key in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\u{0}b"] {
        do {
            try await store.put(key, [1])
            throw ContractViolation(description: "the key '\(key)' was taken")
        } catch is any Failure {}
    }
    try await demandKeys(store, [])
}

private func churn(_ store: any Store) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
        for worker in 0..<6 {
            group.addTask {
                for _ in 0..<25 {
                    let key = "churn/deep/down/\(worker)"
                    try await store.put(key, [UInt8(worker)])
                    try demand(try await store.read(key) == [UInt8(worker)], "lost \(key)")
                    try await store.delete(key)
                }
            }
        }
        try await group.waitForAll()
    }
    try await demandKeys(store, [])
}

private func times(_ store: any Store) async throws {
    try await store.put("t", [1])
    let first = try await store.stat("t")
    try await store.put("t", [2])
    let second = try await store.stat("t")
    guard let first, let second else { throw ContractViolation(description: "stat finds nothing") }
    try demand(second.modified >= first.modified, "\(second.modified) is before \(first.modified)")
    var listed: [ObjectInfo] = []
    for try await info in store.list("t") { listed.append(info) }
    try demand(listed == [second], "list and stat differ: \(listed)")
}
