package import Core
import Envelope
package import Streams

/// With what a target's log is sealed and opened.
package struct WALArchiveConfiguration: Sendable {
    package var target: String
    /// Each of them opens every file.
    package var recipients: [any KeyProvider]
    /// Further ones, of which one that fails does not matter.
    package var optionalRecipients: [any KeyProvider]
    /// For reading alone: what is stored is compared without them.
    package var identities: [any KeyProvider]
    /// Of zstd.
    package var compressionLevel: Int
    /// How fast files are taken from the server; `nil` for as fast as they come.
    package var pace: Pace?
    package var random: RandomBytes

    package struct Pace: Sendable {
        /// Of all files together.
        package var bytesPerSecond: Int64
        package var clock: BlockingClock

        package init(bytesPerSecond: Int64, clock: BlockingClock) {
            self.bytesPerSecond = bytesPerSecond
            self.clock = clock
        }
    }

    package init(
        target: String, recipients: [any KeyProvider], optionalRecipients: [any KeyProvider] = [],
        identities: [any KeyProvider], compressionLevel: Int, pace: Pace? = nil, random: @escaping RandomBytes
    ) {
        self.target = target
        self.recipients = recipients
        self.optionalRecipients = optionalRecipients
        self.identities = identities
        self.compressionLevel = compressionLevel
        self.pace = pace
        self.random = random
    }
}

/// The log of a target's servers in one store: files, each a message that stands alone, created once and never changed.
///
/// One data key for each timeline and each ``WALArchive``, wrapped once for every recipient.
package final class WALArchive: Sendable {
    let store: any Store
    let configuration: WALArchiveConfiguration
    let sealingKeys: SealingKeys
    let openedKeys = Guarded<[[EncryptedDataKey]: SecretBytes]>([:])

    package init(_ store: any Store, _ configuration: WALArchiveConfiguration) {
        self.store = store
        self.configuration = configuration
        sealingKeys = SealingKeys(configuration)
    }

    /// How many segments of `size` bytes may be held in memory at once: three, and fewer where that would be more than
    /// 32 MiB, but one. Of the usual 16 MiB two: as one comes in, the other is compressed and goes out.
    package static func segmentsInMemory(ofSize size: UInt64) -> Int {
        max(1, min(3, Int((32 << 20) / max(size, 1))))
    }

    /// How many files may be stored while one before them is not: what a killed job leaves is a hole no longer ago.
    package static let mostAhead = 16

    // MARK: What there is

    /// Whether anything is stored of this server.
    package func holds(_ systemID: String) async throws -> Bool {
        try await firstKey(below: WALLayout.directory(of: systemID)) != nil
    }

    /// The system identifiers of which something is stored. Lists everything.
    package func systems() async throws -> [String] {
        var systems: Set<String> = []
        for try await object in store.list(WALLayout.directory) {
            switch WALKey(object.key) {
            case .file(let systemID, _)?, .index(let systemID, _, _)?: systems.insert(systemID)
            case nil: break
            }
        }
        try Task.checkCancellation()
        return systems.sorted()
    }

    /// Any system of which something is stored; cheaper than ``systems()``.
    package func anySystem() async throws -> String? {
        switch try await firstKey(below: WALLayout.directory).flatMap({ WALKey($0) }) {
        case .file(let systemID, _)?, .index(let systemID, _, _)?: systemID
        case nil: nil
        }
    }

    private func firstKey(below prefix: String) async throws -> String? {
        for try await object in store.list(prefix) { return object.key }
        try Task.checkCancellation()
        return nil
    }

    func files(of systemID: String) async throws -> [StoredFile] {
        try await files(below: WALLayout.directory(of: systemID))
    }

    func files(below prefix: String) async throws -> [StoredFile] {
        var files: [StoredFile] = []
        for try await object in store.list(prefix) {
            if case .file(_, let name)? = WALKey(object.key) { files.append(StoredFile(name: name, info: object)) }
        }
        try Task.checkCancellation()
        return files
    }

    struct StoredFile: Sendable {
        var name: StoredFileName
        var info: ObjectInfo
    }

    // MARK: Ranges

    /// As ``WALLibrary/ranges(of:)``.
    package func ranges(of systemID: String) async throws -> [WALRange] {
        let timelines = Dictionary(grouping: try await files(of: systemID), by: \.name.timeline)
        var ranges: [WALRange] = []
        for (timeline, files) in timelines.sorted(by: { $0.key < $1.key }) {
            ranges += try await self.ranges(of: timeline, files)
        }
        return ranges
    }

    private func ranges(of timeline: UInt32, _ files: [StoredFile]) async throws -> [WALRange] {
        guard let size = try await segmentSize(of: files) else { return [] }
        return Self.ranges(of: files, timeline: timeline, segmentSize: size)
    }

    /// Joins what touches. A beginning of a segment counts where the whole is not there.
    static func ranges(of files: [StoredFile], timeline: UInt32, segmentSize size: UInt64) -> [WALRange] {
        var longest: [UInt64: (end: LSN, stored: Timestamp)] = [:]
        for file in files {
            guard let (segment, end) = file.name.stretch(segmentSize: size),
                end > longest[segment.number]?.end ?? LSN(0)
            else { continue }
            longest[segment.number] = (end, Self.endOfSecond(file.info.modified))
        }
        var ranges: [WALRange] = []
        for (number, (end, stored)) in longest.sorted(by: { $0.key < $1.key }) {
            let begin = LSN(number * size)
            if let last = ranges.indices.last, ranges[last].end == begin {
                ranges[last].end = end
                ranges[last].stored = stored
            } else {
                ranges.append(WALRange(timeline: timeline, begin: begin, end: end, stored: stored))
            }
        }
        return ranges
    }

    /// Some stores tell the time of an object in whole seconds, cut off: what it holds is from before the next one.
    static func endOfSecond(_ time: Timestamp) -> Timestamp {
        Timestamp(milliseconds: (time.milliseconds / 1000 + 1) * 1000)
    }

    /// How long the segments of one timeline are; `nil` where there are none. A few that are damaged do not hide it.
    func segmentSize(of files: [StoredFile]) async throws -> UInt64? {
        var damage: (any Failure)?
        for file in files.filter(\.name.isSegment).prefix(8) {
            do {
                return try await segmentSize(by: file.info)
            } catch let failure as any Failure where failure.exitCode == .verificationFailed {
                damage = damage ?? failure
            }
        }
        if let damage { throw damage }
        return nil
    }

    /// From the message itself, which is bound to it.
    func segmentSize(by info: ObjectInfo) async throws -> UInt64 {
        let header = try await header(of: info)
        guard let text = header.context[WALContext.segmentSizeKey], let size = UInt64(text), size >= 1 << 10 else {
            throw WALArchiveError.damaged(info.key, "it does not say how long its segments are")
        }
        return size
    }

    // MARK: Headers

    /// Reads no more than the beginning, where that suffices.
    func header(of info: ObjectInfo) async throws -> MessageHeader {
        for length in [min(info.size, 16 << 10), info.size] where length > 0 {
            let source = try await store.get(info.key, range: 0..<length)
            let header = try await withTaskCancellationHandler {
                try await onThread("header") { try Self.header(from: source).header }
            } onCancel: {
                source.cancel()
            }
            if let header { return header }
        }
        throw WALArchiveError.damaged(info.key, "it ends inside its header")
    }

    /// Pulls until the header is there, and returns what was pulled with it.
    static func header(from source: any ByteSource) throws -> (header: MessageHeader?, pulled: [Chunk]) {
        var pulled: [Chunk] = []
        var bytes: [UInt8] = []
        while let chunk = try source.next() {
            pulled.append(chunk)
            bytes.append(contentsOf: chunk.bytes)
            if let header = try MessageHeader.parse(bytes) { return (header, pulled) }
        }
        return (nil, pulled)
    }
}

/// The data keys of one run, made when they are first needed.
actor SealingKeys {
    private let configuration: WALArchiveConfiguration
    private var keys: [WALContext: Task<SealedDataKey, any Error>] = [:]

    init(_ configuration: WALArchiveConfiguration) { self.configuration = configuration }

    func key(for context: WALContext) async throws -> SealedDataKey {
        if let key = keys[context] { return try await key.value }
        let configuration = configuration
        let made = Task {
            try await makeDataKey(
                for: configuration.recipients, optional: configuration.optionalRecipients, context: context.pairs,
                random: configuration.random)
        }
        keys[context] = made
        do {
            return try await made.value
        } catch {
            // The next may fare better.
            keys[context] = nil
            throw error
        }
    }
}
