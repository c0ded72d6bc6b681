import Core
import Crypto
import Envelope
import Streams

/// How the segments of one set are sealed: as messages, which seal while they compress, or by a cipher of another form
/// behind the compression.
struct SegmentSealing: Sendable {
    let cipher: (any SegmentCipher)?
    let compression: Compression
    let context: [String: String]
    let dataKey: SecretBytes
    let dataKeys: [EncryptedDataKey]

    /// As the manifest names it.
    var algorithm: String { cipher?.algorithm ?? EncryptionInfo.messageAlgorithm }

    var info: EncryptionInfo { EncryptionInfo(algorithm: algorithm, context: context, dataKeys: dataKeys) }

    /// The next segment of `cursor`, of `limit` bytes at most as stored.
    func seal(_ cursor: PlainCursor, messageID: [UInt8], limit: Int64) async throws -> any ByteSource {
        // What workers hold has to fit a segment too, with much to spare.
        let compressor = try compression.makeCompressor(
            onEveryCore: cursor.leavesCoresIdle && limit >= Self.roomForWorkers)
        guard let cipher else {
            let message = try MessageWriter(
                dataKey: dataKey,
                parameters: MessageParameters(messageID: messageID, context: context, dataKeys: dataKeys))
            return SealedSegment(cursor, compressor: compressor, writer: message, limit: limit)
        }
        // What the form adds: packets' lengths every few kilobytes, and a header for each recipient.
        let room = limit - limit / 512 - Self.overhead
        return try await cipher.seal(
            CompressedSegment(cursor, compressor: compressor, limit: room), for: dataKeys,
            key: segmentKey(dataKey, messageID))
    }

    /// Bytes.
    private static let roomForWorkers: Int64 = 1 << 30
    private static let overhead: Int64 = 1 << 20
}

/// The key that one segment of another form is sealed under: from the set's data key and the number that stands in the
/// manifest as the segment's message id, so that no segment opens in another's place.
func segmentKey(_ dataKey: SecretBytes, _ messageID: [UInt8]) -> SecretBytes {
    deriveKey(from: dataKey, info: "lifeboat segment key v1 \(hexText(messageID))").withUnsafeBytes {
        SecretBytes($0)
    }
}

/// How the segments of one set are opened.
struct SegmentOpening: Sendable {
    let manifest: Manifest
    let dataKey: SecretBytes
    /// `nil` for messages.
    let cipher: (any SegmentCipher)?

    /// Throws where the manifest names a form that none of `ciphers` has.
    init(_ manifest: Manifest, dataKey: SecretBytes, ciphers: [any SegmentCipher]) throws(SetError) {
        self.manifest = manifest
        self.dataKey = dataKey
        let algorithm = manifest.encryption.algorithm
        cipher = ciphers.first { $0.algorithm == algorithm }
        guard cipher != nil || algorithm == EncryptionInfo.messageAlgorithm else {
            throw .unreadableManifest(
                key: manifest.key.description, problem: "its segments are sealed in a way that is not read here")
        }
    }

    /// The plaintext of `segment`. `pieces` are its digests, without which a cipher's output is not to be used before
    /// its end.
    func open(_ segment: Segment, from store: any Store, pieces: [UInt8]?) async throws -> any ByteSource {
        let stored = try await StoredSegment(segment, of: manifest, in: store)
        let decompressor = try manifest.compression.makeDecompressor()
        guard let cipher else {
            return OpenedSegment(
                try PrefetchedSource(stored, depth: 4, name: "fetch"),
                expecting: OpenedSegment.Expectation(
                    key: manifest.key.description, path: segment.path, messageID: segment.messageID,
                    context: manifest.encryption.context, dataKey: dataKey),
                decompressor: decompressor)
        }
        var source: any ByteSource = stored
        if let pieces {
            source = PieceCheckingSource(
                stored, digests: pieces,
                damaged: .damagedSegment(
                    key: manifest.key.description, path: segment.path,
                    problem: "its bytes are not those that were stored"))
        }
        let opened = try await cipher.open(
            try PrefetchedSource(source, depth: 2, name: "fetch"), key: segmentKey(dataKey, segment.messageID))
        return UnpackedSegment(opened, decompressor: decompressor)
    }
}

/// One segment being compressed, before a cipher.
///
/// One thread pulls it; `cancel` only reaches the part's source, which is safe from any.
final class CompressedSegment: ByteSource, @unchecked Sendable {
    private let cursor: PlainCursor
    private let compressor: any Compressor
    private let limit: Int64
    private let beginning: Int64
    private var written: Int64 = 0
    private var isDone = false

    /// `limit`: where another segment begins, in compressed bytes.
    init(_ cursor: PlainCursor, compressor: any Compressor, limit: Int64) {
        self.cursor = cursor
        self.compressor = compressor
        self.limit = limit
        beginning = cursor.consumed
    }

    func next() throws -> Chunk? {
        guard !isDone else { return nil }
        let output = Chunk()
        while output.remaining > 0 {
            var input = try cursor.available()
            let isLast = cursor.isAtEnd || isFull
            if isLast { input = UnsafeRawBufferPointer(rebasing: input[..<0]) }
            let before = input.count
            let isFinished = try compressor.step(&input, end: isLast, into: output)
            cursor.consume(before - input.count)
            if isLast, isFinished {
                isDone = true
                break
            }
        }
        written += Int64(output.count)
        return output.count > 0 ? output : nil
    }

    func cancel() { cursor.cancel() }

    /// What the compressor still holds must fit as well. Never before something has been taken, so that every segment
    /// brings the part further.
    private var isFull: Bool {
        cursor.consumed > beginning && written + 2 * Int64(Chunk.size) + compressor.mostHeld > limit
    }
}

/// What a cipher has opened, being decompressed: one chunk at a time, however well it was compressed.
///
/// One thread pulls it; `cancel` only reaches the base.
final class UnpackedSegment: ByteSource, @unchecked Sendable {
    private let base: any ByteSource
    private let decompressor: any Decompressor
    private var chunk: Chunk?
    private var offset = 0
    private var isAtEnd = false

    init(_ base: any ByteSource, decompressor: any Decompressor) {
        self.base = base
        self.decompressor = decompressor
    }

    func next() throws -> Chunk? {
        guard !isAtEnd else { return nil }
        let output = Chunk()
        while output.remaining > 0 {
            if let chunk {
                var rest = UnsafeRawBufferPointer(rebasing: chunk.bytes[offset...])
                let before = rest.count
                try decompressor.step(&rest, into: output)
                offset += before - rest.count
                // A full chunk may mean that the decompressor holds more: the input stays until it has none.
                if output.remaining > 0 { self.chunk = nil }
            } else if let next = try base.next() {
                chunk = next
                offset = 0
            } else {
                try decompressor.finish()
                isAtEnd = true
                return output.count > 0 ? output : nil
            }
        }
        return output
    }

    func cancel() { base.cancel() }
}
