import Core
import Crypto

/// Keys as they were read, each with what is known of it.
struct KeySet: Sendable {
    struct Key: Sendable {
        var metadata: KeyMetadata
        /// Its file, below the directory of keys.
        var file: String
        var metadataFile: String?
        var content: SecretBytes
        var mode: UInt32
        /// SHA-256 of its content, and of its metadata file's. Never in clear: a short key could be guessed by it.
        var digest: [UInt8]
        var metadataDigest: [UInt8]?
        /// As people know it: `clinic version 3`.
        var label: String { "\(metadata.id) version \(metadata.version)" }
    }

    /// Every file and directory, metadata files too.
    let entries: [KeyEntry]
    /// In the order of their ids and versions.
    let keys: [Key]

    /// Finds the keys among `entries` and what belongs to each. Throws ``KeysError`` with everything that is wrong with
    /// them; `place` is named in it.
    init(_ entries: [KeyEntry], at place: String) throws(KeysError) {
        var matching = Matching(entries)
        self.entries = entries
        keys = matching.keys().sorted {
            ($0.metadata.id, $0.metadata.version, $0.file) < ($1.metadata.id, $1.metadata.version, $1.file)
        }
        guard !keys.isEmpty else { throw KeysError.empty(place) }
        for (key, next) in zip(keys, keys.dropFirst())
        where key.metadata.id == next.metadata.id && key.metadata.version == next.metadata.version {
            matching.problems.append("\(key.file) and \(next.file) are both key \(key.label)")
        }
        guard matching.problems.isEmpty else { throw KeysError.invalid(matching.problems, in: place) }
    }

    /// Reads the keys of `directories` now. Of several, each lies below its own last name. Blocks.
    static func read(_ directories: [String]) throws -> KeySet {
        guard directories.count > 1 else {
            let path = directories.first ?? ""
            return try KeySet(try KeyDirectory(path: path).read(), at: path)
        }
        var entries = [KeyEntry(path: "", content: nil, mode: 0o700, owner: 0, group: 0, modified: 0)]
        for path in directories {
            let name = path.split(separator: "/").last ?? ""
            let inner = try KeyDirectory(path: path).read()
            guard inner.contains(where: { $0.content != nil }) else { throw KeysError.empty(path) }
            entries += inner.map { entry in
                var entry = entry
                entry.path = entry.path.isEmpty ? String(name) : "\(name)/\(entry.path)"
                return entry
            }
        }
        return try KeySet(entries, at: directories.joined(separator: ", "))
    }

    /// Each key with a sum over its file, permissions, metadata and content.
    var contents: Contents { Contents(data: keys.map(\.entry), schema: []) }

    /// The part `keys.json`.
    var listing: JSON {
        .object(["format": .integer(Self.formatVersion), "keys": .array(keys.map(\.listed))])
    }

    static let formatVersion: Int64 = 1

    func expired(at time: Timestamp) -> [Key] {
        keys.filter { key in key.metadata.expires.map { $0 <= time } ?? false }
    }

    /// When the first of those that have not ended will. Those that have are told by name, and would hide the next.
    func nextExpiry(after time: Timestamp) -> KeyExpiry? {
        keys.compactMap(\.metadata.expires).filter { $0 > time }.min()
            .map { KeyExpiry(key: KeyExpiry.stored, expires: $0) }
    }
}

extension KeySet.Key {
    /// What a restored key must have again.
    var entry: DataEntry {
        let facts = JSON.object([
            "file": .string(file), "mode": .integer(Int64(mode)), "content": .string(hexText(digest)),
            "metadataFile": metadataFile.map { .string($0) } ?? .null,
            "metadata": metadataDigest.map { .string(hexText($0)) } ?? .null,
        ])
        var sum = RowSum()
        Array(SHA256.hash(data: facts.canonicalBytes)).withUnsafeBytes { sum.add(digest: $0) }
        return DataEntry(
            kind: .key, schema: metadata.id, name: metadata.version, columns: [file], rows: 1, sum: sum)
    }

    fileprivate var listed: JSON {
        .object(
            metadata.members.merging([
                "file": .string(file), "metadataFile": metadataFile.map { .string($0) } ?? .null,
                "size": .integer(Int64(content.count)), "sha256": .string(hexText(digest)),
            ]) { $1 })
    }
}

/// A key as the part `keys.json` has it.
struct ListedKey: Sendable {
    var metadata: KeyMetadata
    var file: String
    var size: Int64
    var digest: [UInt8]

    static func all(in json: JSON) throws(JSONFieldError) -> [ListedKey] {
        var fields = try JSONFields(json, path: "")
        guard try fields.integer("format") == KeySet.formatVersion else {
            throw fields.error("format", "is none that is known")
        }
        var keys: [ListedKey] = []
        for (index, element) in try fields.array("keys").enumerated() {
            keys.append(try ListedKey(element, path: "keys[\(index)]"))
        }
        try fields.finish()
        return keys
    }

    private init(_ json: JSON, path: String) throws(JSONFieldError) {
        var fields = try JSONFields(json, path: path)
        metadata = try KeyMetadata(&fields)
        file = try fields.string("file")
        size = try fields.integer("size")
        digest = try fields.hex("sha256", count: 32)
        switch try fields.required("metadataFile") {
        case .null, .string: break
        default: throw fields.error("metadataFile", "must be a string or null")
        }
        try fields.finish()
    }
}

/// Finds out which file is a key and which is the metadata of one.
private struct Matching {
    private let files: [KeyEntry]
    private let byPath: [String: KeyEntry]
    /// Metadata file to the key it belongs to.
    private var owners: [String: String] = [:]
    var problems: [String] = []

    init(_ entries: [KeyEntry]) {
        files = entries.filter { $0.content != nil }
        byPath = Dictionary(files.map { ($0.path, $0) }) { first, _ in first }
        for file in files where file.path.hasSuffix(".json") { match(file) }
    }

    /// `clinic.key.json` belongs to `clinic.key`, and so does `clinic.json` where no other file could be meant. One that
    /// belongs to none is itself a key: a JWK, a service account.
    private mutating func match(_ file: KeyEntry) {
        let stem = String(file.path.dropLast(".json".count))
        if let key = byPath[stem], !key.path.hasSuffix(".json") {
            owners[file.path] = key.path
            return
        }
        let candidates = files.filter { candidate in
            guard !candidate.path.hasSuffix(".json"), candidate.path.hasPrefix(stem + "."),
                !candidate.path.dropFirst(stem.count + 1).contains("/")
            else { return false }
            let name = candidate.path.dropFirst(stem.count + 1)
            return !name.contains(".") && byPath[candidate.path + ".json"] == nil
        }
        guard candidates.count <= 1 else {
            let names = candidates.map(\.path).joined(separator: ", ")
            problems.append("\(file.path) may belong to \(names): call it after the whole name of one")
            return
        }
        if let key = candidates.first { owners[file.path] = key.path }
    }

    mutating func keys() -> [KeySet.Key] {
        let metadataFiles = Dictionary(owners.map { ($0.value, $0.key) }) { first, _ in first }
        var keys: [KeySet.Key] = []
        for file in files where owners[file.path] == nil {
            if let key = key(file, metadataFiles[file.path].flatMap { byPath[$0] }) { keys.append(key) }
        }
        return keys
    }

    private mutating func key(_ file: KeyEntry, _ metadataFile: KeyEntry?) -> KeySet.Key? {
        guard let content = file.content else { return nil }
        guard content.count > 0 else {
            problems.append("\(file.path) is empty")
            return nil
        }
        let material = KeyMaterial(content)
        var metadata = KeyMetadata(derivedFrom: file, algorithm: material.algorithm)
        if let metadataFile, let text = metadataFile.content {
            do throws(KeyMetadata.Problem) {
                metadata = try KeyMetadata(parsing: text)
            } catch {
                problems.append("\(metadataFile.path): \(error.text)")
                return nil
            }
            if let contradiction = material.contradiction(to: metadata.algorithm) {
                problems.append(
                    "\(metadataFile.path): 'algorithm' is \(metadata.algorithm), and \(file.path) \(contradiction)")
            }
        }
        return KeySet.Key(
            metadata: metadata, file: file.path, metadataFile: metadataFile?.path, content: content, mode: file.mode,
            digest: Self.digest(content), metadataDigest: metadataFile?.content.map(Self.digest))
    }

    private static func digest(_ content: SecretBytes) -> [UInt8] {
        content.withBytes { bytes in
            var digest = SHA256()
            digest.update(bufferPointer: bytes)
            return Array(digest.finalize())
        }
    }
}
