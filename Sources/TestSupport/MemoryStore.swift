package import Core

/// A store in memory, with a clock of its own: the store's clock of the contract. It keeps locks and has an archive, as
/// a bucket does; a thaw ends when the test says so.
package final class MemoryStore: Store {
    private struct Object {
        var bytes: [UInt8]
        var modified: Timestamp
        var storageClass: StorageClass = .standard
        var availability: ObjectInfo.Availability = .online
        var protection = Protection()
        var tags: [String: String] = [:]
        /// How many versions lie below this one.
        var older = 0

        func info(_ key: String) -> ObjectInfo {
            ObjectInfo(
                key: key, size: Int64(bytes.count), modified: modified, storageClass: storageClass,
                availability: availability, protection: protection)
        }

        func isProtected(at now: Timestamp) -> Bool {
            protection.legalHold || protection.lock.map { $0.until > now } ?? false
        }
    }

    package let capabilities: StoreCapabilities
    private let clock: any WallClock
    // Under the keys' bytes: two spellings of é are one String and two keys.
    private let objects = Guarded<[[UInt8]: Object]>([:])
    /// The keys of ``objects`` in order, so that a listing costs what it lists. Changed while ``objects`` is held.
    private let order = Guarded<[[UInt8]]>([])
    /// How many versions lie under keys whose objects were deleted.
    private let hidden = Guarded<[[UInt8]: Int]>([:])
    private let isVersioned: Bool

    /// Without `isBucket` it can do no more than a directory: no locks, no classes, no tags. With `isVersioned` it
    /// remembers how much a plain deletion leaves.
    package init(
        clock: any WallClock = ManualClock(), largestObject: Int64 = 15 << 30, isBucket: Bool = true,
        isVersioned: Bool = false
    ) {
        self.clock = clock
        self.isVersioned = isVersioned
        capabilities = StoreCapabilities(
            location: "memory:", largestObject: largestObject, protects: isBucket, hasStorageClasses: isBucket)
    }

    /// Every key there is, in the order of bytes.
    package var keys: [String] { order.value.map { String(decoding: $0, as: UTF8.self) } }

    /// An object's bytes, for tests that look; `nil` where there is none.
    package func bytes(_ key: String) -> [UInt8]? { objects.withLock { $0[Array(key.utf8)]?.bytes } }

    /// The keys under which something lies, seen or not.
    package var keysOfVersions: [String] {
        Set(keys + hidden.value.keys.map { String(decoding: $0, as: UTF8.self) }).sorted()
    }

    /// Changes an object behind the store's back, as a failing disk or a hostile hand would.
    package func damage(_ key: String, _ change: (inout [UInt8]) -> Void) {
        objects.withLock { objects in
            guard var object = objects[Array(key.utf8)] else { return }
            change(&object.bytes)
            objects[Array(key.utf8)] = object
        }
    }

    /// Moves an object into another class, as a bucket's rules do.
    package func move(_ key: String, to storageClass: StorageClass) {
        objects.withLock { objects in
            objects[Array(key.utf8)]?.storageClass = storageClass
            objects[Array(key.utf8)]?.availability = storageClass.isArchive ? .archived : .online
        }
    }

    /// What rules would see, for tests that look.
    package func tags(_ key: String) -> [String: String] { objects.withLock { $0[Array(key.utf8)]?.tags ?? [:] } }

    /// Every thaw that was asked for is done.
    package func finishThaws() {
        objects.withLock { objects in
            for key in objects.keys where objects[key]?.availability == .thawing {
                objects[key]?.availability = .online
            }
        }
    }

    package func put(_ key: String, from source: any ByteSource, options: PutOptions) async throws -> Int64 {
        let limit = Int(capabilities.largestObject)
        return try await withTaskCancellationHandler {
            do {
                try Self.check(key)
                try refuseUnsupported(key, options)
                let bytes = try await onThread("memory-put") { try source.collect(limit: limit) }
                try Task.checkCancellation()
                let now = clock.now()
                try objects.withLock { objects in
                    if options.createOnly && objects[Array(key.utf8)] != nil { throw StoreConflict(key: key) }
                    if let object = objects[Array(key.utf8)], object.isProtected(at: now) {
                        throw Self.protected(key)
                    }
                    let older = objects[Array(key.utf8)].map { $0.older + 1 }
                    if older == nil {
                        order.withLock { $0.insert(Array(key.utf8), at: $0.place(of: Array(key.utf8))) }
                    }
                    objects[Array(key.utf8)] = Object(
                        bytes: bytes, modified: now, storageClass: options.storageClass,
                        availability: options.storageClass.isArchive ? .archived : .online,
                        protection: options.protection, tags: options.tags,
                        older: older ?? hidden.withLock { $0.removeValue(forKey: Array(key.utf8)) ?? 0 })
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
        guard let object = objects.withLock({ $0[Array(key.utf8)] }) else { throw ObjectNotFound(key: key) }
        guard object.availability == .online else {
            throw ObjectArchived(
                key: key, storageClass: object.storageClass, isThawing: object.availability == .thawing)
        }
        let bytes = object.bytes
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
        return objects.withLock { $0[Array(key.utf8)] }.map { $0.info(key) }
    }

    package func list(_ prefix: String) -> AsyncThrowingStream<ObjectInfo, any Error> {
        let wanted = Array(prefix.utf8)
        let found = objects.withLock { objects in
            order.withLock { order in
                order[order.place(of: wanted)...].prefix { $0.starts(with: wanted) }.compactMap { key in
                    objects[key].map { (key, $0) }
                }
            }
        }
        let rest = Guarded(found[...])
        return AsyncThrowingStream {
            try Task.checkCancellation()
            return rest.withLock { $0.popFirst() }.map { key, object in
                object.info(String(decoding: key, as: UTF8.self))
            }
        }
    }

    package func delete(_ key: String, allVersions: Bool) async throws {
        try Task.checkCancellation()
        try Self.check(key)
        let now = clock.now()
        try objects.withLock { objects in
            if let object = objects[Array(key.utf8)], object.isProtected(at: now) { throw Self.protected(key) }
            let removed = objects.removeValue(forKey: Array(key.utf8))
            if removed != nil { order.withLock { _ = $0.remove(at: $0.place(of: Array(key.utf8))) } }
            guard isVersioned else { return }
            hidden.withLock { hidden in
                if allVersions {
                    hidden[Array(key.utf8)] = nil
                } else if let removed {
                    hidden[Array(key.utf8)] = removed.older + 1
                }
            }
        }
    }

    package func amend(_ key: String, _ amendment: Amendment) async throws {
        try Task.checkCancellation()
        try Self.check(key)
        switch amendment {
        case .protect where !capabilities.protects, .liftHold where !capabilities.protects:
            throw NotSupportedByStore(key: key, what: "object lock")
        case .thaw where !capabilities.hasStorageClasses: throw NotSupportedByStore(key: key, what: "archive")
        default: break
        }
        try objects.withLock { objects in
            guard var object = objects[Array(key.utf8)] else { throw ObjectNotFound(key: key) }
            switch amendment {
            case .protect(let protection):
                if let lock = protection.lock,
                    lock.until > object.protection.lock?.until ?? lock.until.adding(seconds: -1)
                {
                    object.protection.lock = lock
                }
                if protection.legalHold { object.protection.legalHold = true }
            case .liftHold: object.protection.legalHold = false
            case .thaw:
                if object.availability == .archived { object.availability = .thawing }
            }
            objects[Array(key.utf8)] = object
        }
    }

    private func refuseUnsupported(_ key: String, _ options: PutOptions) throws(NotSupportedByStore) {
        if !options.protection.isNone, !capabilities.protects {
            throw NotSupportedByStore(key: key, what: "object lock")
        }
        if options.storageClass != .standard || !options.tags.isEmpty, !capabilities.hasStorageClasses {
            throw NotSupportedByStore(key: key, what: "storage classes")
        }
    }

    private static func protected(_ key: String) -> JobFailure {
        JobFailure(.store, "change the object", object: key, cause: "it is locked", hint: "wait for its lock to end")
    }

    private static func check(_ key: String) throws {
        let pieces = key.split(separator: "/", omittingEmptySubsequences: false)
        if pieces.contains(where: { $0.isEmpty || $0 == "." || $0 == ".." }) || key.utf8.contains(0) {
            throw JobFailure(.store, "use the key", object: key, cause: "it is not a key", hint: "check the key")
        }
    }
}

extension [[UInt8]] {
    /// Where `key` stands in this order, or would.
    fileprivate func place(of key: [UInt8]) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if self[middle].lexicographicallyPrecedes(key) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
