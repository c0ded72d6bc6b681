import Core

/// Which keys a target's sets are sealed for and opened with.
extension TargetReader {
    private static let forms =
        "aes:FILE, rsa:FILE.pem, kms:ARN, pkcs11:URI or gpg:KEYID, several with commas between"

    struct Keys {
        var recipients: [KeySpecification]
        var optional: [KeySpecification]
        var identities: [KeySpecification]

        func has(_ scheme: KeySpecification.Scheme) -> Bool {
            (recipients + optional + identities).contains { $0.scheme == scheme }
        }
    }

    mutating func keys(of engine: EngineName) throws(ConfigurationError) -> Keys {
        let recipients = engine == .auditRecords ? try auditRecipients() : try recipients()
        let optional = try keys(.optionalRecipients) ?? []
        if let same = optional.first(where: { key in recipients.contains { $0.keyName == key.keyName } }) {
            throw ConfigurationError(
                try find(.optionalRecipients)?.name ?? "", "\(shown(same.keyName)) is among the recipients too",
                hint: "a key is either needed for every backup or may be out of reach")
        }
        try refuseMixture(recipients, optional)
        return Keys(
            recipients: recipients, optional: optional,
            identities: try keys(.identities) ?? recipients + optional)
    }

    private mutating func recipients() throws(ConfigurationError) -> [KeySpecification] {
        var recipients = try keys(.recipients) ?? []
        var single: [KeySpecification] = []
        if let found = try find(.kmsKeyID) { single.append(.kms(key: try Self.kmsKey(found.text, found.name))) }
        if let found = try find(.gpgKeyID) { single.append(.gpg(key: try Self.gpgKey(found.text, found.name))) }
        for key in single where !recipients.contains(where: { $0.keyName == key.keyName }) { recipients.append(key) }
        guard !recipients.isEmpty else {
            throw ConfigurationError(
                Setting.recipients.variable, "nobody could open a backup: there are no recipients for \(name)",
                hint: "set it to \(Self.forms); nothing is stored in clear")
        }
        return recipients
    }

    /// An audit trail is about those who can open the other backups: they are not to be the ones who can open it.
    private mutating func auditRecipients() throws(ConfigurationError) -> [KeySpecification] {
        let own = try find(.recipients)
        guard let found = try find(.auditRecipients) else {
            if own?.isOfTarget == true { return try recipients() }
            throw ConfigurationError(
                Setting.auditRecipients.variable,
                "it is missing, and the audit records of \(name) have recipients of their own",
                hint: "set it to \(Self.forms), other keys than those of other backups")
        }
        if let own, own.isOfTarget {
            throw ConfigurationError(found.name, "it is set, and so is \(own.name)", hint: "keep one of the two")
        }
        return try keys(.auditRecipients) ?? []
    }

    /// A set is one kind of message throughout: OpenPGP's for who holds such keys, or ours for all others.
    private mutating func refuseMixture(
        _ recipients: [KeySpecification], _ optional: [KeySpecification]
    ) throws(ConfigurationError) {
        let all = recipients + optional
        guard all.contains(where: { $0.scheme == .gpg }), let other = all.first(where: { $0.scheme != .gpg }) else {
            return
        }
        let places = [try find(.gpgKeyID), try find(.auditRecipients), try find(.recipients)].compactMap { $0?.name }
        throw ConfigurationError(
            places.first ?? Setting.recipients.variable,
            "it has gpg: keys beside a key of the kind \(other.scheme.rawValue):",
            hint: "a set is sealed either as OpenPGP or for the other kinds of keys; take one kind, or make two "
                + "targets")
    }

    private mutating func keys(_ setting: Setting) throws(ConfigurationError) -> [KeySpecification]? {
        guard let found = try find(setting) else { return nil }
        var keys: [KeySpecification] = []
        for text in Self.joined(found) {
            let key = try Self.key(text, found.name)
            if let same = keys.first(where: { $0.keyName == key.keyName }) {
                throw ConfigurationError(
                    found.name, "two of its keys have the name \(shown(same.keyName))",
                    hint: "a key is known by its file's name without the ending; name each once, and differently")
            }
            keys.append(key)
        }
        return keys
    }

    /// The keys of a list. A URI of PKCS #11 may hold commas (RFC 7512, section 2.3), and so goes on up to the next
    /// piece that begins like a key.
    private static func joined(_ found: ConfigurationValues.Found) -> [String] {
        let starts = KeySpecification.Scheme.allCases.map { $0.rawValue + ":" }
        return found.values.reduce(into: []) { keys, piece in
            if let last = keys.last, last.hasPrefix("pkcs11:"), !piece.isEmpty,
                !starts.contains(where: piece.hasPrefix)
            {
                keys[keys.count - 1] = last + "," + piece
            } else {
                keys.append(piece)
            }
        }
    }

    private static func key(_ text: String, _ name: String) throws(ConfigurationError) -> KeySpecification {
        let pieces = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard pieces.count == 2, let scheme = KeySpecification.Scheme(rawValue: String(pieces[0])) else {
            throw ConfigurationError(name, "a key in it is of no known kind", hint: forms)
        }
        switch scheme {
        case .kms: return .kms(key: try kmsKey(String(pieces[1]), name))
        case .gpg: return .gpg(key: try gpgKey(String(pieces[1]), name))
        case .pkcs11: return .pkcs11(uri: try pkcs11URI(text, name))
        case .aes, .rsa: break
        }
        let path = String(pieces[1])
        guard !path.isEmpty, !path.hasSuffix("/"), !hasControlCharacter(path) else {
            throw ConfigurationError(name, "a key in it names no file", hint: forms)
        }
        return scheme == .aes ? .aes(path: path) : .rsa(path: path)
    }

    static func kmsKey(_ text: String, _ name: String) throws(ConfigurationError) -> String {
        do {
            try AWSNames.checkKMSKey(text)
            return text
        } catch {
            throw ConfigurationError(name, error.cause, hint: error.hint)
        }
    }

    /// A fingerprint or a long key id, in capitals, without the `0x` before it. Short ids are anybody's: there are
    /// keys made to have a given one.
    private static func gpgKey(_ text: String, _ name: String) throws(ConfigurationError) -> String {
        let digits = text.hasPrefix("0x") || text.hasPrefix("0X") ? String(text.dropFirst(2)) : text
        let isHex = digits.utf8.allSatisfy { byte in
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte | 0x20)
        }
        guard isHex, [16, 40, 64].contains(digits.utf8.count) else {
            throw ConfigurationError(
                name, "a gpg key in it is neither a fingerprint nor a long key id",
                hint:
                    "gpg:FINGERPRINT, as 'gpg --list-keys --with-colons' prints it: 40 or 64 hexadecimal digits, or "
                    + "16 of a long key id")
        }
        return digits.uppercased()
    }

    /// What can be said of a URI without the library: its form, and that it holds no secret. The rest the keyring
    /// checks.
    private static func pkcs11URI(_ text: String, _ name: String) throws(ConfigurationError) -> String {
        let form = "pkcs11:token=TOKEN;object=KEY, by RFC 7512"
        guard text.utf8.allSatisfy({ (0x21..<0x7F).contains($0) }), text.utf8.count <= 1024 else {
            throw ConfigurationError(
                name, "a PKCS #11 URI in it has a blank or another character that no URI has",
                hint: "\(form); other characters are written %20 and so on")
        }
        let body = text.dropFirst("pkcs11:".count)
        let attributes = body.split(whereSeparator: { $0 == ";" || $0 == "?" || $0 == "&" })
        guard !attributes.isEmpty, attributes.allSatisfy({ $0.contains("=") && !$0.hasPrefix("=") }) else {
            throw ConfigurationError(name, "a PKCS #11 URI in it names no key", hint: form)
        }
        guard !attributes.contains(where: { $0.hasPrefix("pin-value=") }) else {
            throw ConfigurationError(
                name, "a PKCS #11 URI in it holds a PIN, and keys' names are shown",
                hint: "take pin-value out of it, and set \(Setting.pkcs11PIN.variable) or "
                    + "\(Setting.pkcs11PIN.variable)_FILE")
        }
        return text
    }
}

/// What beside their names keys of some kinds need.
extension TargetReader {
    mutating func pkcs11(_ keys: Keys) throws(ConfigurationError) -> PKCS11Settings {
        guard keys.has(.pkcs11) else {
            try refuseForOtherKeys([.pkcs11Module, .pkcs11PIN], .pkcs11)
            return PKCS11Settings()
        }
        var settings = PKCS11Settings()
        if let found = try find(.pkcs11Module) { settings.module = try AbsolutePath.checked(found.text, found.name) }
        settings.pin = try find(.pkcs11PIN).map { Secret($0.text) }
        return settings
    }

    mutating func gpg(_ keys: Keys) throws(ConfigurationError) -> GPGSettings {
        var settings = GPGSettings(keyFiles: [])
        guard keys.has(.gpg) else {
            try refuseForOtherKeys([.gpgHome, .gpgKeys, .gpgPassphrase], .gpg)
            return settings
        }
        if let found = try find(.gpgHome) { settings.home = try AbsolutePath.checked(found.text, found.name) }
        if let found = try find(.gpgKeys) {
            for path in found.values { settings.keyFiles.append(try AbsolutePath.checked(path, found.name)) }
        }
        guard settings.home != nil || !settings.keyFiles.isEmpty else {
            throw ConfigurationError(
                Setting.gpgHome.variable, "it is missing, so there is no keyring to look gpg: keys up in",
                hint: "set it to a keyring directory, or \(Setting.gpgKeys.variable) to files with exported keys")
        }
        settings.passphrase = try find(.gpgPassphrase).map { Secret($0.text) }
        return settings
    }

    /// A target's own words about keys that it has none of. What the environment and the defaults say may be for
    /// other targets; ``ConfigurationReader`` looks whether it is for any.
    private mutating func refuseForOtherKeys(
        _ settings: [Setting], _ scheme: KeySpecification.Scheme
    ) throws(ConfigurationError) {
        for setting in settings {
            guard let found = try find(setting), found.isOfTarget else { continue }
            throw ConfigurationError(
                found.name, "it means nothing here: \(name) has no \(scheme.rawValue): key",
                hint: "leave it out, or name such a key in \(Setting.recipients.key)")
        }
    }
}

extension KeySpecification {
    /// What kind of key it is and the name that its file gives it: two of the same would be taken for each other.
    fileprivate var keyName: String {
        switch self {
        case .aes(let path): "aes:\(Self.baseName(path))"
        case .rsa(let path): "rsa:\(Self.baseName(path))"
        case .kms, .pkcs11, .gpg: description
        }
    }

    private static func baseName(_ path: String) -> Substring {
        let file = path.split(separator: "/").last ?? ""
        return file.lastIndex(of: ".").map { file[..<$0] } ?? file
    }
}
