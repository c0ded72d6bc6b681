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

    package init(identities: [any KeyProvider], trustedSigners: [[UInt8]], symmetricProviders: Set<String>) {
        self.identities = identities
        self.trustedSigners = trustedSigners
        self.symmetricProviders = symmetricProviders
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
    let dataKey: SecretBytes
    let store: any Store

    package var manifest: Manifest { stored.manifest }
    package var partNames: [String] { manifest.parts.map(\.name).filter { $0 != SetWriter.contentsPart } }

    /// Opens the data key, checks the manifest's MAC and signature, and that each segment is there with its size.
    package static func open(
        _ stored: StoredManifest, in store: any Store, configuration: SetReaderConfiguration
    ) async throws -> SetReader {
        let manifest = stored.manifest
        let dataKey = try await openDataKey(
            manifest.encryption.dataKeys, context: manifest.encryption.context, with: configuration.identities)
        try ManifestSeal.checkMAC(manifest, dataKey: dataKey)
        let origin = try ManifestSeal.origin(
            of: manifest, trustedSigners: configuration.trustedSigners,
            symmetricProviders: configuration.symmetricProviders)
        try await checkSegments(of: manifest, in: store)
        return SetReader(stored: stored, origin: origin, dataKey: dataKey, store: store)
    }

    /// That every segment the manifest names is there, with its size. Needs no key.
    package static func checkSegments(of manifest: Manifest, in store: any Store) async throws {
        let key = manifest.key.description
        for segment in manifest.parts.flatMap(\.segments) {
            guard let info = try await store.stat("\(key)/\(segment.path)") else {
                throw SetError.missingSegment(key: key, path: segment.path)
            }
            guard info.size == segment.storedSize else {
                throw SetError.wrongSize(
                    key: key, path: segment.path, recorded: segment.storedSize, found: info.size)
            }
        }
    }

    /// Reads every segment and compares its digest with the manifest's. Needs no key, and so proves nothing about what
    /// is inside.
    package static func checkDigests(
        of manifest: Manifest, in store: any Store, meter: ProgressMeter
    ) async throws {
        for segment in manifest.parts.flatMap(\.segments) {
            let bytes = try await StoredSegment(segment, of: manifest, in: store)
            try await drain(MeteredSource(bytes.source, meter: meter))
            try bytes.check()
        }
    }

    package func open(_ part: String) async throws -> any ByteSource {
        guard let stored = manifest.parts.first(where: { $0.name == part }) else {
            throw SetError.unknownPart(key: manifest.key.description, part: part)
        }
        return PartSource(stored, of: manifest, dataKey: dataKey, in: store)
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
