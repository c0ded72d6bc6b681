package import Core
import Crypto
import Envelope
import Streams

/// A set written out under the recipients of today, for stock tools: every part sealed anew under a data key of its own,
/// with what is needed to open it beside it.
///
/// Nothing of the set's own key material goes along. The files are messages of the same format, and their context
/// names the same set.
package struct SetExport: Sendable {
    package static let index = "export.json"
    package static let sums = "SHA256SUMS"
    static let readMe = "README.txt"
    static let script = "open_set.py"
    static let macPurpose = "lifeboat export mac v1"

    private let reader: SetReader
    private let store: any Store
    private let writer: SetWriter
    private let configuration: SetWriterConfiguration

    /// Makes the new data key and wraps it for every recipient, as for a set. `store` is an empty directory.
    package init(_ reader: SetReader, into store: any Store, configuration: SetWriterConfiguration) async throws {
        let manifest = reader.manifest
        var configuration = configuration
        configuration.compression = manifest.compression
        // A directory keeps its files as it keeps any; what the set asked its store for stays with the set.
        configuration.protection = SetProtection()
        configuration.storageClasses = [:]
        configuration.rateLimit = nil
        self.reader = reader
        self.store = store
        self.configuration = configuration
        writer = try await SetWriter(
            key: manifest.key, attempt: Self.attempt,
            in: FlatStore(store, below: SetLayout.attemptDirectory(manifest.key, attempt: Self.attempt)),
            configuration: configuration)
    }

    /// A part's files lie in the directory itself; the writer gets a name to put them under, which is taken off again.
    private static let attempt = "export"

    /// Whom an export would be sealed for: asks every recipient to wrap a data key that nothing is sealed with.
    package static func recipients(
        of reader: SetReader, configuration: SetWriterConfiguration
    ) async throws -> [String] {
        let made = try await makeDataKey(
            for: configuration.recipients, optional: configuration.optionalRecipients,
            context: reader.manifest.encryption.context, random: configuration.random)
        return made.wrapped.map(\.recipientName)
    }

    /// What was written.
    package struct Written: Sendable {
        /// Names of all files, sorted.
        package let files: [String]
        /// Bytes of the sealed ones.
        package let sealedSize: Int64
        /// For people: whom it can be opened by.
        package let recipients: [String]
        /// Optional recipients that it could not be sealed for.
        package let notes: [String]
    }

    /// Reads every part to its end, authenticated as it streams, and writes it anew; then reads back what the
    /// directory has, and compares it.
    package func write(requestID: RequestID, at now: Timestamp, meter: ProgressMeter) async throws -> Written {
        let manifest = reader.manifest
        let sealed = try await writer.seal(SetPicture(reader), meter: meter)
        let parts = sealed.parts.map { $0.relative(to: Self.attempt) }
        for part in manifest.parts where part.name != SetWriter.piecesPart {
            // What was opened is what was sealed, to the byte.
            guard parts.first(where: { $0.name == part.name })?.plainSize == part.plainSize else {
                throw SetError.damagedSegment(
                    key: manifest.key.description, path: part.name, problem: "it was not exported whole")
            }
        }
        var sums: [String: [UInt8]] = [:]
        for segment in parts.flatMap(\.segments) { sums[segment.path] = segment.storedSHA256 }
        let description = ExportDescription(
            reader: reader, encryption: sealed.encryption, parts: parts, time: now, requestID: requestID)
        var texts = [
            Self.index: try description.index(dataKey: sealed.dataKey, signer: configuration.signer),
            Self.readMe: Array(description.readMe.utf8),
        ]
        if !description.isOpenPGP { texts[Self.script] = Array(OpenScript.text.utf8) }
        for (name, bytes) in texts {
            try await store.put(name, bytes, createOnly: true)
            sums[name] = Array(SHA256.hash(data: bytes))
        }
        let lines = sums.sorted { $0.key < $1.key }.map { "\(hexText($0.value))  \($0.key)\n" }
        try await store.put(Self.sums, Array(lines.joined().utf8), createOnly: true)
        meter.begin("read back", expected: parts.reduce(0) { $0 + $1.storedSize })
        for (name, sum) in sums { try await readBack(name, sum, meter) }
        return Written(
            files: (Array(sums.keys) + [Self.sums]).sorted(), sealedSize: parts.reduce(0) { $0 + $1.storedSize },
            recipients: sealed.encryption.dataKeys.map(\.recipientName), notes: sealed.exceptions)
    }

    private func readBack(_ name: String, _ sum: [UInt8], _ meter: ProgressMeter) async throws {
        let source = DigestingSource(try await store.get(name, range: nil))
        try await drain(MeteredSource(source, meter: meter))
        guard source.sha256 == sum else {
            throw JobFailure(
                .store, "read the export back", object: name,
                cause: "the directory does not give back what was written",
                hint: "look at the disk ('dmesg'), and export to another")
        }
    }

    /// Whether `directory` holds what the request exported before of the set `key`.
    package static func isExport(
        of key: BackupKey, requestID: RequestID, in directory: any Store
    ) async throws -> Bool {
        guard requestID.isReplayable else { return false }
        do {
            let json = try JSON(parsing: try await directory.read(index, limit: 16 << 20))
            guard case .object(let members) = json else { return false }
            return members["key"] == .string(key.description)
                && members["requestId"] == .string(requestID.description)
        } catch is ObjectNotFound {
            return false
        } catch is ObjectTooLarge {
            return false
        } catch is JSONError {
            return false
        }
    }
}

/// A set, read as a source is when it is backed up.
private struct SetPicture: Snapshot {
    private let reader: SetReader

    init(_ reader: SetReader) { self.reader = reader }

    var facts: SnapshotFacts {
        SnapshotFacts(
            time: reader.manifest.snapshotTime, sourceSize: reader.manifest.sourceSize,
            details: reader.manifest.details, exceptions: reader.manifest.exceptions)
    }

    var parts: AsyncThrowingStream<Part, any Error> {
        let rest = Guarded(reader.partNames[...])
        return AsyncThrowingStream {
            guard let name = rest.withLock({ $0.popFirst() }) else { return nil }
            return Part(name: name, source: try await reader.open(name))
        }
    }

    func finish() async throws -> Contents { try await reader.contents() }
    func cancel() async {}
}

extension StoredPart {
    /// The same with its segments' paths as they are below the directory `name`.
    fileprivate func relative(to name: String) -> StoredPart {
        StoredPart(
            name: self.name,
            segments: segments.map { segment in
                var segment = segment
                segment.path = String(segment.path.dropFirst(name.count + 1))
                return segment
            })
    }
}

/// Puts what is written below a prefix into another store without it.
private struct FlatStore: Store {
    private let base: any Store
    private let prefix: String

    init(_ base: any Store, below prefix: String) {
        self.base = base
        self.prefix = prefix
    }

    private func name(_ key: String) throws -> String {
        guard key.hasPrefix(prefix) else { throw ObjectNotFound(key: key) }
        return String(key.dropFirst(prefix.count))
    }

    var capabilities: StoreCapabilities { base.capabilities }

    func put(_ key: String, from source: any ByteSource, options: PutOptions) async throws -> Int64 {
        try await base.put(try name(key), from: source, options: options)
    }

    func get(_ key: String, range: Range<Int64>?) async throws -> any ByteSource {
        try await base.get(try name(key), range: range)
    }

    func stat(_ key: String) async throws -> ObjectInfo? {
        guard var info = try await base.stat(try name(key)) else { return nil }
        info.key = key
        return info
    }

    func list(_ listed: String) -> AsyncThrowingStream<ObjectInfo, any Error> {
        let objects = ListingReader(base.list(""))
        return AsyncThrowingStream {
            while var info = try await objects.next() {
                info.key = prefix + info.key
                if info.key.hasPrefix(listed) { return info }
            }
            return nil
        }
    }

    func amend(_ key: String, _ amendment: Amendment) async throws { try await base.amend(try name(key), amendment) }

    func delete(_ key: String, allVersions: Bool) async throws {
        try await base.delete(try name(key), allVersions: allVersions)
    }
}
