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
    }

    private let environment: ConfigReader
    private let file: ConfigReader?
    private let fileName: String
    private let readFile: (String) throws -> [UInt8]
    /// The variables that are set to something. Empty ones count as unset.
    let variableNames: [String]
    private(set) var summary = ConfigurationSummary()

    /// Bytes that a file with a secret may have.
    private static let largestSecret = 64 << 10

    init(
        environment: [String: String], file: ConfigurationFile?, readFile: @escaping (String) throws -> [UInt8]
    ) {
        let set = environment.filter { !$0.value.isEmpty }
        variableNames = set.keys.sorted()
        self.environment = ConfigReader(
            provider: EnvironmentVariablesProvider(
                environmentVariables: set,
                secretsSpecifier: .dynamic { name, _ in SecretVariables.contains(name) }))
        self.file = file.map { ConfigReader(provider: InMemoryProvider(name: $0.name, values: $0.values)) }
        fileName = file?.name ?? ""
        self.readFile = readFile
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
        try secret(variable(name), fileName: variable(name + "_FILE"))
    }

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

    /// A secret from the key at `path` or from the file that the same key with `File` behind it names.
    mutating func secretEntry(_ path: [String]) throws(ConfigurationError) -> Found? {
        guard let last = path.last else { return nil }
        return try secret(
            entry(path, isSecret: true), fileName: entry(path.dropLast() + [last + "File"]))
    }

    private func secret(_ value: Found?, fileName: Found?) throws(ConfigurationError) -> Found? {
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
        guard bytes.count <= Self.largestSecret, var text = String(validating: bytes, as: UTF8.self),
            !bytes.contains(0)
        else {
            throw ConfigurationError(
                fileName.name, "the file holds no text of up to \(Self.largestSecret) bytes",
                hint: "put the secret into it and nothing else")
        }
        // Editors and `echo` end a file with a newline that is no part of the secret.
        while text.last?.isNewline == true { text.removeLast() }
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
    static let names: Set<String> = ["POSTGRES_PASSWORD", "POSTGRES_URL", "PGPASSWORD", "BACKUP_SIGNING_KEY"]
    static let destinationPrefix = "BACKUP_DESTINATION_"

    static func contains(_ name: String) -> Bool {
        names.contains(name) || (name.hasPrefix(destinationPrefix) && !name.hasSuffix("_FILE"))
    }
}

/// `text` without blanks at its ends.
func trimmed(_ text: Substring) -> String {
    var rest = text
    while rest.first == " " { rest.removeFirst() }
    while rest.last == " " { rest.removeLast() }
    return String(rest)
}
