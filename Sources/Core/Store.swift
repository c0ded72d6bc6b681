/// Where sets are kept: objects under keys, whole or not there at all.
///
/// Keys are `/`-separated, without empty, `.` or `..` pieces, relative to the store's own prefix. Implementations
/// retry what is safe to repeat by themselves or through a decorator; every method may be called again after it has
/// thrown. Cancelling the task ends any of them, with `CancellationError`.
package protocol Store: Sendable {
    /// What this store can and cannot do.
    var capabilities: StoreCapabilities { get }

    /// Stores everything `source` gives under `key`. Either the whole object appears or none does: where `source`
    /// throws, nothing stays behind, and its error is thrown unchanged. Without `createOnly` an object there is
    /// replaced. With it, an object there makes ``StoreConflict``; a reply that was lost is settled by reading back,
    /// equal bytes being success. `source` is cancelled where the store fails.
    func put(_ key: String, from source: any ByteSource, options: PutOptions) async throws -> Int64

    /// The bytes of an object, or of `range` of it, as a source to be pulled once. ``ObjectNotFound`` where there is
    /// none, and an error where the range reaches past its end. The source throws where fewer bytes come than there
    /// are to be.
    func get(_ key: String, range: Range<Int64>?) async throws -> any ByteSource

    /// Size, time and state of an object; `nil` where there is none.
    func stat(_ key: String) async throws -> ObjectInfo?

    /// All objects whose keys begin with `prefix`, in the order of their keys' bytes. In a cancelled task the stream may
    /// end early without an error, for such is Swift's stream: whoever acts on a listing's end without a further call
    /// to the store checks for cancellation first.
    func list(_ prefix: String) -> AsyncThrowingStream<ObjectInfo, any Error>

    /// Changes what is kept about an object, never its bytes. It is read back: where the store says yes and does
    /// nothing, that is an error. The same again is success; ``ObjectNotFound`` where there is none. A store throws
    /// ``NotSupportedByStore`` for what its capabilities exclude.
    func amend(_ key: String, _ amendment: Amendment) async throws

    /// Removes an object. One that is not there is success; one that is protected is an error, and stays. Where the
    /// store keeps what was there before, that stays too, unless `allVersions`: then nothing is left under the key, or
    /// where one of them is protected, all of it.
    func delete(_ key: String, allVersions: Bool) async throws
}

package struct StoreCapabilities: Sendable {
    /// For people: `file:///srv/backups`.
    package var location: String
    /// The longest object it takes, in bytes; longer parts go on in further segments.
    package var largestObject: Int64
    /// Objects can be kept from being changed and deleted: ``Protection``.
    package var protects: Bool
    /// Objects can lie in other classes than ``StorageClass/standard``, and be thawed.
    package var hasStorageClasses: Bool

    package init(
        location: String, largestObject: Int64, protects: Bool = false, hasStorageClasses: Bool = false
    ) {
        self.location = location
        self.largestObject = largestObject
        self.protects = protects
        self.hasStorageClasses = hasStorageClasses
    }
}

package struct ObjectInfo: Equatable, Sendable {
    /// Whether the bytes can be read now. A listing may say `archived` for what is thawed; `stat` knows.
    package enum Availability: Equatable, Sendable { case online, archived, thawing }

    package var key: String
    /// Bytes.
    package var size: Int64
    /// By the store's clock.
    package var modified: Timestamp
    package var storageClass: StorageClass
    package var availability: Availability
    /// As far as the store was asked: a listing does not say.
    package var protection: Protection

    package init(
        key: String, size: Int64, modified: Timestamp, storageClass: StorageClass = .standard,
        availability: Availability = .online, protection: Protection = Protection()
    ) {
        self.key = key
        self.size = size
        self.modified = modified
        self.storageClass = storageClass
        self.availability = availability
        self.protection = protection
    }
}

extension Store {
    /// Removes an object, as far as readers see.
    package func delete(_ key: String) async throws { try await delete(key, allVersions: false) }

    /// Stores a small object.
    package func put(_ key: String, _ bytes: [UInt8], createOnly: Bool = false) async throws {
        _ = try await put(key, from: MemorySource(bytes), options: PutOptions(createOnly: createOnly))
    }

    /// Reads a small object whole; ``ObjectTooLarge`` past `limit` bytes.
    package func read(_ key: String, limit: Int = 16 << 20) async throws -> [UInt8] {
        let source = try await get(key, range: nil)
        return try await withTaskCancellationHandler {
            try await onThread("read") { try source.collect(limit: limit) }
        } onCancel: {
            source.cancel()
        }
    }
}
