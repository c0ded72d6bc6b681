package import Core

/// What names a key in a token (RFC 7512), read strictly: every attribute in it is obeyed, and one that cannot be is
/// refused by name.
///
/// Beside the standard attributes there are two of our own in the query: `lifeboat-mechanism` (a
/// ``PKCS11Mechanism``'s raw value) and `lifeboat-extractable=accept`, which takes a key that can be read out of its
/// token. `pin-source` may name a file; `pin-value` is refused, for a setting that is shown is no place for a PIN.
package struct PKCS11URI: Hashable, Sendable, CustomStringConvertible {
    package enum ObjectType: String, Sendable {
        case secretKey = "secret-key"
        case publicKey = "public"
        case privateKey = "private"
    }

    /// As given. It holds no secret.
    package let description: String
    /// CKA_LABEL.
    package let object: String?
    /// CKA_ID.
    package let id: [UInt8]?
    package let type: ObjectType?
    /// Absolute path of the module; `nil` where the setting names it.
    package let modulePath: String?
    /// `softhsm2` for `libsofthsm2.so`.
    package let moduleName: String?
    /// Absolute path of a file that holds the PIN.
    package let pinFile: String?
    /// `nil`: the best that token and key offer.
    package let mechanism: PKCS11Mechanism?
    package let acceptsExtractable: Bool
    /// CK_SLOT_ID.
    let slotID: UInt?
    /// The attributes that are compared with what module, slot and token say of themselves.
    let expectations: [Expectation: String]

    enum Expectation: String, CaseIterable {
        case token, manufacturer, serial, model
        case slotDescription = "slot-description"
        case slotManufacturer = "slot-manufacturer"
        case libraryDescription = "library-description"
        case libraryManufacturer = "library-manufacturer"
        case libraryVersion = "library-version"

        /// Bytes of the field in the module's answer; a longer value could never match.
        var limit: Int {
            switch self {
            case .serial, .model: 16
            case .slotDescription: 64
            case .libraryVersion: 7
            default: 32
            }
        }
    }

    /// Throws ``PKCS11URIError``, which does not repeat the query: it may hold a PIN.
    package init(parsing text: String) throws(PKCS11URIError) {
        var attributes = try Attributes(text)
        description = text
        object = try attributes.text("object", .path)
        id = try attributes.bytes("id", .path)
        type = try attributes.type()
        slotID = try attributes.number("slot-id", .path)
        var expectations: [Expectation: String] = [:]
        for expectation in Expectation.allCases {
            guard let value = try attributes.text(expectation.rawValue, .path) else { continue }
            guard value.utf8.count <= expectation.limit else {
                throw attributes.error("'\(expectation.rawValue)' is longer than \(expectation.limit) bytes")
            }
            expectations[expectation] = value
        }
        self.expectations = expectations
        modulePath = try attributes.path("module-path")
        moduleName = try attributes.moduleName()
        pinFile = try attributes.pinFile()
        mechanism = try attributes.mechanism()
        acceptsExtractable = try attributes.acceptsExtractable()
        try attributes.finish()
        guard object?.isEmpty == false || id?.isEmpty == false else {
            throw attributes.error("it names no key: neither 'object' nor 'id' is there")
        }
        guard modulePath == nil || moduleName == nil else {
            throw attributes.error("'module-path' and 'module-name' are both there")
        }
        if let mechanism, let type, mechanism.isRSA == (type == .secretKey) {
            throw attributes.error("'type' and 'lifeboat-mechanism' are of different kinds of key")
        }
    }

    /// The key's name in a message: its label, else its id.
    package var keyName: String {
        if let object, !object.isEmpty { return object }
        return "id=" + hexText(id ?? [])
    }
}

/// Text that is no URI of a key in a token.
package struct PKCS11URIError: Failure, Equatable {
    /// The URI without its query.
    package let object: String
    package let cause: String

    package var exitCode: ExitCode { .configuration }
    package var operation: String { "read the PKCS#11 URI" }
    package var hint: String {
        "write it like pkcs11:token=backup;object=clinic-kek?module-path=/usr/lib/softhsm/libsofthsm2.so (RFC 7512); "
            + "a comma, semicolon or other special character of a value is written as %XX"
    }
}

/// The attributes of a URI that have not been asked for yet.
private struct Attributes {
    enum Place {
        case path, query
    }

    private let shown: String
    private var path: [String: [UInt8]]
    private var query: [String: [UInt8]]

    init(_ text: String) throws(PKCS11URIError) {
        let halves = text.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let first = halves.first ?? ""
        shown = String(first)
        (path, query) = ([:], [:])
        let scheme = "pkcs11:"
        guard first.prefix(scheme.count).lowercased() == scheme else {
            throw error("it does not begin with 'pkcs11:'")
        }
        path = try read(first.dropFirst(scheme.count), separator: ";", beside: "&")
        if halves.count == 2 { query = try read(halves[1], separator: "&", beside: "/?|") }
    }

    func error(_ cause: String) -> PKCS11URIError { PKCS11URIError(object: shown, cause: cause) }

    mutating func bytes(_ name: String, _ place: Place) throws(PKCS11URIError) -> [UInt8]? {
        place == .path ? path.removeValue(forKey: name) : query.removeValue(forKey: name)
    }

    mutating func text(_ name: String, _ place: Place) throws(PKCS11URIError) -> String? {
        guard let bytes = try bytes(name, place) else { return nil }
        guard let text = String(validating: bytes, as: UTF8.self), !bytes.contains(0) else {
            throw error("the value of '\(name)' is not text")
        }
        return text
    }

    mutating func number(_ name: String, _ place: Place) throws(PKCS11URIError) -> UInt? {
        guard let text = try text(name, place) else { return nil }
        guard let number = UInt(text), text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { throw error("'\(name)' is no number") }
        return number
    }

    mutating func type() throws(PKCS11URIError) -> PKCS11URI.ObjectType? {
        guard let text = try text("type", .path) else { return nil }
        guard let type = PKCS11URI.ObjectType(rawValue: text) else {
            throw error("its 'type' is no kind of key: only secret-key, public and private are")
        }
        return type
    }

    mutating func path(_ name: String) throws(PKCS11URIError) -> String? {
        guard let path = try text(name, .query) else { return nil }
        guard path.hasPrefix("/"), !path.hasSuffix("/") else {
            throw error("'\(name)' is no absolute path of a file")
        }
        return path
    }

    mutating func moduleName() throws(PKCS11URIError) -> String? {
        guard let name = try text("module-name", .query) else { return nil }
        guard !name.isEmpty, !name.contains("/"), !name.hasPrefix(".") else {
            throw error("'module-name' is no name of a module: it has no path, no 'lib' and no ending")
        }
        return name
    }

    /// RFC 7512, section 2.3: a `file` URI or an absolute path. A command (`|…`) is not run.
    mutating func pinFile() throws(PKCS11URIError) -> String? {
        guard try text("pin-value", .query) == nil else {
            throw error("it holds the PIN itself ('pin-value'); set PKCS11_PIN_FILE, PKCS11_PIN or 'pin-source'")
        }
        guard var source = try text("pin-source", .query) else { return nil }
        if source.hasPrefix("file:") { source.removeFirst(5) }
        if source.hasPrefix("//") { source.removeFirst(2) }
        guard source.hasPrefix("/"), !source.hasSuffix("/") else {
            throw error("'pin-source' must be a file ('file:/run/secrets/pin'); commands are not run")
        }
        return source
    }

    mutating func mechanism() throws(PKCS11URIError) -> PKCS11Mechanism? {
        guard let text = try text("lifeboat-mechanism", .query) else { return nil }
        guard let mechanism = PKCS11Mechanism(rawValue: text) else {
            let known = PKCS11Mechanism.allCases.map(\.rawValue).joined(separator: ", ")
            throw error("its 'lifeboat-mechanism' is none of \(known)")
        }
        return mechanism
    }

    mutating func acceptsExtractable() throws(PKCS11URIError) -> Bool {
        guard let text = try text("lifeboat-extractable", .query) else { return false }
        guard text == "accept" else { throw error("'lifeboat-extractable' can only be 'accept'") }
        return true
    }

    /// Nothing may be left. RFC 7512 has unknown attributes of the path match nothing; those of the query are refused
    /// as well, for an option that is passed over is an option that somebody believes to be in force.
    func finish() throws(PKCS11URIError) {
        if let name = (path.keys.sorted() + query.keys.sorted()).first {
            throw error("its attribute '\(name)' is not known here")
        }
    }

    private func read(
        _ text: Substring, separator: Character, beside further: String
    ) throws(PKCS11URIError) -> [String: [UInt8]] {
        var attributes: [String: [UInt8]] = [:]
        guard !text.isEmpty else { return [:] }
        for piece in text.split(separator: separator, omittingEmptySubsequences: false) {
            guard let equals = piece.firstIndex(of: "=") else { throw error("an attribute in it has no value") }
            let name = String(piece[..<equals])
            guard !name.isEmpty, name.utf8.allSatisfy({ Self.isAlphanumeric($0) || $0 == 45 || $0 == 95 }) else {
                throw error("an attribute's name in it has characters that none may have")
            }
            let value = try decode(piece[piece.index(after: equals)...], name, further)
            guard attributes.updateValue(value, forKey: name) == nil else {
                throw error("its attribute '\(name)' is there twice")
            }
        }
        return attributes
    }

    /// Section 2.3: unreserved characters, some of the reserved ones, and everything else as `%XX`.
    private func decode(_ text: Substring, _ name: String, _ further: String) throws(PKCS11URIError) -> [UInt8] {
        let plain = Set("-._~:[]@!$'()*+,=".utf8).union(further.utf8)
        var result: [UInt8] = []
        var rest = text.utf8
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%") {
                guard let pair = String(rest.prefix(2)), let value = Core.bytes(hexText: pair)?.first else {
                    throw error("a '%' in the value of '\(name)' is not followed by two hexadecimal digits")
                }
                result.append(value)
                rest = rest.dropFirst(2)
            } else if Self.isAlphanumeric(byte) || plain.contains(byte) {
                result.append(byte)
            } else {
                throw error("the value of '\(name)' has a character that must be written as %XX")
            }
        }
        return result
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"):
            true
        default: false
        }
    }
}
