import Core

/// What is known of a key beside its bytes.
struct KeyMetadata: Equatable, Sendable {
    enum Kind: String, CaseIterable, Sendable {
        /// Other keys are wrapped under it.
        case master = "MASTER"
        /// Data is encrypted under it.
        case data = "DATA"
        /// It takes, or has taken, another's place.
        case rotation = "ROTATION"
    }

    var id: String
    /// A number, or any other name of one state of the key.
    var version: String
    var created: Timestamp
    /// `nil` for a key that does not expire.
    var expires: Timestamp?
    var purpose: String?
    /// `AES-256`, `RSA-3072`, `P-256`, `Ed25519`; `opaque` for what is none of them.
    var algorithm: String
    var kind: Kind
    /// The key has a file of metadata; without one everything comes from its name, its time and its content.
    var isDeclared: Bool

    /// Names and texts may be as long as this, in bytes.
    private static let longest = 256

    /// From the JSON text of a metadata file. Throws what is wrong, with the member's name.
    init(parsing text: SecretBytes) throws(Problem) {
        do {
            var fields = try JSONFields(try text.withBytes { try JSON(parsing: $0) }, path: "")
            id = try Self.name(&fields, "keyId")
            version = try Self.version(&fields)
            created = try fields.timestamp("createdAt")
            expires = try Self.expiry(&fields)
            purpose = try fields.optionalString("purpose")
            algorithm = try Self.name(&fields, "algorithm")
            guard let kind = Kind(rawValue: try fields.string("kind")) else {
                throw fields.error("kind", "must be MASTER, DATA or ROTATION")
            }
            self.kind = kind
            isDeclared = true
            if case .object(let labels)? = fields.optional("labels") {
                for (name, value) in labels {
                    guard case .string = value else { throw fields.error("labels.\(name)", "must be a string") }
                }
            }
            try fields.finish()
            if let expires, expires <= created { throw fields.error("expiresAt", "is not after createdAt") }
            if let purpose, purpose.utf8.count > Self.longest {
                throw fields.error("purpose", "is longer than \(Self.longest) bytes")
            }
        } catch let error as JSONFieldError {
            throw Problem(text: error.description)
        } catch {
            // A parser's words may be about the content of what is no metadata.
            throw Problem(text: "it is not JSON")
        }
    }

    struct Problem: Error {
        var text: String
    }

    private static func name(_ fields: inout JSONFields, _ field: String) throws(JSONFieldError) -> String {
        let text = try fields.string(field)
        guard isName(text) else {
            throw fields.error(field, "must have 1 to \(longest) bytes and no control characters")
        }
        return text
    }

    static func isName(_ text: String) -> Bool {
        (1...longest).contains(text.utf8.count) && !text.utf8.contains { $0 < 0x20 || $0 == 0x7F }
    }

    private static func version(_ fields: inout JSONFields) throws(JSONFieldError) -> String {
        switch fields.optional("version") {
        case .integer(let number)? where number > 0: return String(number)
        case .string(let text)? where isName(text): return text
        case nil: throw fields.error("version", "is missing")
        default: throw fields.error("version", "must be a number from 1, or a name")
        }
    }

    private static func expiry(_ fields: inout JSONFields) throws(JSONFieldError) -> Timestamp? {
        switch fields.optional("expiresAt") {
        case nil, .null?: return nil
        case .string(let text)?:
            guard let time = Timestamp(text) else {
                throw fields.error("expiresAt", "must be a time like 2025-01-15T07:00:00Z, or null")
            }
            return time
        default: throw fields.error("expiresAt", "must be a time like 2025-01-15T07:00:00Z, or null")
        }
    }

    /// From the file's own name, time and content, where nothing lies beside it: `master-v3.key` is version 3 of
    /// `master.key`, and a key's kind shows in its name where anywhere.
    init(derivedFrom entry: KeyEntry, algorithm: String) {
        (id, version) = Self.split(entry.path)
        created = Timestamp(milliseconds: entry.modified * 1000)
        expires = nil
        purpose = nil
        self.algorithm = algorithm
        let name = entry.path.lowercased()
        if ["master", "root", "kek"].contains(where: name.contains) {
            kind = .master
        } else if ["rotat", "previous", "retired"].contains(where: name.contains) {
            kind = .rotation
        } else {
            kind = .data
        }
        isDeclared = false
    }

    private static func split(_ path: String) -> (id: String, version: String) {
        let start = path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex
        let file = path[start...]
        let dot = file.lastIndex(of: ".").flatMap { $0 == start ? nil : $0 } ?? file.endIndex
        let stem = file[..<dot]
        guard let mark = stem.lastIndex(where: { $0 == "v" || $0 == "V" }), mark > start,
            "-_.".contains(stem[stem.index(before: mark)]), stem.index(before: mark) > start
        else { return (path, "1") }
        let digits = stem[stem.index(after: mark)...]
        guard (1...9).contains(digits.count), digits.allSatisfy({ $0.isASCII && $0.isNumber }),
            let number = Int(digits), number > 0
        else { return (path, "1") }
        return (String(path[..<stem.index(before: mark)] + file[dot...]), String(number))
    }
}

extension KeyMetadata {
    /// As it stands in the set's part `keys.json` and in a result.
    var members: [String: JSON] {
        [
            "keyId": .string(id), "version": .string(version), "createdAt": .string(created.description),
            "expiresAt": expires.map { .string($0.description) } ?? .null,
            "purpose": purpose.map { .string($0) } ?? .null, "algorithm": .string(algorithm),
            "kind": .string(kind.rawValue), "declared": .bool(isDeclared),
        ]
    }

    /// Reads ``members`` back.
    init(_ fields: inout JSONFields) throws(JSONFieldError) {
        id = try fields.string("keyId")
        version = try fields.string("version")
        created = try fields.timestamp("createdAt")
        expires = try Self.expiry(&fields)
        purpose = fields.has("purpose") ? try Self.purpose(&fields) : nil
        algorithm = try fields.string("algorithm")
        guard let kind = Kind(rawValue: try fields.string("kind")) else {
            throw fields.error("kind", "is none that is known")
        }
        self.kind = kind
        isDeclared = try fields.bool("declared")
    }

    private static func purpose(_ fields: inout JSONFields) throws(JSONFieldError) -> String? {
        switch fields.optional("purpose") {
        case nil, .null?: return nil
        case .string(let text)?: return text
        default: throw fields.error("purpose", "must be a string")
        }
    }
}
