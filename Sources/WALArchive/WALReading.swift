package import Core
import Crypto
import Envelope
import Sets
import Streams

extension WALArchive: WALLibrary {
    package func open(_ file: WALFile, of systemID: String) async throws -> (any ByteSource)? {
        try await WALReserve([self]).open(file, of: systemID)
    }

    /// The segment of this name, of which all or a beginning is stored; `nil` where nothing is. One that is damaged does
    /// not hide another.
    func segment(named name: String, of systemID: String) async throws -> WALSegment? {
        let directory = WALLayout.directory(of: systemID, UInt32(name.prefix(8), radix: 16) ?? 0)
        return try await segmentSize(of: try await files(below: directory + name))
            .flatMap { WALSegment(name: name, size: $0) }
    }

    /// The object that ``open(_:of:)`` reads for a segment: the whole, else the longest beginning; `nil` where nothing of
    /// it is stored.
    package func object(of segment: WALSegment, systemID: String) async throws -> ObjectInfo? {
        if let whole = try await store.stat(WALLayout.object(.segment(segment.name), of: systemID)) { return whole }
        guard let longest = try await WALReserve([self]).longestBeginning(of: segment, systemID) else { return nil }
        return try await store.stat(WALLayout.object(longest, of: systemID))
    }

    /// What is stored of a segment that is not complete.
    func beginnings(of segment: WALSegment, _ systemID: String) async throws -> [StoredFileName] {
        let directory = WALLayout.directory(of: systemID, segment.timeline)
        return try await files(below: directory + segment.name + ".").map(\.name).filter(\.isSegment)
    }

    /// Opens what is stored under a name; `nil` where nothing is.
    func open(
        _ name: StoredFileName, _ segment: WALSegment?, of systemID: String
    ) async throws -> (any ByteSource)? {
        let key = WALLayout.object(name, of: systemID)
        let stored: any ByteSource
        do {
            stored = try await store.get(key, range: nil)
        } catch is ObjectNotFound {
            return nil
        }
        do {
            return try await open(stored, key: key, name, segment, of: systemID)
        } catch {
            stored.cancel()
            throw error
        }
    }

    private func open(
        _ stored: any ByteSource, key: String, _ name: StoredFileName, _ segment: WALSegment?, of systemID: String
    ) async throws -> any ByteSource {
        let beginning = try await withTaskCancellationHandler {
            try await onThread("header") { try Self.header(from: stored) }
        } onCancel: {
            stored.cancel()
        }
        guard let header = beginning.header else {
            throw WALArchiveError.damaged(key, "it ends inside its header")
        }
        let context = WALContext(
            target: configuration.target, systemID: systemID, timeline: name.timeline, segmentSize: segment?.size)
        guard header.context == context.pairs else {
            throw WALArchiveError.damaged(key, "it is bound to another place: a file of another log stands here")
        }
        let dataKey = try await dataKey(header)
        let opened = OpenedSegment(
            JoinedSource(beginning.pulled, stored),
            expecting: OpenedSegment.Expectation(
                key: key, path: "\(name)", messageID: header.messageID, context: header.context, dataKey: dataKey),
            decompressor: try Compression(algorithm: .zstd, level: 0).makeDecompressor())
        let expected = segment.map { segment in
            if case .partial(_, let end) = name { end.value - segment.begin.value } else { segment.size }
        }
        return CheckedSource(
            opened, key: key, check: segment.map { PageCheck($0, of: systemID) }, length: expected
        ) { digest in
            context.messageID(of: name, digest: digest) == header.messageID
        }
    }

    /// Files of one run share their data key: it is asked for once.
    private func dataKey(_ header: MessageHeader) async throws -> SecretBytes {
        if let known = openedKeys.withLock({ $0[header.dataKeys] }) { return known }
        let opened = try await openDataKey(
            header.dataKeys, context: header.context, with: configuration.identities)
        openedKeys.withLock { keys in
            // A run a minute makes many.
            if keys.count >= 64 { keys = [:] }
            keys[header.dataKeys] = opened
        }
        return opened
    }
}

/// Chunks that were pulled already, then the rest of their source.
private final class JoinedSource: ByteSource {
    private let pulled: Guarded<[Chunk]>
    private let rest: any ByteSource

    init(_ pulled: [Chunk], _ rest: any ByteSource) {
        self.pulled = Guarded(pulled.reversed())
        self.rest = rest
    }

    func next() throws -> Chunk? { try pulled.withLock { $0.popLast() } ?? rest.next() }
    func cancel() { rest.cancel() }
}

/// What was opened, compared with what it has to be: page by page as it passes, and as a whole before its end is told.
private final class CheckedSource: ByteSource, @unchecked Sendable {
    private let base: any ByteSource
    private let key: String
    private let length: UInt64?
    private let isExpected: @Sendable ([UInt8]) -> Bool
    // Only the thread that pulls touches these.
    private var check: PageCheck?
    private var digest = SHA256()
    private var count: UInt64 = 0

    init(
        _ base: any ByteSource, key: String, check: PageCheck?, length: UInt64?,
        isExpected: @escaping @Sendable ([UInt8]) -> Bool
    ) {
        self.base = base
        self.key = key
        self.check = check
        self.length = length
        self.isExpected = isExpected
    }

    func next() throws -> Chunk? {
        guard let chunk = try base.next() else {
            if let length, count != length {
                throw WALArchiveError.damaged(key, "it has \(count) bytes where \(length) are to be")
            }
            guard isExpected(Array(digest.finalize())) else {
                throw WALArchiveError.damaged(key, "it was stored as another file: its digest and its name differ")
            }
            return nil
        }
        count += UInt64(chunk.count)
        digest.update(bufferPointer: chunk.bytes)
        if let problem = check?.update(chunk.bytes) { throw WALArchiveError.damaged(key, problem) }
        return chunk
    }

    func cancel() { base.cancel() }
}
