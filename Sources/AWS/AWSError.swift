package import Core

/// A call that a service refused, or that never reached it. Holds no key, token or body.
package struct AWSError: Failure {
    package enum Kind: Sendable, Equatable {
        /// The service answered with an error.
        case refused
        /// No answer: see `TransportError`.
        case unreachable
        /// No credentials, or they could not be fetched.
        case credentials
        /// Contradictory or missing settings: no region, an unreadable profile.
        case configuration
    }

    package var kind: Kind
    package var service: AWSService
    /// `PutObject`.
    package var awsOperation: String
    package var resource: String
    /// 0 where no answer came.
    package var status: Int
    /// The service's code: `AccessDenied`, `SlowDown`; empty where there is none.
    package var code: String
    /// The service's words, shortened.
    package var message: String
    package var requestID: String
    /// Of the answer, for redirects and the like.
    package var headers: HTTPFields
    package var attempts: Int
    package var exitCode: ExitCode
    package var hint: String

    package init(
        _ kind: Kind, _ service: AWSService, _ operation: String, resource: String = "", status: Int = 0,
        code: String = "", message: String, requestID: String = "", headers: HTTPFields = HTTPFields(),
        attempts: Int = 1, exitCode: ExitCode = .store, hint: String
    ) {
        self.kind = kind
        self.service = service
        self.awsOperation = operation
        self.resource = resource
        self.status = status
        self.code = code
        self.message = message
        self.requestID = requestID
        self.headers = headers
        self.attempts = attempts
        self.exitCode = exitCode
        self.hint = hint
    }

    package var operation: String { "call \(service.rawValue) \(awsOperation)" }
    package var object: String { resource }
    package var cause: String {
        var text = code.isEmpty ? message : "\(code): \(message)"
        if !requestID.isEmpty { text += " (request \(requestID))" }
        if attempts > 1 { text += ", after \(attempts) attempts" }
        return text
    }
}
