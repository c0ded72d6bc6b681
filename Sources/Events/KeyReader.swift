import Core

/// Which keys a target's sets are sealed for and opened with.
extension TargetReader {
    private static let forms = "aes:FILE, rsa:FILE.pem or kms:ARN, several with commas between"

    struct Keys {
        var recipients: [KeySpecification]
        var optional: [KeySpecification]
        var identities: [KeySpecification]
    }

    mutating func keys() throws(ConfigurationError) -> Keys {
        var recipients = try keys(.recipients) ?? []
        if let found = try find(.kmsKeyID) {
            let key = KeySpecification.kms(key: try Self.kmsKey(found.text, found.name))
            if !recipients.contains(key) { recipients.append(key) }
        }
        guard !recipients.isEmpty else {
            throw ConfigurationError(
                Setting.recipients.variable, "nobody could open a backup: there are no recipients for \(name)",
                hint: "set it to \(Self.forms); nothing is stored in clear")
        }
        let optional = try keys(.optionalRecipients) ?? []
        if let same = optional.first(where: { key in recipients.contains { $0.keyName == key.keyName } }) {
            throw ConfigurationError(
                try find(.optionalRecipients)?.name ?? "", "\(shown(same.keyName)) is among the recipients too",
                hint: "a key is either needed for every backup or may be out of reach")
        }
        return Keys(
            recipients: recipients, optional: optional,
            identities: try keys(.identities) ?? recipients + optional)
    }

    private mutating func keys(_ setting: Setting) throws(ConfigurationError) -> [KeySpecification]? {
        guard let found = try find(setting) else { return nil }
        var keys: [KeySpecification] = []
        for text in found.values {
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

    private static func key(_ text: String, _ name: String) throws(ConfigurationError) -> KeySpecification {
        let pieces = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let scheme = String(pieces[0])
        guard pieces.count == 2, ["aes", "rsa", "kms"].contains(scheme) else {
            let isLater = NotInThisVersion.keySchemes.contains(scheme)
            throw ConfigurationError(
                name, isLater ? "\(scheme): keys are not in this version yet" : "a key in it is of no known kind",
                hint: forms)
        }
        if scheme == "kms" { return .kms(key: try kmsKey(String(pieces[1]), name)) }
        let path = String(pieces[1])
        guard !path.isEmpty, !path.hasSuffix("/"), !hasControlCharacter(path) else {
            throw ConfigurationError(name, "a key in it names no file", hint: forms)
        }
        return scheme == "aes" ? .aes(path: path) : .rsa(path: path)
    }

    static func kmsKey(_ text: String, _ name: String) throws(ConfigurationError) -> String {
        do {
            try AWSNames.checkKMSKey(text)
            return text
        } catch {
            throw ConfigurationError(name, error.cause, hint: error.hint)
        }
    }
}

extension KeySpecification {
    /// What kind of key it is and the name that its file gives it: two of the same would be taken for each other.
    fileprivate var keyName: String {
        switch self {
        case .aes(let path): "aes:\(Self.baseName(path))"
        case .rsa(let path): "rsa:\(Self.baseName(path))"
        case .kms(let key): "kms:\(key)"
        }
    }

    private static func baseName(_ path: String) -> Substring {
        let file = path.split(separator: "/").last ?? ""
        return file.lastIndex(of: ".").map { file[..<$0] } ?? file
    }
}
