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

    /// Removes an object. One that is not there is success.
    func delete(_ key: String) async throws
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

/// How an object is to be kept. What was asked for is read back after the write; an object that is not kept so is
/// an error.
package struct PutOptions: Sendable {
    /// Fail where the key is taken.
    package var createOnly: Bool
    package var storageClass: StorageClass
    package var protection: Protection
    /// For the store's own rules; at most ten.
    package var tags: [String: String]

    package init(
        createOnly: Bool = false, storageClass: StorageClass = .standard, protection: Protection = Protection(),
        tags: [String: String] = [:]
    ) {
        self.createOnly = createOnly
        self.storageClass = storageClass
        self.protection = protection
        self.tags = tags
    }
}

/// What keeps an object from being changed or deleted by anybody, ourselves included.
package struct Protection: Equatable, Sendable {
    package var lock: ObjectLock?
    /// Without an end: until a person lifts it.
    package var legalHold: Bool

    package init(lock: ObjectLock? = nil, legalHold: Bool = false) {
        self.lock = lock
        self.legalHold = legalHold
    }

    package var isNone: Bool { lock == nil && !legalHold }
}

/// Write once, read many, until a time.
package struct ObjectLock: Equatable, Sendable {
    package enum Mode: String, CaseIterable, Sendable {
        /// Who has a special right may lift it.
        case governance
        /// Nobody may, the account's owner included.
        case compliance
    }

    package var mode: Mode
    package var until: Timestamp

    package init(mode: Mode, until: Timestamp) {
        self.mode = mode
        self.until = until
    }
}

/// S3's storage classes that sets may lie in, by their names there.
package enum StorageClass: String, CaseIterable, Sendable {
    case standard = "STANDARD"
    case standardIA = "STANDARD_IA"
    case glacierInstant = "GLACIER_IR"
    case glacier = "GLACIER"
    case deepArchive = "DEEP_ARCHIVE"

    /// Has to be thawed before it can be read.
    package var isArchive: Bool { self == .glacier || self == .deepArchive }
}

package enum Amendment: Equatable, Sendable {
    /// Adds a lock, prolongs it, or sets the legal hold; never shortens.
    case protect(Protection)
    /// Asks for an archived object to be readable for so many days. Returns at once; the thaw takes hours.
    case thaw(days: Int)
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

/// The store took an object or a change and did not keep it as it was asked to: a lock, an encryption or a storage
/// class that is not there when it is read back.
package struct NotApplied: Failure {
    package let key: String
    /// What was asked for, and what was found: `Object Lock until … was asked for; there is none`.
    package let problem: String

    package init(key: String, problem: String) {
        self.key = key
        self.problem = problem
    }

    package var exitCode: ExitCode { .store }
    package var operation: String { "protect the object" }
    package var object: String { key }
    package var cause: String { problem }
    package var hint: String {
        "the store says yes and does not do it; 'lifeboat provision --check' shows what the bucket lacks"
    }
}

/// The kind of store has no such thing.
package struct NotSupportedByStore: Failure {
    package let key: String
    package let what: String

    package init(key: String, what: String) {
        self.key = key
        self.what = what
    }

    package var exitCode: ExitCode { .configuration }
    package var operation: String { "keep the object as asked for" }
    package var object: String { key }
    package var cause: String { "this kind of store has no \(what)" }
    package var hint: String { "use a store that has it, or take the setting that asks for it away" }
}

/// The object's bytes lie in an archive and cannot be read now.
package struct ObjectArchived: Failure {
    package let key: String
    package let storageClass: StorageClass
    package let isThawing: Bool

    package init(key: String, storageClass: StorageClass, isThawing: Bool) {
        self.key = key
        self.storageClass = storageClass
        self.isThawing = isThawing
    }

    package var exitCode: ExitCode { .thawRequested }
    package var operation: String { "read the object" }
    package var object: String { key }
    package var cause: String {
        "it lies in \(storageClass.rawValue)" + (isThawing ? " and is being thawed" : " and has not been thawed")
    }
    package var hint: String {
        storageClass == .deepArchive
            ? "run again in 12 to 48 hours: the thaw goes on by itself"
            : "run again in 3 to 12 hours: the thaw goes on by itself"
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
