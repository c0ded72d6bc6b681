package import Core
package import Streams

/// The engine `keys`: files of encryption keys, each with what is known of it. A snapshot reads them as one picture and
/// changes nothing; a restore exchanges the directory.
///
/// Nothing of a key stands in a manifest but how many there are, and a digest that is slow to try guesses on.
package struct KeysEngine: Engine {
    static let name = "keys"

    /// The names of a set's parts.
    enum PartName {
        /// What is known of each key.
        static let listing = "keys.json"
        /// The files.
        static let archive = "keys.tar"
    }

    /// What a set's manifest says, beside how many keys there are.
    enum Detail {
        static let digest = "digest"
        static let recipients = "recipients"
    }

    let settings: KeysSettings
    let recipients: [any KeyProvider]
    let candidates: KeyCandidates
    let clock: any WallClock
    let random: RandomBytes
    private let slowDigest: SlowDigest

    /// `recipients` are those that every set is sealed for; an optional one may be missing from a set, and so is no
    /// safe place. `candidates` says what a key file can be read as.
    package init(
        _ settings: KeysSettings, recipients: [any KeyProvider], candidates: @escaping KeyCandidates,
        clock: any WallClock, random: @escaping RandomBytes, slowDigest: SlowDigest = .standard
    ) {
        self.settings = settings
        self.recipients = recipients
        self.candidates = candidates
        self.clock = clock
        self.random = random
        self.slowDigest = slowDigest
    }

    var place: String { settings.directories.joined(separator: ", ") }

    package var capabilities: EngineCapabilities {
        EngineCapabilities(name: Self.name, endpoint: "the keys in \(place)")
    }

    /// The keys as they are at the source now.
    func readSource() async throws -> KeySet {
        try settings.check()
        return try await onThread("keys") { [settings] in try KeySet.read(settings.directories) }
    }

    // MARK: Backup

    package func snapshot(_ request: SnapshotRequest) async throws -> SnapshotAnswer {
        let keys = try await readSource()
        let time = clock.now()
        request.meter.beat()
        let check = RecipientCheck(recipients: recipients, candidates: candidates, random: random)
        let found = try await check.run(keys.keys)
        guard found.count < max(recipients.count, 1) else {
            throw KeysError.everyRecipient(found.map { "\($0.recipient) in \($0.file)" }, in: place)
        }
        let contents = keys.contents
        if settings.schedule == .onChange, !request.isForced, let previous = request.previous,
            try await isUnchanged(contents, since: previous, request, now: time)
        {
            return .nothingToStore(
                NothingToStore(
                    why: "the keys are those of \(previous.key)",
                    details: [
                        "unchangedSince": .string(previous.key.description), "keys": .integer(Int64(keys.keys.count)),
                    ], keyExpiry: keys.nextExpiry(after: time)))
        }
        let digest = try await onThread("digest") { [random, slowDigest] in
            try slowDigest.make(of: contents.json.canonicalBytes, random: random)
        }
        return .taken(
            KeysSnapshot(keys, contents: contents, facts: facts(keys, time: time, digest: digest, among: found)))
    }

    private func facts(
        _ keys: KeySet, time: Timestamp, digest: String, among found: [RecipientCheck.Found]
    ) -> SnapshotFacts {
        let expired = keys.expired(at: time)
        var exceptions = found.map {
            "the recipient \($0.recipient) is itself among the keys: whoever loses them opens this set by the others only"
        }
        if !expired.isEmpty {
            exceptions.append(counted(expired.count, "of the keys has", "of the keys have") + " expired")
        }
        return SnapshotFacts(
            time: time, sourceSize: keys.entries.reduce(0) { $0 + Int64($1.content?.count ?? 0) },
            details: [Detail.digest: digest, Detail.recipients: recipientNames], exceptions: exceptions,
            notes: expired.map { key in
                "key \(key.label) has expired" + (key.metadata.expires.map { " at \($0)" } ?? "")
            }, keyExpiry: keys.nextExpiry(after: time))
    }

    private var recipientNames: String { recipients.map(\.capabilities.name).sorted().joined(separator: ", ") }

    /// Whether the newest set holds these very keys, for who can open it now, and will be kept for long enough.
    private func isUnchanged(
        _ contents: Contents, since previous: Manifest, _ request: SnapshotRequest, now: Timestamp
    ) async throws -> Bool {
        // What a restore is about to replace may have been another directory, and is not kept for long.
        guard previous.engine == Self.name, previous.key.tier != .safety,
            previous.details[Detail.recipients] == recipientNames
        else { return false }
        if let until = previous.retention.retainUntil {
            // Keys that never change would otherwise end with the retention of their only set.
            let (kept, age) = (until.seconds(since: previous.snapshotTime), now.seconds(since: previous.snapshotTime))
            guard age < kept / 2 else { return false }
        }
        do {
            if let recorded = try await request.previousContents() {
                return ContentsComparison(recorded: recorded, found: contents).isEqual
            }
        } catch let failure as any Failure where [.verificationFailed, .keys].contains(failure.exitCode) {
            // A set that cannot be read holds nothing.
            return false
        }
        guard let digest = previous.details[Detail.digest] else { return false }
        return try await onThread("digest") { [slowDigest] in
            try slowDigest.matches(digest, contents.json.canonicalBytes)
        }
    }
}

extension KeysSettings {
    /// Throws what no directories of keys can be.
    fileprivate func check() throws(KeysError) {
        guard !directories.isEmpty else {
            throw KeysError.configuration("KEYS_PATHS", "it names no directory", hint: "name at least one")
        }
        var names: Set<Substring> = []
        for path in directories {
            let pieces = path.split(separator: "/")
            guard path.hasPrefix("/"), let name = pieces.last, !pieces.contains(".."), !pieces.contains(".") else {
                throw KeysError.configuration(
                    "KEYS_PATHS", "'\(path)' is not the absolute path of a directory", hint: "write it as /etc/keys")
            }
            guard names.insert(name).inserted else {
                throw KeysError.configuration(
                    "KEYS_PATHS", "two directories are called '\(name)', and a set keeps each under its name",
                    hint: "mount one of them under another name, or give it a target of its own")
            }
        }
    }
}

/// Keys that have been read, on their way into a set.
final class KeysSnapshot: Snapshot {
    let facts: SnapshotFacts
    private let contents: Contents
    private let sources: [(name: String, source: SecretSource)]
    private let handedOut = Guarded(0)

    init(_ keys: KeySet, contents: Contents, facts: SnapshotFacts) {
        self.facts = facts
        self.contents = contents
        var listing = keys.listing.canonicalBytes
        sources = [
            (KeysEngine.PartName.listing, SecretSource(SecretBytes(wiping: &listing))),
            (KeysEngine.PartName.archive, SecretSource(KeyArchive.write(keys.entries))),
        ]
    }

    var parts: AsyncThrowingStream<Part, any Error> {
        AsyncThrowingStream { self.nextPart() }
    }

    private func nextPart() -> Part? {
        let number = handedOut.withLock { number in
            defer { number += 1 }
            return number
        }
        guard number < sources.count else { return nil }
        return Part(name: sources[number].name, source: sources[number].source)
    }

    func finish() async throws -> Contents {
        guard sources.allSatisfy(\.source.isRead) else {
            throw KeysError(
                .unreadable, "store the keys", object: "", cause: "not every part was read to its end",
                hint: "run again; see the first error of this run for what stopped it")
        }
        return contents
    }

    func cancel() async {
        for (_, source) in sources { source.cancel() }
    }
}

/// A source of secret bytes that are in memory.
private final class SecretSource: ByteSource {
    private let content: SecretBytes
    private let offset = Guarded(0)
    private let hasEnded = Guarded(false)

    init(_ content: SecretBytes) { self.content = content }

    var isRead: Bool { hasEnded.value }

    func next() throws -> Chunk? {
        let start = offset.value
        guard start >= 0 else { throw CancellationError() }
        guard start < content.count else {
            hasEnded.withLock { $0 = true }
            return nil
        }
        let end = min(start + Chunk.size, content.count)
        offset.withLock { if $0 >= 0 { $0 = end } }
        return content.withBytes { Chunk($0[start..<end]) }
    }

    func cancel() { offset.withLock { $0 = -1 } }
}
