package import Core

/// A store in memory, with a clock of its own: the store's clock of the contract.
package final class MemoryStore: Store {
    private struct Object {
        var bytes: [UInt8]
        var modified: Timestamp
    }

    package let capabilities: StoreCapabilities
    private let clock: any WallClock
    // Under the keys' bytes: two spellings of é are one String and two keys.
    private let objects = Guarded<[[UInt8]: Object]>([:])

    package init(clock: any WallClock = ManualClock(), largestObject: Int64 = 15 << 30) {
        self.clock = clock
        capabilities = StoreCapabilities(location: "memory:", largestObject: largestObject)
    }

    /// Every key there is, in the order of bytes.
    package var keys: [String] {
        objects.withLock { $0.keys.sorted { $0.lexicographicallyPrecedes($1) } }.map {
            String(decoding: $0, as: UTF8.self)
        }
    }

    /// An object's bytes, for tests that look; `nil` where there is none.
    package func bytes(_ key: String) -> [UInt8]? { objects.withLock { $0[Array(key.utf8)]?.bytes } }

    /// Changes an object behind the store's back, as a failing disk or a hostile hand would.
    package func damage(_ key: String, _ change: (inout [UInt8]) -> Void) {
        objects.withLock { objects in
            guard var object = objects[Array(key.utf8)] else { return }
            change(&object.bytes)
            objects[Array(key.utf8)] = object
        }
    }

    package func put(_ key: String, from source: any ByteSource, options: PutOptions) async throws -> Int64 {
        let limit = Int(capabilities.largestObject)
        return try await withTaskCancellationHandler {
            do {
                try Self.check(key)
                let bytes = try await onThread("memory-put") { try source.collect(limit: limit) }
                try Task.checkCancellation()
                let now = clock.now()
                try objects.withLock { objects in
                    if options.createOnly && objects[Array(key.utf8)] != nil { throw StoreConflict(key: key) }
                    objects[Array(key.utf8)] = Object(bytes: bytes, modified: now)
                }
                return Int64(bytes.count)
            } catch {
                source.cancel()
                throw error
            }
        } onCancel: {
            source.cancel()
        }
    }

    package func get(_ key: String, range: Range<Int64>?) async throws -> any ByteSource {
        try Task.checkCancellation()
        try Self.check(key)
        guard let bytes = bytes(key) else { throw ObjectNotFound(key: key) }
        guard let range else { return MemorySource(bytes) }
        guard range.lowerBound >= 0, range.upperBound <= bytes.count else {
            throw JobFailure(
                .store, "read the object", object: key, cause: "the range reaches past its end", hint: "read less")
        }
        return MemorySource(Array(bytes[Int(range.lowerBound)..<Int(range.upperBound)]))
    }

    package func stat(_ key: String) async throws -> ObjectInfo? {
        try Task.checkCancellation()
        try Self.check(key)
        return objects.withLock { $0[Array(key.utf8)] }.map {
            ObjectInfo(key: key, size: Int64($0.bytes.count), modified: $0.modified)
        }
    }

    package func list(_ prefix: String) -> AsyncThrowingStream<ObjectInfo, any Error> {
        let found = objects.withLock { objects in
            objects.filter { $0.key.starts(with: prefix.utf8) }.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        }
        let rest = Guarded(found[...])
        return AsyncThrowingStream {
            try Task.checkCancellation()
            return rest.withLock { $0.popFirst() }.map { key, object in
                ObjectInfo(
                    key: String(decoding: key, as: UTF8.self), size: Int64(object.bytes.count),
                    modified: object.modified)
            }
        }
    }

    package func delete(_ key: String) async throws {
        try Task.checkCancellation()
        try Self.check(key)
        objects.withLock { $0[Array(key.utf8)] = nil }
    }

    private static func check(_ key: String) throws {
        let pieces = key.split(separator: "/", omittingEmptySubsequences: false)
        if pieces.contains(where: { $0.isEmpty || $0 == "." || $0 == ".." }) || key.utf8.contains(0) {
            throw JobFailure(.store, "use the key", object: key, cause: "it is not a key", hint: "check the key")
        }
    }
}
