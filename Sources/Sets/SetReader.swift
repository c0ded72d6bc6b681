package import Core
import Envelope
import Streams

/// With what sets are opened, and whom to believe.
package struct SetReaderConfiguration: Sendable {
    package var identities: [any KeyProvider]
    /// Ed25519 public keys; where there are any, only sets signed by one of them are read.
    package var trustedSigners: [[UInt8]]
    /// Namespaces whose keys only holders can wrap with.
    package var symmetricProviders: Set<String>
    /// What opens segments that are no messages, by the manifest's word.
    package var ciphers: [any SegmentCipher]

    package init(
        identities: [any KeyProvider], trustedSigners: [[UInt8]], symmetricProviders: Set<String>,
        ciphers: [any SegmentCipher] = []
    ) {
        self.identities = identities
        self.trustedSigners = trustedSigners
        self.symmetricProviders = symmetricProviders
        self.ciphers = ciphers
    }

    /// Whether anything can be opened at all: a backup pod that holds only public keys cannot.
    package var canOpen: Bool { identities.contains { $0.capabilities.canUnwrap } }
}

/// A manifest as the store has it.
package struct StoredManifest: Sendable {
    package var manifest: Manifest
    /// Of its stored bytes: what the next set in the chain points to.
    package var sha256: [UInt8]

    package init(manifest: Manifest, sha256: [UInt8]) {
        self.manifest = manifest
        self.sha256 = sha256
    }

    package var link: ChainLink { ChainLink(key: manifest.key, sha256: sha256) }
}

/// A set whose manifest has been opened and believed. Its parts are checked as they are read.
package struct SetReader: PartOpener {
    package let stored: StoredManifest
    package let origin: Origin
    /// What was read from another copy than the first, and why.
    package let notes: ReadingNotes
    var dataKey: SecretBytes { opening.dataKey }
    private let opening: SegmentOpening
    /// Digests of the segments' pieces, once they have been read.
    private let pieces = Guarded<PieceList?>(nil)
    /// Where its manifest was read from, and its records are.
    let home: any Store
    private let places: SegmentPlaces

    package var manifest: Manifest { stored.manifest }
    package var partNames: [String] { manifest.dataParts.map(\.name) }
    /// What has to be thawed before the set can be read.
    package var archived: [ArchivedSegment] { places.archived }

    /// Opens the data key, checks the manifest's MAC and signature, and that each segment is there with its size.
    /// `records` are the paths of the set's records, where a listing has told them already.
    package static func open(
        _ stored: StoredManifest, in store: any Store, records: [String]? = nil,
        configuration: SetReaderConfiguration
    ) async throws -> SetReader {
        let notes = ReadingNotes()
        let belief = try await believe(stored, in: store, records: records, configuration, notes: notes)
        return try await SetReader(
            stored, belief, home: store, places: SegmentPlaces.find(stored.manifest, in: Copies(store)),
            notes: notes)
    }

    /// The same for the set `key` of `target`, whose manifest is taken from the first of `copies` that has one to be
    /// believed, and whose segments are looked for in all of them. Throws what is wrong with the first copy, and its
    /// exit code, where none will do.
    package static func open(
        _ key: BackupKey, of target: String, in copies: Copies, configuration: SetReaderConfiguration,
        notes: ReadingNotes
    ) async throws -> SetReader {
        let (stored, belief, home) = try await believed(
            key, of: target, in: copies, configuration: configuration, notes: notes)
        return try await SetReader(
            stored, belief, home: home, places: SegmentPlaces.find(stored.manifest, in: copies), notes: notes)
    }

    typealias Belief = (opening: SegmentOpening, origin: Origin)

    private static func believed(
        _ key: BackupKey, of target: String, in copies: Copies, configuration: SetReaderConfiguration,
        notes: ReadingNotes
    ) async throws -> (stored: StoredManifest, belief: Belief, home: any Store) {
        var refusals = CopyRefusals()
        var tried: Set<[UInt8]> = []
        for copy in copies.all {
            do {
                let stored = try await Catalog(copy.store).manifest(key, of: target)
                // The same bytes are believed no sooner for lying in another place.
                guard tried.insert(stored.sha256).inserted else { continue }
                let others = copies.all.filter { $0.name != copy.name }.map(\.store)
                let belief = try await believe(
                    stored, in: copy.store, others: others, configuration, notes: notes)
                if let reason = refusals.reason {
                    notes.add("the manifest was read from the \(copy.name.text): \(reason)")
                }
                return (stored, belief, copy.store)
            } catch let error as CancellationError {
                throw error
            } catch {
                refusals.add(copy, error)
            }
        }
        throw refusals.error
    }

    private init(
        _ stored: StoredManifest, _ belief: Belief, home: any Store,
        places: SegmentPlaces, notes: ReadingNotes
    ) {
        self.stored = stored
        (opening, origin) = belief
        self.home = home
        self.places = places
        self.notes = notes
    }

    static func believe(
        _ stored: StoredManifest, in home: any Store, records: [String]? = nil, others: [any Store] = [],
        _ configuration: SetReaderConfiguration, notes: ReadingNotes
    ) async throws -> Belief {
        let search = DataKeySearch(stored: stored, identities: configuration.identities, notes: notes)
        let found = try await search.find(home: home, records: records, others: others)
        var opensItself = !found.isFromRecord
        // Asked only where it matters, for it may be a key service that answers.
        if !opensItself, ManifestSeal.isClosed(stored.manifest, configuration.symmetricProviders) {
            opensItself = try await search.opensItself()
        }
        let origin = try ManifestSeal.origin(
            of: stored.manifest, opensItself: opensItself, trustedSigners: configuration.trustedSigners,
            symmetricProviders: configuration.symmetricProviders)
        let opening = try SegmentOpening(
            stored.manifest, dataKey: found.dataKey, ciphers: configuration.ciphers)
        return (opening, origin)
    }

    /// Reads every segment and compares its digest with the manifest's. Needs no key, and so proves nothing about what
    /// is inside.
    package static func checkDigests(
        of manifest: Manifest, in store: any Store, meter: ProgressMeter
    ) async throws {
        for segment in manifest.parts.flatMap(\.segments) {
            let bytes = try await StoredSegment(segment, of: manifest, in: store)
            try await drain(MeteredSource(bytes, meter: meter))
        }
    }

    package func open(_ part: String) async throws -> any ByteSource {
        guard let stored = manifest.parts.first(where: { $0.name == part }) else {
            throw SetError.unknownPart(key: manifest.key.description, part: part)
        }
        let pieces: PieceList? =
            opening.cipher == nil || part == SetWriter.piecesPart ? nil : try await pieceList()
        return PartSource(stored, opening, pieces: pieces, from: places, notes: notes)
    }

    /// The digests of all pieces. Nothing of the part that holds them is used before all of it has authenticated.
    private func pieceList() async throws -> PieceList {
        if let known = pieces.value { return known }
        let source = try await open(SetWriter.piecesPart)
        let damage = SetError.damagedSegment(
            key: manifest.key.description, path: SetWriter.piecesPart, problem: "it is no list of digests")
        let bytes: [UInt8]
        do {
            bytes = try await withTaskCancellationHandler {
                try await onThread("pieces") { try source.collect(limit: PieceList.largest) }
            } onCancel: {
                source.cancel()
            }
        } catch is ObjectTooLarge {
            throw damage
        }
        guard let list = PieceList(parsing: bytes) else { throw damage }
        pieces.withLock { $0 = list }
        return list
    }

    /// The manifest before this one in the target's chain; `nil` where this is the first, or that one has been removed
    /// since. Believed by its digest, which stands in this one. Throws ``SetError`` where it is another.
    package func predecessor() async throws -> Manifest? {
        guard let link = manifest.previous else { return nil }
        do {
            let before = try await Catalog(home).manifest(link.key, of: manifest.target)
            guard before.sha256 == link.sha256 else {
                throw SetError.unreadableManifest(
                    key: link.key.description, problem: "it is not the one that \(manifest.key) was joined to")
            }
            return before.manifest
        } catch SetError.notFound {
            return nil
        }
    }

    /// Reads `parts` to their ends, for parts that no engine looks into.
    package func readThrough(_ parts: [String], meter: ProgressMeter) async throws {
        for part in parts { try await drain(MeteredSource(try await open(part), meter: meter)) }
    }

    /// What the set recorded of its contents when it was made.
    package func contents() async throws -> Contents {
        let source = try await open(SetWriter.contentsPart)
        do {
            let bytes = try await withTaskCancellationHandler {
                try await onThread("contents") { try source.collect(limit: Self.contentsLimit) }
            } onCancel: {
                source.cancel()
            }
            return try Contents(json: try JSON(parsing: bytes))
        } catch let error as any Failure {
            throw error
        } catch let error where !(error is CancellationError) {
            throw SetError.damagedSegment(
                key: manifest.key.description, path: SetWriter.contentsPart, problem: "it cannot be read: \(error)")
        }
    }

    /// Bytes: some three hundred thousand tables.
    private static let contentsLimit = 128 << 20
}

extension Manifest {
    /// What a restore reads: all but the parts that say what is in the others.
    fileprivate var dataParts: [StoredPart] {
        parts.filter { $0.name != SetWriter.contentsPart && $0.name != SetWriter.piecesPart }
    }

    /// Bytes that a restore puts in place, before compression: what its rate is measured by.
    package var dataSize: Int64 { dataParts.reduce(0) { $0 + $1.plainSize } }
}
