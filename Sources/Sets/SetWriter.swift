package import Core
package import Crypto
import Envelope
package import Streams

/// How sets of a target are made.
package struct SetWriterConfiguration: Sendable {
    package var target: String
    package var engine: String
    /// Each of them opens every set, or there is no set.
    package var recipients: [any KeyProvider]
    /// Further ones, of which one that fails is only recorded.
    package var optionalRecipients: [any KeyProvider]
    package var signer: Curve25519.Signing.PrivateKey?
    package var compression: Compression
    /// Parts written at once.
    package var parallelJobs: Int
    /// Bytes a second read from the source; `nil` for as fast as it goes.
    package var rateLimit: Int64?
    /// How long the sets are kept.
    package var retention: RetentionPolicy
    /// How the sets are kept from being changed and deleted; the store has to be able to.
    package var protection: SetProtection
    /// Of the segments, by tier, where the store has classes; standard for the others.
    package var storageClasses: [Tier: StorageClass]
    /// By which of the bucket's rules the segments move to other classes later.
    package var bodies: BodyGroup
    package var random: RandomBytes
    package var clock: BlockingClock
    /// The other form that segments are stored in; `nil` for messages. It has to take every recipient.
    package var cipher: (any SegmentCipher)?

    package init(
        target: String, engine: String, recipients: [any KeyProvider], optionalRecipients: [any KeyProvider] = [],
        signer: Curve25519.Signing.PrivateKey?, compression: Compression, parallelJobs: Int, rateLimit: Int64?,
        retention: RetentionPolicy = RetentionPolicy(), protection: SetProtection = SetProtection(),
        storageClasses: [Tier: StorageClass] = [:], bodies: BodyGroup = .byTier, random: @escaping RandomBytes,
        clock: BlockingClock, cipher: (any SegmentCipher)? = nil
    ) {
        self.target = target
        self.engine = engine
        self.recipients = recipients
        self.optionalRecipients = optionalRecipients
        self.signer = signer
        self.compression = compression
        self.parallelJobs = parallelJobs
        self.rateLimit = rateLimit
        self.retention = retention
        self.protection = protection
        self.storageClasses = storageClasses
        self.bodies = bodies
        self.random = random
        self.clock = clock
        self.cipher = cipher
    }
}

/// Makes one set: parts in, then the manifest that makes it exist. Until ``commit(_:)`` there is no set, whatever
/// happens.
package final class SetWriter: Sendable {
    package let key: BackupKey
    package let attempt: String
    private let store: any Store
    private let configuration: SetWriterConfiguration
    private let sealing: SegmentSealing
    private let pieces = Guarded(PieceList())
    /// What this set lacks of what was asked for.
    private let exceptions: [String]
    private let written = Guarded<[StoredPart]>([])
    private let isCommitting = Guarded(false)

    /// Makes a fresh data key and wraps it for every recipient; each of them must be able to, but for the optional ones.
    /// ``NotSupportedByStore`` where the sets are to be protected and the kind of store cannot.
    package init(
        key: BackupKey, attempt: String, in store: any Store, configuration: SetWriterConfiguration
    ) async throws {
        self.key = key
        self.attempt = attempt
        self.store = store
        self.configuration = configuration
        let context = setContext(key, target: configuration.target)
        if !configuration.protection.isNone, !store.capabilities.protects {
            throw NotSupportedByStore(key: key.description, what: "object lock")
        }
        let made = try await makeDataKey(
            for: configuration.recipients, optional: configuration.optionalRecipients, context: context,
            random: configuration.random)
        sealing = SegmentSealing(
            cipher: configuration.cipher, compression: configuration.compression, context: context,
            dataKey: made.dataKey, dataKeys: made.wrapped)
        var exceptions = made.unsealed
        if configuration.protection.lockMode != nil, configuration.retention.period(of: key.tier) == .forever {
            exceptions.append("not locked: sets of the tier \(key.tier.rawValue) are kept without an end")
        }
        self.exceptions = exceptions
    }

    /// Writes every part that `snapshot` gives, a few at once, and waits for its verdict on itself.
    package func write(_ snapshot: any Snapshot, meter: ProgressMeter) async throws -> Contents {
        try await withThrowingTaskGroup(of: Bool.self) { group in
            var running = 0
            for try await part in snapshot.parts {
                while !part.isCompanion, running >= configuration.parallelJobs,
                    let wasCompanion = try await group.next()
                {
                    if !wasCompanion { running -= 1 }
                }
                group.addTask {
                    // A companion grows no faster than what it describes, whose bytes are the ones that are counted.
                    try await self.write(part, meter: part.isCompanion ? nil : meter)
                    return part.isCompanion
                }
                if !part.isCompanion { running += 1 }
            }
            try await group.waitForAll()
        }
        let contents = try await snapshot.finish()
        try await write(
            Part(name: Self.contentsPart, source: MemorySource(contents.json.canonicalBytes)), meter: nil)
        if sealing.cipher != nil {
            try await write(Part(name: Self.piecesPart, source: MemorySource(pieces.value.bytes)), meter: nil)
        }
        return contents
    }

    package static let contentsPart = "contents.json"
    /// Digests of the pieces of all other segments, where these are no messages.
    package static let piecesPart = "pieces.bin"

    /// The parts of a picture, sealed, and what they were sealed with: for those that make no set of them.
    struct Sealed: Sendable {
        let parts: [StoredPart]
        let encryption: EncryptionInfo
        let dataKey: SecretBytes
        let exceptions: [String]
    }

    /// Writes every part, as ``write(_:meter:)`` does, and no manifest.
    func seal(_ snapshot: any Snapshot, meter: ProgressMeter) async throws -> Sealed {
        _ = try await write(snapshot, meter: meter)
        return Sealed(
            parts: written.value.sorted { $0.name < $1.name },
            encryption: sealing.info, dataKey: sealing.dataKey, exceptions: exceptions)
    }

    /// Streams one part into its segments.
    private func write(_ part: Part, meter: ProgressMeter?) async throws {
        var source = part.source
        if let limit = configuration.rateLimit {
            source = RateLimitedSource(source, bytesPerSecond: limit, clock: configuration.clock)
        }
        if let meter { source = MeteredSource(source, meter: meter) }
        let cursor = PlainCursor(source, leavesCoresIdle: part.leavesCoresIdle)
        var segments: [Segment] = []
        repeat {
            segments.append(try await writeSegment(part.name, number: segments.count + 1, from: cursor))
        } while !cursor.isAtEnd
        written.withLock { [segments] in $0.append(StoredPart(name: part.name, segments: segments)) }
    }

    private func writeSegment(_ part: String, number: Int, from cursor: PlainCursor) async throws -> Segment {
        let path = SetLayout.segment(
            attempt: attempt, part: part, number: number, compression: configuration.compression.algorithm)
        let messageID = configuration.random(32)
        let before = cursor.consumed
        let sealed = try await sealing.seal(cursor, messageID: messageID, limit: store.capabilities.largestObject)
        // The store's writes stand in its own thread, never in the one that seals.
        let stored = DigestingSource(try PrefetchedSource(sealed, depth: 4, name: "seal"))
        let pieced = sealing.cipher.map { _ in PieceDigestingSource(stored) }
        _ = try await store.put(
            SetLayout.directory(key) + path, from: pieced ?? stored,
            options: segmentOptions(
                key.tier, configuration.storageClasses[key.tier] ?? .standard, configuration.bodies, in: store))
        if let pieced { pieces.withLock { $0.digests[path] = pieced.digests } }
        return Segment(
            path: path, messageID: messageID, plainSize: cursor.consumed - before, storedSize: stored.count,
            storedSHA256: stored.sha256)
    }

    /// What a commit needs beside the parts.
    package struct Closing: Sendable {
        package var requestID: RequestID
        package var sequence: Int64
        package var previous: ChainLink?
        package var facts: SnapshotFacts
        package var contents: Contents
        package var finished: Timestamp

        package init(
            requestID: RequestID, sequence: Int64, previous: ChainLink?, facts: SnapshotFacts, contents: Contents,
            finished: Timestamp
        ) {
            self.requestID = requestID
            self.sequence = sequence
            self.previous = previous
            self.facts = facts
            self.contents = contents
            self.finished = finished
        }
    }

    /// Protects the segments and writes the manifest, create-only: from here on the set exists.
    package func commit(_ closing: Closing) async throws -> StoredManifest {
        var manifest = Manifest(
            key: key, target: configuration.target, engine: configuration.engine,
            requestID: closing.requestID.description, attempt: attempt, snapshotTime: closing.facts.time,
            finishedTime: closing.finished, sequence: closing.sequence, previous: closing.previous,
            details: closing.facts.details, exceptions: closing.facts.exceptions + exceptions,
            sourceSize: closing.facts.sourceSize, compression: configuration.compression,
            parts: written.value.sorted { $0.name < $1.name },
            contents: ContentsSummary(closing.contents.counts),
            encryption: sealing.info,
            retention: retention(closing.facts.time), needs: closing.facts.needs)
        try ManifestSeal.seal(&manifest, dataKey: sealing.dataKey, signer: configuration.signer)
        let bytes = manifest.json().canonicalBytes
        let protection = manifest.protection(in: store, at: closing.finished)
        if !protection.isNone {
            // What will not be a set should not be locked: nobody could remove it for years.
            guard try await store.stat(SetLayout.manifest(key)) == nil else {
                throw SetError.taken(key: key.description)
            }
            try await protectSegments(of: manifest, in: store, protection)
        }
        isCommitting.withLock { $0 = true }
        do {
            _ = try await store.put(
                SetLayout.manifest(key), from: MemorySource(bytes),
                options: PutOptions(createOnly: true, protection: protection))
        } catch is StoreConflict {
            isCommitting.withLock { $0 = false }
            throw SetError.taken(key: key.description)
        }
        return StoredManifest(manifest: manifest, sha256: Array(SHA256.hash(data: bytes)))
    }

    /// Removes the segments of a set that will not be. What cannot be removed is found and swept by a later run.
    ///
    /// Where the commit itself failed the manifest may be there all the same: without its lock, or with its reply lost.
    /// It goes first, and where that cannot be done everything stays, for a whole set is better than half a one.
    package func abandon() async throws {
        if isCommitting.value {
            do {
                if try await Catalog(store).manifest(key).manifest.attempt == attempt {
                    try await store.delete(SetLayout.manifest(key))
                }
            } catch SetError.notFound {
                // It never came to be.
            }
        }
        for try await object in store.list(SetLayout.attemptDirectory(key, attempt: attempt)) {
            try await store.delete(object.key)
        }
    }

    private func retention(_ time: Timestamp) -> Retention {
        let end = configuration.retention.period(of: key.tier).end(from: time)
        return Retention(
            retainUntil: end,
            // A lock has to have an end.
            objectLock: end == nil ? nil : configuration.protection.lockMode,
            legalHold: configuration.protection.legalHold,
            storageClass: configuration.storageClasses[key.tier] ?? .standard,
            dataClass: configuration.retention.dataClass)
    }
}
