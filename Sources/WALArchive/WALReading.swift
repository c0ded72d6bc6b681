package import Core
import Crypto
import Envelope
import Sets
import Streams

extension WALArchive: WALLibrary {
    package func open(_ file: WALFile, of systemID: String) async throws -> (any ByteSource)? {
        switch file {
        case .history(let timeline):
            return try await open(.history(timeline: timeline), nil, of: systemID)
        case .segment(let segment):
            if let whole = try await open(.segment(segment.name), segment, of: systemID) { return whole }
            guard let longest = try await longestBeginning(of: segment, systemID) else { return nil }
            guard let source = try await open(longest, segment, of: systemID) else { return nil }
            return PaddedSource(source, to: Int64(segment.size))
        }
    }

    /// A file by the name that the server's restore_command asks for; `nil` where it is not stored.
    package func open(named name: String, of systemID: String) async throws -> (any ByteSource)? {
        switch StoredFileName(name) {
        case .history(let timeline)?: return try await open(.history(timeline: timeline), of: systemID)
        case .backupNote(let note)?: return try await open(.backupNote(note), nil, of: systemID)
        case .segment(let name)?:
            let directory = WALLayout.directory(of: systemID, UInt32(name.prefix(8), radix: 16) ?? 0)
            guard let stored = try await files(below: directory + name).first(where: \.name.isSegment),
                let segment = WALSegment(name: name, size: try await segmentSize(by: stored.info))
            else { return nil }
            return try await open(.segment(segment), of: systemID)
        case .partial?, nil: throw WALArchiveError.notAName(name)
        }
    }

    private func longestBeginning(of segment: WALSegment, _ systemID: String) async throws -> StoredFileName? {
        var longest: (end: LSN, name: StoredFileName)?
        let directory = WALLayout.directory(of: systemID, segment.timeline)
        for file in try await files(below: directory + segment.name + ".") {
            guard case .partial(_, let end) = file.name, end > (longest?.end ?? LSN(0)) else { continue }
            longest = (end, file.name)
        }
        return longest?.name
    }

    /// Opens what is stored under a name; `nil` where nothing is.
    private func open(
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

/// The beginning of a segment, and zeros up to its length.
private final class PaddedSource: ByteSource {
    private struct State {
        var left: Int64
        var isPadding = false
    }

    private let base: any ByteSource
    private let state: Guarded<State>

    init(_ base: any ByteSource, to length: Int64) {
        self.base = base
        state = Guarded(State(left: length))
    }

    func next() throws -> Chunk? {
        if !state.value.isPadding {
            if let chunk = try base.next() {
                state.withLock { $0.left -= Int64(chunk.count) }
                return chunk
            }
            state.withLock { $0.isPadding = true }
        }
        let length = state.withLock { state in
            let length = min(state.left, Int64(Chunk.size))
            state.left -= length
            return Int(length)
        }
        guard length > 0 else { return nil }
        let zeros = Chunk(capacity: length)
        zeros.append { room in
            room.initializeMemory(as: UInt8.self, repeating: 0)
            return length
        }
        return zeros
    }

    func cancel() { base.cancel() }
}
