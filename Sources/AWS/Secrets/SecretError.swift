package import Core

/// A secret in AWS that a setting names and that could not be had. Holds names, never values.
package struct SecretError: Failure {
    package enum Problem: Equatable, Sendable {
        /// Binary, and not text in UTF-8; or nothing that was expected.
        case notText
        /// A field is wanted, and the secret is no JSON object.
        case notAnObject
        /// The names of the fields that are there.
        case noSuchField([String])
        case fieldIsNoText
        /// By the service, or there was none to be reached.
        case notGiven(code: String, cause: String, hint: String)
    }

    package let problem: Problem
    package let reference: SecretReference

    init(_ problem: Problem, _ reference: SecretReference) {
        self.problem = problem
        self.reference = reference
    }

    init(_ error: AWSError, operation: String, reference: SecretReference, region: String) {
        let prefix = reference.service == .secretsManager ? "secretsmanager" : "ssm"
        let hint =
            switch error.code {
            case "ResourceNotFoundException", "ParameterNotFound", "ParameterVersionNotFound":
                "check the name and the region \(region): an ARN names a secret in any region"
            case "AccessDeniedException", "AccessDenied":
                "allow \(prefix):\(operation) on it to the role, and kms:Decrypt on the key that it lies under"
            case "DecryptionFailure", "InvalidKeyId":
                "the role needs kms:Decrypt on the key that it lies under, and the key has to be enabled"
            case "InvalidRequestException":
                "it may be marked for deletion: 'aws secretsmanager describe-secret' says so"
            default:
                error.kind == .unreachable
                    ? "check that the pod may reach the service in \(region) (network policy, VPC endpoint)"
                    : error.hint
            }
        // The service's own words are left out: they are of use to nobody who has the code.
        let code = error.code.isEmpty ? "status \(error.status)" : error.code
        let request = error.requestID.isEmpty ? "" : ", request \(error.requestID)"
        let cause = error.kind == .unreachable ? error.cause : "the service refuses it (\(code)\(request))"
        self.init(.notGiven(code: error.code, cause: cause, hint: hint), reference)
    }

    package var exitCode: ExitCode { .configuration }
    package var operation: String { "fetch the secret" }
    package var object: String { reference.description }

    package var cause: String {
        switch problem {
        case .notText: "its value is no text"
        case .notAnObject: "a field of it is wanted, and its value is no JSON object"
        case .noSuchField(let names):
            names.isEmpty
                ? "it has no such field, nor any other"
                : "it has no such field, but: \(names.prefix(20).joined(separator: ", "))"
        case .fieldIsNoText: "the field is neither text nor a number"
        case .notGiven(_, let cause, _): cause
        }
    }

    package var hint: String {
        switch problem {
        case .notText: "store it as a secret string, or mount it as a file"
        case .notAnObject: "leave '#field' out, or store a JSON object such as {\"MONGODB_URL\": \"…\"}"
        case .noSuchField, .fieldIsNoText: "correct the name behind '#', or add the field to the secret"
        case .notGiven(_, _, let hint): hint
        }
    }
}
