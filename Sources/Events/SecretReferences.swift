import Configuration
import Core

/// Finds the settings that do not hold their secret but say where in AWS it lies.
enum SecretReferences {
    /// `nil` where `found` holds the secret itself.
    static func reference(_ found: ConfigurationValues.Found) throws(ConfigurationError) -> SecretReference? {
        do {
            return try SecretReference(found.text)
        } catch {
            throw ConfigurationError(
                found.name, "it begins like a reference to a secret and is none: \(error)",
                hint: "aws-secretsmanager:NAME-OR-ARN, with #FIELD for one of a JSON object, or aws-ssm:NAME")
        }
    }

    /// Every reference that a secret setting holds, itself or in the file that it names, each once, in the order of
    /// their text.
    static func all(
        environment: [String: String], file: ConfigurationFile?, values: ConfigurationValues
    ) throws(ConfigurationError) -> [SecretReference] {
        typealias Found = ConfigurationValues.Found
        var places: [(value: Found?, fileName: Found?)] = []
        func found(_ text: String?, _ name: String) -> Found? {
            guard let text, !text.isEmpty else { return nil }
            return Found(values: [text], name: name)
        }
        let names = Set(values.variableNames.map { $0.hasSuffix("_FILE") ? String($0.dropLast(5)) : $0 })
        for name in names.sorted() where SecretVariables.contains(name) && !name.hasPrefix("AWS_") {
            let fileName = name + "_FILE"
            let isForeign = name == "PGPASSWORD"
            places.append((found(environment[name], name), isForeign ? nil : found(environment[fileName], fileName)))
        }
        for (path, value) in settings(file) {
            guard let last = path.last, case .string(let text) = value else { continue }
            let name = path.joined(separator: ".")
            if ConfigurationFile.secretKeys.contains(last) {
                places.append(
                    (found(text, name), found(file?.text(path.dropLast() + [last + "File"]), name + "File")))
            } else if last.hasSuffix("File"), ConfigurationFile.secretKeys.contains(String(last.dropLast(4))),
                file?.text(path.dropLast() + [String(last.dropLast(4))]) == nil
            {
                places.append((nil, found(text, name)))
            }
        }
        var references: Set<SecretReference> = []
        // Where both are set, reading the settings says so.
        for place in places where place.value == nil || place.fileName == nil {
            guard let text = try values.secretText(place.value, fileName: place.fileName) else { continue }
            if let reference = try reference(text) { references.insert(reference) }
        }
        return references.sorted { $0.description < $1.description }
    }

    /// A reference where no secret belongs would be taken for a name, and shown.
    static func refuseAmongOthers(
        environment: [String: String], file: ConfigurationFile?
    ) throws(ConfigurationError) {
        let own = VariableNames.known.union(LibpqParameters.variables.keys)
            .union(["PGHOST", "PGPORT", "PGDATABASE", "PGUSER"])
        for name in own.sorted() where !SecretVariables.contains(name) {
            try refuse(environment[name] ?? "", name)
        }
        for (path, value) in settings(file) {
            guard let last = path.last, !ConfigurationFile.secretKeys.contains(last) else { continue }
            let texts: [String] =
                switch value {
                case .string(let text): [text]
                case .stringArray(let texts): texts
                default: []
                }
            for text in texts { try refuse(text, path.joined(separator: ".")) }
        }
    }

    /// Everything in the file, by its path, in an order that does not change.
    private static func settings(_ file: ConfigurationFile?) -> [(path: [String], value: ConfigContent)] {
        (file?.values ?? [:]).map { ($0.key.components, $0.value.content) }
            .sorted { $0.path.lexicographicallyPrecedes($1.path) }
    }

    private static func refuse(_ text: String, _ name: String) throws(ConfigurationError) {
        guard SecretReference.Service.allCases.contains(where: { text.hasPrefix($0.rawValue + ":") }) else { return }
        throw ConfigurationError(
            name, "it refers to a secret in AWS, and it is not a secret setting",
            hint: "write the value itself; only settings that documentation calls secret may refer to one, and their "
                + "…_FILE names a file")
    }
}
