package import Core

/// A call that a service refused, or that never reached it. Holds no key, token or body.
package struct AWSError: Failure {
    package enum Kind: Sendable, Equatable {
        /// The service answered with an error.
        case refused
        /// No answer, or not all of it: see ``AWSError/transport``.
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
    /// The service's code: `AccessDenied`, `SlowDown`; empty where there is none, as for HEAD.
    package var code: String
    /// The service's words, shortened.
    package var message: String
    package var requestID: String
    /// Of the answer, for redirects and the like.
    package var headers: HTTPFields
    /// How often the request was sent, the first time included.
    package var attempts: Int
    package var exitCode: ExitCode
    package var hint: String
    /// The region that the service wants the request to be sent to and signed for, where it says so.
    package var expectedRegion: String?
    /// The host that a redirect names.
    package var expectedHost: String?
    /// What went wrong on the way, for ``Kind/unreachable``.
    package var transport: TransportError.Kind?

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

    package var operation: String {
        guard kind == .credentials else { return "call \(service.rawValue) \(awsOperation)" }
        return awsOperation.isEmpty ? "get AWS credentials" : "get AWS credentials by \(awsOperation)"
    }
    package var object: String { resource }
    package var cause: String {
        var text = code.isEmpty ? message : "\(code): \(message)"
        if !requestID.isEmpty { text += " (request \(requestID))" }
        if attempts > 1 { text += ", after \(attempts) attempts" }
        return text
    }
}

extension AWSError {
    /// What `answer`, which is none of success, says. `secrets` are masked should the service repeat them: some quote
    /// the whole request where its signature is wrong.
    ///
    /// `now` is the machine's clock, to say how far it is off.
    package init(
        _ answer: HTTPAnswer, to request: AWSRequest, attempts: Int, now: Timestamp, hiding secrets: [Secret]
    ) {
        let body = ErrorBody(answer)
        var message = body.message.isEmpty ? "the service answered with status \(answer.status)" : body.message
        message = Self.shortened(message)
        for secret in secrets {
            secret.withRevealed { text in
                if !text.isEmpty { message = message.replacing(text, with: "••••") }
            }
        }
        self.init(
            .refused, request.service, request.operation, resource: request.resource, status: answer.status,
            code: body.code, message: message, requestID: body.requestID, headers: answer.headers, attempts: attempts,
            exitCode: request.service.exitCode, hint: "")
        expectedRegion = answer.headers["x-amz-bucket-region"] ?? body.region
        expectedHost = body.endpoint
        hint = Hint(error: self, now: now).text
    }

    /// Nothing, or not all, came back.
    package init(_ error: TransportError, to request: AWSRequest, attempts: Int) {
        self.init(
            .unreachable, request.service, request.operation, resource: request.resource,
            message: "\(request.endpoint.host): \(error.description)", attempts: attempts,
            exitCode: request.service.exitCode,
            hint: error.hint.isEmpty
                ? "check the network, the endpoint and the region, then run again" : error.hint)
        transport = error.kind
    }

    /// The service's first line: what follows quotes the request.
    private static func shortened(_ text: String) -> String {
        let line = text.split { $0.isNewline }.first.map(String.init) ?? text
        return line.count <= 400 ? line : line.prefix(400) + "…"
    }
}

extension AWSService {
    /// How a run ends that this service has failed.
    package var exitCode: ExitCode {
        switch self {
        case .s3: .store
        case .kms: .keys
        // It is asked for one more copy of what is stored by then.
        case .backup: .notReplicated
        case .sts, .sns, .ssm, .secretsManager, .iam: .configuration
        }
    }
}

/// An error as XML (S3, STS, SNS) or JSON (KMS, Secrets Manager, SSM, Backup) writes it.
struct ErrorBody {
    var code = ""
    var message = ""
    var requestID = ""
    var region: String?
    var endpoint: String?

    init(_ answer: HTTPAnswer) {
        let first = answer.body.first { !$0.isXMLSpace }
        if first == UInt8(ascii: "<") {
            readXML(answer.body)
        } else if first == UInt8(ascii: "{") {
            readJSON(answer)
        }
        if code.isEmpty, let type = answer.headers["x-amzn-errortype"] { code = Self.plainCode(type) }
        requestID =
            answer.headers["x-amz-request-id"] ?? answer.headers["x-amzn-requestid"]
            ?? answer.headers["x-amzn-request-id"] ?? requestID
    }

    /// Whether an answer with status 200 is an error all the same: its root element is `Error`.
    static func isError(_ body: [UInt8]) -> Bool {
        let name = XMLScanner(body).rootName
        return name == "Error" || name == "ErrorResponse"
    }

    private mutating func readXML(_ body: [UInt8]) {
        let scanner = XMLScanner(body)
        code = scanner.text(of: "Code") ?? ""
        message = scanner.text(of: "Message") ?? ""
        requestID = scanner.text(of: "RequestId") ?? scanner.text(of: "RequestID") ?? ""
        region = scanner.text(of: "Region")
        endpoint = scanner.text(of: "Endpoint")
    }

    private mutating func readJSON(_ answer: HTTPAnswer) {
        guard let fields = JSONErrorFields(answer.body) else { return }
        code = Self.plainCode(fields.type)
        message = fields.message
    }

    /// `com.amazonaws.kms#NotFoundException:http://…` is `NotFoundException`.
    private static func plainCode(_ type: String) -> String {
        let name = type.split(separator: ":", maxSplits: 1).first ?? ""
        return name.split(separator: "#").last.map(String.init) ?? ""
    }
}
