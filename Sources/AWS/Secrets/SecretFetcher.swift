package import Core
import FoundationEssentials

/// Fetches the secrets that settings name: from AWS Secrets Manager, and parameters of AWS Systems Manager.
package struct SecretFetcher: Sendable {
    /// Where one secret lies, without the field of it that is wanted.
    private struct Place: Hashable {
        let service: SecretReference.Service
        let id: String
        let region: String?

        init(_ reference: SecretReference) {
            (service, id, region) = (reference.service, reference.id, reference.region)
        }
    }

    /// Seconds for one attempt.
    private static let deadline = 10.0

    private let client: AWSClient
    private let configuration: AWSConfiguration

    /// Secrets named without an ARN lie in the configured region.
    package init(client: AWSClient, configuration: AWSConfiguration) {
        self.client = client
        self.configuration = configuration
    }

    /// Throws ``SecretError``, and ``AWSError`` where no credentials or no region are known: exit code 4 for all.
    package func fetch(_ reference: SecretReference) async throws -> Secret {
        try Self.value(of: reference, in: try await document(Place(reference), for: reference))
    }

    /// All of `references`; one secret with several fields is asked for once. Throws as for a single one, for the
    /// first that fails.
    package func fetch(
        _ references: some Sequence<SecretReference>
    ) async throws -> [SecretReference: Secret] {
        var documents: [Place: Secret] = [:]
        var secrets: [SecretReference: Secret] = [:]
        for reference in references where secrets[reference] == nil {
            let place = Place(reference)
            let document: Secret
            if let known = documents[place] {
                document = known
            } else {
                document = try await self.document(place, for: reference)
                documents[place] = document
            }
            secrets[reference] = try Self.value(of: reference, in: document)
        }
        return secrets
    }

    /// The whole text of the secret.
    private func document(_ place: Place, for reference: SecretReference) async throws -> Secret {
        let service: AWSService
        let target: String
        let operation: String
        let body: JSON
        switch place.service {
        case .secretsManager:
            (service, target, operation) = (.secretsManager, "secretsmanager", "GetSecretValue")
            body = .object(["SecretId": .string(place.id)])
        case .parameterStore:
            (service, target, operation) = (.ssm, "AmazonSSM", "GetParameter")
            body = .object(["Name": .string(place.id), "WithDecryption": .bool(true)])
        }
        let endpoint = try configuration.endpoint(for: service, region: place.region)
        let request = AWSRequest.json(
            service, target: target, operation, on: reference.description, at: endpoint,
            body: .bytes(body.canonicalBytes), deadline: Self.deadline)
        let answer: HTTPAnswer
        do {
            answer = try await client.send(request)
        } catch let error as AWSError where error.kind == .refused || error.kind == .unreachable {
            throw SecretError(error, operation: operation, reference: reference, region: endpoint.region)
        }
        guard let text = Self.text(in: answer.body, place.service) else {
            throw SecretError(.notText, reference)
        }
        return text
    }

    private struct SecretValue: Decodable {
        let text: String?
        let binary: Data?
        enum CodingKeys: String, CodingKey {
            case text = "SecretString"
            case binary = "SecretBinary"
        }
    }

    private struct ParameterValue: Decodable {
        struct Parameter: Decodable {
            let value: String
            enum CodingKeys: String, CodingKey { case value = "Value" }
        }
        let parameter: Parameter
        enum CodingKeys: String, CodingKey { case parameter = "Parameter" }
    }

    /// The decoder's errors may quote what they could not read, so none is kept.
    private static func text(in body: [UInt8], _ service: SecretReference.Service) -> Secret? {
        let decoder = JSONDecoder()
        switch service {
        case .secretsManager:
            guard let value = try? decoder.decode(SecretValue.self, from: Data(body)) else { return nil }
            return (value.text ?? value.binary.flatMap { String(validating: $0, as: UTF8.self) }).map { Secret($0) }
        case .parameterStore:
            return (try? decoder.decode(ParameterValue.self, from: Data(body))).map { Secret($0.parameter.value) }
        }
    }

    private static func value(of reference: SecretReference, in document: Secret) throws -> Secret {
        guard let field = reference.field else { return document }
        let fields = document.withRevealed {
            try? JSONDecoder().decode([String: FieldValue].self, from: Data($0.utf8))
        }
        guard let fields else { throw SecretError(.notAnObject, reference) }
        switch fields[field] {
        case .text(let text): return Secret(text)
        case .other: throw SecretError(.fieldIsNoText, reference)
        case nil: throw SecretError(.noSuchField(fields.keys.sorted()), reference)
        }
    }
}

/// A member of a secret that is a JSON object: text, or a number as text, such as a port.
private enum FieldValue: Decodable {
    case text(String)
    case other

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let text = try? container.decode(String.self) {
            self = .text(text)
        } else if (try? container.decode(Bool.self)) != nil {
            self = .other
        } else if let number = try? container.decode(Decimal.self) {
            self = .text("\(number)")
        } else {
            self = .other
        }
    }
}
