import Configuration
import Core

/// Looks settings up where they may stand, and remembers what was found where, for ``ConfigurationSummary``.
///
/// Environment and file are two providers of swift-configuration, asked apart: where one would silently win over the
/// other, they contradict each other here.
struct ConfigurationValues {
    /// A setting's value with the place it stood in.
    struct Found {
        /// One for a single value.
        var values: [String]
        /// The variable, or the path in the file.
        var name: String

        var text: String { values.joined(separator: ",") }
        /// From the file, for every target that does not say otherwise.
        var isDefault: Bool { name.hasPrefix("defaults.") }
        /// From the file, a target's own word.
        var isOfTarget: Bool { name.hasPrefix("targets.") }
    }

    private let environment: ConfigReader
    private let file: ConfigReader?
    private let fileName: String
    /// The path of everything that stands in the file.
    private let filePaths: [[String]]
    private let readFile: (String) throws -> [UInt8]
    /// What the references among the settings stand for.
    private let secrets: [SecretReference: Secret]
    /// The variables that are set to something. Empty ones count as unset.
    let variableNames: [String]
    private(set) var summary = ConfigurationSummary()

    /// Bytes that a file with a secret may have.
    private static let largestSecret = 64 << 10

    init(
        environment: [String: String], file: ConfigurationFile?, secrets: [SecretReference: Secret] = [:],
        readFile: @escaping (String) throws -> [UInt8]
    ) {
        let set = environment.filter { !$0.value.isEmpty }
        variableNames = set.keys.sorted()
        self.environment = ConfigReader(
            provider: EnvironmentVariablesProvider(
                environmentVariables: set,
                secretsSpecifier: .dynamic { name, _ in SecretVariables.contains(name) }))
        self.file = file.map { ConfigReader(provider: InMemoryProvider(name: $0.name, values: $0.values)) }
        fileName = file?.name ?? ""
        filePaths = file?.values.keys.map(\.components) ?? []
        self.readFile = readFile
        self.secrets = secrets
    }

    // MARK: One place

    mutating func variable(_ name: String) -> Found? {
        let isSecret = SecretVariables.contains(name)
        guard let text = environment.string(forKey: ConfigKey([name]), isSecret: isSecret), !text.isEmpty else {
            return nil
        }
        summary.add(name, isSecret ? nil : text, from: "environment")
        return Found(values: [text], name: name)
    }

    /// A secret from NAME or from the file that NAME_FILE names.
    mutating func secretVariable(_ name: String) throws(ConfigurationError) -> Found? {
        try resolved(secretText(variable(name), fileName: variable(name + "_FILE")))
    }

    /// A secret variable of another program, which knows no NAME_FILE.
    mutating func foreignSecret(_ name: String) throws(ConfigurationError) -> Found? { try resolved(variable(name)) }

    mutating func entry(_ path: [String], isSecret: Bool = false, isList: Bool = false) -> Found? {
        guard let file else { return nil }
        let key = ConfigKey(path)
        let values =
            isList
            ? file.stringArray(forKey: key, isSecret: isSecret)
            : file.string(forKey: key, isSecret: isSecret).map { [$0] }
        guard let values else { return nil }
        let name = path.joined(separator: ".")
        summary.add(name, isSecret ? nil : values.joined(separator: ", "), from: fileName)
        return Found(values: values, name: name)
    }

    /// The keys that stand below `path` in the file, in order.
    func keys(below path: [String]) -> [String] {
        Set(filePaths.filter { $0.count > path.count && $0.starts(with: path) }.map { $0[path.count] }).sorted()
    }

    /// A secret from the key at `path` or from the file that the same key with `File` behind it names.
    mutating func secretEntry(_ path: [String]) throws(ConfigurationError) -> Found? {
        guard let last = path.last else { return nil }
        return try resolved(
            secretText(entry(path, isSecret: true), fileName: entry(path.dropLast() + [last + "File"])))
    }

    /// The secret that `found` holds or refers to.
    private mutating func resolved(_ found: Found?) throws(ConfigurationError) -> Found? {
        guard var found, let reference = try SecretReferences.reference(found) else { return found }
        summary.add(found.name, nil, from: "\(reference)")
        guard let secret = secrets[reference] else {
            throw ConfigurationError(
                found.name, "the secret that it refers to was not fetched", hint: "run again with access to AWS")
        }
        let text = withoutFinalNewlines(secret.withRevealed { $0 })
        guard !text.isEmpty, !text.utf8.contains(0) else {
            throw ConfigurationError(
                found.name, "the secret that it refers to is empty or no text", hint: "put the secret into it")
        }
        found.values = [text]
        return found
    }

    /// What stands in a setting or in the file that it names.
    func secretText(_ value: Found?, fileName: Found?) throws(ConfigurationError) -> Found? {
        guard let fileName else { return value }
        if let value {
            throw ConfigurationError(
                value.name, "it is set, and so is \(fileName.name)", hint: "keep one of the two")
        }
        let bytes: [UInt8]
        do {
            bytes = try readFile(fileName.text)
        } catch {
            throw ConfigurationError(
                fileName.name, "the file \(shown(fileName.text)) cannot be read: \(error)",
                hint: "check that it is mounted and that this user may read it")
        }
        guard bytes.count <= Self.largestSecret, let whole = String(validating: bytes, as: UTF8.self),
            !bytes.contains(0)
        else {
            throw ConfigurationError(
                fileName.name, "the file holds no text of up to \(Self.largestSecret) bytes",
                hint: "put the secret into it and nothing else")
        }
        let text = withoutFinalNewlines(whole)
        guard !text.isEmpty else {
            throw ConfigurationError(fileName.name, "the file is empty", hint: "put the secret into it")
        }
        return Found(values: [text], name: fileName.name)
    }

    // MARK: Both places

    /// A setting of `target` (`nil` for the environment's own) out of the file, where the target's own word counts
    /// before the defaults, and out of the environment. Where the two differ, neither is taken.
    mutating func find(_ setting: Setting, target: String?) throws(ConfigurationError) -> Found? {
        let inEnvironment = try environmentValue(setting)
        var inFile: Found?
        if let target { inFile = try fileValue(setting, ["targets", target]) }
        if inFile == nil { inFile = try fileValue(setting, ["defaults"]) }
        if let inEnvironment, let inFile, inEnvironment.values != inFile.values {
            throw ConfigurationError(
                inEnvironment.name, "it contradicts \(inFile.name) in \(shown(fileName))",
                hint: "say it in one of the two places")
        }
        return inFile ?? inEnvironment
    }

    private mutating func environmentValue(_ setting: Setting) throws(ConfigurationError) -> Found? {
        if setting.isSecret { return try secretVariable(setting.variable) }
        guard var found = variable(setting.variable) else { return nil }
        if setting.isList {
            found.values = found.text.split(separator: ",", omittingEmptySubsequences: false).map(trimmed)
        }
        return found
    }

    private mutating func fileValue(_ setting: Setting, _ path: [String]) throws(ConfigurationError) -> Found? {
        if setting.isSecret { return try secretEntry(path + [setting.key]) }
        return entry(path + [setting.key], isList: setting.isList)
    }

    /// Notes what is in force where nothing was found.
    mutating func noteDefault(_ setting: Setting, _ value: String) {
        summary.add(setting.variable, value, from: "default")
    }
}

/// Which variables hold secrets.
enum SecretVariables {
    static let names: Set<String> = Set(
        ["PGPASSWORD"] + EngineName.allCases.flatMap(\.settings).filter(\.isSecret).map(\.variable)
            + Setting.allCases.filter(\.isSecret).map(\.variable) + VariableNames.secretAWS)
    static let destinationPrefix = "BACKUP_DESTINATION_"

    static func contains(_ name: String) -> Bool {
        names.contains(name) || (name.hasPrefix(destinationPrefix) && !name.hasSuffix("_FILE"))
    }
}

/// Editors and `echo` end a file with a newline that is no part of the secret.
func withoutFinalNewlines(_ text: String) -> String {
    var text = text
    while text.last?.isNewline == true { text.removeLast() }
    return text
}

/// `text` without blanks at its ends.
func trimmed(_ text: Substring) -> String {
    var rest = text
    while rest.first == " " { rest.removeFirst() }
    while rest.last == " " { rest.removeLast() }
    return String(rest)
}
