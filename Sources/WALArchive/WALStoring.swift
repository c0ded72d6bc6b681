package import Core
import Crypto
import Envelope
import Sets
import Streams

/// Of which server a file is.
package struct WALOrigin: Hashable, Sendable {
    package var systemID: String
    /// Bytes.
    package var segmentSize: UInt64

    package init(systemID: String, segmentSize: UInt64) {
        self.systemID = systemID
        self.segmentSize = segmentSize
    }
}

/// A file that is safe in the store.
package struct WALReceipt: Sendable {
    /// `nil` for what the server notes of a base backup.
    package var file: WALFile?
    package var key: String
    /// Of a segment: the first byte after what is there.
    package var end: LSN?
    /// False where the same was there already.
    package var isNew: Bool
    /// Bytes.
    package var plainSize: Int64
    /// Bytes; 0 where it is not new.
    package var storedSize: Int64

    package init(file: WALFile?, key: String, end: LSN?, isNew: Bool, plainSize: Int64, storedSize: Int64) {
        self.file = file
        self.key = key
        self.end = end
        self.isNew = isNew
        self.plainSize = plainSize
        self.storedSize = storedSize
    }
}

extension WALArchive {
    /// Checks a file, seals it and creates it. The same file again is success, whatever key it was sealed with then; a
    /// different one of the same name is an error, and so is one that is not of `origin` or not what its name says.
    package func store(_ piece: WALPiece, of origin: WALOrigin, meter: ProgressMeter) async throws -> WALReceipt {
        let held = try await hold(
            paced(piece.source, origin), named: piece.file.description, limit: limit(of: piece.file, origin),
            meter: meter)
        let name = try check(piece, held, origin)
        let key = WALLayout.object(name, of: origin.systemID)
        let size = try await put(name, held, origin, to: key, meter)
        return WALReceipt(
            file: piece.file, key: key, end: piece.end, isNew: size != nil, plainSize: held.count,
            storedSize: size ?? 0)
    }

    /// Stores one of the files that a server hands to its archive_command, by the name it has there. The segments'
    /// length is that of the file, and the beginning of a segment that a promotion has left ends where its pages do.
    package func store(
        file name: String, from source: any ByteSource, of systemID: String, meter: ProgressMeter
    ) async throws -> WALReceipt {
        let held = try await hold(source, named: name, limit: Int(LogLimits.largestSegment), meter: meter)
        let size = UInt64(held.count)
        let isPartial = name.hasSuffix(".partial")
        let segment = WALSegment(name: isPartial ? String(name.dropLast(8)) : name, size: max(size, 1))
        if let segment, size >= LogLimits.smallestSegment {
            let end = isPartial ? try validEnd(held, segment, systemID) : segment.end
            return try await store(
                WALPiece(file: .segment(segment), end: end, source: HeldSource(held.takeAll(upTo: end, of: segment))),
                of: WALOrigin(systemID: systemID, segmentSize: size), meter: meter)
        }
        guard let stored = StoredFileName(name), held.count <= LogLimits.largestNote else {
            throw WALArchiveError.notAName(name)
        }
        let origin = WALOrigin(systemID: systemID, segmentSize: 0)
        let key = WALLayout.object(stored, of: systemID)
        switch stored {
        case .history(let timeline):
            return try await store(
                WALPiece(file: .history(timeline: timeline), end: nil, source: HeldSource(held.takeAll())),
                of: origin, meter: meter)
        case .backupNote:
            let size = try await put(stored, held, origin, to: key, meter)
            return WALReceipt(
                file: nil, key: key, end: nil, isNew: size != nil, plainSize: held.count, storedSize: size ?? 0)
        case .segment, .partial: throw WALArchiveError.unusable(name, "it has \(held.count) bytes, and is no segment")
        }
    }

    /// Removes beginnings of a segment of which more is stored by now. One that is protected stays for prune.
    package func removeSuperseded(by receipt: WALReceipt, of systemID: String) async throws -> Int {
        guard case .segment(let segment) = receipt.file, let end = receipt.end else { return 0 }
        var removed = 0
        let directory = WALLayout.directory(of: systemID, segment.timeline)
        for file in try await files(below: directory + segment.name + ".") {
            guard case .partial(_, let other) = file.name, other < end else { continue }
            do {
                try await store.delete(file.info.key)
                removed += 1
            } catch let failure as any Failure where failure.exitCode == .store {
                continue
            }
        }
        return removed
    }

    // MARK: Steps

    /// Each of the files that may be on their way at once gets its share.
    private func paced(_ source: any ByteSource, _ origin: WALOrigin) -> any ByteSource {
        guard let pace = configuration.pace else { return source }
        let share = pace.bytesPerSecond / Int64(Self.segmentsInMemory(ofSize: origin.segmentSize))
        return RateLimitedSource(source, bytesPerSecond: max(1, share), clock: pace.clock)
    }

    private func limit(of file: WALFile, _ origin: WALOrigin) -> Int {
        switch file {
        case .segment: Int(clamping: origin.segmentSize)
        case .history: Int(LogLimits.largestNote)
        }
    }

    private func hold(
        _ source: any ByteSource, named name: String, limit: Int, meter: ProgressMeter
    ) async throws -> HeldFile {
        try await withTaskCancellationHandler {
            try await onThread("wal hash") { try HeldFile(pulling: source, named: name, limit: limit, meter: meter) }
        } onCancel: {
            source.cancel()
        }
    }

    private func check(_ piece: WALPiece, _ held: HeldFile, _ origin: WALOrigin) throws -> StoredFileName {
        let name = piece.file.description
        switch piece.file {
        case .history(let timeline):
            guard let forks = TimelineHistory.forks(in: held.bytes), let last = forks.last, last.timeline < timeline
            else { throw WALArchiveError.unusable(name, "it is no history of that timeline") }
            return .history(timeline: timeline)
        case .segment(let segment):
            let end = piece.end ?? segment.end
            guard segment.size == origin.segmentSize, end > segment.begin, end <= segment.end,
                UInt64(held.count) == end.value - segment.begin.value
            else {
                throw WALArchiveError.unusable(
                    name, "it has \(held.count) bytes where \(end.value &- segment.begin.value) are to be")
            }
            var check = PageCheck(segment, of: origin.systemID)
            for chunk in held.chunks {
                if let problem = check.update(chunk.bytes) { throw WALArchiveError.unusable(name, problem) }
            }
            return end == segment.end ? .segment(segment.name) : .partial(segment.name, end: end)
        }
    }

    private func validEnd(_ held: HeldFile, _ segment: WALSegment, _ systemID: String) throws -> LSN {
        var check = PageCheck(segment, of: systemID, stopsAtForeignPages: true)
        for chunk in held.chunks {
            if let problem = check.update(chunk.bytes) { throw WALArchiveError.unusable(segment.name, problem) }
        }
        return LSN(segment.begin.value + (check.validEnd ?? check.count))
    }

    /// Returns the stored size; `nil` where the same was there.
    private func put(
        _ name: StoredFileName, _ held: HeldFile, _ origin: WALOrigin, to key: String, _ meter: ProgressMeter
    ) async throws -> Int64? {
        let context = context(of: name, origin)
        let messageID = context.messageID(of: name, digest: held.digest)
        let sealing = try await sealingKeys.key(for: context)
        let writer = try MessageWriter(
            dataKey: sealing.dataKey,
            parameters: MessageParameters(messageID: messageID, context: context.pairs, dataKeys: sealing.wrapped))
        let compressor = try Compression(algorithm: .zstd, level: configuration.compressionLevel).makeCompressor()
        let sealed = SealedSegment(
            PlainCursor(HeldSource(held.takeAll())), compressor: compressor, writer: writer, limit: .max)
        do {
            return try await store.put(
                key, from: try PrefetchedSource(MeteredSource(sealed, meter: meter), depth: 2, name: "wal seal"),
                options: PutOptions(createOnly: true))
        } catch is StoreConflict {
            guard try await isStored(messageID, context, at: key) else { throw WALArchiveError.different(key) }
            return nil
        }
    }

    private func isStored(_ messageID: [UInt8], _ context: WALContext, at key: String) async throws -> Bool {
        guard let info = try await store.stat(key) else { throw ObjectNotFound(key: key) }
        let header = try await header(of: info)
        return header.messageID == messageID && header.context == context.pairs
    }

    func context(of name: StoredFileName, _ origin: WALOrigin) -> WALContext {
        let size: UInt64? =
            switch name {
            case .segment, .partial: origin.segmentSize
            case .history, .backupNote: nil
            }
        return WALContext(
            target: configuration.target, systemID: origin.systemID, timeline: name.timeline, segmentSize: size)
    }
}

/// Bytes.
enum LogLimits {
    static let smallestSegment: UInt64 = 1 << 20
    static let largestSegment: UInt64 = 64 << 20
    /// A history has a line for each promotion that ever was.
    static let largestNote: Int64 = 1 << 20
}

/// A file of the log in memory, digested.
private final class HeldFile: Sendable {
    let digest: [UInt8]
    let count: Int64
    private let held: Guarded<[Chunk]>

    var chunks: [Chunk] { held.value }
    var bytes: [UInt8] { chunks.flatMap { Array($0.bytes) } }

    /// Into full chunks, whatever comes.
    init(pulling source: any ByteSource, named name: String, limit: Int, meter: ProgressMeter) throws {
        var chunks: [Chunk] = []
        var digest = SHA256()
        var count: Int64 = 0
        while let chunk = try source.next() {
            count += Int64(chunk.count)
            guard count <= Int64(limit) else {
                source.cancel()
                throw WALArchiveError.unusable(name, "it is longer than the \(limit) bytes that it may have")
            }
            digest.update(bufferPointer: chunk.bytes)
            meter.beat()
            // What has room is not ours to fill.
            if chunk.remaining == 0, chunk.count == Chunk.size, (chunks.last?.remaining ?? 0) == 0 {
                chunks.append(chunk)
                continue
            }
            var rest = chunk.bytes
            while !rest.isEmpty {
                let last: Chunk
                if let room = chunks.last, room.remaining > 0 {
                    last = room
                } else {
                    last = Chunk()
                    chunks.append(last)
                }
                rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(last.append(rest)))
            }
        }
        self.digest = Array(digest.finalize())
        self.count = count
        held = Guarded(chunks)
    }

    /// The chunks, which are not held here any longer: whoever seals them lets them go one by one.
    func takeAll() -> [Chunk] {
        held.withLock { chunks in
            defer { chunks = [] }
            return chunks
        }
    }

    /// The same up to `end`, of a file that begins where `segment` does.
    func takeAll(upTo end: LSN, of segment: WALSegment) -> [Chunk] {
        var room = Int(end.value - segment.begin.value)
        return takeAll().compactMap { chunk in
            guard room > 0 else { return nil }
            if chunk.count <= room {
                room -= chunk.count
                return chunk
            }
            let cut = Chunk(capacity: Chunk.size)
            _ = cut.append(UnsafeRawBufferPointer(rebasing: chunk.bytes.prefix(room)))
            room = 0
            return cut
        }
    }
}
