package import Core

/// A store seen from below a prefix, so that each target has its own sets, chain, locks and records.
package struct PrefixedStore: Store {
    private let base: any Store
    private let prefix: String

    /// `prefix` without a slash at its end; empty for the store itself.
    package init(_ base: any Store, prefix: String) {
        self.base = base
        self.prefix = prefix.isEmpty ? "" : prefix + "/"
    }

    package var capabilities: StoreCapabilities { base.capabilities }

    package func put(_ key: String, from source: any ByteSource, options: PutOptions) async throws -> Int64 {
        try await base.put(prefix + key, from: source, options: options)
    }

    package func get(_ key: String, range: Range<Int64>?) async throws -> any ByteSource {
        try await base.get(prefix + key, range: range)
    }

    package func stat(_ key: String) async throws -> ObjectInfo? {
        guard var info = try await base.stat(prefix + key) else { return nil }
        info.key = key
        return info
    }

    package func list(_ listed: String) -> AsyncThrowingStream<ObjectInfo, any Error> {
        let below = ListingReader(base.list(prefix + listed))
        let length = prefix.utf8.count
        return AsyncThrowingStream {
            guard var info = try await below.next() else { return nil }
            info.key = String(decoding: info.key.utf8.dropFirst(length), as: UTF8.self)
            return info
        }
    }

    package func amend(_ key: String, _ amendment: Amendment) async throws {
        try await base.amend(prefix + key, amendment)
    }

    package func delete(_ key: String, allVersions: Bool) async throws {
        try await base.delete(prefix + key, allVersions: allVersions)
    }
}

/// A listing being read. Only one reader asks at a time: a stream's iterator waits for the answer before it asks again.
final class ListingReader: @unchecked Sendable {
    private var iterator: AsyncThrowingStream<ObjectInfo, any Error>.Iterator

    init(_ stream: AsyncThrowingStream<ObjectInfo, any Error>) { iterator = stream.makeAsyncIterator() }

    func next() async throws -> ObjectInfo? { try await iterator.next() }
}
