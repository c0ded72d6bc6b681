import Core

/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
struct EnvironmentCredentials: CredentialProvider {
    let surroundings: CredentialSurroundings

    func fetch() async throws -> CredentialFinding {
        let id = surroundings.variable("AWS_ACCESS_KEY_ID")
        let secret = surroundings.variable("AWS_SECRET_ACCESS_KEY")
        guard id != nil || secret != nil else {
            return .absent("the environment (AWS_ACCESS_KEY_ID is not set)")
        }
        guard let id, let secret else {
            let missing = id == nil ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY"
            throw AWSError.credentials(
                "environment", "\(missing) is not set and the other half is", hint: "set both variables or neither")
        }
        return .found(
            AWSCredentials(
                accessKeyID: id, secretAccessKey: Secret(secret),
                sessionToken: surroundings.variable("AWS_SESSION_TOKEN").map { Secret($0) }, source: "environment"))
    }
}
