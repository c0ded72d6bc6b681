extension AWSRequest {
    /// A call in the AWS JSON 1.1 protocol, which KMS, Secrets Manager and Systems Manager speak.
    ///
    /// `target` is the service's name in that protocol: `TrentService`. `body` is a JSON object.
    package static func json(
        _ service: AWSService, target: String, _ operation: String, on resource: String, at endpoint: AWSEndpoint,
        body: HTTPBody, deadline: Double = 10
    ) -> AWSRequest {
        AWSRequest(
            service, operation, on: resource, at: endpoint, method: "POST",
            headers: HTTPFields([
                (name: "Content-Type", value: "application/x-amz-json-1.1"),
                (name: "X-Amz-Target", value: "\(target).\(operation)"),
            ]), body: body, deadline: deadline)
    }
}
