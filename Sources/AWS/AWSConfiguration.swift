/// What the environment, and the shared configuration file where there is one, say of AWS: `AWS_REGION`,
/// `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_<SERVICE>`, `AWS_USE_FIPS_ENDPOINT`, `AWS_USE_DUALSTACK_ENDPOINT`,
/// `AWS_CA_BUNDLE`, `AWS_MAX_ATTEMPTS`, `AWS_PROFILE` and what their keys are in `~/.aws/config`.
package struct AWSConfiguration: Sendable {
    package var environment: [String: String]
    package var region: String?
    package var caBundle: String?
    package var maxAttempts: Int
    package var usesFIPS: Bool
    package var usesDualStack: Bool

    /// Throws ``AWSError`` of kind `configuration`, exit code 4.
    package init(environment: [String: String], readFile: (String) throws -> [UInt8]) throws {
        self.environment = environment
        region = environment["AWS_REGION"] ?? environment["AWS_DEFAULT_REGION"]
        caBundle = environment["AWS_CA_BUNDLE"]
        maxAttempts = 5
        usesFIPS = false
        usesDualStack = false
    }

    /// Where `service` is reached. `region` wins over the configured one; `override` is a URL that wins over
    /// everything (`S3_ENDPOINT`).
    package func endpoint(
        for service: AWSService, region: String? = nil, override: String? = nil
    ) throws -> AWSEndpoint {
        throw AWSError(.configuration, service, "endpoint", message: "not built yet", hint: "")
    }
}
