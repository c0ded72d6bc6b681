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

    /// Size and time of an object; `nil` where there is none.
    func stat(_ key: String) async throws -> ObjectInfo?

    /// All objects whose keys begin with `prefix`, in the order of their keys' bytes. In a cancelled task the stream may
    /// end early without an error, for such is Swift's stream: whoever acts on a listing's end without a further call
    /// to the store checks for cancellation first.
    func list(_ prefix: String) -> AsyncThrowingStream<ObjectInfo, any Error>

    /// Removes an object. One that is not there is success.
    func delete(_ key: String) async throws
}

package struct StoreCapabilities: Sendable {
    /// For people: `file:///srv/backups`.
    package var location: String
    /// The longest object it takes, in bytes; longer parts go on in further segments.
    package var largestObject: Int64

    package init(location: String, largestObject: Int64) {
        self.location = location
        self.largestObject = largestObject
    }
}

package struct PutOptions: Sendable {
    /// Fail where the key is taken.
    package var createOnly: Bool

    package init(createOnly: Bool = false) { self.createOnly = createOnly }
}

package struct ObjectInfo: Equatable, Sendable {
    package var key: String
    /// Bytes.
    package var size: Int64
    /// By the store's clock.
    package var modified: Timestamp

    package init(key: String, size: Int64, modified: Timestamp) {
        self.key = key
        self.size = size
        self.modified = modified
    }
}

/// The key of a create-only put is taken.
package struct StoreConflict: Failure {
    package let key: String

    package init(key: String) { self.key = key }

    package var exitCode: ExitCode { .store }
    package var operation: String { "create the object" }
    package var object: String { key }
    package var cause: String { "there is one already, and it may not be replaced" }
    package var hint: String { "another run wrote it; look at it with 'lifeboat list' and run again" }
}

/// No object under this key.
package struct ObjectNotFound: Failure {
    package let key: String

    package init(key: String) { self.key = key }

    package var exitCode: ExitCode { .store }
    package var operation: String { "read the object" }
    package var object: String { key }
    package var cause: String { "it is not in the store" }
    package var hint: String { "check the key with 'lifeboat list', and the store's location and prefix" }
}

extension Store {
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
