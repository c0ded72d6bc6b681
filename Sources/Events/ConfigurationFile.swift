import Configuration
import Core
import Yams

/// The YAML file that `LIFEBOAT_CONFIG` names, checked key by key.
///
/// swift-configuration's own YAML provider looks keys up and cannot say which it was never asked for, and here a key
/// that nobody reads is an error. So the text is read with the same parser (Yams), checked against the list of keys,
/// and handed on as a provider of values.
struct ConfigurationFile {
    /// For people: the path.
    let name: String
    private(set) var targets: [String] = []
    private(set) var destinations: [String] = []
    /// Every value under its path.
    private(set) var values: [AbsoluteConfigKey: ConfigValue] = [:]

    /// Bytes that a configuration may have, so that no other file is read whole by mistake.
    static let largest = 256 << 10

    static let settingKeys: [String] =
        Setting.allCases.flatMap { $0.isSecret ? [$0.key, $0.key + "File"] : [$0.key] }
        + [TargetReader.tiersKey, TargetReader.classesKey]
    static let secretKeys: Set<String> = Set(
        EngineName.allCases.flatMap(\.settings).filter(\.isSecret).map(\.key)
            + Setting.allCases.filter(\.isSecret).map(\.key))
    private static let listKeys: Set<String> = Set(
        EngineName.allCases.flatMap(\.settings).filter(\.isList).map(\.key)
            + Setting.allCases.filter(\.isList).map(\.key))

    init(name: String, bytes: [UInt8]) throws(ConfigurationError) {
        self.name = name
        guard bytes.count <= Self.largest else {
            throw ConfigurationError(
                "LIFEBOAT_CONFIG", "the file is larger than \(Self.largest) bytes", hint: "name a YAML file")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw ConfigurationError("LIFEBOAT_CONFIG", "the file is not UTF-8", hint: "save it as UTF-8")
        }
        guard let root = try Self.parse(text) else {
            throw ConfigurationError(
                "LIFEBOAT_CONFIG", "the file is empty", hint: "write at least one target; see docs/configuration.md")
        }
        for (key, value) in try Self.members(root, path: [], known: ["targets", "destinations", "defaults"]) {
            switch key {
            case "targets": targets = try readTargets(value)
            case "destinations": destinations = try readDestinations(value)
            default: try readSettings(value, path: [key], known: Self.settingKeys)
            }
        }
    }

    /// The single value at `path`; `nil` where there is none.
    func text(_ path: [String]) -> String? {
        if case .string(let text)? = values[AbsoluteConfigKey(path)]?.content { text } else { nil }
    }

    private mutating func readTargets(_ node: Node) throws(ConfigurationError) -> [String] {
        var names: [String] = []
        for (name, value) in try Self.members(node, path: ["targets"], known: nil) {
            guard TargetName.isValid(name) else { throw TargetName.refusal("targets.\(shown(name))") }
            names.append(name)
            let path = ["targets", name]
            let engine = try Self.engine(value, path: path) ?? .postgres
            try readSettings(
                value, path: path, known: [SourceReader.engineKey, "keyPrefix", "source"] + Self.settingKeys,
                source: engine.sourceKeys)
        }
        return names.sorted()
    }

    private mutating func readDestinations(_ node: Node) throws(ConfigurationError) -> [String] {
        var names: [String] = []
        for (name, value) in try Self.members(node, path: ["destinations"], known: nil) {
            guard TargetName.isValid(name) else { throw TargetName.refusal("destinations.\(shown(name))") }
            names.append(name)
            let path = ["destinations", name]
            try readSettings(
                value, path: path, known: DestinationReader.keys(of: try Self.engine(value, path: path)))
        }
        return names.sorted()
    }

    /// What the mapping at `path` says of its engine, which decides over its other keys.
    private static func engine(_ node: Node, path: [String]) throws(ConfigurationError) -> EngineName? {
        guard let value = try members(node, path: path, known: nil).first(where: { $0.key == SourceReader.engineKey })
        else { return nil }
        let inner = path + [SourceReader.engineKey]
        let text = try scalar(value.value, path: inner)
        return try SourceReader.engine(
            ConfigurationValues.Found(values: [text], name: inner.joined(separator: ".")))
    }

    /// `source`: the keys that a mapping of that name may have.
    private mutating func readSettings(
        _ node: Node, path: [String], known: [String], source: [String] = []
    ) throws(ConfigurationError) {
        for (key, value) in try Self.members(node, path: path, known: known) {
            let inner = path + [key]
            switch key {
            case "source": try readSettings(value, path: inner, known: source)
            case PostgresSourceReader.parametersKey:
                try readSettings(value, path: inner, known: LibpqParameters.names.sorted())
            case TargetReader.tiersKey: try readSettings(value, path: inner, known: Tier.allCases.map(\.rawValue))
            case TargetReader.classesKey:
                try readSettings(value, path: inner, known: DataClass.allCases.map(\.rawValue))
            case _ where Self.listKeys.contains(key): try readList(value, path: inner)
            default:
                let text = try Self.scalar(value, path: inner)
                values[AbsoluteConfigKey(inner)] = ConfigValue(
                    .string(text), isSecret: Self.secretKeys.contains(key))
            }
        }
    }

    private mutating func readList(_ node: Node, path: [String]) throws(ConfigurationError) {
        guard case .sequence(let elements) = node else {
            throw ConfigurationError(
                path.joined(separator: "."), "it is not a list", hint: "write one '- value' a line below it")
        }
        var texts: [String] = []
        for element in elements { texts.append(try Self.scalar(element, path: path)) }
        values[AbsoluteConfigKey(path)] = ConfigValue(.stringArray(texts), isSecret: false)
    }
}

// MARK: YAML

extension ConfigurationFile {
    /// `nil` for a file without content. The parser's own messages quote the text, which can hold passwords: only the
    /// place and the kind of its complaint are passed on.
    private static func parse(_ text: String) throws(ConfigurationError) -> Node? {
        let cause: String
        do {
            return try Parser(yaml: text).singleRoot()
        } catch let error as YamlError {
            cause =
                switch error {
                case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
                    .composer(_, let problem, let mark, _):
                    "line \(mark.line), column \(mark.column): \(problem)"
                case .duplicatedKeysInMapping(let keys, let context):
                    "line \(context.mark.line): the key '\(shown(keys.first ?? ""))' stands twice"
                default: "its text cannot be read"
                }
        } catch {
            cause = "its text cannot be read"
        }
        throw ConfigurationError(
            "LIFEBOAT_CONFIG", "the file is not YAML that can be read: \(cause)",
            hint: "correct that place; strings with ':' or '#' need quotes, and indentation is by blanks")
    }

    /// The members of a mapping whose keys are all in `known`; any keys where that is `nil`.
    private static func members(
        _ node: Node, path: [String], known: [String]?
    ) throws(ConfigurationError) -> [(key: String, value: Node)] {
        guard case .mapping(let mapping) = node else {
            throw ConfigurationError(
                path.isEmpty ? "LIFEBOAT_CONFIG" : path.joined(separator: "."), "it is not a mapping",
                hint: "write 'key: value' lines below it\(known.map { ", with the keys \(choices($0))" } ?? "")")
        }
        var members: [(key: String, value: Node)] = []
        for (keyNode, value) in mapping {
            guard case .scalar(let scalar) = keyNode else {
                throw ConfigurationError(
                    path.joined(separator: "."), "a key in it is not a word", hint: "keys are plain words")
            }
            let key = scalar.string
            if let known, !known.contains(key) { throw unknown(key, path: path, known: known) }
            members.append((key, value))
        }
        return members
    }

    private static func unknown(_ key: String, path: [String], known: [String]) -> ConfigurationError {
        let name = (path + [shown(key)]).joined(separator: ".")
        if let reason = NotInThisVersion.keys[key] {
            return ConfigurationError(name, reason, hint: "remove the key")
        }
        let near = nearest(to: key, in: known).map { "did you mean '\($0)'? " } ?? ""
        let list = known.count > 20 ? "docs/configuration.md lists the keys" : known.joined(separator: ", ")
        return ConfigurationError(name, "no such key is known", hint: "\(near)known here: \(list)")
    }

    private static func scalar(_ node: Node, path: [String]) throws(ConfigurationError) -> String {
        let name = path.joined(separator: ".")
        guard case .scalar(let scalar) = node else {
            throw ConfigurationError(name, "it is not a single value", hint: "write one value behind the ':'")
        }
        guard !scalar.string.isEmpty, !(scalar.style == .plain && ["~", "null"].contains(scalar.string)) else {
            throw ConfigurationError(name, "it has no value", hint: "write one behind the ':', or remove the key")
        }
        return scalar.string
    }
}

/// The names of targets and destinations, which become parts of paths, labels and commands.
enum TargetName {
    static func isValid(_ name: String) -> Bool {
        let bytes = Array(name.utf8)
        guard let first = bytes.first, bytes.count <= 63, isLetterOrDigit(first) else { return false }
        return bytes.allSatisfy { isLetterOrDigit($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_") }
    }

    static func refusal(_ object: String) -> ConfigurationError {
        ConfigurationError(
            object, "the name has characters that no target's name may have, or too many",
            hint: "1 to 63 letters, digits, '-' and '_', the first a letter or a digit")
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
            || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
}
