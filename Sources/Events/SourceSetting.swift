import Core

/// A setting of one kind of source: an environment variable, and a key below `source` in the file.
struct SourceSetting: Sendable {
    let variable: String
    let key: String
    var isSecret = false
    /// A list in the file; separated by commas in the environment.
    var isList = false
    /// Where it is set in the environment, the environment has a source of this kind. False for what Kubernetes sets by
    /// itself for Services, and for what would be a slip beside another source's settings only.
    var isMark = true

    /// Every variable that says it: `NAME`, and `NAME_FILE` for a secret.
    var variables: [String] { isSecret ? [variable, variable + "_FILE"] : [variable] }
    var keys: [String] { isSecret ? [key, key + "File"] : [key] }
}

/// Where a source's settings stand.
enum SourcePlace {
    case environment
    /// Below a key of the file.
    case file([String])

    func find(
        _ setting: SourceSetting, _ values: inout ConfigurationValues
    ) throws(ConfigurationError) -> ConfigurationValues.Found? {
        switch self {
        case .environment:
            if setting.isSecret { return try values.secretVariable(setting.variable) }
            guard var found = values.variable(setting.variable) else { return nil }
            if setting.isList {
                found.values = found.text.split(separator: ",", omittingEmptySubsequences: false).map(trimmed)
            }
            return found
        case .file(let path):
            if setting.isSecret { return try values.secretEntry(path + [setting.key]) }
            return values.entry(path + [setting.key], isList: setting.isList)
        }
    }

    /// How messages name a setting that is missing.
    func name(_ setting: SourceSetting) -> String {
        switch self {
        case .environment: setting.variable
        case .file(let path): (path + [setting.key]).joined(separator: ".")
        }
    }
}

extension EngineName {
    /// The settings of its source. PostgreSQL's are libpq's too, and stand with their reader.
    var settings: [SourceSetting] {
        switch self {
        case .postgres: PostgresSourceReader.settings
        case .mysql: MySQLSourceReader.settings
        case .mongodb: MongoDBSourceReader.settings
        case .files: FilesSourceReader.settings
        case .keys: KeysSourceReader.settings
        case .auditRecords: AuditSourceReader.settings
        }
    }

    /// Variables that say that the environment has a source of this kind.
    var marks: [String] { settings.filter(\.isMark).flatMap(\.variables) }

    /// The keys that its `source` may have in the file. Audit records that lie in a database have that one's too.
    var sourceKeys: [String] {
        let own = settings.flatMap(\.keys) + (self == .postgres ? [PostgresSourceReader.parametersKey] : [])
        guard self == .auditRecords else { return own }
        let databases = [EngineName.postgres, .mysql, .mongodb].flatMap(\.sourceKeys)
        return (own + databases).reduce(into: []) { keys, key in if !keys.contains(key) { keys.append(key) } }
    }
}

// MARK: Values that several kinds have

extension SourcePlace {
    /// `true` only where it says so.
    func flag(_ setting: SourceSetting, _ values: inout ConfigurationValues) throws(ConfigurationError) -> Bool {
        guard let found = try find(setting, &values) else { return false }
        return try ConfigurationReader.flag(found)
    }

    func number(
        _ setting: SourceSetting, in range: ClosedRange<Int>, default fallback: Int,
        _ values: inout ConfigurationValues
    ) throws(ConfigurationError) -> Int {
        guard let found = try find(setting, &values) else { return fallback }
        guard let value = Int(found.text), String(value) == found.text, range.contains(value) else {
            throw ConfigurationError(
                found.name, "it is not a whole number in its range",
                hint: "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    /// One word out of a list; `nil` where there is none.
    func word<Word: RawRepresentable<String> & CaseIterable>(
        _ setting: SourceSetting, of type: Word.Type, _ what: String, _ values: inout ConfigurationValues
    ) throws(ConfigurationError) -> Word? {
        guard let found = try find(setting, &values) else { return nil }
        guard let word = Word(rawValue: found.text) else {
            throw ConfigurationError(
                found.name, "no such \(what) is known", hint: "write \(choices(Word.allCases.map(\.rawValue)))")
        }
        return word
    }

    /// Absolute paths, none inside another; `nil` where the setting is not there.
    func paths(
        _ setting: SourceSetting, _ values: inout ConfigurationValues
    ) throws(ConfigurationError) -> [String]? {
        guard let found = try find(setting, &values) else { return nil }
        var paths: [String] = []
        for text in found.values { paths.append(try AbsolutePath.checked(text, found.name)) }
        guard !paths.isEmpty else {
            throw ConfigurationError(found.name, "it names nothing", hint: "list at least one absolute path")
        }
        for (index, path) in paths.enumerated() {
            let others = paths.enumerated().filter { $0.offset != index }.map(\.element)
            if others.contains(where: { AbsolutePath.contains($0, path) }) {
                throw ConfigurationError(
                    found.name, "one of its paths is another, or lies inside another",
                    hint: "name each file once: leave the inner path out")
            }
        }
        return paths
    }

    /// The absolute path of one file; `nil` where the setting is not there.
    func path(
        _ setting: SourceSetting, _ values: inout ConfigurationValues
    ) throws(ConfigurationError) -> String? {
        guard let found = try find(setting, &values) else { return nil }
        return try AbsolutePath.checked(found.text, found.name)
    }
}

/// Paths that mean the same wherever the program is started.
enum AbsolutePath {
    /// `text` without a slash at its end and without empty steps.
    static func checked(_ text: String, _ name: String) throws(ConfigurationError) -> String {
        guard let path = normal(text) else {
            throw ConfigurationError(
                name, "a path in it is not absolute, or has '.' or '..' as a step",
                hint: "write it from the root on, like /etc/clinic, without control characters")
        }
        return path
    }

    /// `nil` for what is no absolute path.
    static func normal(_ text: String) -> String? {
        let steps = text.split(separator: "/").map(String.init)
        guard text.hasPrefix("/"), !steps.contains(".."), !steps.contains("."), !hasControlCharacter(text),
            text.utf8.count <= 4096
        else { return nil }
        return "/" + steps.joined(separator: "/")
    }

    /// Whether `inner` is `outer` or lies below it. Both are normal.
    static func contains(_ outer: String, _ inner: String) -> Bool {
        inner == outer || outer == "/" || inner.hasPrefix(outer + "/")
    }
}
