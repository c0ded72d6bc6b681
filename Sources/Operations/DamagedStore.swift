import Core

/// A store seen as it would be had something happened to some of its objects. What lies below is only read, and nothing
/// can be written: a drill's damage reaches no set. Streams are changed as they pass; nothing is held but small objects.
struct DamagedStore: Store {
    enum Damage: Sendable {
        /// One bit of the byte at `offset`.
        case flip(offset: Int64, bit: UInt8)
        /// The object ends after so many bytes, and says so.
        case cut(to: Int64)
        /// It is not there any more.
        case missing
        /// The bytes of another object under this one's name; as many as this one has, with zeros where the other is
        /// shorter, so that sizes alone do not tell.
        case replaced(by: String)
        /// The bytes of another object, at its own size.
        case exchanged(with: String)
        /// A small object with other bytes, or one that was not there.
        case bytes([UInt8])
    }

    let base: any Store
    /// By key.
    let damage: [String: Damage]

    var capabilities: StoreCapabilities { base.capabilities }

    func get(_ key: String, range: Range<Int64>?) async throws -> any ByteSource {
        switch damage[key] {
        case nil: return try await base.get(key, range: range)
        case .missing: throw ObjectNotFound(key: key)
        case .bytes(let bytes): return MemorySource(Array(try slice(bytes, range, of: key)))
        case .flip(let offset, let bit):
            let start = range?.lowerBound ?? 0
            return FlippedSource(try await base.get(key, range: range), offset: offset - start, bit: bit)
        case .cut(let end):
            let begin = range?.lowerBound ?? 0
            let last = min(range?.upperBound ?? end, end)
            guard last > begin else { return MemorySource([]) }
            return try await base.get(key, range: begin..<last)
        case .exchanged(let other): return try await base.get(other, range: range)
        case .replaced(let other):
            guard let size = try await base.stat(key)?.size, let available = try await base.stat(other)?.size else {
                throw ObjectNotFound(key: key)
            }
            let wanted = range ?? 0..<size
            let begin = min(wanted.lowerBound, available)
            let end = min(wanted.upperBound, available)
            let start: any ByteSource = end > begin ? try await base.get(other, range: begin..<end) : MemorySource([])
            return PaddedSource(start, to: wanted.upperBound - wanted.lowerBound)
        }
    }

    private func slice(_ bytes: [UInt8], _ range: Range<Int64>?, of key: String) throws -> ArraySlice<UInt8> {
        guard let range else { return bytes[...] }
        guard range.lowerBound >= 0, range.upperBound <= Int64(bytes.count) else { throw ObjectNotFound(key: key) }
        return bytes[Int(range.lowerBound)..<Int(range.upperBound)]
    }

    func stat(_ key: String) async throws -> ObjectInfo? {
        try await seen(base.stat(key), key, other: otherSize(key))
    }

    /// Of the object that stands in this one's place.
    private func otherSize(_ key: String) async throws -> Int64? {
        guard case .exchanged(let other)? = damage[key] else { return nil }
        return try await base.stat(other)?.size
    }

    private func seen(_ info: ObjectInfo?, _ key: String, other: Int64? = nil) -> ObjectInfo? {
        switch damage[key] {
        case nil, .flip, .replaced: return info
        case .missing: return nil
        case .exchanged:
            guard var exchanged = info, let other else { return nil }
            exchanged.size = other
            return exchanged
        case .cut(let end):
            guard var shorter = info else { return nil }
            shorter.size = min(shorter.size, end)
            return shorter
        case .bytes(let bytes):
            var found = info ?? ObjectInfo(key: key, size: 0, modified: Timestamp(milliseconds: 0))
            found.size = Int64(bytes.count)
            return found
        }
    }

    func list(_ prefix: String) -> AsyncThrowingStream<ObjectInfo, any Error> {
        AsyncThrowingStream { continuation in
            let task = Task {
                do {
                    // A forged object stands where its name belongs.
                    var added = damage.keys.filter { $0.hasPrefix(prefix) }.sorted { Self.isBefore($0, $1) }[...]
                    for try await info in base.list(prefix) {
                        while let next = added.first, Self.isBefore(next, info.key) {
                            if let forged = seen(nil, next) { continuation.yield(forged) }
                            added.removeFirst()
                        }
                        if added.first == info.key { added.removeFirst() }
                        if let info = seen(info, info.key, other: try await otherSize(info.key)) {
                            continuation.yield(info)
                        }
                    }
                    for key in added { if let forged = seen(nil, key) { continuation.yield(forged) } }
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: error)
                }
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }

    private static func isBefore(_ a: String, _ b: String) -> Bool { a.utf8.lexicographicallyPrecedes(b.utf8) }

    func put(_ key: String, from source: any ByteSource, options: PutOptions) async throws -> Int64 {
        source.cancel()
        throw NotSupportedByStore(key: key, what: "writing: it is a damaged copy")
    }

    func amend(_ key: String, _ amendment: Amendment) async throws {
        throw NotSupportedByStore(key: key, what: "writing: it is a damaged copy")
    }

    func delete(_ key: String, allVersions: Bool) async throws {
        throw NotSupportedByStore(key: key, what: "writing: it is a damaged copy")
    }
}

/// Another source with one bit of it turned over.
final class FlippedSource: ByteSource {
    private let inner: any ByteSource
    /// Bytes still to come before the one that is changed; negative once it is past.
    private let left: Guarded<Int64>
    private let mask: UInt8

    init(_ inner: any ByteSource, offset: Int64, bit: UInt8) {
        self.inner = inner
        left = Guarded(offset)
        mask = 1 << (bit & 7)
    }

    func next() throws -> Chunk? {
        guard let chunk = try inner.next() else { return nil }
        let place = left.withLock { left in
            let place = left
            left -= Int64(chunk.count)
            return place
        }
        guard place >= 0, place < Int64(chunk.count) else { return chunk }
        var bytes = Array(chunk.bytes)
        bytes[Int(place)] ^= mask
        return Chunk(bytes)
    }

    func cancel() { inner.cancel() }
}
