/// The services that are used, by their names in endpoints and signatures.
package enum AWSService: String, CaseIterable, Sendable {
    case s3, kms, sts, sns, ssm
    case secretsManager = "secretsmanager"
    case iam, backup
}

/// Where a service is reached.
package struct AWSEndpoint: Sendable, Equatable {
    /// `https` or `http`.
    package var scheme: String
    /// As in the `Host` header, with the port where it is not the scheme's own: `s3.eu-central-1.amazonaws.com`.
    package var host: String
    /// For the signature.
    package var region: String
    /// Not AWS' own: named by `AWS_ENDPOINT_URL…` or the configuration. Path style is the default there.
    package var isCustom: Bool

    package init(scheme: String, host: String, region: String, isCustom: Bool) {
        self.scheme = scheme
        self.host = host
        self.region = region
        self.isCustom = isCustom
    }
}

/// One call of an operation of a service, before it is signed.
package struct AWSRequest: Sendable {
    package var service: AWSService
    /// As the service names it, for errors: `PutObject`.
    package var operation: String
    /// What it is about, for errors: `s3://bucket/key`, a key's ARN.
    package var resource: String
    package var endpoint: AWSEndpoint
    package var method: String
    /// Decoded, beginning with `/`: `/bucket/odd name+1`. The signer encodes it.
    package var path: String
    /// Decoded; a `nil` value is a name without `=`, as `?uploads`.
    package var query: [(name: String, value: String?)]
    package var headers: HTTPFields
    package var body: HTTPBody
    /// The body's SHA-256 where it is known already; `nil`: it is computed, or, for S3 over TLS, left out
    /// (`UNSIGNED-PAYLOAD`).
    package var bodySHA256: [UInt8]?
    /// May be sent again although the first may have arrived.
    package var isIdempotent: Bool
    /// Seconds for one attempt, until its answer begins; the time that the body takes to go up is part of it.
    package var deadline: Double
    /// False for the few calls that credentials are obtained with: AssumeRoleWithWebIdentity.
    package var isSigned = true
    /// The service may answer 200 and say in the body that it failed, as S3 does for CompleteMultipartUpload and
    /// CopyObject: such an answer is an error. Not for answers whose body is taken piece by piece.
    package var mayFailWithStatus200 = false

    package init(
        _ service: AWSService, _ operation: String, on resource: String, at endpoint: AWSEndpoint, method: String,
        path: String = "/", query: [(name: String, value: String?)] = [], headers: HTTPFields = HTTPFields(),
        body: HTTPBody = .none, bodySHA256: [UInt8]? = nil, isIdempotent: Bool = true, deadline: Double = 60
    ) {
        self.service = service
        self.operation = operation
        self.resource = resource
        self.endpoint = endpoint
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.bodySHA256 = bodySHA256
        self.isIdempotent = isIdempotent
        self.deadline = deadline
    }
}
