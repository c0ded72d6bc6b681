import Core

/// The place of a store that could not be opened: a directory that is not mounted. Every call says so.
///
/// With two stores that is no reason to end a job before it has begun: a backup goes to the other one, and a restore is
/// read from there.
struct UnreachableStore: Store {
    let capabilities: StoreCapabilities
    private let failure: any Failure

    init(location: String, largestObject: Int64, failure: any Failure) {
        capabilities = StoreCapabilities(location: location, largestObject: largestObject)
        self.failure = failure
    }

    func put(_ key: String, from source: any ByteSource, options: PutOptions) async throws -> Int64 {
        source.cancel()
        throw failure
    }

    func get(_ key: String, range: Range<Int64>?) async throws -> any ByteSource { throw failure }
    func stat(_ key: String) async throws -> ObjectInfo? { throw failure }
    func list(_ prefix: String) -> AsyncThrowingStream<ObjectInfo, any Error> {
        AsyncThrowingStream { throw failure }
    }
    func amend(_ key: String, _ amendment: Amendment) async throws { throw failure }
    func delete(_ key: String, allVersions: Bool) async throws { throw failure }
}
