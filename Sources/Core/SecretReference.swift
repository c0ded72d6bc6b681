/// A secret setting that does not hold its secret but says where it lies in AWS: `aws-secretsmanager:ID[#field]` or
/// `aws-ssm:NAME`.
///
/// ID is a secret's name or ARN, `field` a member of the JSON object that the secret is. NAME is the name or ARN of a
/// parameter of the Systems Manager, with `:version` or `:label` behind it where one is wanted.
package struct SecretReference: Hashable, Sendable, CustomStringConvertible {
    package enum Service: String, CaseIterable, Sendable {
        case secretsManager = "aws-secretsmanager"
        case parameterStore = "aws-ssm"

        /// As it stands in an ARN.
        fileprivate var arnName: String { self == .secretsManager ? "secretsmanager" : "ssm" }
        /// What may stand in a name (AWS API references, CreateSecret and PutParameter; a parameter's selector follows
        /// a colon).
        fileprivate var punctuation: String { self == .secretsManager ? "/_+=.@-" : "/_.-:" }
    }

    package let service: Service
    /// Name or ARN.
    package let id: String
    package let field: String?
    /// The one that the ARN names; `nil` for a name, which is looked up in the configured region.
    package let region: String?

    /// The longest ID, in bytes, that either service takes.
    private static let longestID = 2048

    /// `nil` where `text` is no reference, that is, the secret itself. Throws ``SecretReferenceError`` where it begins
    /// like one and is none: what was meant as a reference is never taken for a password.
    package init?(_ text: String) throws(SecretReferenceError) {
        guard let service = Service.allCases.first(where: { text.hasPrefix($0.rawValue + ":") }) else { return nil }
        self.service = service
        let rest = text.dropFirst(service.rawValue.count + 1)
        let mark = rest.firstIndex(of: "#")
        id = String(rest[..<(mark ?? rest.endIndex)])
        field = mark.map { String(rest[rest.index(after: $0)...]) }
        guard !id.isEmpty else { throw SecretReferenceError("nothing follows '\(service.rawValue):'") }
        guard id.utf8.count <= Self.longestID else {
            throw SecretReferenceError("the name is longer than \(Self.longestID) bytes")
        }
        if let field {
            guard service == .secretsManager else { throw SecretReferenceError("a parameter has no '#field'") }
            guard !field.isEmpty else { throw SecretReferenceError("no field's name follows '#'") }
        }
        region = try Self.region(in: id, service)
    }

    package var description: String { "\(service.rawValue):\(id)" + (field.map { "#\($0)" } ?? "") }

    /// Checks the ID on the way.
    private static func region(in id: String, _ service: Service) throws(SecretReferenceError) -> String? {
        let isARN = id.hasPrefix("arn:")
        let allowed = service.punctuation + (isARN ? ":" : "")
        for character in id where !(character.isASCII && (character.isLetter || character.isNumber)) {
            guard allowed.contains(character) else {
                throw SecretReferenceError("its name holds a character that none may have")
            }
        }
        guard isARN else { return nil }
        let parts = id.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count >= 6, !parts[1].isEmpty, !parts[3].isEmpty, parts[2] == service.arnName,
            parts[5].hasPrefix(service == .secretsManager ? "secret" : "parameter/")
        else { throw SecretReferenceError("its ARN is none of the service \(service.arnName)") }
        return String(parts[3])
    }
}

/// Text that begins like a reference to a secret and is none. Does not repeat it: it may have been meant as a password.
package struct SecretReferenceError: Error, Hashable, CustomStringConvertible {
    package let description: String

    init(_ description: String) { self.description = description }
}
